"""The machines of the cluster, as the scheduler and the kubelet see them."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Node:
    name: str
    room: int = 1000  # pods that it has room for
    cordoned: bool = False
    lost: bool = False  # its kubelet says nothing, and hears nothing


def choose(nodes: dict[str, Node], used: dict[str, int]) -> Node | str:
    """Return the node with the fewest pods, or why there is none, in the words of the scheduler."""
    there = [node for node in nodes.values() if not node.lost and not node.cordoned]
    free = [node for node in there if used.get(node.name, 0) < node.room]
    if free:
        return min(free, key=lambda node: used.get(node.name, 0))
    why = []
    if full := len(there):
        why.append(f"{full} Insufficient memory")
    if closed := len(nodes) - len(there):
        why.append(f"{closed} node(s) were unschedulable")
    return f"0/{len(nodes)} nodes are available: {', '.join(why)}." if nodes else "no nodes available to schedule pods"
