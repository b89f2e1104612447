"""The suite's own Kubernetes: an HTTP API with one kind that lives (pods), and a kubelet whose pods are real processes.

It is what a real API server does that a client must get right: resource versions and conflicts, watches that end, lists
that may be stale, names and labels that are refused, pods that go gracefully, and answers that do not come.

    cluster ──► server ──► routing ──► requests, watching ──► pods ──► storage
        └─────► kubelet ──► containers (shim) ─────────────────────────┘
"""
