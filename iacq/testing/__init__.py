"""Fakes of the ports, hand-written: what a test of services passes where `bootstrap` passes adapters.

Nothing here is imported by the product. Each fake passes the contract test of the port that it stands for.
"""
