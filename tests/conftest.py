"""Wires the shared fixtures; each lives in its own file below tests/support."""

from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine is; the `long` searches take new ones.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

pytest_plugins = [
    "tests.support.ledger",
    "tests.support.otlp",
    "tests.support.ports",
    "tests.support.postgres",
    "tests.support.receivers",
    "tests.support.sender_bench",
    "tests.support.stage",
    "tests.support.storage",
    "tests.support.system",
    "tests.support.valkey",
]
