import pytest

from iacq.domain import terraform_version
from iacq.errors import InvalidInput


@pytest.mark.parametrize("text", ["1.0.0", "1.5.7", "1.11.4", "1.8.0-beta1", "2.0.0-rc.1"])
def test_exact_versions(text):
    assert terraform_version.check(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "1.5", "~> 1.5.0", ">= 1.0.0", "v1.5.7", "1.5.7 ", "1.5.7\n", "../1.5.7", "1.5.7-", "1.5.7-a/b", "latest"],
)
def test_others_are_refused(text):
    with pytest.raises(InvalidInput, match="is not an exact version") as caught:
        terraform_version.check(text)
    assert caught.value.field == "--terraform-version"


def test_too_old():
    with pytest.raises(InvalidInput, match=r"terraform 0\.15\.5 is too old"):
        terraform_version.check("0.15.5")
    assert not terraform_version.is_supported("0.15.5-dev")
    assert terraform_version.is_supported("built by me")


def test_order():
    found = ["1.10.0", "1.9.0", "1.10.0-rc1"]
    assert sorted(found, key=terraform_version.order) == ["1.9.0", "1.10.0-rc1", "1.10.0"]
