"""The figures of the whole system that only the database knows, read together for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

from storage.database import Database


@dataclass(frozen=True, slots=True)
class Figure:
    """One value; `label` is empty where a kind has one value only."""

    kind: str
    label: str
    value: float


class Figures:
    """Reads them; raises StorageUnavailable."""

    def __init__(self, database: Database, program_id: str) -> None:
        self._database = database
        self._program_id = program_id

    async def read(self) -> list[Figure]:
        """All of them, as of now."""
        return [Figure(**row) for row in await self._database.fetch("system_figures", self._program_id)]
