"""The chain agent's desk: what does not fit is said with how to mend it, alerted once, and waited for."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from solders.keypair import Keypair

from actors.chain_agent import News
from actors.messages import ChainNews
from app.config import Settings
from app.desk import MISFIT_S, TRANSITIONS, Desk
from chain.checks import cluster_misfits
from chain.client import ChainReader
from chain.keys import local_key_path
from domain.intents import Action, Intent
from domain.journal import Change
from storage.kept_breakers import KeptBreakers
from tests.support.eventually import eventually_async
from tests.support.ledger import Chain
from tests.support.markets import market, market_id
from tests.support.rpc_proxy import Fault, rpc_proxy
from tests.support.storage import PostgresGround, adopted, new_id, own

ANOTHER_CLUSTER = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"


@dataclass
class Office:
    """A running desk: what it published, and its waits; a wait for a misfit lasts until the test lets it go on."""

    settings: Settings
    database_url: str
    news: list[News] = field(default_factory=list)
    looks: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        if seconds == MISFIT_S:
            self.looks += 1
            await self.go_on.wait()
            self.go_on.clear()
        await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[asyncio.Task[None]]:
        desk = Desk(self.settings, self.database_url, self.sleep)
        task = asyncio.create_task(desk.run(asyncio.Event(), self.news.append))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def alerts(self) -> list[tuple[str, str, dict[str, Any]]]:
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch("SELECT dedupe_key, severity, data FROM alerts ORDER BY id")
        finally:
            await connection.close()
        return [(row["dedupe_key"], row["severity"], json.loads(row["data"])) for row in rows]

    async def has_looked(self, times: int) -> None:
        async def enough() -> bool:
            return self.looks >= times

        await eventually_async(enough)

    async def tells_the_time(self) -> None:
        async def told() -> bool:
            return any(isinstance(news, ChainNews) and news.clock is not None for news in self.news)

        await eventually_async(told)

    async def tells_the_config(self) -> None:
        async def told() -> bool:
            return any(isinstance(news, ChainNews) and news.config is not None for news in self.news)

        await eventually_async(told)


@pytest.fixture
def fitting(tmp_path: Path, chain: Chain, database_url: str) -> Settings:
    keys = tmp_path / "chain"
    return Settings(
        data_dir=tmp_path / "state",
        database_url=database_url,
        solana_rpc_url=chain.ledger.rpc_url,
        program_id=chain.ledger.settings.program_id,
        backend_keypair=local_key_path(keys, "backend"),
        admin_keypair=local_key_path(keys, "admin"),
    )


def write_key(path: Path) -> Path:
    path.write_text(json.dumps(list(bytes(Keypair()))))
    return path


async def test_what_fits_is_worked_with_and_raises_no_alert(fitting: Settings, database_url: str) -> None:
    office = Office(fitting, database_url)
    async with office.at_work():
        await office.tells_the_time()
        await office.tells_the_config()
        assert (office.looks, await office.alerts()) == (0, [])


@pytest.mark.parametrize(
    ("changes", "subject", "mend"),
    [
        ({"genesis_hash": ANOTHER_CLUSTER}, "cluster", "ZMART_GENESIS_HASH"),
        ({"program_id": str(Keypair.from_seed(bytes(32)).pubkey())}, "program", "ZMART_PROGRAM_ID"),
        ({"program_id": "no program id"}, "program", "ZMART_PROGRAM_ID"),
        ({"backend_keypair": Path("nowhere.json")}, "key file", "ZMART_BACKEND_KEYPAIR"),
    ],
)
async def test_what_does_not_fit_is_alerted_once_and_looked_at_again(
    fitting: Settings, database_url: str, changes: dict[str, Any], subject: str, mend: str
) -> None:
    office = Office(fitting.model_copy(update=changes), database_url)
    async with office.at_work() as task:
        await office.has_looked(1)
        office.go_on.set()
        await office.has_looked(2)
        ((key, severity, data),) = await office.alerts()
        assert (key, severity, task.done(), office.news) == (f"chain_misfit:{subject}", "CRITICAL", False, [])
        assert mend in data["mend"]


async def test_with_a_foreign_backend_key_the_chain_is_read_and_nothing_is_sent(
    fitting: Settings, database_url: str, tmp_path: Path
) -> None:
    key = write_key(tmp_path / "foreign.json")
    office = Office(fitting.model_copy(update={"backend_keypair": key}), database_url)
    async with office.at_work():
        await office.has_looked(1)
        await office.tells_the_config()
        ((subject, severity, data),) = await office.alerts()
    configs = [news.config for news in office.news if isinstance(news, ChainNews) and news.config]
    assert (subject, severity, configs[0].may_aggregate) == ("chain_misfit:backend key", "CRITICAL", False)
    assert str(configs[0].backend_authority) in data["mend"]


async def test_a_foreign_admin_key_is_said_and_does_not_stop_the_rest(
    fitting: Settings, database_url: str, tmp_path: Path
) -> None:
    key = write_key(tmp_path / "foreign.json")
    office = Office(fitting.model_copy(update={"admin_keypair": key}), database_url)
    async with office.at_work():
        await office.tells_the_config()

        async def is_said() -> bool:
            return bool(await office.alerts())

        await eventually_async(is_said)
        ((subject, severity, _),) = await office.alerts()
    assert (subject, severity, office.looks) == ("chain_misfit:admin key", "MEDIUM", 0)


async def test_once_it_is_mended_the_work_begins(fitting: Settings, database_url: str, tmp_path: Path) -> None:
    right = fitting.backend_key_path.read_text()
    mended = tmp_path / "mended.json"
    office = Office(fitting.model_copy(update={"backend_keypair": mended}), database_url)
    async with office.at_work():
        await office.has_looked(1)
        mended.write_text(right)
        office.go_on.set()
        await office.tells_the_config()
        assert office.looks == 1


async def test_a_chain_that_does_not_answer_is_no_misfit(chain: Chain, fitting: Settings, database_url: str) -> None:
    async with rpc_proxy(chain.ledger.rpc_url) as proxy:
        proxy.fail(Fault.UNAVAILABLE, times=2)
        changes = {"solana_rpc_url": proxy.url, "breaker_open_s": 0.01}
        office = Office(fitting.model_copy(update=changes), database_url)
        async with office.at_work():
            await office.tells_the_config()
            assert (office.looks, await office.alerts()) == (0, [])


async def test_the_cluster_is_compared_with_the_one_that_was_named(chain: Chain) -> None:
    async with ChainReader.connect(chain.ledger.rpc_url, chain.ledger.settings.program_id) as reader:
        assert list(await cluster_misfits(reader, await reader.genesis_hash())) == []
        (misfit,) = await cluster_misfits(reader, ANOTHER_CLUSTER)
        assert (misfit.subject, ANOTHER_CLUSTER in misfit.seen) == ("cluster", True)


async def test_the_breaker_of_transitions_is_kept_for_others_to_show_when_it_opens_and_when_it_closes(
    chain: Chain, fitting: Settings, real_ground: PostgresGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain.transition_gate.SPACING_S", 0.0)
    await plan_approval(real_ground)
    kept = KeptBreakers(real_ground.database)
    async with rpc_proxy(chain.ledger.rpc_url) as proxy:
        proxy.fail(Fault.UNAVAILABLE, "getLatestBlockhash")
        changes = {"solana_rpc_url": proxy.url, "breaker_open_s": 0.01, "transition_breaker_open_s": 0.1}
        office = Office(fitting.model_copy(update=changes), real_ground.database_url)
        async with office.at_work():
            await eventually_async(lambda: shows(kept, {TRANSITIONS: True}))
            proxy.heal()
            await eventually_async(lambda: shows(kept, {TRANSITIONS: False}))


async def shows(kept: KeptBreakers, states: dict[str, bool]) -> bool:
    return await kept.states() == states


async def plan_approval(ground: PostgresGround) -> None:
    """Of a market that the chain does not have, so that a chain that answers says no."""
    journal = await ground.journal()
    intent = Intent(new_id(), market_id(), Action.APPROVE, 1)
    async with journal.transaction(await own(journal)) as transaction:
        await transaction.save([adopted(market())])
        await transaction.save([Change(replace(market(), version=2, intent=intent), None, False, planned=(intent,))])
    await ground.end_journals()
