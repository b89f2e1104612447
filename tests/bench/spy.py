"""A no-op terraform that writes down when it was started, with what, and where. It costs about a millisecond."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import wait_until

_PROGRAM = """#!/bin/bash
say() {{ echo "$EPOCHREALTIME $1 $PWD" >>{log}; }}
say "$1"
[[ -f $1.sh ]] && source "./$1.sh"
case $1 in
  version) echo '{{"terraform_version": "1.11.4"}}' ;;
  plan) echo "$EPOCHREALTIME" >plan.out; exit 2 ;;
  show) if [[ $2 == -json ]]; then echo '{{"resource_changes": []}}'; else echo 'a plan'; fi ;;
  apply)
    echo '{{"version": 4, "serial": '"${{EPOCHREALTIME/./}}"', "lineage": "one", "outputs": {{}}, "resources": []}}' \\
      >terraform.tfstate ;;
esac
exit 0
"""


NO_OP = """
case $1 in
  version) echo '{"terraform_version": "1.11.4"}' ;;
  plan) echo "$$" >plan.out; exit 2 ;;
  show) if [ "$2" = -json ]; then echo '{"resource_changes": []}'; else echo 'a plan'; fi ;;
  apply)
    echo '{"version": 4, "serial": '"$(date +%s%N)"', "lineage": "one", "outputs": {}, "resources": []}' \\
      >terraform.tfstate ;;
esac
exit 0
"""
"""Shell code of a terraform that does nothing but leave a plan and a new state, as cheaply as a script can."""


def write_no_op(directory: Path) -> Path:
    """Write that terraform."""
    program = directory / "no-op-terraform"
    program.write_text(f"#!/bin/sh{NO_OP}")
    program.chmod(0o755)
    return program


@dataclass(frozen=True, kw_only=True)
class Call:
    """One line of the log."""

    at: float  # seconds since the epoch
    command: str  # plan, apply, … or what a source's own script said
    cwd: str  # its last part begins with the run's id


class Spy:
    """The program to set as IACQ_TERRAFORM, and its log.

    It does nothing but leave a plan, and a state with a new serial. Before, it sources `<command>.sh` from the
    configuration's directory, if there is one.
    """

    def __init__(self, directory: Path) -> None:
        self.program = directory / "terraform"
        self._log = directory / "terraform.log"
        self._log.touch()
        self.program.write_text(_PROGRAM.format(log=shlex.quote(str(self._log))))
        self.program.chmod(0o755)

    def calls(self) -> list[Call]:
        lines = (line.split(" ", 2) for line in self._log.read_text().splitlines())
        return [Call(at=float(at), command=command, cwd=cwd) for at, command, cwd in lines]

    def first(self, run_id: int, command: str) -> Call:
        """Wait until a run has called this command; returns its first call."""

        def find() -> Call | None:
            prefix = f"{run_id}-"
            return next(
                (call for call in self.calls() if call.command == command and Path(call.cwd).name.startswith(prefix)),
                None,
            )

        found = wait_until(find, 30, f"run {run_id} calls {command}")
        assert found is not None
        return found
