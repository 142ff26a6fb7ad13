"""The datapath of one node: plan, observe, diff, apply; one description for ADD, CHECK and DEL."""
