"""What a workspace keeps secret: variables of terraform, and variables of its environment."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from iacq.domain import masking
from iacq.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class WorkspaceSecrets:
    """Name → value in clear; stored sealed, and never shown."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)  # frozen with a run when it is enqueued
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # read afresh by each phase

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.variables or self.environment)

    def to_json(self) -> bytes:
        """Write it."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> WorkspaceSecrets:
        """Read what `to_json` wrote."""
        return cls(**json.loads(data))

    def without(self, *, variables: Collection[str], environment: Collection[str]) -> WorkspaceSecrets:
        """Leave out these names."""
        return WorkspaceSecrets(
            variables={name: value for name, value in self.variables.items() if name not in variables},
            environment={name: value for name, value in self.environment.items() if name not in environment},
        )

    def changed(self, added: WorkspaceSecrets, removed: Collection[str]) -> WorkspaceSecrets:
        """Remove names, of a variable or of the environment, then add or replace others; the rest stays.

        Raises InvalidInput for a name that is not there.
        """
        for name in removed:
            if name not in {**self.variables, **self.environment}:
                raise InvalidInput(
                    f"the workspace has no secret {name!a}",
                    field="--remove-secret",
                    hint="`iacq workspace show` names them",
                )
        left = self.without(variables=removed, environment=removed)
        return WorkspaceSecrets(
            variables={**left.variables, **added.variables}, environment={**left.environment, **added.environment}
        )


def check_added(added: WorkspaceSecrets) -> None:
    """Raise InvalidInput, which never holds a value, for what could not be hidden in logs or be passed on."""
    for option, values in (("--secret-var", added.variables), ("--secret-env", added.environment)):
        for name, value in values.items():
            if len(value.strip()) < masking.SHORTEST:
                raise InvalidInput(
                    f"the value of {name!a} has fewer than {masking.SHORTEST} characters, and could not be hidden",
                    field=option,
                    hint=f"what is that short is no secret: use {option.replace('secret-', '')}",
                )
            if "\0" in value:
                raise InvalidInput(f"the value of {name!a} holds a NUL character", field=option)
    for name in added.environment:
        if not name or "=" in name or "\0" in name:
            raise InvalidInput(f"{name!a} is not the name of an environment variable", field="--secret-env")
