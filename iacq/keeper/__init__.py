"""Programs that outlive the process that wants them: keepers, their fork server, and a pod's process tree.

Standard library only, and nothing of the rest of iacq: a keeper starts in milliseconds and holds no secrets.
Entry points: `agent.ProcessTree` for a pod's agent; `files` for whoever reads what a job left on disk.
"""
