"""How the indexer is joined: the chain's history and accounts, its tables, and the actors as its markets."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from actors import hardening
from app.config import Settings
from app.roles_actors import harden
from app.wiring import database_url, tracing_of
from app.wiring_chain import chain_reader, rpc_pool
from app.wiring_grpc import Router
from chain.account_batches import AccountBatches
from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.history import ChainHistory
from chain.subscription import LogSubscription
from domain.commands import Command
from domain.indexed import Due
from domain.outcomes import Outcome
from grpc_server import MarketFailed, Outage
from indexer.ports import MarketBroke, MarketsAway, Spans
from indexer.position_reader import PositionReader
from indexer.reconcile import Reconciler
from indexer.reconcile_runs import ReconcileRuns
from indexer.service import Chore, Indexer, IndexerParts, IndexerSettings
from storage.database import Database, database_pool
from storage.index_store import PostgresIndexStore
from storage.positions import PositionTable
from storage.projections import Projections
from storage.reconciliations import Reconciliations
from storage.transactions import PostgresTransactionStore

POSITIONS_S = 0.25
"""How soon a position is read again that could not be read as new as its event."""
RUNS_S = 0.5
"""Between two runs of the reconciliation that operators ask for."""


class IndexMarkets:
    """Adapts the actors' directory to the indexer's port."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | MarketsAway | MarketBroke]:
        """Carry out commands, each with an outcome or a failure of its own."""
        return [_translated(outcome) for outcome in await self._router.submit_many(commands)]


def _translated(outcome: Outcome | Outage) -> Outcome | MarketsAway | MarketBroke:
    if isinstance(outcome, MarketFailed):
        return MarketBroke(outcome.incident)
    return MarketsAway(str(outcome)) if isinstance(outcome, Outage) else outcome


def indexer_settings(settings: Settings) -> IndexerSettings:
    """How often what is done."""
    return IndexerSettings(
        workers=settings.index_workers, sweep_s=settings.index_sweep_s, first_slot=settings.index_from_slot
    )


def indexer_parts(
    settings: Settings, database: Database, reader: ChainReader, router: Router, spans: Spans | None = None
) -> IndexerParts:
    """What the indexer works with."""
    accounts, history = ChainAccounts(reader.rpc, reader.program), ChainHistory(reader.rpc, settings.program_id)
    batches, positions = AccountBatches(accounts, reader.program), PositionTable(database)
    rows, markets = Reconciliations(database), IndexMarkets(router)
    reconciler = Reconciler(rows, positions, batches, markets, PostgresTransactionStore(database))
    runs = ReconcileRuns(rows, reconciler, settings.reconcile_s, spans)
    return IndexerParts(
        program_id=settings.program_id,
        store=PostgresIndexStore(database, settings.program_id),
        history=history,
        accounts=accounts,
        markets=markets,
        projector=Projections(),
        subscription=LogSubscription(settings.ws_url, settings.program_id),
        dice=random.SystemRandom(),
        chores=(
            Chore("positions", PositionReader(positions, batches, history).step, Due.POSITIONS, POSITIONS_S),
            Chore("reconciliation", runs.step, Due.RUNS, RUNS_S),
        ),
        spans=spans,
    )


@asynccontextmanager
async def opened_indexer(settings: Settings) -> AsyncIterator[Indexer]:
    """An indexer that is to be run; commands wait until the actors are found."""
    harden(settings)
    hardening.forbid_admin_start()
    tracing = tracing_of(settings, "zmart-indexer")
    router = Router(settings.ports.actor_admin, tracing.traceparent if tracing else None)
    router.directory.start()
    span = tracing.sql if tracing else None
    database = await database_pool(database_url(settings), settings.database_pool, "zmart-indexer", span=span)
    reader = chain_reader(settings, tracing.asking(rpc_pool(settings)) if tracing else None)
    try:
        yield Indexer(indexer_parts(settings, database, reader, router, tracing), indexer_settings(settings))
    finally:
        router.directory.stop()
        await reader.close()
        await database.close()
        if tracing:
            await tracing.close()
