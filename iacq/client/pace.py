"""How often the database is looked at while something is followed."""

POLL = 0.1
"""Seconds between two looks at the database while something is followed."""
AWAY = 0.5
"""The same while the database does not answer."""
