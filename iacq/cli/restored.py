"""`iacq db check --restored`: what was done with a database that was restored from a backup."""

from __future__ import annotations

from typing import Any

from iacq import bootstrap
from iacq.cli import output
from iacq.cli.app import App
from iacq.domain.run import Run, Status
from iacq.services import restoring, views
from iacq.services.restoring import Restored


def settle(app: App, *, force: bool) -> None:
    """Do it, and say what became of each run and what is lost."""
    core = bootstrap.client_core(app.settings)
    done = restoring.settle(core, by=app.settings.who, force=force)
    if app.as_json:
        output.emit(_to_json(done))
        return
    _say_runs(done)
    _say_states(done)
    if done.ids_after is None:
        output.warn("the ids of new runs could not be raised: start nothing that still knows a run of after the backup")
    else:
        output.line(f"New runs have ids greater than {done.ids_after}.")


def _say_runs(done: Restored) -> None:
    if not done.runs:
        output.line("No run had begun that has not ended.")
        return
    rows = [(before.id, before.workspace, before.status, after.status, _next(after)) for before, after in done.runs]
    for text in output.table(("RUN", "WORKSPACE", "WAS", "IS", "NEXT"), rows):
        output.line(text)


def _next(run: Run) -> str:
    if run.status is Status.APPLY_INTERRUPTED:
        return f"may have been applied: find out, then iacq run resolve {run.id} --applied|--failed --comment TEXT"
    if run.status is Status.DISCARDED:
        return f"its plan may have been applied: iacq run retry {run.id} makes a new one"
    if run.status is Status.CANCELLED:
        return "somebody had asked to cancel it"
    return "is planned anew" + (" and waits for a confirmation" if run.run_type.changes_state else "")


def _say_states(done: Restored) -> None:
    if not done.states:
        return
    output.line("\nStates that iacq keeps are those of the backup; newer versions are lost:")
    rows = [
        (name, state.version, state.serial, output.moment(state.created_at), "yes" if name in done.locked else None)
        for name, state in done.states.items()
    ]
    for text in output.table(("WORKSPACE", "VERSION", "SERIAL", "SAVED", "LOCKED NOW"), rows):
        output.line(text)
    output.line("Compare each with what is real (`iacq drift WORKSPACE`) before you confirm a plan of it.")
    if done.locked:
        output.line("Locked are those that apply without being asked: `iacq workspace unlock WORKSPACE`.")
    output.line()


def _to_json(done: Restored) -> dict[str, Any]:
    return {
        "runs": [
            {
                "id": before.id,
                "workspace": before.workspace,
                "task_type": before.run_type,
                "was": before.status,
                "is": after.status,
            }
            for before, after in done.runs
        ],
        "states": [
            {"workspace": name, "locked": name in done.locked, **views.state_to_json(state)}
            for name, state in done.states.items()
        ],
        "ids_after": done.ids_after,
    }
