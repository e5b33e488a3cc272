"""A local ledger for tests: in this process with slots by hand, or as a child that may be killed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Processed
from solana.rpc.core import RPCException
from solana.rpc.types import TxOpts
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.rpc.responses import GetSignatureStatusesResp
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from chain.keys import LocalKeys, SigningKeys, ensure_local_keys
from chain.ledger import Ledger, LedgerSettings, running_ledger
from chain.ledger.zmart import Build
from chain.program import ZmartProgram
from domain.ids import MarketId, base58_encode
from tests.support.eventually import WAIT_S_MAX, eventually_async

START_UNIX_S = 1_762_510_000
"""The timestamp of the wire vectors (CI 7.3)."""
B_PARAMETER = 100_000_000_000
LIQUIDITY = 100_000_000
QUESTION = b"Qm" + b"q" * 44


def market_id(number: int = 1) -> MarketId:
    """The market whose id is 32 times the byte `number`."""
    return MarketId(base58_encode(bytes([number]) * 32))


@dataclass
class HandClock:
    """Wall time that stands still until a test moves it."""

    unix_s: float = START_UNIX_S

    def __call__(self) -> float:
        return self.unix_s


@dataclass
class Chain:
    """A running ledger, a client of it, and the keys of its data dir. Slots go by when the test says so."""

    ledger: Ledger
    client: AsyncClient
    keys: LocalKeys
    clock: HandClock
    program: ZmartProgram = field(init=False)

    def __post_init__(self) -> None:
        self.program = ZmartProgram.at(self.ledger.settings.program_id)

    @property
    def signing_keys(self) -> SigningKeys:
        return SigningKeys(backend=self.keys.backend, admin=self.keys.admin)

    async def signed(self, instructions: Sequence[Instruction], *signers: Keypair) -> VersionedTransaction:
        """A legacy transaction over the newest confirmed block hash, paid by the first signer."""
        blockhash = (await self.client.get_latest_blockhash(Confirmed)).value.blockhash
        message = Message.new_with_blockhash(list(instructions), signers[0].pubkey(), blockhash)
        return VersionedTransaction(message, list(signers))

    async def send(self, transaction: VersionedTransaction, preflight: bool = True) -> Signature:
        """Send; raises `RPCException` as the node words it."""
        options = TxOpts(skip_preflight=not preflight, preflight_commitment=Processed)
        return (await self.client.send_transaction(transaction, options)).value

    async def land(self, instruction: Instruction, *signers: Keypair) -> Signature:
        """Send one instruction and let its slot be confirmed."""
        signature = await self.send(await self.signed([instruction], *signers))
        self.ledger.tick()
        return signature

    async def refusal(self, instruction: Instruction, *signers: Keypair) -> RPCException:
        """The node's refusal of one instruction."""
        with pytest.raises(RPCException) as refused:
            await self.send(await self.signed([instruction], *signers))
        return refused.value

    async def status(self, signature: Signature) -> GetSignatureStatusesResp:
        return await self.client.get_signature_statuses([signature], search_transaction_history=True)

    async def funded(self, lamports: int = 10_000_000_000) -> Keypair:
        """A new wallet with lamports that are confirmed."""
        wallet = Keypair()
        await self.client.request_airdrop(wallet.pubkey(), lamports)
        self.ledger.tick()
        return wallet

    async def create_market(self, number: int = 1) -> MarketId:
        """A new market, created by the admin's wallet and confirmed."""
        admin = self.keys.admin
        instruction = self.program.create_market(admin.wallet, market_id(number), B_PARAMETER, LIQUIDITY, QUESTION)
        await self.land(instruction, admin.pair)
        return market_id(number)

    async def data(self, market: MarketId) -> bytes:
        """The market account's raw bytes at confirmed."""
        answer = await self.client.get_account_info(self.program.market_address(market)[0], Confirmed, "base64")
        assert answer.value is not None
        return answer.value.data

    async def lamports(self, wallet: Keypair) -> int:
        return (await self.client.get_balance(wallet.pubkey(), Processed)).value


@contextlib.asynccontextmanager
async def running_chain(data_dir: Path, slot_ms: int = 0, build: Build = "new") -> AsyncIterator[Chain]:
    """A ledger of this process; with `slot_ms` 0 no slot passes by itself."""
    clock = HandClock()
    settings = LedgerSettings(data_dir, rpc_port=0, pubsub_port=0, slot_ms=slot_ms, build=build)
    async with (
        running_ledger(data_dir, settings=settings, wall_clock=clock) as ledger,
        AsyncClient(ledger.rpc_url, commitment=Confirmed) as client,
    ):
        yield Chain(ledger, client, ensure_local_keys(data_dir), clock)


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """A new ledger whose slots go by hand."""
    async with running_chain(tmp_path / "chain") as running:
        yield running


@pytest.fixture
async def live_chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """A new ledger with fast slots of its own."""
    async with running_chain(tmp_path / "chain", slot_ms=20) as running:
        yield running


_CHILD = """
import asyncio, sys
from pathlib import Path
from chain.ledger import LedgerSettings, serve
data_dir, port, slot_ms = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
asyncio.run(serve(LedgerSettings(data_dir, rpc_port=port, pubsub_port=0, slot_ms=slot_ms)))
"""


class LedgerChild:
    """A ledger in a process of its own, on a port that stays the same over restarts."""

    def __init__(self, data_dir: Path, port: int, slot_ms: int = 20) -> None:
        self.data_dir = data_dir
        self.url = f"http://127.0.0.1:{port}"
        self._argv = [sys.executable, "-c", _CHILD, str(data_dir), str(port), str(slot_ms)]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start, and return once it answers."""
        self._spawn()
        async with AsyncClient(self.url) as client:

            async def answers() -> bool:
                with contextlib.suppress(Exception):
                    return await client.is_connected()
                return False

            await eventually_async(answers, timeout_s=60)

    def _spawn(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(self._argv, env=environment, stdout=subprocess.DEVNULL)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = await asyncio.to_thread(self._process.wait, WAIT_S_MAX)
        self._process = None
        return code

    async def close(self) -> None:
        """Make sure that nothing is left."""
        if self._process is not None:
            await self.stop(signal.SIGKILL)
