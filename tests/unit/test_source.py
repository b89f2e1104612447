"""What may be written as a url, a ref and a subdirectory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacq.domain import source
from iacq.domain.source import SourceKind, SourceLocation
from iacq.errors import InvalidInput
from tests import samples

ALL = ("https", "http", "ssh", "git", "file", "ext")


def check(url: str = "https://host/x.git", *, protocols: tuple[str, ...] = ("https", "ssh"), **more: str):
    return source.checked(SourceLocation(kind=SourceKind.GIT, at=url, **more), protocols)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/org/repo.git",
        "https://git.example.org:8443/a/b/@scope/c",
        "https://[::1]:8443/x",
        "ssh://git@host:22/~user/repo.git",
        "ssh://host/repo",
        "git@github.com:org/repo.git",
        "host:repo",
    ],
)
def test_urls_of_repositories(url):
    assert check(url).at == url


REFUSED = [
    ("", "empty"),
    ("https://host/a b", "spaces"),
    ("https://host/a\nb", "control"),
    ("https://host/" + "a" * 2000, "too long"),
    ("--upload-pack=touch /tmp/x", "spaces"),
    ("--upload-pack=x", "not the url"),
    ("-oProxyCommand=x:y", "not the url"),
    ("ext::sh", "names a program"),
    ("ext::https://host/x", "names a program"),
    ("ext://host/x", "not fetched by ext"),
    ("https::https://host/x", "names a program"),
    ("HTTPS://host/x", "not the url"),
    ("ssh://-oProxyCommand=x/y", "not the url"),
    ("ssh://-o@host/y", "not the url"),
    ("ssh://host/-y", "not the url"),
    ("ssh://host/%2dy", "not the url"),
    ("git@-host:x", "not the url"),
    ("-x@host:x", "not the url"),
    ("host:-x", "not the url"),
    ("git@ho\\st:x", "not the url"),
    ("https://host", "not the url"),
    ("https:///x", "not the url"),
    ("https://ho%73t/x", "not the url"),
    ("https://host:port/x", "not the url"),
    ("https://host/x?ref=main", "query"),
    ("https://host/x#main", "fragment"),
    ("file:///srv/x", "not fetched by file"),
    ("http://host/x", "not fetched by http"),
    ("git://host/x", "not fetched by git"),
    ("/srv/x", "is a path"),
    ("../x", "is a path"),
    ("~/x", "is a path"),
]


@pytest.mark.parametrize(("url", "said"), REFUSED)
def test_what_is_no_url_of_a_repository(url, said):
    with pytest.raises(InvalidInput, match=said) as caught:
        check(url)
    assert caught.value.field == "--git"
    assert caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://bob:hunter2@host/x",
        "https://hunter2@host/x",
        "https://:hunter2@host/x",
        "ssh://git:hunter2@host/x",
        "https://bob:hun/ter2@host/x",
        "https://host/x?token=hunter2",
        "file://bob:hunter2@host/x",
    ],
)
def test_passwords_are_refused_and_never_shown(url):
    with pytest.raises(InvalidInput) as caught:
        check(url, protocols=ALL)
    assert "hunter2" not in str(caught.value.message) + str(caught.value.hint)
    assert "ter2" not in caught.value.message


def test_other_protocols_need_the_setting():
    assert check("file:///srv/x", protocols=("file",)).at == "file:///srv/x"
    for url in ("file://host/srv/x", "file://", "file://srv"):
        with pytest.raises(InvalidInput, match="not the url"):
            check(url, protocols=("file",))
    with pytest.raises(InvalidInput, match="not fetched by ssh") as caught:
        check("git@host:x", protocols=("https",))
    assert "IACQ_GIT_PROTOCOLS" in str(caught.value.hint)


@pytest.mark.parametrize("ref", ["main", "v1.2", "feature/x", "refs/pull/12/head", "0123abc" * 5, "ä", "a+b", "a@b"])
def test_refs(ref):
    assert check(ref=ref).ref == ref


@pytest.mark.parametrize(
    "ref",
    [
        *("", "-x", "--upload-pack=x", "+main", "main:other", ":main", "a b", "a\n", "a..b", "a^", "a~1", "a*", "a?"),
        *("a[", "a\\b", "a@{1}", "@", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.", "x" * 251, "a\0"),
    ],
)
def test_what_is_no_ref(ref):
    with pytest.raises(InvalidInput, match="cannot be a git ref") as caught:
        check(ref=ref)
    assert (caught.value.field, bool(caught.value.hint)) == ("--ref", True)


@given(url=st.text(max_size=60), ref=st.text(max_size=20))
def test_nothing_that_is_taken_can_be_an_option(url, ref):
    try:
        taken = check(url, ref=ref, protocols=ALL)
    except InvalidInput:
        return
    for word in (taken.at, str(taken.ref)):
        assert not word.startswith("-")
        assert word.isprintable()
        assert "::" not in word.partition("[")[0]


@pytest.mark.parametrize(
    ("subdir", "kept"), [("a", "a"), ("./a//b/", "a/b"), (".", None), ("", None), (None, None), ("-x", "-x")]
)
def test_subdirectories(subdir, kept):
    assert check(subdir=subdir).subdir == kept


@pytest.mark.parametrize("subdir", ["/a", "..", "a/../..", "a/..", "a\nb", ".git", "a/.terraform/x", "x" * 1001])
def test_what_is_no_subdirectory(subdir):
    with pytest.raises(InvalidInput, match="root module") as caught:
        check(subdir=subdir)
    assert caught.value.field == "--subdir"


def test_a_workspace_has_one_source():
    assert samples.workspace().source.kind is SourceKind.PATH
    for fields in ({"path": None}, {"git": "https://host/x"}):
        with pytest.raises(InvalidInput, match="has one source"):
            _ = samples.workspace(**fields).source
    with pytest.raises(InvalidInput, match="only a git repository has a ref"):
        source.checked(samples.workspace(ref="main").source, ALL)


def test_how_it_is_shown():
    location = SourceLocation(kind=SourceKind.GIT, at="https://h/x", ref="main", subdir="a")
    assert location.text == "https://h/x at main, in a"
    assert source.masked("fatal: https://bob:pw@h/x and ssh://git@h") == "fatal: https://***@h/x and ssh://***@h"
