"""Terraform itself reads the merged CLI configuration."""

import json
from pathlib import Path

import pytest

from iacq.adapters.terraform import cli_config
from iacq.domain.provider_lock import Installation
from iacq.settings import Settings

IN_HCL = """
plugin_cache_dir = "/nowhere/at/all"
credentials "app.terraform.io" {
  token = "x"
}
host "example.com" {
  services = {
    "modules.v1" = "https://example.com/"
  }
}
provider_installation {
  dev_overrides {
    "hashicorp/other" = "/tmp"
  }
  network_mirror {
    url = "https://127.0.0.1:9/"
  }
  direct {
    exclude = ["corp/*"]
  }
}
"""
IN_JSON = json.dumps({
    "credentials": {"app.terraform.io": {"token": "x"}},
    "host": {"example.com": {"services": {"modules.v1": "https://example.com/"}}},
    "provider_installation": [
        {"network_mirror": {"url": "https://127.0.0.1:9/"}},
        {"direct": {"exclude": ["corp/*"]}},
    ],
})  # fmt: skip


@pytest.mark.parametrize("user", ["", IN_HCL, IN_JSON])
def test_terraform_accepts_it_and_asks_no_network(run_terraform, null_provider_source, tmp_path, user):
    (tmp_path / ".terraformrc").write_text(user)
    tree = tmp_path / "tree"
    mirror = tmp_path / "mirror"
    for directory in (tree, mirror):
        directory.mkdir()
    (tree / "main.tf").write_text('resource "null_resource" "x" {}\n')
    configuration = cli_config.write(
        tmp_path / "cli.tfrc",
        Installation.MIRROR_THEN_SOURCE,
        mirror=mirror,
        settings=Settings(provider_source=Path(null_provider_source.packed)),
        host_environ={"HOME": str(tmp_path)},
        program=Path("/bin/terraform"),
        tree=tree,
    )
    ended = run_terraform("init", "-input=false", "-no-color", cwd=tree, TF_CLI_CONFIG_FILE=str(configuration))
    assert "problems with the CLI configuration" not in ended.stdout
    assert ("development overrides" in ended.stdout) == ("dev_overrides" in user)
    assert "Installed hashicorp/null v2.1.2" in ended.stdout
