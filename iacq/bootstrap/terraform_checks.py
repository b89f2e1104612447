"""What terraform would be started with from here, for `iacq doctor`: names, never values."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from iacq.adapters.providers import packages as provider_packages
from iacq.adapters.providers.mirror import ProviderMirror
from iacq.adapters.terraform import binary, user_config
from iacq.adapters.terraform import cli_config as terraform_cli_config
from iacq.adapters.terraform import environment as terraform_environment
from iacq.adapters.terraform import versions as terraform_versions
from iacq.adapters.terraform.environment import Decision
from iacq.domain import hcl
from iacq.errors import Unavailable
from iacq.settings import Settings

_CA_FILES = ("SSL_CERT_FILE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_CA_DIRECTORIES = ("SSL_CERT_DIR", "GIT_SSL_CAPATH")


def default(settings: Settings) -> str:
    """Describe the program of workspaces that name no version."""
    program = _default(settings)
    if program is None:
        return "none by default: every workspace must name a version"
    return f"{binary.version(program)}, {program}"


def _default(settings: Settings) -> Path | None:
    """Return the default program; None: there need not be one. Raises Unavailable."""
    if settings.terraform is None and terraform_versions.listed(settings):
        return binary.on_path()
    return binary.find(settings)


def _any(settings: Settings) -> Path:
    return _default(settings) or list(terraform_versions.listed(settings).values())[-1]


def versions(settings: Settings) -> str:
    """Describe what workspaces can name."""
    if settings.terraform_versions is None:
        return "none (IACQ_TERRAFORM_VERSIONS is not set)"
    found = terraform_versions.listed(settings)
    if not found:
        raise Unavailable(
            f"IACQ_TERRAFORM_VERSIONS: nothing is in {settings.terraform_versions}",
            hint="make directories such as 1.5.7 with terraform or tofu in them",
        )
    for version in found:
        terraform_versions.find(settings, version)
    return f"{', '.join(found)} in {settings.terraform_versions}"


def environment(settings: Settings) -> str:
    """Name the variables of this process that terraform would see."""
    return f"terraform sees {', '.join(sorted(_seen(settings)))} of this process"


def _seen(settings: Settings) -> list[str]:
    return [
        name for name in os.environ if terraform_environment.decide_host(name, settings.terraform_env) is Decision.KEEP
    ]


def cli_config(settings: Settings) -> str:
    """Say which files of the user are merged."""
    program = _any(settings)
    text = ", ".join(map(str, user_config.files(os.environ, program))) or "the user has none"
    user_config.read(os.environ, program)
    named = os.environ.get("TF_CLI_CONFIG_FILE")
    if named and not Path(named).is_file():
        text += f" (TF_CLI_CONFIG_FILE names {named}, which is not there)"
    return text


def providers(settings: Settings) -> str:
    """Say from where providers come, in order."""
    source = settings.provider_source
    if source is not None and not provider_packages.addresses(source):
        raise Unavailable(
            f"IACQ_PROVIDER_SOURCE: there are no providers in {source}",
            hint="its layout is HOST/NAMESPACE/TYPE, as `terraform providers mirror` makes it",
        )
    number = sum(1 for _ in provider_packages.packages(ProviderMirror(root=settings.mirror).packages))
    implied = terraform_cli_config.implied_mirrors(os.environ, settings.work_root)
    user = user_config.read(os.environ, _any(settings))
    methods = terraform_cli_config.sources(user, source, implied)
    places = [f"{number} packages in {settings.mirror}", *map(_place, methods)]
    return ", then ".join(places)


def _place(method: str) -> str:
    block = next(hcl.blocks(method))
    values = {name: hcl.string(text) or "" for name, text in hcl.attributes(block.body).items()}
    match block.type:
        case "network_mirror":
            return f"the mirror {urlsplit(values.get('url', '')).hostname}"
        case "filesystem_mirror":
            return values.get("path", "")
        case _:
            return "the registry" if block.type == "direct" else block.type


def ca_files(settings: Settings) -> str:
    """Read the certificates that variables name which terraform would see."""
    seen = set(_seen(settings))
    found = [*_checked(seen, _CA_FILES, _read_file), *_checked(seen, _CA_DIRECTORIES, _read_directories)]
    return ", ".join(found) or "no variable names any: the system's own"


def _checked(seen: set[str], names: tuple[str, ...], read: Callable[[str], str]) -> Iterator[str]:
    for name in names:
        if name not in seen or not os.environ[name]:
            continue
        try:
            yield f"{name}: {read(os.environ[name])}"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(
                f"{name} names {os.environ[name]}, which cannot be used: {reason}",
                hint="name a readable file in PEM format, or unset it: terraform trusts nobody with a broken one",
            ) from error


def _read_file(path: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=path)
    return f"{len(context.get_ca_certs())} certificates in {path}"


def _read_directories(paths: str) -> str:
    return ", ".join(f"{len(os.listdir(path))} files in {path}" for path in paths.split(":") if path)
