"""Forward-only migrations: numbered files, each applied once, in one transaction, under one lock."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from storage.outages import outages
from storage.queries import sql

MIGRATIONS_DIR = Path(__file__).parent / "migrations"
CONNECT_TIMEOUT_S = 5.0
LOCK_WAIT = "60s"
"""For another process that migrates, and for readers of a table that a migration alters."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; the checksum is of its bytes."""

    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """SHA-256, hex."""
        return hashlib.sha256(self.statements.encode("utf-8")).hexdigest()


class MigrationsDiffer(Exception):
    """The database was migrated by other files than these; nothing was changed. A person must look."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"migration {name} {reason}")
        self.name = name
        self.reason = reason


async def migrate(database_url: str, folder: Path = MIGRATIONS_DIR) -> list[str]:
    """Apply what is missing, in order, and return the names applied.

    Processes that migrate at once wait for each other; a migration that fails leaves those before it in place and
    nothing of its own. Raises MigrationsDiffer, or StorageUnavailable when the database cannot be reached or refuses.
    """
    with outages("migrate"):
        async with _connected(database_url) as connection:
            await connection.execute(sql("lock_migrations"))
            await connection.execute(sql("make_ledger_of_migrations"))
            missing = _missing(migrations(folder), await _applied(connection))
            for migration in missing:
                await _apply(connection, migration)
            return [migration.name for migration in missing]


async def pending(database_url: str, folder: Path = MIGRATIONS_DIR) -> list[str]:
    """The names that `migrate` would apply; changes nothing. Raises as `migrate` does."""
    with outages("look for pending migrations"):
        async with _connected(database_url) as connection:
            exists = await connection.fetchval(sql("has_ledger_of_migrations"))
            applied = await _applied(connection) if exists else {}
            return [migration.name for migration in _missing(migrations(folder), applied)]


def migrations(folder: Path = MIGRATIONS_DIR) -> list[Migration]:
    """Every migration in the folder, in the order of their numbers."""
    return [Migration(path.stem, path.read_text("utf-8")) for path in sorted(folder.glob("[0-9]*.sql"))]


def _missing(known: Sequence[Migration], applied: Mapping[str, str]) -> list[Migration]:
    by_name = {migration.name: migration for migration in known}
    for name, checksum in applied.items():
        if name not in by_name:
            raise MigrationsDiffer(name, "was applied by a newer version of this program")
        if by_name[name].checksum != checksum:
            raise MigrationsDiffer(name, "was changed after it was applied")
    missing = [migration for migration in known if migration.name not in applied]
    if missing and applied and missing[0].name < max(applied):
        raise MigrationsDiffer(missing[0].name, f"comes before {max(applied)}, which was applied already")
    return missing


async def _applied(connection: asyncpg.Connection) -> dict[str, str]:
    return {row["name"]: row["checksum"] for row in await connection.fetch(sql("applied_migrations"))}


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.statements)
        await connection.execute(sql("record_migration"), migration.name, migration.checksum)


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    settings = {"application_name": "zmart-migrate", "lock_timeout": LOCK_WAIT}
    connection = await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
