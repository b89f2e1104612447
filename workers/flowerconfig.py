"""Flower's options, for Celery's own command line: `celery -A workers.control flower --conf=workers/flowerconfig.py`.

`iacq flower` does more: it asks who wants Flower's /metrics, and hides the arguments of foreign events from searches.
"""

from iacq import bootstrap
from iacq.settings import load

globals().update(bootstrap.flower_options(load()))
