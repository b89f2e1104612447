"""`python -m iacq.cli`."""

from iacq.cli import main

main()
