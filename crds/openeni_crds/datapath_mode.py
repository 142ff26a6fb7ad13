"""The datapath of a pool or a pod in one word: its mode and its ipvlan mode."""

from enum import StrEnum


class DatapathMode(StrEnum):
    VETH = "Veth"
    IPVLAN_L2 = "IPVlanL2"
    IPVLAN_L3S = "IPVlanL3S"
    IPVLAN_L3 = "IPVlanL3"
