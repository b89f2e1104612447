import json
import os
import stat
from pathlib import Path

import pytest

from iacq.adapters.terraform import cli_config, user_config
from iacq.domain import hcl
from iacq.domain.provider_lock import Installation
from iacq.errors import Unavailable
from iacq.settings import Settings

USER = """
# mine
plugin_cache_dir = "$HOME/.terraform.d/cache"
disable_checkpoint = false
credentials "app.terraform.io" {
  token = "user-token"
}
credentials_helper "store" {
  args = ["--x"]
}
host "registry.example.com" {
  services = {
    "providers.v1" = "https://example.com/"
  }
}
provider_installation {
  dev_overrides {
    "hashicorp/null" = "/dev/null-provider"
  }
  filesystem_mirror {
    path    = "/opt/mirror"
    include = ["corp/*/*"]
  }
  network_mirror {
    url = "https://mirror.example.com/" # ours
    exclude = ["corp/*/*"]
  }
  direct {}
}
"""


@pytest.fixture
def home(tmp_path):
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def write(tmp_path, home):
    """Write a configuration and return its text; no directory of the system is searched."""

    def run(installation=Installation.MIRROR_THEN_SOURCE, *, source=None, tree=None, program="terraform", **environ):
        path = cli_config.write(
            tmp_path / "cli.tfrc",
            installation,
            mirror=Path("/the/mirror"),
            settings=Settings(provider_source=source),
            host_environ={"HOME": str(home), "XDG_DATA_DIRS": str(tmp_path / "nothing"), **environ},
            program=Path("/bin") / program,
            tree=tree or tmp_path / "tree",
        )
        return path.read_text()

    return run


def methods(text: str) -> list[tuple[str, dict[str, str]]]:
    (installation,) = hcl.blocks(text, "provider_installation")
    return [(block.type, hcl.attributes(block.body)) for block in hcl.blocks(installation.body)]


def make_package(root: Path, address: str) -> None:
    (root / address / "1.0.0" / "linux_amd64").mkdir(parents=True)


OWN = ("filesystem_mirror", {"path": '"/the/mirror"'})


def test_without_anything_of_the_user(write):
    assert methods(write()) == [OWN, ("direct", {})]
    assert methods(write(Installation.MIRROR_ONLY)) == [OWN]
    assert methods(write(Installation.SOURCE_ONLY)) == [("direct", {})]
    assert hcl.attributes(write()) == {"disable_checkpoint": "true"}


def test_a_missing_file_is_ignored(write, home):
    assert methods(write(TF_CLI_CONFIG_FILE=str(home / "missing"))) == [OWN, ("direct", {})]
    (home / ".terraformrc").write_text('credentials "a" {\n  token = "b"\n}\n')
    assert 'token = "b"' in write(TF_CLI_CONFIG_FILE=str(home / "missing"))


def test_tofu_has_a_file_of_its_own(write, home):
    (home / ".terraformrc").write_text('host "of.terraform" {\n}\n')
    assert "of.terraform" in write(program="tofu")
    (home / ".tofurc").write_text('host "of.tofu" {\n}\n')
    text = write(program="tofu")
    assert ("of.tofu" in text, "of.terraform" in text) == (True, False)
    assert "of.tofu" not in write(program="terraform")


def test_the_users_configuration_is_merged(write, home):
    (home / ".terraformrc").write_text(USER)
    text = write()
    for kept in (
        'token = "user-token"',
        'credentials_helper "store"',
        '"providers.v1" = "https://example.com/"',
    ):
        assert kept in text
    assert hcl.attributes(text) == {"disable_checkpoint": "true"}
    assert methods(text) == [
        ("dev_overrides", {"hashicorp/null": '"/dev/null-provider"'}),
        OWN,
        ("filesystem_mirror", {"path": '"/opt/mirror"', "include": '["corp/*/*"]'}),
        ("network_mirror", {"url": '"https://mirror.example.com/" # ours', "exclude": '["corp/*/*"]'}),
        ("direct", {}),
    ]
    assert [kind for kind, _ in methods(write(Installation.MIRROR_ONLY))] == [
        "dev_overrides",
        "filesystem_mirror",
    ]
    source_only = [kind for kind, _ in methods(write(Installation.SOURCE_ONLY))]
    assert source_only == ["dev_overrides", "filesystem_mirror", "network_mirror", "direct"]


