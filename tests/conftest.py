"""Wires the shared fixtures; each lives in its own file below tests/support."""

pytest_plugins = [
    "tests.support.ledger",
    "tests.support.otlp",
    "tests.support.postgres",
    "tests.support.receivers",
    "tests.support.sender_bench",
    "tests.support.stage",
    "tests.support.storage",
    "tests.support.system",
    "tests.support.valkey",
]
