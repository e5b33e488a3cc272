"""Reading a chain in domain words, and what an outage looks like."""

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionConfig
from solders.rpc.requests import GetTransaction
from solders.rpc.responses import GetTransactionResp
from solders.signature import Signature
from solders.system_program import TransferParams, transfer

from chain.client import ChainReader, ConfigMissing
from chain.keys import SigningKeys
from chain.program import UndecodableAccount
from chain.rpc import ChainUnavailable, Rpc, RpcRefused, RpcSettings
from domain.lifecycle import Lifecycle
from domain.observed import ChainClock
from tests.support.ledger import LIQUIDITY, START_UNIX_S, Chain, market_id
from tests.support.rpc_proxy import Fault, rpc_proxy


class Pauses(list[float]):
    """A sleep that only writes down how long it should have been."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@contextlib.asynccontextmanager
async def reading(url: str, program_id: str, pauses: Pauses) -> AsyncIterator[ChainReader]:
    async with ChainReader.connect(url, program_id, sleep=pauses, clock=lambda: sum(pauses)) as reader:
        yield reader


@pytest.fixture
async def reader(chain: Chain) -> AsyncIterator[ChainReader]:
    async with reading(chain.ledger.rpc_url, chain.ledger.settings.program_id, Pauses()) as opened:
        yield opened


async def test_a_market_is_read_with_its_slot(chain: Chain, reader: ChainReader) -> None:
    market = await chain.create_market()
    seen = await reader.market(market)
    assert seen is not None
    assert (seen.market_id, seen.creator, seen.state) == (market, chain.keys.admin.wallet, Lifecycle.PROPOSED)
    assert (seen.pda, seen.initial_liquidity) == (str(chain.program.market_address(market)[0]), LIQUIDITY)
    assert (seen.slot, seen.created_at_s) == (chain.ledger.node.bank.block("confirmed").slot, START_UNIX_S)


async def test_an_unknown_market_is_none_also_when_its_address_holds_lamports(
    chain: Chain, reader: ChainReader
) -> None:
    assert await reader.market(market_id()) is None
    admin, address = chain.keys.admin.pair, chain.program.market_address(market_id())[0]
    await chain.land(transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=address, lamports=10**7)), admin)
    assert await reader.market(market_id()) is None


async def test_a_market_that_is_not_confirmed_is_not_there_yet(chain: Chain, reader: ChainReader) -> None:
    admin = chain.keys.admin
    call = chain.program.create_market(admin.wallet, market_id(), 10**11, LIQUIDITY, b"q")
    await chain.send(await chain.signed([call], admin.pair))
    assert await reader.market(market_id()) is None
    chain.ledger.tick()
    assert await reader.market(market_id()) is not None


async def test_an_account_of_another_program_is_refused(chain: Chain) -> None:
    foreign = str(Pubkey.new_unique())
    async with reading(chain.ledger.rpc_url, foreign, Pauses()) as reader:
        with pytest.raises(ConfigMissing, match="check the program id"):
            await reader.config(chain.signing_keys)
    async with reading(chain.ledger.rpc_url, chain.ledger.settings.program_id, Pauses()) as reader:
        account = await chain.client.get_account_info(chain.program.program_id)
        assert account.value is not None
        with pytest.raises(UndecodableAccount, match="owned by BPFLoaderUpgradeab1e"):
            reader._check_owner(chain.program.program_id, account.value)


async def test_a_read_waits_for_its_slot_and_gives_up_after_a_bound(chain: Chain) -> None:
    market, pauses = await chain.create_market(), Pauses()
    async with reading(chain.ledger.rpc_url, chain.ledger.settings.program_id, pauses) as reader:
        ahead = chain.ledger.node.bank.tip.slot
        with pytest.raises(ChainUnavailable, match="Minimum context slot"):
            await reader.market(market, min_slot=ahead)
        assert pauses == [0.2, 0.4]
        chain.ledger.tick()
        seen = await reader.market(market, min_slot=ahead)
        assert seen is not None and seen.slot >= ahead


async def test_config_says_which_keys_are_ours(chain: Chain, reader: ChainReader) -> None:
    ours = await reader.config(chain.signing_keys)
    assert (ours.may_aggregate, ours.may_approve, ours.admin) == (True, True, chain.keys.admin.wallet)
    swapped = await reader.config(SigningKeys(backend=chain.keys.admin))
    assert (swapped.may_aggregate, swapped.may_approve) == (False, False)


async def test_the_clock_is_the_sysvar_at_confirmed(chain: Chain, reader: ChainReader) -> None:
    confirmed = chain.ledger.node.bank.block("confirmed").slot
    assert await reader.clock() == ChainClock(slot=confirmed, unix_s=START_UNIX_S)
    chain.ledger.node.advance_clock(60)
    assert (await reader.clock()).unix_s == START_UNIX_S
    chain.ledger.tick()
    assert await reader.clock() == ChainClock(slot=confirmed + 1, unix_s=START_UNIX_S + 60)


async def test_health_and_genesis_hash_are_answers_of_the_cluster(chain: Chain, reader: ChainReader) -> None:
    assert await reader.health() == chain.ledger.node.bank.block("confirmed").slot
    assert await reader.genesis_hash() == str((await chain.client.get_genesis_hash()).value)


READS: dict[str, Callable[[ChainReader], Coroutine[Any, Any, object]]] = {
    "GetAccountInfo": lambda reader: reader.clock(),
    "GetSlot": lambda reader: reader.health(),
    "GetGenesisHash": lambda reader: reader.genesis_hash(),
}


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize(
    ("fault", "words", "pauses"),
    [
        (Fault.UNAVAILABLE, "HTTP 503", [0.2, 0.4]),
        (Fault.RATE_LIMIT, "HTTP 429", [7.0, 7.0]),
        (Fault.GARBAGE, "not JSON-RPC", [0.2, 0.4]),
        (Fault.LOSE_ANSWER, "RemoteProtocolError", [0.2, 0.4]),
    ],
)
async def test_an_outage_is_retried_a_bounded_number_of_times_and_carries_facts(
    chain: Chain, method: str, fault: Fault, words: str, pauses: list[float]
) -> None:
    waited = Pauses()
    async with (
        rpc_proxy(chain.ledger.rpc_url) as proxy,
        reading(proxy.url + "/", chain.ledger.settings.program_id, waited) as reader,
    ):
        proxy.fail(fault, times=2)
        await READS[method](reader)
        assert (waited, len(proxy.seen)) == (pauses, 3)
        proxy.fail(fault)
        with pytest.raises(ChainUnavailable) as outage:
            await READS[method](reader)
        facts = outage.value.facts
        assert (facts.method, facts.attempts, len(proxy.seen)) == (method, 3, 6)
        assert words in facts.fault


async def test_a_dead_endpoint_is_an_outage_and_its_secret_path_is_not_told() -> None:
    secret = "not-to-be-shown"
    async with reading(
        f"http://user:{secret}@127.0.0.1:1/{secret}?key={secret}", str(Pubkey.default()), Pauses()
    ) as reader:
        with pytest.raises(ChainUnavailable) as outage:
            await reader.health()
    assert secret not in str(outage.value)
    assert outage.value.facts.endpoint == "http://127.0.0.1:1"


async def test_a_refusal_is_not_retried(chain: Chain) -> None:
    pauses = Pauses()
    rpc = Rpc(RpcSettings(chain.ledger.rpc_url), sleep=pauses)
    config = RpcTransactionConfig(commitment=CommitmentLevel.Processed)
    with pytest.raises(RpcRefused, match="does not support commitment"):
        await rpc.ask(GetTransaction(Signature.default(), config), GetTransactionResp)
    assert pauses == []
    await rpc.close()
