"""The database: tables, and every statement that iacq runs on it.

A function takes a `Transaction` and is one step of the protocol or one question. No decision is made here that a pure
function of `iacq.domain` could make, and nothing else writes a status: `runs.transition` is the only door.
"""
