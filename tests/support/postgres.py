"""A real PostgreSQL for tests: one server a session (fsync off), one database a test, cloned from a migrated template.

A test about durability starts its own `EmbeddedPostgres(tmp_path)`, which syncs.
"""

import asyncio
import importlib.util
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from app.embedded import EmbeddedPostgres
from app.runner import Runner

T = TypeVar("T")
TEMPLATE = "zmart_template"


@dataclass(frozen=True)
class PostgresServer:
    """The session's server; dies with pytest, also by SIGKILL."""

    url: str

    def database_url(self, name: str) -> str:
        """The URL of another database on the same server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def execute(self, statement: str) -> None:
        """One statement as superuser, outside any transaction, from synchronous code."""
        run_sync(self._execute(statement))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a synchronous fixture, without touching the loop of the test."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One embedded server for the whole session, started by the first test that needs it."""
    folder = tmp_path_factory.mktemp("postgres")
    postgres = EmbeddedPostgres(folder, fast=True)
    runner = Runner(f"pytest-{uuid.uuid4()}", folder / "logs")
    runner.start(postgres.role())
    try:
        yield PostgresServer(postgres.url)
    finally:
        runner.stop()


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer) -> str:
    """The name of the database that every test's own is cloned from: migrated when the project has migrations."""
    postgres_server.execute(f"CREATE DATABASE {TEMPLATE}")
    if importlib.util.find_spec("storage") and importlib.util.find_spec("storage.migrate"):
        migrate = importlib.import_module("storage.migrate").migrate
        run_sync(migrate(postgres_server.database_url(TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of this test alone, without any schema."""
    yield from _own_database(postgres_server, "template0")


@pytest.fixture
def database_url(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """A database of this test alone, with the current schema, gone after it."""
    yield from _own_database(postgres_server, template_database)


@pytest.fixture
def second_database_url(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """Another one, for a test that compares two runs."""
    yield from _own_database(postgres_server, template_database)


def _own_database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.database_url(name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
