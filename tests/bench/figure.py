"""What was measured, beside what it should be."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str  # stable: programs compare by it
    value: float
    unit: str
    goal: float | None  # None: only shown
    at_least: bool = False  # the goal is a lower bound

    @property
    def reached(self) -> bool:
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def bound(self) -> str:
        """Write the goal for people."""
        return "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self.goal:g} {self.unit}"


def median_and_p99(
    name: str, values: Sequence[float], unit: str, *, median: float, p99: float
) -> tuple[Figure, Figure]:
    """Make the two figures of one distribution, with their goals."""
    return (
        Figure(name=f"{name}_p50", value=quantile(values, 0.5), unit=unit, goal=median),
        Figure(name=f"{name}_p99", value=quantile(values, 0.99), unit=unit, goal=p99),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all are not above (nearest rank)."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(figures: Iterable[Figure]) -> str:
    """Lay figures out in columns."""
    rows = [
        (figure.name, f"{figure.value:.4g}", figure.unit, figure.bound, "" if figure.reached else "MISSED")
        for figure in figures
    ]
    return columns([("what", "value", "unit", "goal", ""), *rows], right={1})


def columns(rows: Sequence[Sequence[str]], *, right: Container[int]) -> str:
    """Write rows of cells as lines; right: columns of numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
