"""iacq: a distributed queue that runs Terraform for many workspaces on Celery."""

__version__ = "0.1.0"
