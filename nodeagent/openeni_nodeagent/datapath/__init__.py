"""The datapath of one node: plan, observe, diff, apply. ADD, CHECK and DEL share one plan."""
