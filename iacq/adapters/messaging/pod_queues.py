"""The queues of pods as kombu keeps them in Redis: a list while something waits, and who is bound to an exchange.

kombu removes neither when a consumer is gone, and an expiry would delete what waits. So what belongs to a pod that will
not come back is removed by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from iacq import messages

_BINDINGS = "_kombu.binding."
_SEPARATOR = "\x06\x16"
_REMOTE_CONTROL = "celery.pidbox"
"""Exchange of Celery's own remote control, and ending of the queues that are bound to it."""
_UNACKED = "unacked"
_AT_ONCE = 500

_AGENT = re.compile(rf"{re.escape(_BINDINGS)}([a-z0-9][a-z0-9-]*)\.agent")
"""A pod is told by the queue of its housekeeping node: in a broker that others use, too, nobody else has such a one."""


def pods(client: Any) -> set[str]:
    """Return the pods that have queues. client: of redis-py."""
    keys = client.scan_iter(match=f"{_BINDINGS}*.agent", count=_AT_ONCE)
    return {found[1] for key in keys if (found := _AGENT.fullmatch(_text(key)))}


def forget(client: Any, pod_name: str) -> bool:
    """Remove all queues of a pod; False: something of it was taken and not acknowledged, and would come back.

    What waited in them is lost. The sign of the pod goes last, so that one who is interrupted does it again.
    """
    if any(_is_queue(queue, pod_name) for queue in _unacknowledged(client)):
        return False
    bound = f"{_BINDINGS}{_REMOTE_CONTROL}"
    nodes = [member for member in client.sscan_iter(bound, count=_AT_ONCE) if _is_node(_text(member), pod_name)]
    if nodes:
        client.srem(bound, *nodes)
    found = [_text(key) for key in client.scan_iter(match=f"*{pod_name}.*", count=_AT_ONCE)]
    queues = {queue for key in found if _is_queue(queue := key.removeprefix(_BINDINGS), pod_name)}
    agent = messages.agent_queue(pod_name)
    for queue in (*sorted(queues - {agent}), agent):
        client.delete(queue, f"{_BINDINGS}{queue}")
    return True


def _is_queue(queue: str, pod_name: str) -> bool:
    name, _, which = queue.rpartition(".")
    return name == pod_name and (which == "agent" or which.isdecimal())


def _is_node(member: str, pod_name: str) -> bool:
    queue = member.rsplit(_SEPARATOR, maxsplit=1)[-1]
    node, _, name = queue.removesuffix(f".{_REMOTE_CONTROL}").rpartition("@")
    return name == pod_name and (node == "agent" or node.startswith("slot"))


def _unacknowledged(client: Any) -> Iterator[str]:
    """Yield the queues of what was taken and not acknowledged; what nobody can read belongs to no pod."""
    for _, said in client.hscan_iter(_UNACKED, count=_AT_ONCE):
        try:
            yield str(json.loads(said)[2])
        except (ValueError, LookupError, TypeError):
            continue


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
