"""Pods on a cluster: its API through the official client, a watch, and what its words mean."""
