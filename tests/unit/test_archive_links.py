from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iacq.adapters.sources.archive_links import leads_outside


@pytest.mark.parametrize(
    ("links", "outside"),
    [
        ({"a": "b"}, False),
        ({"a": "."}, False),
        ({"d/a": "../b"}, False),
        ({"d/a": "../../b"}, True),
        ({"a": "/b"}, True),
        ({"a": "a"}, True),
        ({"a": "d/../b"}, False),
        ({"a": "d/e/../../../b", "d/e": "f"}, True),
        ({"a": "d/e/../x", "d/e": ".."}, True),
        ({"a": "d/e/../x", "d/e": "f/g"}, False),
        ({"a": "missing/x", "missing": "d"}, False),
    ],
)
def test_where_a_link_leads(links: dict[str, str], outside: bool) -> None:
    assert leads_outside(next(iter(links)), links) is outside


PARTS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=5)


@settings(max_examples=200)
@given(data=st.dictionaries(st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a"]), PARTS, min_size=1))
def test_never_says_inside_of_what_the_kernel_finds_outside(
    data: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("links") / "1" / "2" / "root"
    (root / "d" / "e").mkdir(parents=True)
    links = {name: "/".join(parts) or "." for name, parts in data.items()}
    for name, target in links.items():
        (root / name).symlink_to(target)
    for name in links:
        path = root / name
        if path.exists() and not Path(os.path.realpath(path)).is_relative_to(root):
            assert leads_outside(name, links)
