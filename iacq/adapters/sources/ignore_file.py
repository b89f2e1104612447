"""`.terraformignore`: what a configuration's author leaves out of its package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from iacq.errors import InvalidInput

if TYPE_CHECKING:
    import pathspec

NAME = ".terraformignore"


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """Patterns in the syntax of .gitignore; the last that matches decides, as in terraform."""

    spec: pathspec.GitIgnoreSpec
    reincludes: bool  # a pattern starts with `!`: what is in an ignored directory may be wanted again

    def matches(self, path: PurePosixPath, is_directory: bool) -> bool:
        """Tell whether to leave out `path`, relative to the directory of the file.

        A directory is left out as a whole only if nothing below could be included again.
        """
        if is_directory:
            return not self.reincludes and self.spec.match_file(f"{path}/")
        return self.spec.match_file(str(path))


def read(directory: Path) -> Ignored:
    """Read the file at the root of `directory`; without one nothing is ignored.

    Raises InvalidInput that names the line.
    """
    import pathspec  # here: most commands of the command line pack no source

    try:
        text = (directory / NAME).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise InvalidInput(
            f"{NAME!r} in {directory} cannot be read: {error.strerror or error}",
            hint="make it a readable file",
        ) from error
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            pathspec.GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error) as error:
            raise InvalidInput(
                f"{directory / NAME}, line {number}: {line!r} is not a pattern",
                hint="write it as in .gitignore",
            ) from error
    spec = pathspec.GitIgnoreSpec.from_lines(lines)
    return Ignored(spec=spec, reincludes=any(pattern.include is False for pattern in spec.patterns))
