from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from iacq.adapters import keys
from iacq.errors import InvalidInput
from iacq.settings import Settings

ONE, TWO = b"1" * 32, b"2" * 32


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_keys_of_the_setting_come_in_order(home: Path) -> None:
    assert keys.load(Settings(home=home, encryption_keys=(encoded(TWO), encoded(ONE)))) == (TWO, ONE)
    assert not home.exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not-base64!", "this is not base64"),
        (encoded(b"shortsecret"), "11 bytes, a key has 32"),
        ("größe", "this is not base64"),
    ],
)
def test_a_bad_key_is_named_by_its_position_and_never_shown(home: Path, text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        keys.load(Settings(home=home, encryption_keys=(encoded(ONE), text)))
    assert caught.value.message == f"IACQ_ENCRYPTION_KEYS, key 2 of 2: {why}"
    assert caught.value.field == "IACQ_ENCRYPTION_KEYS"
    assert text not in repr(caught.value) + str(caught.value.hint)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_setting_without_a_key_is_refused(home: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no key"):
        keys.load(Settings(home=home, encryption_keys=()))


def test_the_first_start_makes_a_private_key(home: Path) -> None:
    made = keys.load(Settings(home=home))
    assert len(made) == 1
    assert len(made[0]) == 32
    assert (home.stat().st_mode & 0o777, (home / "keys").stat().st_mode & 0o777) == (0o700, 0o600)
    assert [path.name for path in home.iterdir()] == ["keys"]
    assert keys.load(Settings(home=home)) == made


def test_more_keys_may_be_added_to_the_file(home: Path) -> None:
    (first,) = keys.load(Settings(home=home))
    text = (home / "keys").read_text()
    (home / "keys").write_text(f"{encoded(TWO)}  # since May\n\n{text}")
    assert keys.load(Settings(home=home)) == (TWO, first)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_use_is_refused_with_the_fix(home: Path, mode: int) -> None:
    keys.load(Settings(home=home))
    (home / "keys").chmod(mode)
    with pytest.raises(InvalidInput, match=f"mode 0{mode:o}") as caught:
        keys.load(Settings(home=home))
    assert caught.value.hint == f"chmod 600 {home / 'keys'}"


@pytest.mark.parametrize("text", ["", "# nothing\n", "secret\n"])
def test_a_file_without_keys_is_refused_and_kept(home: Path, text: str) -> None:
    keys.load(Settings(home=home))
    (home / "keys").write_text(text)
    with pytest.raises(InvalidInput, match=str(home / "keys")) as caught:
        keys.load(Settings(home=home))
    assert "secret" not in caught.value.message
    assert (home / "keys").read_text() == text


def test_a_link_to_nowhere_is_refused(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "keys").symlink_to("missing")
    with pytest.raises(InvalidInput, match="is a link to nowhere"):
        keys.load(Settings(home=home))


def test_processes_that_start_at_once_agree(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from iacq.adapters import keys; from iacq.settings import Settings\n"
        "sys.stdin.read(); print(keys.load(Settings(home=Path(sys.argv[1])))[0].hex())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()  # imports are done by the time that they all see this
        process.stdin = None
    printed = {process.communicate(timeout=300)[0] for process in started}
    assert len(printed) == 1
    assert printed == {keys.load(Settings(home=home))[0].hex() + "\n"}
    assert [path.name for path in home.iterdir()] == ["keys"]
