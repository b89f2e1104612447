"""What other services rely on: a promise may be added here, and a change of one is a change for them."""

import inspect

import iacq.client
from iacq.client import Client

PROMISED = {
    "add_freeze_window": "(pool, window, *, by=None)",
    "bypass_freeze": "(pool, *, until, reason, zone='UTC', by=None)",
    "cancel": "(run_id, *, force=False, by=None)",
    "close": "()",
    "confirm": "(run_id, *, plan_hash, by=None, comment=None)",
    "control_seen": "()",
    "create_workspace": "(workspace, *, secret_variables=None, secret_environment=None)",
    "delete_workspace": "(name, *, force=False)",
    "discard": "(run_id, *, by=None)",
    "enqueue": (
        "(workspace, run_type, *, variables=None, var_files=(), targets=(), replacements=(), "
        "refresh=True, parallelism=None, priority=0, idempotency_key=None, message=None, "
        "auto_apply=None, supersede=False, import_state=False, ignore_state=False, by=None)"
    ),
    "events": "(run_id)",
    "evidence": "(run_id)",
    "freeze": "(pool, *, reason, until=None, zone='UTC', by=None)",
    "freezes": "(pool=None)",
    "from_env": "(settings=None)",
    "get": "(run_id)",
    "lift_freeze": "(pool, *, reason, by=None)",
    "list": "(*, workspace=None, status=None, limit=50)",
    "lock_workspace": "(name, *, reason, by=None)",
    "logs": "(run_id, *, phase=None, offset=0, follow=False)",
    "outputs": "(workspace)",
    "plan_json": "(run_id)",
    "plan_text": "(run_id)",
    "pods": "()",
    "preview_freezes": "(pool, *, days=7)",
    "pull_errored_state": "(workspace, run_id)",
    "pull_state": "(workspace, *, version=None)",
    "push_state": "(workspace, data, *, force=False, reason=None, by=None)",
    "queue": "()",
    "reencrypt": "(report)",
    "remove_freeze_window": "(pool, name, *, by=None)",
    "resolve": "(run_id, *, applied, comment, force=False, by=None)",
    "retry": "(run_id, *, import_state=False, ignore_state=False, by=None)",
    "slots": "()",
    "states": "(workspace)",
    "to_json": "(run)",
    "unlock_state": "(workspace, *, lock_id=None, force=False, reason=None, by=None)",
    "unlock_workspace": "(name)",
    "update_workspace": "(name, *, secret_variables=None, secret_environment=None, remove_secrets=(), **changes)",
    "wait": "(run_id, *, until=(), timeout=None)",
    "waiting": "(run)",
    "warm": "()",
    "workspace": "(name)",
    "workspaces": "()",
}


def signature_of(member: object) -> str:
    """Write the parameters without their types, which type checkers see."""
    found = inspect.signature(member).parameters.values()  # type: ignore[arg-type]
    untyped = [one.replace(annotation=inspect.Parameter.empty) for one in found if one.name != "self"]
    return str(inspect.Signature(untyped))


def test_promised_names_and_parameters() -> None:
    assert iacq.client.__all__ == ["Client", "LogLine"]
    present = {name: signature_of(member) for name, member in inspect.getmembers(Client) if name in PROMISED}
    assert present == PROMISED


def test_everything_public_is_documented_and_typed() -> None:
    for name, member in inspect.getmembers(Client, inspect.isroutine):
        if not name.startswith("_"):
            assert inspect.getdoc(member), name
            assert inspect.signature(member).return_annotation is not inspect.Signature.empty, name
