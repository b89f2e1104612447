"""Measures iacq as a user would see it: `scripts/bench`. What each figure means is in docs/performance.md.

    figure.py       a measured value beside its goal; medians, percentiles, the table
    spy.py          the terraform that says when it was started: a no-op, or a wrapper of the real one
    system.py       `iacq up` in a directory of its own, on SQLite or PostgreSQL, and a client of it
    hot_path.py …   one module for each group of figures; each has `measure(space) -> Iterator[Figure]`
"""
