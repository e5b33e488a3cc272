"""Circuit breakers of one process, kept so that every other one can show them."""

from collections.abc import Mapping

from storage.database import Database


class KeptBreakers:
    """Raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, name: str, is_open: bool) -> None:
        """From now on it is known to be so. Each process says it at its start, so nothing stays from before."""
        await self._database.fetch("keep_breaker", name, is_open)

    async def states(self) -> Mapping[str, bool]:
        """Which are open, by name."""
        return {row["name"]: row["is_open"] for row in await self._database.fetch("kept_breakers")}
