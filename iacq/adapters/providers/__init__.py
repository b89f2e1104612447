"""Providers on this machine: a mirror that all slots share, filled by the first init that needs one."""
