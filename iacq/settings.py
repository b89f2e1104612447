"""Settings: the only reader of the environment. Each has the prefix `IACQ_`; a `.env` beside the process works.

With none set, everything is embedded: SQLite, Valkey and files under `IACQ_HOME`.
"""

from __future__ import annotations

import dataclasses
import getpass
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacq.errors import InvalidInput

PREFIX = "IACQ_"

_OTHERS = {"IACQ_NO_DOWNLOAD"}
"""Variables of the scripts, which may stand in a `.env` as well."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def duration(text: str) -> float:
    """Read `45s`, `2h`, `7d`, `500ms` or plain seconds; returns seconds. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", text.strip())
    if not match:
        raise ValueError("expected a time such as 45s, 2h or 7d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def positive_duration(text: str) -> float:
    """Read a time that is not zero. Raises ValueError."""
    seconds = duration(text)
    if seconds <= 0:
        raise ValueError("it must be longer than nothing")
    return seconds


def size(text: str) -> int:
    """Read `64MiB`, `1GiB` or plain bytes; returns bytes. Raises ValueError."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]iB|B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError("expected a size such as 64MiB or 1GiB")
    return int(match[1]) * _SIZES[(match[2] or "").upper()]


def database_url(text: str) -> str:
    """Read where the database is. Raises ValueError."""
    if not re.match(r"(postgres|postgresql(\+psycopg2)?|sqlite)://", text):
        raise ValueError("expected postgresql://user:password@host/name or sqlite:////absolute/path")
    return text


def pod_runtime(text: str) -> str:
    """Read what runs pods. Raises ValueError."""
    if text not in {"local", "kubernetes", "none"}:
        raise ValueError("expected local, kubernetes or none")
    return text


def dns_label(text: str) -> str:
    """Read a name of something in a cluster. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise ValueError("expected a-z, 0-9 and '-', at most 63 of them, with a letter or digit at both ends")
    return text


def count(text: str) -> int:
    """Read a number that is not negative. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise ValueError("expected a number such as 3")
    return int(text)


def positive_count(text: str) -> int:
    """Read a number of things, at least 1. Raises ValueError."""
    if count(text) < 1:
        raise ValueError("expected a number of at least 1")
    return int(text)


def words(text: str) -> tuple[str, ...]:
    """Read a list separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def endpoint(text: str) -> str:
    """Read `host:port` to listen on; IPv6 in brackets. Raises ValueError."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):(\d{1,5})", text.strip())
    if not match or not 0 < int(match[2]) < 65536:
        raise ValueError("expected an address and a port such as 127.0.0.1:5555")
    return match[0]


def optional_endpoint(text: str) -> str | None:
    """Read `host:port`, or `off`: a `.env` can be overruled so. Raises ValueError."""
    return None if text.strip() == "off" else endpoint(text)


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Return host and port of an endpoint."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def path(text: str) -> Path:
    """Read a path; `~` is the home directory."""
    return Path(text).expanduser().absolute()


def _setting(default: Any, meaning: str, parse: Callable[[str], Any] = str, *, secret: bool = False) -> Any:
    metadata = {"default": default, "meaning": meaning, "parse": parse, "secret": secret}
    value = parse(default) if isinstance(default, str) else default
    return dataclasses.field(default=value, metadata=metadata, repr=not secret)  # tracebacks may show a repr


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, parsed. Times are seconds, sizes bytes; None means what the meaning says."""

    home: Path = _setting("~/.iacq", "directory of everything embedded; private", path)
    database_url: str | None = _setting(
        None, "PostgreSQL or SQLite, as SQLAlchemy writes it; none: SQLite in HOME", database_url, secret=True
    )
    broker_url: str | None = _setting(None, "Redis or Valkey; none: embedded, on a private unix socket", secret=True)
    encryption_keys: tuple[str, ...] | None = _setting(
        None, "base64 of 32 bytes each; the first encrypts, all decrypt; none: HOME/keys", words, secret=True
    )
    work_dir: Path | None = _setting(None, "work directories of slots, of this system only; none: HOME/work", path)
    provider_source: Path | None = _setting(None, "packed or unpacked provider mirror, tried before the registry", path)
    provider_mirror: Path | None = _setting(None, "iacq's own unpacked mirror; none: HOME/providers", path)
    terraform: str | None = _setting(None, "terraform or tofu; none: from PATH")
    terraform_versions: Path | None = _setting(
        None, "directory of what workspaces can name: VERSION/terraform or VERSION/tofu", path
    )
    terraform_env: tuple[str, ...] = _setting((), "more variables (with * at the end) that terraform may see", words)
    git_protocols: tuple[str, ...] = _setting("https,ssh", "by which git repositories may be fetched", words)
    redis_server: str | None = _setting(None, "valkey-server or redis-server; none: from PATH, then from a wheel")
    log_format: str = _setting("text", "text or json")
    actor: str | None = _setting(None, "who acts: recorded with runs and confirmations; none: the login name")
    flower_address: str = _setting("127.0.0.1:5555", "where Flower listens", endpoint)
    flower_basic_auth: str | None = _setting(
        None, "who may see Flower: user:password, more separated by commas; or @FILE with one a line", secret=True
    )
    metrics_address: str | None = _setting(
        None,
        "where control worker, agent and beat serve metrics and health pages, as host:port; none or off: nowhere",
        optional_endpoint,
    )
    database_timeout: float = _setting("15s", "how long an answer of PostgreSQL is awaited", positive_duration)
    pod_runtime: str = _setting(
        "local", "what runs pods: local (this machine) or kubernetes; none: they are started by hand", pod_runtime
    )
    kubeconfig: Path | None = _setting(
        None, "how to reach the cluster of the pods: its current context; none: the cluster that this runs in", path
    )
    pod_namespace: str | None = _setting(
        None, "where the pods are in the cluster; none: where this process is", dns_label
    )
    pod_image: str | None = _setting(None, "image of the pods in a cluster, if their pool's template names none")
    pod_secret: str = _setting(
        "iacq", "Secret from which they get IACQ_DATABASE_URL, IACQ_BROKER_URL and IACQ_ENCRYPTION_KEYS", dns_label
    )
    pod_owner: str | None = _setting(
        None, "Deployment in their namespace with which they are deleted; none: they stay", dns_label
    )
    lease: float = _setting("45s", "how long a claim holds without renewal", duration)
    renew: float = _setting("15s", "how often it is renewed", duration)
    lease_confirm: float = _setting("20s", "time between the two looks that judge a lease lost", duration)
    heartbeat: float = _setting("5s", "how often an agent says it is there", duration)
    pod_start_timeout: float = _setting("2m", "after which a pod that has not registered is given up", duration)
    agent_offline: float = _setting("30s", "silence after which an agent gets no work", duration)
    claim_timeout: float = _setting("60s", "how long a queued run waits for its slot to claim it", duration)
    plan_timeout: float = _setting("2h", "longest plan phase", duration)
    apply_timeout: float = _setting("12h", "longest apply phase", duration)
    cancel_grace_plan: float = _setting("30s", "from SIGINT to SIGKILL of a plan", duration)
    cancel_grace_apply: float = _setting("15m", "from SIGINT to SIGKILL of an apply", duration)
    freeze_apply_grace: float | None = _setting(
        None,
        "how long an apply may go on in a pool that froze, 0: it is interrupted at once; none: APPLY_TIMEOUT",
        duration,
    )
    stop_grace: float = _setting(
        "30s",
        "from telling a pod to stop to its end; in the last half, two minutes at most, terraform is interrupted",
        duration,
    )
    plan_expires: float = _setting("7d", "after which an unconfirmed plan is discarded", positive_duration)
    reserve_for: float = _setting("24h", "how long a slot is kept for an unconfirmed plan", duration)
    pod_idle_grace: float = _setting("5m", "how long an idle pod is kept, in pools that say nothing else", duration)
    warmup_ttl: float = _setting("30m", "how long another slot stays prepared for a run that lost its own", duration)
    warmup_retries: int = _setting("3", "how often a run is prepared in another slot; 0: never", count)
    warmup_timeout: float = _setting("10m", "longest such preparation", duration)
    workdir_keep: float = _setting("1h", "how long the directory of a failed run is kept", duration)
    artifact_keep: float = _setting(
        "7d", "how long source, plan and snapshot of an ended run are kept", positive_duration
    )
    log_keep: float = _setting("30d", "how long the log of an ended run is kept", positive_duration)
    run_keep: float = _setting(
        "90d",
        "how long an ended run is kept, with its diff and its events; after that its idempotency key may be used again",
        positive_duration,
    )
    state_keep: int = _setting("100", "how many of the newest versions of a managed state are kept", positive_count)
    provider_keep: float = _setting(
        "30d", "how long a provider version that no run uses stays in the mirror", positive_duration
    )
    disk_cap: int | None = _setting(
        None, "room that the directories of a pod's runs may take together; none: what the disk has", size
    )
    disk_floor: int = _setting("1GiB", "free space below which a run does not start", size)
    max_source: int = _setting("64MiB", "largest packed source", size)

    @property
    def sqlalchemy_url(self) -> str:
        """The database, embedded or given."""
        url = self.database_url or f"sqlite:///{self.home / 'iacq.db'}"
        # A URL without a driver means psycopg 3 to newer SQLAlchemy; iacq brings psycopg2.
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)

    @property
    def broker_socket(self) -> Path:
        """Socket of the embedded broker: short, since a socket path ends at about 108 bytes; in a private directory."""
        wanted = self.home / "run" / "broker.sock"
        if len(os.fsencode(wanted)) < 100:
            return wanted
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        # Not TMPDIR: every process of this HOME must find the same socket.
        return Path("/tmp") / f"iacq-{os.getuid()}-{name}" / "broker.sock"  # noqa: S108 - its directory is private

    @property
    def celery_broker_url(self) -> str:
        """The broker, embedded or given."""
        return self.broker_url or f"redis+socket://{self.broker_socket}"

    @property
    def work_root(self) -> Path:
        """Where slots keep their directories."""
        return self.work_dir or self.home / "work"

    @property
    def mirror(self) -> Path:
        """Where iacq keeps unpacked providers."""
        return self.provider_mirror or self.home / "providers"

    @property
    def who(self) -> str:
        """Name recorded for what this process asks for. Claimed, not proven."""
        return self.actor or getpass.getuser()