def test_what_the_source_holds_is_not_looked_for_over_the_network(write, home, tmp_path):
    source = tmp_path / "source"
    make_package(source, "registry.terraform.io/hashicorp/null")
    (source / "registry.terraform.io/hashicorp/aws").mkdir(parents=True)
    (source / "registry.terraform.io/hashicorp/aws/terraform-provider-aws_3.39.0_linux_amd64.zip").touch()
    (source / "registry.terraform.io/hashicorp/empty").mkdir()
    held = '["registry.terraform.io/hashicorp/aws", "registry.terraform.io/hashicorp/null"]'
    directory = ("filesystem_mirror", {"path": json.dumps(str(source)), "include": held})
    assert methods(write(source=source)) == [OWN, directory, ("direct", {"exclude": held})]
    assert methods(write(source=tmp_path / "gone")) == [OWN, ("direct", {})]

    (home / ".terraformrc").write_text(USER)
    found = methods(write(source=source))
    assert found[2] == directory
    assert found[3][1]["include"] == '["corp/*/*"]'
    assert found[4][1] == {
        "url": '"https://mirror.example.com/" # ours',
        "exclude": f'["corp/*/*", {held[1:]}',
    }
    assert found[5] == ("direct", {"exclude": held})


def test_the_directories_that_terraform_searches_by_itself_stay(write, home, tmp_path):
    plugins = home / ".terraform.d" / "plugins"
    make_package(plugins, "example.com/corp/thing")
    local = tmp_path / "tree" / "terraform.d" / "plugins"
    make_package(local, "example.com/corp/local")
    assert methods(write()) == [
        OWN,
        ("filesystem_mirror", {"path": json.dumps(str(local)), "include": '["example.com/corp/local"]'}),
        ("filesystem_mirror", {"path": json.dumps(str(plugins)), "include": '["example.com/corp/thing"]'}),
        ("direct", {"exclude": '["example.com/corp/local", "example.com/corp/thing"]'}),
    ]
    (home / ".terraformrc").write_text("provider_installation {\n  direct {}\n}\n")
    assert methods(write()) == [OWN, ("direct", {})]


def test_json_and_what_login_keeps(write, home):
    (home / ".terraform.d").mkdir()
    login = {"credentials": {"app.terraform.io": {"token": 'to"ken'}}}
    (home / ".terraform.d" / "credentials.tfrc.json").write_text(json.dumps(login))
    (home / ".terraform.d" / "more.tfrc").write_text('host "h" {\n}')
    text = write()
    (credentials,) = hcl.blocks(text, "credentials")
    assert credentials.labels == ("app.terraform.io",)
    assert hcl.attributes(credentials.body) == {"token": '"to\\"ken"'}
    assert 'host "h"' in text
    # A file named by the variable stands alone.
    named = home / "named"
    named.write_text(json.dumps({
        "provider_installation": [
            {"network_mirror": {"url": "https://m/"}},
            {"direct": {"exclude": ["a/*"]}},
        ],
        "host": {"h": {"services": {"modules.v1": "https://x/"}}},
        "disable_checkpoint": True,
    }))  # fmt: skip
    text = write(TF_CLI_CONFIG_FILE=str(named))
    assert "token" not in text
    assert '"modules.v1" = "https://x/"' in text
    assert methods(text) == [
        OWN,
        ("network_mirror", {"url": '"https://m/"'}),
        ("direct", {"exclude": '["a/*"]'}),
    ]


def test_only_this_user_can_read_it(write, tmp_path):
    (tmp_path / "cli.tfrc").write_text("older and longer than what replaces it" * 100)
    (tmp_path / "cli.tfrc").chmod(0o644)
    assert "older" not in write()
    assert stat.S_IMODE((tmp_path / "cli.tfrc").stat().st_mode) == 0o600


def test_what_cannot_be_read_is_said_without_its_content(write, home):
    named = home / "named"
    named.write_text('{"credentials": "se-cret"')
    with pytest.raises(Unavailable, match="is not valid JSON") as caught:
        write(TF_CLI_CONFIG_FILE=str(named))
    assert str(named) in caught.value.message
    assert "se-cret" not in caught.value.message


def test_no_home_at_all():
    assert user_config.read({}, Path("/bin/tofu")) == ""
    assert os.fspath(cli_config.implied_mirrors({"XDG_DATA_DIRS": "/nowhere"}, Path("/nowhere")) or "none") == "none"
