"""`iacq workspace`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from iacq import settings
from iacq.cli import options, output, secret_values
from iacq.cli.app import App
from iacq.cli.command import Command, Group, pass_app
from iacq.domain.source import SourceKind
from iacq.domain.workspace import DEFAULT_POOL, Workspace
from iacq.errors import InvalidInput
from iacq.services import views

_DEFAULT_TERRAFORM = "default"
F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group)
def workspace() -> None:
    """Create, list, show, update, delete, lock and unlock workspaces."""


def _content_options(function: F) -> F:
    for option in reversed(_CONTENT):
        function = option(function)
    return function


_CONTENT = (
    click.option("--path", metavar="DIR", help="A directory; packed when a run is enqueued."),
    click.option("--archive", metavar="FILE", help="Or a tar, tar.gz, tar.bz2, tar.xz or zip; read then."),
    click.option("--git", metavar="URL", help="Or a git repository; fetched by the slot at each plan."),
    click.option("--ref", metavar="REF", help="Of --git: branch, tag or full commit id; '' is its default branch."),
    click.option("--subdir", metavar="DIR", help="Of the root module in the source; '' is its root."),
    click.option("--pool", metavar="POOL", help=f"Pool that it runs in; a new one: {DEFAULT_POOL}."),
    click.option("--auto-apply/--no-auto-apply", default=None, help="Apply every plan without asking."),
    click.option("--var", "variables", metavar="K=V", multiple=True, help="A variable."),
    click.option("--var-file", "var_files", metavar="FILE", multiple=True, help="Variables, read at each run."),
    click.option(
        "--secret-var",
        "secret_variables",
        metavar="K[=WHERE]",
        multiple=True,
        help="A variable that is stored encrypted. WHERE: @FILE, env:NAME, - (standard input); none: asks.",
    ),
    click.option("--env", "environment", metavar="K=V", multiple=True, help="A variable of terraform's environment."),
    click.option(
        "--secret-env",
        "secret_environment",
        metavar="K[=WHERE]",
        multiple=True,
        help="The same, stored encrypted; read anew by each plan and each apply. WHERE: as with --secret-var.",
    ),
    click.option(
        "--terraform-version",
        metavar="V",
        help="Exactly this version, from IACQ_TERRAFORM_VERSIONS; `default`: the program of the machine that runs it.",
    ),
    click.option("--plan-expires", metavar="TIME", help="Discard unconfirmed plans after this, for example 3d."),
)


@workspace.command(cls=Command, example="iacq workspace create network --path ./network --var region=eu-west-1")
@options.workspace_argument
@_content_options
@pass_app
def create(app: App, /, name: str, **given: Any) -> None:
    """Create a workspace of a directory, an archive or a git repository."""
    changes = {"pool": DEFAULT_POOL, "auto_apply": False, **_source_changes(given), **_changes(given)}
    made = app.client.create_workspace(Workspace(name=name, **changes), **_secrets(app, given))
    _show(app, made, f"Workspace {made.name} was created. Next: iacq plan {made.name}")


@workspace.command(cls=Command, example="iacq workspace update network --var size=3 --no-auto-apply")
@options.workspace_argument
@_content_options
@click.option("--unset-var", "unset", metavar="K", multiple=True, help="Forget this variable.")
@click.option("--unset-env", metavar="K", multiple=True, help="Forget this variable of the environment.")
@click.option("--remove-secret", "remove", metavar="K", multiple=True, help="Forget this secret, of either kind.")
@pass_app
def update(
    app: App,
    /,
    name: str,
    unset: tuple[str, ...],
    unset_env: tuple[str, ...],
    remove: tuple[str, ...],
    **given: Any,
) -> None:
    """Change a workspace; what is not given stays. Runs that are enqueued already keep what they have."""
    present = app.client.workspace(name)
    changes = {**_source_changes(given), **_changes(given)}
    changes["variables"] = _merged(present.variables, changes.get("variables", {}), unset, "--unset-var")
    changes["environment"] = _merged(present.environment, changes.get("environment", {}), unset_env, "--unset-env")
    secrets = _secrets(app, given)
    changed = app.client.update_workspace(name, **secrets, remove_secrets=remove, **changes)
    _show(app, changed, f"Workspace {changed.name} was changed.")
    given_now = [*changes["variables"], *changes["environment"], *(key for found in secrets.values() for key in found)]
    for secret in sorted({*remove, *given_now} & {*present.secret_names, *present.secret_environment}):
        output.note(f"The old value of {secret} is not hidden any more: plans show it where the state still has it.")


def _source_changes(given: dict[str, Any]) -> dict[str, Any]:
    """Turn what was said about the source into fields of a workspace; another place replaces all of the present one."""
    places = {kind.value: given[kind.value] for kind in SourceKind if given[kind.value] is not None}
    if len(places) > 1:
        raise InvalidInput(
            "a workspace has one source", field=f"--{list(places)[-1]}", hint="give one of --path, --archive and --git"
        )
    changes: dict[str, Any] = {}
    for kind, at in places.items():
        changes = dict.fromkeys([*(other.value for other in SourceKind), "ref", "subdir"])
        changes[kind] = at if kind == SourceKind.GIT else options.absolute([at])[0]
    return changes | {name: given[name] or None for name in ("ref", "subdir") if given[name] is not None}


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """Turn the options that were given into fields of a workspace."""
    changes = {name: given[name] for name in ("pool", "auto_apply") if given[name] is not None}
    if given["variables"]:
        changes["variables"] = options.assignments(given["variables"], field="--var")
    if given["environment"]:
        changes["environment"] = options.assignments(given["environment"], field="--env")
    if given["var_files"]:
        changes["var_files"] = options.absolute(given["var_files"])
    if given["terraform_version"]:
        wanted = given["terraform_version"]
        changes["terraform_version"] = None if wanted == _DEFAULT_TERRAFORM else wanted
    if given["plan_expires"]:
        changes["plan_expires"] = _milliseconds(given["plan_expires"])
    return changes


def _secrets(app: App, given: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Read the values of the secrets that were given."""
    options_given = {
        secret_values.VARIABLES: given["secret_variables"],
        secret_values.ENVIRONMENT: given["secret_environment"],
    }
    found = secret_values.read(options_given, may_ask=lambda: app.may_ask)
    return {
        "secret_variables": found[secret_values.VARIABLES],
        "secret_environment": found[secret_values.ENVIRONMENT],
    }


