"""The tests. What a test needs, it starts: see conftest.py and servers.py."""
