"""What terraform is called with: arguments after the program, and how variables get in.

A variable given as text means exactly what `-var name=text` means: terraform reads it by the declared type.
It must not show in the process list, so it travels in the environment, in TF_CLI_ARGS_plan, which terraform
splits as a shell would. Any other value (number, bool, list, object) keeps its JSON type in a variable file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacq.domain.run import RunOptions, RunType
from iacq.domain.terraform_events import Event
from iacq.errors import InvalidInput

PLAN_FILE = "plan.out"
ARGUMENTS_VARIABLE = "TF_CLI_ARGS_plan"
MAX_ARGUMENTS = 120 * 1024
"""Bytes of TF_CLI_ARGS_plan. Linux takes 128 KiB for one variable of the environment, name included.
Terraform needs seconds for that much: its splitter copies what it has for each character."""

_INIT_JSON_SINCE = (1, 9)  # terraform 1.9, OpenTofu 1.8
_NAME = re.compile(r"[^\W\d][\w-]*")
_OWN_FILES = ("iacq-workspace.tfvars.json", "iacq-run.tfvars.json")
_UNDECLARED = re.compile(r'variable named "([^"]*)" but a value was found in file "([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Variables:
    """Variable files and variables from one place. Variables win over the files of the same place."""

    files: tuple[Path, ...] = ()
    values: Mapping[str, Any] | None = None  # text as typed, or a JSON value; None: none


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """How the variables of a plan get to terraform."""

    files: Mapping[Path, str]  # to write before the plan, 0600: they may hold secrets
    arguments: str  # value of TF_CLI_ARGS_plan; may hold secrets

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of `terraform plan`."""
        return {ARGUMENTS_VARIABLE: self.arguments} if self.arguments else {}


def has_init_json(terraform_version: str) -> bool:
    """Tell whether `init -json` exists; older programs print text, which `terraform_events` takes as well."""
    match = re.match(r"(\d+)\.(\d+)", terraform_version)
    return match is not None and (int(match[1]), int(match[2])) >= _INIT_JSON_SINCE


def init(*, as_json: bool = True, readonly_lock: bool = False) -> tuple[str, ...]:
    """Initialize. `readonly_lock`: fail rather than change the lock file."""
    options = [*(["-json"] if as_json else ["-no-color"]), *(["-lockfile=readonly"] if readonly_lock else [])]
    return ("init", "-input=false", *options)


def plan(run_type: RunType, options: RunOptions) -> tuple[str, ...]:
    """Plan into `plan.out`. Exit code 0: nothing to do, 2: changes, 1: error.

    Without the state lock: a plan must never hold up an apply, whose stale check guards it.
    """
    arguments = ["plan", "-input=false", "-lock=false", f"-out={PLAN_FILE}", "-detailed-exitcode", "-json"]
    if run_type is RunType.DESTROY:
        arguments.append("-destroy")
    if run_type is RunType.DRIFT:
        arguments.append("-refresh-only")
    if not options.refresh:
        arguments.append("-refresh=false")
    arguments += [f"-target={address}" for address in options.targets]
    arguments += [f"-replace={address}" for address in options.replacements]
    return (*arguments, *_parallelism(options))


def force_unlock(lock_id: str) -> tuple[str, ...]:
    """Remove this lock, and no other one, from the configuration's own backend."""
    return ("force-unlock", "-force", lock_id)


_SHOW = f"""
"$1" show -json {PLAN_FILE} & as_json=$!
"$1" show {PLAN_FILE} > "$2"; as_text=$?
wait "$as_json" || exit
exit "$as_text"
"""


def show(terraform: str, diff: Path) -> tuple[str, ...]:
    """Print the plan as JSON, sensitive values included, and write it to `diff` as people read it, without them.

    A whole command line. Both at once: most of the time of each goes to starting the providers, for their schemas.
    """
    return ("/bin/sh", "-c", _SHOW, "show", terraform, str(diff))


def apply(options: RunOptions) -> tuple[str, ...]:
    """Apply `plan.out`, holding the state lock."""
    return ("apply", "-input=false", "-json", *_parallelism(options), PLAN_FILE)


def plan_inputs(*, directory: Path, workspace: Variables, run: Variables) -> PlanInputs:
    """Arrange variables: the workspace's files, its variables, the run's files, its variables; later wins.

    A variable of the run replaces the workspace's of that name. `directory`: of the files to write; an
    absolute path outside the configuration. Raises InvalidInput for a name or value that cannot be passed,
    or for too much text.
    """
    overridden = set(run.values or {})
    kept = {name: value for name, value in (workspace.values or {}).items() if name not in overridden}
    files: dict[Path, str] = {}
    arguments: list[str] = []
    for source, values, file_name in zip((workspace, run), (kept, run.values or {}), _OWN_FILES, strict=True):
        arguments += [f"-var-file={path}" for path in source.files]
        for name, value in values.items():
            _check(name, value)
        typed = {name: value for name, value in values.items() if not isinstance(value, str)}
        if typed:
            files[directory / file_name] = json.dumps(typed, indent=1)
            arguments.append(f"-var-file={directory / file_name}")
        arguments += [f"-var={name}={value}" for name, value in values.items() if name not in typed]
    return PlanInputs(files=files, arguments=_joined(arguments))


def undeclared(event: Event) -> str | None:
    """Return the name of a variable that was given as number, bool, list or object and that nothing declares.

    Terraform refuses an undeclared `-var`, and only warns of one in a variable file: the caller makes it an
    error. Values in people's own variable files stay warnings.
    """
    diagnostic = event.data.get("diagnostic")
    if event.kind != "diagnostic" or not isinstance(diagnostic, Mapping):
        return None
    found = _UNDECLARED.search(str(diagnostic.get("detail")))
    return found[1] if found and Path(found[2]).name in _OWN_FILES else None


def _parallelism(options: RunOptions) -> tuple[str, ...]:
    return () if options.parallelism is None else (f"-parallelism={options.parallelism}",)


def _check(name: str, value: Any) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!a} is not the name of a variable",
            field="variables",
            hint="use letters, digits, '_' and '-', starting with a letter or '_'",
        )
    try:
        json.dumps(value, allow_nan=False)
        (value if isinstance(value, str) else "").encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"variable {name} is neither Unicode text nor a JSON value", field=name) from error
    if isinstance(value, str) and "\0" in value:
        raise InvalidInput(f"variable {name} holds a NUL character, which no program can be given", field=name)


def _joined(arguments: Sequence[str]) -> str:
    joined = " ".join(_quote(argument) for argument in arguments)
    if len(joined.encode()) > MAX_ARGUMENTS:
        longest = max(arguments, key=len).split("=")
        raise InvalidInput(
            f"the variables given as text are too long together: the limit is {MAX_ARGUMENTS // 1024} KiB, "
            f"and the longest is {longest[1]}",
            field="variables",
            hint="put long values into a variable file",
        )
    return joined


def _quote(argument: str) -> str:
    """Quote for terraform's splitter (go-shellwords): single quotes keep everything but themselves."""
    return "'" + argument.replace("'", "'\"'\"'") + "'"
