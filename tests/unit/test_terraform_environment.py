from pathlib import Path

import pytest

from iacq.adapters.terraform import environment
from iacq.adapters.terraform.environment import Decision
from iacq.errors import InvalidInput
from iacq.settings import Settings

OWN = {"cwd": Path("/run/here"), "temporary": Path("/run/tmp"), "cli_config": Path("/run/cli.tfrc")}
FORCED = {
    "PWD": "/run/here",
    "TMPDIR": "/run/tmp",
    "TF_IN_AUTOMATION": "1",
    "TF_INPUT": "0",
    "CHECKPOINT_DISABLE": "1",
    "TF_CLI_CONFIG_FILE": "/run/cli.tfrc",
}


@pytest.mark.parametrize("name", [
    "PATH", "HOME", "LANG", "HTTP_PROXY", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "AWS_PROFILE", "GOOGLE_CREDENTIALS",
    "ARM_CLIENT_ID", "AZURE_X", "KUBECONFIG", "KUBE_HOST", "TF_TOKEN_app_terraform_io",
])  # fmt: skip
def test_host_variables_that_pass(name):
    assert environment.decide_host(name) is Decision.KEEP
    assert environment.decide_workspace(name, own_backend=False) is Decision.KEEP


@pytest.mark.parametrize("name", [
    "IACQ_DATABASE_URL", "IACQ_ENCRYPTION_KEYS", "CELERY_BROKER_URL", "FLOWER_BASIC_AUTH",
    "POSTGRES_PASSWORD", "POSTGRESQL_X", "PGPASSWORD", "PG_CONN_STR", "PWD", "TMPDIR", "TF_INPUT",
    "TF_IN_AUTOMATION", "CHECKPOINT_DISABLE", "TF_CLI_CONFIG_FILE",
    "TF_CLI_ARGS", "TF_CLI_ARGS_plan", "TF_DATA_DIR", "TF_PLUGIN_CACHE_DIR",
    "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE",
])  # fmt: skip
def test_neither_host_nor_setting_nor_workspace_brings_these(name):
    assert environment.decide_host(name, ("*", name)) is Decision.DROP
    assert environment.decide_workspace(name, own_backend=True) is Decision.REFUSE
    with pytest.raises(InvalidInput, match=name) as caught:
        environment.build(Settings(), {}, {name: "se-cret"}, **OWN)
    assert caught.value.field == name
    assert caught.value.hint
    assert "se-cret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "name", ["TF_LOG", "TF_LOG_PATH", "TF_WORKSPACE", "TF_REATTACH_PROVIDERS", "GIT_DIR", "GIT_INDEX_FILE"]
)
def test_what_one_shell_had_set_for_itself_needs_its_full_name_in_the_setting(name):
    assert environment.decide_host(name) is Decision.DROP
    assert environment.decide_host(name, ("TF_*", "GIT_*", "*")) is Decision.DROP
    assert environment.decide_host(name, (name,)) is Decision.KEEP
    assert environment.decide_workspace(name, own_backend=True) is Decision.KEEP


@pytest.mark.parametrize(
    "name", ["TF_VAR_x", "SECRET", "LD_PRELOAD", "PYTHONPATH", "VAULT_TOKEN", "PATHS", "EDITOR", "POD_NAME"]
)
def test_everything_else_needs_the_setting(name):
    assert environment.decide_host(name) is Decision.DROP
    assert environment.decide_host(name, (name,)) is Decision.KEEP
    assert environment.decide_host(name, (name[:3] + "*",)) is Decision.KEEP
    assert environment.decide_workspace(name, own_backend=False) is Decision.KEEP


def test_the_state_that_iacq_keeps_cannot_be_moved_away():
    assert environment.decide_workspace("TF_WORKSPACE", own_backend=False) is Decision.REFUSE
    with pytest.raises(InvalidInput, match="TF_WORKSPACE"):
        environment.build(Settings(), {}, {"TF_WORKSPACE": "x"}, **OWN)
    built = environment.build(Settings(), {}, {"TF_WORKSPACE": "x"}, **OWN, own_backend=True)
    assert built["TF_WORKSPACE"] == "x"


def test_build():
    host = {
        "PATH": "/bin",
        "PWD": "/elsewhere",
        "TMPDIR": "/tmp",
        "MINE_A": "1",
        "OTHER": "2",
        "AWS_PROFILE": "host",
    }
    built = environment.build(
        Settings(terraform_env=("MINE_*",)),
        host,
        {"AWS_PROFILE": "own", "TF_LOG": "debug", "TF_VAR_a": "é\n"},
        **OWN,
    )
    assert built == {
        "PATH": "/bin",
        "MINE_A": "1",
        "AWS_PROFILE": "own",
        "TF_LOG": "debug",
        "TF_VAR_a": "é\n",
        **FORCED,
    }


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("a=b", "x"), ("A", "nul\0"), ("A\0", "")])
def test_what_no_program_can_be_given_is_refused(name, value):
    with pytest.raises(InvalidInput, match="cannot be set"):
        environment.build(Settings(), {}, {name: value}, **OWN)
