"""Measures iacq as a user would see it: `scripts/bench`. What each figure means is in docs/performance.md.

figure.py       a measured value beside its goal; medians, percentiles, the table
spy.py          a no-op terraform that says when it was started
system.py       `iacq up` in a directory of its own, on SQLite or PostgreSQL, and a client of it
providers.py    real providers for the figures that need them
hot_path.py …   one module for each group of figures; each has `measure(space) -> Iterator[Figure]`
"""
