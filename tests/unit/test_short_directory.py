import os
import socket

from iacq.adapters import short_directory


def test_a_short_one_is_its_own_name(tmp_path):
    short = tmp_path.__class__("/tmp/short")
    assert short_directory.name(short) == short
    short_directory.forget(short)


def test_a_long_one_gets_a_link_in_which_sockets_can_be_opened(tmp_path):
    long = tmp_path / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    other = long.with_name("z" * 60)
    other.mkdir()
    named = short_directory.name(long)
    try:
        assert short_directory.name(long) == named != short_directory.name(other)
        assert named.resolve() == long
        assert os.stat(named.parent).st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(named / "plugin1234567890"))
        assert (long / "plugin1234567890").exists()
        other_name = short_directory.name(other)
        other.rmdir()
        short_directory.forget(long)
        short_directory.name(long)
        assert not other_name.is_symlink(), "what leads nowhere is swept"
    finally:
        short_directory.forget(long)
        short_directory.forget(other)
    assert not named.is_symlink()
