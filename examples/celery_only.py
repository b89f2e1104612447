"""A service that has Celery and not iacq: asks for a change and waits until it is planned.

    BROKER_URL=redis://redis/0 python celery_only.py WORKSPACE KEY

Prints the run as JSON. Nothing can be applied through the broker: somebody else confirms the plan.
"""

import json
import os
import sys
import time

from celery import Celery

app = Celery("billing", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
WAITING = {"pending", "plan_queued", "planning"}


def call(task: str, **arguments: object) -> dict:
    """Call iacq. The same key gives the same run, so a call that got no answer is simply repeated."""
    answer = app.send_task(task, kwargs=arguments, queue="iacq.control").get(timeout=30)
    if "id" not in answer:
        error = answer["error"]
        sys.exit(f"{error['field']}: {error['message']} ({error['hint']})")
    return answer


def main() -> None:
    """Ask, wait, print."""
    workspace, key = sys.argv[1:]
    run = call(
        "iacq.enqueue",
        workspace=workspace,
        run_type="plan_and_apply",
        variables={"size": 2},
        idempotency_key=key,
        by="billing",
    )
    while run["status"] in WAITING:
        time.sleep(0.2)  # a result is one answer: whoever wants to know more asks again
        run = call("iacq.get_run", id=run["id"])
    print(json.dumps(run))


if __name__ == "__main__":
    main()