def _milliseconds(text: str) -> int:
    try:
        return int(settings.duration(text) * 1000)
    except ValueError as error:
        raise InvalidInput(f"{text!a} is no time: {error}", field="--plan-expires") from error


def _merged(present: Any, added: dict[str, str], removed: tuple[str, ...], field: str) -> dict[str, Any]:
    for name in removed:
        if name not in present:
            raise InvalidInput(f"the workspace has no variable {name!a}", field=field)
    return {name: value for name, value in {**present, **added}.items() if name not in removed}


@workspace.command("list", cls=Command, example="iacq workspace list")
@pass_app
def list_workspaces(app: App) -> None:
    """List workspaces."""
    found = app.client.workspaces()
    if app.as_json:
        output.emit([views.workspace_to_json(item) for item in found])
        return
    rows = [
        (item.name, item.pool, "yes" if item.auto_apply else "no", _locked(item), item.source.text) for item in found
    ]
    output.print_table(
        ("NAME", "POOL", "AUTO-APPLY", "LOCKED", "SOURCE"),
        rows,
        empty="No workspaces. `iacq workspace create NAME --path DIR` makes one.",
    )


@workspace.command(cls=Command, example="iacq workspace show network")
@options.workspace_argument
@pass_app
def show(app: App, name: str) -> None:
    """Show a workspace; secret values are never shown."""
    found = app.client.workspace(name)
    if app.as_json:
        output.emit(views.workspace_to_json(found))
        return
    facts = {
        "Workspace": found.name,
        found.source.kind.capitalize(): found.source.at,
        "Ref": found.ref,
        "Subdir": found.subdir,
        "Pool": found.pool,
        "Auto-apply": "yes" if found.auto_apply else "no",
        "Locked": _locked(found),
        "Variables": ", ".join(f"{key} = {value}" for key, value in sorted(found.variables.items())),
        "Secrets": ", ".join(f"{key} = ***" for key in found.secret_names),
        "Var files": ", ".join(found.var_files),
        "Environment": ", ".join(f"{key}={value}" for key, value in sorted(found.environment.items())),
        "Secret env": ", ".join(f"{key}=***" for key in found.secret_environment),
        "Terraform": found.terraform_version,
        "Plans expire": output.duration(found.plan_expires) if found.plan_expires else None,
        "Changed": output.moment(found.updated_at),
    }
    for key, value in facts.items():
        if value:
            output.line(f"{key + ':':<13} {output.printable(value)}")


@workspace.command(cls=Command, example="iacq workspace delete network")
@options.workspace_argument
@click.option("--force", is_flag=True, help="Although its managed state has resources: nobody will know of them.")
@pass_app
def delete(app: App, name: str, force: bool) -> None:
    """Delete a workspace and its managed state; its runs stay."""
    app.client.delete_workspace(name, force=force)
    if app.as_json:
        output.emit({"name": name, "deleted": True})
    else:
        output.line(f"Workspace {name} was deleted.")


@workspace.command(cls=Command, example="iacq workspace lock network --reason 'audit until Friday'")
@options.workspace_argument
@click.option("--reason", required=True, metavar="TEXT", help="Why; shown with every run that waits for it.")
@pass_app
def lock(app: App, name: str, reason: str) -> None:
    """Hold the dispatch of runs that change its state; confirmations are stored and wait."""
    locked = app.client.lock_workspace(name, reason=reason)
    _show(app, locked, f"Workspace {name} is locked.")


@workspace.command(cls=Command, example="iacq workspace unlock network")
@options.workspace_argument
@pass_app
def unlock(app: App, name: str) -> None:
    """Let runs that change its state go on."""
    _show(app, app.client.unlock_workspace(name), f"Workspace {name} is unlocked.")


def _locked(found: Workspace) -> str | None:
    return f"by {found.locked_by}: {found.locked_reason}" if found.locked_at is not None else None


def _show(app: App, found: Workspace, text: str) -> None:
    if app.as_json:
        output.emit(views.workspace_to_json(found))
    else:
        output.line(text)
