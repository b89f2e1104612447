"""What iacq does: each function reads what it needs, lets the domain decide, and runs one step of the store.

Nothing here names an adapter; `Core` carries the ports.
"""
