"""What a pool may say about its pods, checked when it is written: an environment, and for a cluster a partial Pod."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from iacq import settings
from iacq.domain import fields, pod_manifest, pod_shape
from iacq.domain.pod_manifest import ENVIRONMENT, FIELD
from iacq.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_ONE_POD = ("POD_NAME", "POOL_ID", "SLOT_ID")
_LONGEST = 64 * 1024
_KIND = {"apiVersion": "v1", "kind": "Pod"}
_FIELDS = (ENVIRONMENT, *_KIND, *pod_manifest.OF_POD)


def parse(text: str) -> dict[str, Any]:
    """Read a template, YAML or JSON. Raises InvalidInput: it cannot be read, or says what no pod can be."""
    if len(text) > _LONGEST:
        raise InvalidInput(f"the template has {len(text)} characters, more than {_LONGEST}", field=FIELD)
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = _parse_yaml(text)
    return check(given)


def check(given: object) -> dict[str, Any]:
    """Return a template. Raises InvalidInput that names the field which is wrong, or which iacq sets itself.

    `{"environment": {NAME: text}}` is for agents wherever they run; `metadata` and `spec` are of a Pod, for a cluster.
    Secrets of iacq are refused: a template is stored and shown in clear.
    """
    template = fields.mapping(given, FIELD)
    if not fields.is_json(template) or len(json.dumps(template)) > _LONGEST:
        raise InvalidInput(f"the template is no JSON of at most {_LONGEST} characters", field=FIELD)
    for name, wanted in _KIND.items():
        if template.get(name, wanted) != wanted:
            raise InvalidInput(f"the template is no pod: its {name} is {str(template[name])[:60]!a}", field=FIELD)
    unknown = sorted(template.keys() - set(_FIELDS))
    if unknown:
        raise InvalidInput(
            f"a template has no field {unknown[0][:60]!a}", field=FIELD, hint=f"it has {', '.join(_FIELDS)}"
        )
    environment = fields.mapping(template.get(ENVIRONMENT, {}), f"{FIELD} {ENVIRONMENT}")
    checked: dict[str, Any] = {name: template[name] for name in pod_manifest.OF_POD if name in template}
    if environment or ENVIRONMENT in template:
        checked[ENVIRONMENT] = {name: _value(name, environment) for name in environment}
    pod_shape.check(checked)
    pod_manifest.build(_SAMPLE, checked)
    return checked


def _value(name: str, environment: Mapping[str, Any]) -> str:
    shown = ascii(name[:60])
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{shown} cannot be the name of a variable", field=FIELD)
    if name in _OF_ONE_POD:
        raise InvalidInput(f"{name} is set by iacq for each pod", field=FIELD)
    if name in settings.secret_variables():
        raise InvalidInput(
            f"{name} is a secret, and a template is shown in clear",
            field=FIELD,
            hint="agents have it from the process that starts them, or from a Secret of the cluster",
        )
    return fields.text(environment[name], f"{FIELD} {name}")


_SAMPLE = pod_manifest.WorkerPod(
    name="sample",
    namespace="sample",
    system="sample",
    pool="sample",
    slots=1,
    generation=1,
    image="sample",
    secret="sample",  # noqa: S106 - a name
    secret_variables=sorted(settings.secret_variables()),
    grace=1,
)


def _parse_yaml(text: str) -> object:
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - made of the safe one
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())[:300]
        raise InvalidInput(f"the template is neither YAML nor JSON: {said}", field=FIELD) from error


def _loader() -> Any:
    """Return a loader of plain data: aliases could make much of little, and of two equal keys one would be lost."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases (*name) are not followed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value]
            twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
            if twice is not None:
                raise yaml.YAMLError(f"{twice} is there twice")
            return super().construct_mapping(node, deep)

    return Loader
