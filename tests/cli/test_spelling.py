"""terraform's spelling of options."""

import pytest

from iacq.cli import spelling


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-var", "a=1"], ["--var", "a=1"]),
        (["-var=a=-target"], ["--var=a=-target"]),
        (["-var-file=x.tfvars"], ["--var-file=x.tfvars"]),
        (["-target", "a.b", "-replace=c.d"], ["--target", "a.b", "--replace=c.d"]),
        (["-refresh=false"], ["--refresh=false"]),
        (["-refresh"], ["--refresh=true"]),
        (["--refresh"], ["--refresh=true"]),
        (["-parallelism=4"], ["--parallelism=4"]),
        (["-auto-approve"], ["--auto-approve"]),
        (["-auto-approve=true"], ["--auto-approve"]),
        (["--auto-approve=false"], ["--no-auto-approve"]),
        (["-json=false"], []),
        (
            ["-detailed-exitcode", "-json", "-refresh-only"],
            ["--detailed-exitcode", "--json", "--refresh-only"],
        ),
        (["-f", "-h", "--var", "x=1", "-variable"], ["-f", "-h", "--var", "x=1", "-variable"]),
        (["-var", "a=1\n2"], ["--var", "a=1\n2"]),
        (["-var=a=1\n2"], ["--var=a=1\n2"]),
        (["--", "-var"], ["--", "-var"]),
        ([], []),
    ],
)
def test_normalise(words, expected):
    assert spelling.normalise(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"), [(["show", "--json"], True), (["show", "--", "--json"], False), (["show"], False)]
)
def test_wants_json(words, expected):
    assert spelling.wants_json(words) is expected
