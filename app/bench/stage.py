"""A whole system to measure: `zmart up` in a folder of its own, with as many markets and voters as a case asks for."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from solders.keypair import Keypair

from app.bench.ballots import Plan, Voters
from app.bench.harness import Figures
from app.bench.processes import cpu_by_role, spent_each
from app.clock import wall_s
from app.config import Settings
from app.demo.run import running_system
from app.identities import tokens
from domain import events as ev
from domain.ids import MarketId, Wallet, base58_encode
from domain.journal import Change
from domain.lifecycle import Lifecycle
from domain.market import evolve
from domain.observed import ObservedMarket
from identity import Tier
from storage import codec
from storage.queries import sql

ENVIRONMENT = {
    "ZMART_AGGREGATION_CRON": "0 0 1 1 *",  # the markets are in the database only: nothing may be sent for them
    "ZMART_LOG_LEVEL": "warning",
}
_WAITING = "SELECT EXISTS (SELECT FROM feed_outbox WHERE published_at IS NULL) FROM pg_sleep($1)"
ROWS_AT_ONCE = 1_000
TOKEN_TTL_S = 3_600
QUIET_S_MAX = 120.0
LOOK_S = 0.1
LOAD_S_EXTRA = 120.0
"""For a load's own start, and for its last answers."""


class VotesMissing(AssertionError):
    """Votes that were acknowledged are not in the database."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running system, its voters, and a folder for what loads are told and tell."""

    connection: Mapping[str, Any]
    voters: Voters
    folder: Path

    def load(self, module: str, plan: Plan) -> Figures:
        """Run one load process to its end against the system; its figures, with CPU by role and a check of each vote.

        Raises VotesMissing.
        """
        before = cpu_by_role(self.connection["pids"])
        figures = self.load_alone(module, plan)
        after = cpu_by_role(self.connection["pids"])
        self.check()
        return {**figures, "cpu_us_per_vote": spent_each(before, after, figures["acknowledged"])}

    def load_alone(self, module: str, plan: Plan) -> Figures:
        """The same against something else: no CPU, no check."""
        plan.write(self.folder, self.voters)
        command = [sys.executable, "-m", module, str(self.folder)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, timeout=plan.warm_s + plan.seconds + LOAD_S_EXTRA
        )
        figures: Figures = json.loads(done.stdout)
        return figures

    def check(self) -> None:
        """Hold the votes that the last load was told of to the table, and wait until the feed has told of all.

        Raises VotesMissing.
        """
        asyncio.run(self._check())

    async def _check(self) -> None:
        told = (self.folder / "votes.txt").read_text().split()
        database = await asyncpg.connect(self.connection["database_url"])
        try:
            found = await database.fetchval("SELECT count(*) FROM vote_records WHERE id = ANY ($1::uuid[])", told)
            if found != len(told):
                raise VotesMissing(f"{len(told)} votes were acknowledged, {found} are there")
            await _published(database)
        finally:
            await database.close()


@contextmanager
def running_stage(markets: int, wallets: int, *, signed_in: bool) -> Iterator[Stage]:
    """Start a system, put the markets into its database, and sign the wallets in with its own key if they need it."""
    with tempfile.TemporaryDirectory(prefix="zmart-bench-") as name:
        folder = Path(name)
        with running_system(folder, ENVIRONMENT) as connection:
            ids = [MarketId(base58_encode(b"\x01" + secrets.token_bytes(31))) for _ in range(markets)]
            asyncio.run(_insert(connection["database_url"], ids))
            addresses = [str(Keypair().pubkey()) for _ in range(wallets)]
            yield Stage(connection, Voters(ids, addresses, _tokens(folder, addresses) if signed_in else ()), folder)


def _tokens(data_dir: Path, addresses: Sequence[str]) -> list[str]:
    issuer = tokens(Settings(data_dir=data_dir))
    return [issuer.issue(Wallet(address), Tier.WALLET, TOKEN_TTL_S).token for address in addresses]


async def _insert(database_url: str, ids: Sequence[MarketId]) -> None:
    """By the statement that shards adopt markets with; they load them on first touch, as after any restart."""
    database = await asyncpg.connect(
        database_url, server_settings={"zmart.writer": "actor"}
    )  # nobody has to reload them
    for start in range(0, len(ids), ROWS_AT_ONCE):
        rows = [codec.market_json(adopted(market_id)) for market_id in ids[start : start + ROWS_AT_ONCE]]
        await database.execute(sql("insert_markets"), json.dumps(rows))
    await database.execute("ANALYZE markets")
    await database.close()


def adopted(market_id: MarketId) -> Change:
    """A proposal without votes, as a shard adopts it."""
    observed = ObservedMarket(
        market_id=market_id,
        pda=Wallet(market_id),
        creator=Wallet(market_id),
        state=Lifecycle.PROPOSED,
        slot=1,
        b_parameter=100_000_000_000,
        initial_liquidity=100_000_000,
        current_liquidity=100_000_000,
        shares_yes=0,
        shares_no=0,
        total_volume=0,
        created_at_s=int(wall_s()),
        approved_at_s=0,
        activated_at_s=0,
        resolution_proposed_at_s=0,
        resolved_at_s=0,
        finalized_at_s=0,
        dispute_initiated_at_s=0,
        cancelled_at_s=0,
        proposed_outcome=None,
        final_outcome=None,
        proposal_likes=0,
        proposal_dislikes=0,
        dispute_agree=0,
        dispute_disagree=0,
    )
    market = evolve(None, ev.MarketAdopted(observed))
    return Change(market=market, deadline=None, is_new=True)


async def _published(database: asyncpg.Connection) -> None:
    async with asyncio.timeout(QUIET_S_MAX):
        while await database.fetchval(_WAITING, LOOK_S):
            pass
