"""What a slot does with a run: claim it, work through the steps of its phase, report its end.

runner.py    from the doorbell to the end of the phase
plan.py      the steps of a plan
preparing.py the directory that an apply starts in
apply.py     the start of an apply, the point of no return
ending.py, remains.py   its true end, and what it left
warmup.py    prepares the directory of a run ahead of its apply
unfinished.py   what a new slot process does about its predecessor's work
context.py   what the steps share
lease.py     keeps the claim alive, hears of cancels and freezes
job.py       one command of terraform or git: start, follow, stop
fetching.py  a source that is a git repository
logwriter.py, statewriter.py   threads that store the log and the state while terraform runs
"""
