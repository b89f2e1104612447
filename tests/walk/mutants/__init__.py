"""The product with one rule left out: what the walk must find.

working.py   what a slot does: claim, point of no return, finish, adopt
losing.py    what is done after a worker was lost
asking.py    what people, the scaler and time do
"""

from __future__ import annotations

from tests.walk.mutants import asking, losing, working
from tests.walk.mutants.mutant import Mutant

MUTANTS: dict[str, Mutant] = {**working.MUTANTS, **losing.MUTANTS, **asking.MUTANTS}
