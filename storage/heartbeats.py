"""Who said last that it lives and gets on with its work, for roles whose silence nobody else would notice."""

from collections.abc import Mapping

from storage.database import Database


class RoleBeats:
    """Raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ages_s(self) -> Mapping[str, float]:
        """Seconds since the last beat of each role that ever beat."""
        return {row["role"]: row["age_s"] for row in await self._database.fetch("role_beats")}


class ShardBeats:
    """Raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ages_s(self) -> Mapping[str, float]:
        """Seconds since the last beat of each place of a shard, and of how long virtual shards have had no owner."""
        return {row["role"]: row["age_s"] for row in await self._database.fetch("shard_beats")}
