"""The programs of iacq's processes: wiring only. Nothing imports them.

Each of them holds keys and addresses with passwords, and what terraform starts may run as the same user: memory and
environment are closed to it before anything else is imported.
"""

from iacq.keeper import process

process.make_undumpable()
