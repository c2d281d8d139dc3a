"""Tests that run on a lab host, started there by `tests/integration/test_on_a_host.py`."""
