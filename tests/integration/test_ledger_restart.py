"""The ledger as a process: SIGKILL at any moment loses nothing that was answered, SIGTERM ends it cleanly."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Processed
from solana.rpc.core import RPCException
from solana.rpc.types import TxOpts
from solders.message import Message
from solders.transaction import VersionedTransaction

from app.embedded import free_port
from chain.keys import ensure_local_keys
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram
from tests.support.eventually import eventually_async
from tests.support.ledger import LIQUIDITY, QUESTION, LedgerChild, market_id

PROGRAM = ZmartProgram.at(NEWEST_PROGRAM_ID)


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[LedgerChild]:
    """Slots of 400 ms: block hashes and the memory of signatures outlive a machine that stands for seconds."""
    started = LedgerChild(tmp_path / "chain", free_port(), slot_ms=400)
    await started.start()
    yield started
    await started.close()


async def test_what_was_answered_survives_sigkill(child: LedgerChild) -> None:
    keys = ensure_local_keys(child.data_dir)
    async with AsyncClient(child.url, commitment=Confirmed) as client:
        genesis = (await client.get_genesis_hash()).value
        await eventually_async(lambda: _has_config(client))
        sent: list[VersionedTransaction] = []
        for number in range(1, 6):
            blockhash = (await client.get_latest_blockhash(Confirmed)).value.blockhash
            call = PROGRAM.create_market(keys.admin.wallet, market_id(number), 10**11, LIQUIDITY, QUESTION)
            message = Message.new_with_blockhash([call], keys.admin.pair.pubkey(), blockhash)
            transaction = VersionedTransaction(message, [keys.admin.pair])
            await client.send_transaction(transaction, TxOpts(preflight_commitment=Processed))
            sent.append(transaction)
    await child.stop(signal.SIGKILL)
    await child.start()
    async with AsyncClient(child.url, commitment=Confirmed) as client:
        assert (await client.get_genesis_hash()).value == genesis
        for number, transaction in enumerate(sent, start=1):
            answer = await client.get_account_info(PROGRAM.market_address(market_id(number))[0], Confirmed, "base64")
            assert answer.value is not None
            assert PROGRAM.market(market_id(number), answer.value.data, 0).market_id == market_id(number)
            with pytest.raises(RPCException, match="already been processed"):
                await client.send_transaction(transaction, TxOpts(preflight_commitment=Processed))


async def _has_config(client: AsyncClient) -> bool:
    return (await client.get_account_info(PROGRAM.config_address()[0], Confirmed, "base64")).value is not None


async def test_sigterm_ends_the_ledger_with_status_zero(child: LedgerChild) -> None:
    assert await child.stop(signal.SIGTERM) == 0


async def test_key_files_of_a_new_data_dir_are_private(child: LedgerChild) -> None:
    names = {path.name: path.stat().st_mode & 0o777 for path in (child.data_dir / "keys").iterdir()}
    assert names == dict.fromkeys(("admin.json", "backend.json", "fee_wallet.json", "faucet.json"), 0o600)
