"""Celery: which messages are sent, and which are accepted."""
