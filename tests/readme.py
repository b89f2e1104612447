"""The parts of the README that come from the code. `python -m tests.readme` writes them anew."""

import re
from pathlib import Path

from iacq import settings
from iacq.domain import transitions

README = Path(__file__).parent.parent / "README.md"


def rendered(text: str) -> str:
    """Return the README with its generated parts as the code has them now."""
    text = _between(text, "states", f"```mermaid\n{transitions.diagram()}\n```")
    return _between(text, "settings", _settings_table())


def _settings_table() -> str:
    rows = [f"| `{entry.variable}` | {entry.default or ''} | {entry.meaning} |" for entry in settings.described()]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def _between(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    assert len(pattern.findall(text)) == 1, f"the README needs {begin} … {end} once"
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


if __name__ == "__main__":
    README.write_text(rendered(README.read_text()))
