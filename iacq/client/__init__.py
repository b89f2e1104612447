"""Enqueue and follow runs from another service.

    from iacq.client import Client
    client = Client.from_env()
    run = client.enqueue("network", "plan_and_apply", idempotency_key="deploy-42", variables={"size": 3})
    run = client.wait(run.id, until={"apply_pending"}, timeout=600)
    client.confirm(run.id, plan_hash=run.plan_hash, by="alice")
    for line in client.logs(run.id, follow=True):
        print(line.text)

The client is trusted: it talks to the database and the broker, which `IACQ_DATABASE_URL` and `IACQ_BROKER_URL`
name. Every error is an `iacq.errors.IacqError`. If the broker is away, enqueue, confirm and cancel are stored all
the same and start when it is back.

One client serves all threads of a process, and goes on in a process that was forked off (a web server that loads the
application first): each process opens connections of its own. Fork while no call is under way.
"""

from __future__ import annotations

from iacq.client.fleet import FleetCalls
from iacq.client.freezes import FreezeCalls
from iacq.client.kept import KeptCalls, LogLine
from iacq.client.runs import RunCalls
from iacq.client.states import StateCalls
from iacq.client.workspaces import WorkspaceCalls

__all__ = ["Client", "LogLine"]


class Client(RunCalls, KeptCalls, WorkspaceCalls, FreezeCalls, FleetCalls, StateCalls):
    """Talks to one iacq. A context manager that closes it; closing is otherwise left to the end of the process."""
