"""terraform configurations that the tests write."""

from pathlib import Path

from tests.waiting import wait_until

COUNTED = """
variable "size" {
  type    = number
  default = 1
}
resource "terraform_data" "it" {
  count = var.size
  input = "number ${count.index}"
}
output "size" { value = var.size }
"""
"""Resources without a provider, as many as `size` says."""


def write(directory: Path, text: str, name: str = "main.tf") -> Path:
    """Write one file of a configuration; returns its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory


class Gate:
    """A resource whose creation waits until the test lets it go on."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._started = directory / "started"
        self._open = directory / "open"

    @property
    def script(self) -> str:
        return f"echo $$ >> '{self._started}'; while [ ! -e '{self._open}' ]; do sleep 0.05; done"

    def configuration(self, *, after: str = "true") -> str:
        """A first resource, then the gate, then a last one."""
        return f"""
resource "terraform_data" "first" {{ input = "first" }}
resource "terraform_data" "gate" {{
  depends_on = [terraform_data.first]
  provisioner "local-exec" {{ command = "{self.script}; {after}" }}
}}
resource "terraform_data" "last" {{
  depends_on = [terraform_data.gate]
  input      = "last"
}}
output "done" {{ value = terraform_data.last.output }}
"""

    def reached(self) -> int:
        """Wait until somebody stands before it; returns how many came so far."""
        wait_until(self._started.exists, 30, "the gate is reached")
        return self.visits()

    def visits(self) -> int:
        return len(self._started.read_text().splitlines()) if self._started.exists() else 0

    def open(self) -> None:
        self._open.touch()

    def close(self) -> None:
        self._open.unlink(missing_ok=True)