@dataclass(frozen=True, kw_only=True)
class Described:
    """One setting, for people."""

    variable: str
    default: str | None  # as it would be written; None: see the meaning
    meaning: str


def secret_variables() -> frozenset[str]:
    """Name the variables whose values nobody may see."""
    return frozenset(PREFIX + entry.name.upper() for entry in dataclasses.fields(Settings) if entry.metadata["secret"])


def described() -> list[Described]:
    """Describe every setting."""
    return [
        Described(
            variable=PREFIX + entry.name.upper(),
            default=entry.metadata["default"] or None,
            meaning=entry.metadata["meaning"],
        )
        for entry in dataclasses.fields(Settings)
    ]


def load(environment: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Read settings from `environment` (default: this process's), then from `.env` in `directory`.

    Raises InvalidInput that names the variable.
    """
    settings = Settings(**{name: value for name, (value, _) in _read(environment, directory).items()})
    for often, within in (("renew", "lease"), ("heartbeat", "agent_offline")):
        if 2 * getattr(settings, often) > getattr(settings, within):
            variable, limit = PREFIX + often.upper(), PREFIX + within.upper()
            raise InvalidInput(
                f"{variable} ({getattr(settings, often):g} s) is more than half of {limit} "
                f"({getattr(settings, within):g} s): what is alive would be taken for dead",
                field=variable,
                hint=f"a third of {limit} is usual",
            )
    return settings


def sources(environment: Mapping[str, str] | None = None, directory: Path | None = None) -> dict[str, str]:
    """Tell where each setting comes from: `environment`, `.env` or `default`."""
    given = {name: source for name, (_, source) in _read(environment, directory).items()}
    return {entry.name: given.get(entry.name, "default") for entry in dataclasses.fields(Settings)}


def _read(environment: Mapping[str, str] | None, directory: Path | None) -> dict[str, tuple[Any, str]]:
    environment = os.environ if environment is None else environment
    from_file = _read_file((directory or Path.cwd()) / ".env")
    known = {PREFIX + entry.name.upper() for entry in dataclasses.fields(Settings)} | _OTHERS
    unknown = sorted(name for name in from_file if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise InvalidInput(
            f".env: there is no setting {unknown[0]}", field=unknown[0], hint="`iacq settings` lists them"
        )
    found: dict[str, tuple[Any, str]] = {}
    for entry in dataclasses.fields(Settings):
        variable = PREFIX + entry.name.upper()
        for values, source in ((environment, "environment"), (from_file, ".env")):
            text = values.get(variable)
            if text:
                found[entry.name] = (_parse(entry, variable, text), source)
                break
    return found


def _read_file(file: Path) -> Mapping[str, str | None]:
    if not file.is_file():
        return {}
    import dotenv  # most processes have no such file, and a command line starts sooner without

    return dotenv.dotenv_values(file)


def _parse(entry: dataclasses.Field[Any], variable: str, text: str) -> Any:
    try:
        return entry.metadata["parse"](text)
    except ValueError as error:
        shown = "its value" if entry.metadata["secret"] else repr(text)
        raise InvalidInput(f"{variable}: {shown} cannot be read: {error}", field=variable) from error
