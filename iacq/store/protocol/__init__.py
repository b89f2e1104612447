"""The run protocol: one function per step, each one transaction of compare-and-sets.

    waiting.py     nobody works on the run: dispatch, confirm, discard, expire, cancel, take back, give up, freeze
    owning.py      by the process that holds it: claim, renew, point of no return, not started, finish, end unknown
    warming.py     a run that lost its slot is prepared in another one, ahead of its apply
    restoring.py   after the database was restored from a backup
    recovering.py  after its worker came to nothing: lease lost, plan killed, adopt, late report, resolve

Every WHERE names the run and its status. If no row was changed another process was faster: `Raced`, and nothing more is
done. A guard never lives in a subquery on another row, since a database that waited for a lock re-reads the target row
only: what a step relies on in another row it locks or compare-and-sets, in the order workspace → run → slot → pod →
pool. Fences: each claim and each taking-away adds one; every write of an owner names its own.
"""
