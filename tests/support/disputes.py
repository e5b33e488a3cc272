"""A disputed market on the running system's ledger, its traders, and where wallets vote on it."""

from __future__ import annotations

import base64

import grpc
import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import Transaction

from app.demo.doors import AIRDROP_LAMPORTS, Doors, reason
from chain.client import ChainReader
from chain.keys import ensure_local_keys
from domain.ids import MarketId, Wallet
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, new_market_id
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

HASH = b"Qm" + b"e" * 44
SPENT = {"large": 2_000_000_000, "small": 300_000_000}
"""Lamports that the two traders spend: what they get for them is for the market maker to say."""


def wallet(pair: Keypair) -> Wallet:
    return Wallet(str(pair.pubkey()))


class Dispute:
    """A market with two traders, brought to its dispute by the calls of everybody concerned."""

    def __init__(self, system: RunningSystem, doors: Doors, reader: ChainReader) -> None:
        self.market_id: MarketId = new_market_id()
        self.creator = Keypair()
        self.traders = {name: Keypair() for name in SPENT}
        self._keys = ensure_local_keys(system.data_dir / "ledger")
        self._doors = doors
        self._reader = reader
        self._program = reader.program

    async def begin(self) -> None:
        """Created, approved by the keys that may, and activated."""
        await self._doors.create_market(self.creator, self.market_id, HASH)
        backend, admin = self._keys.backend.pair, self._keys.admin.pair
        await self._send(self._program.aggregate_proposal_votes(wallet(backend), self.market_id, 7, 3), backend)
        await self._send(self._program.approve_proposal(wallet(admin), self.market_id), admin)
        await self._send(self._program.activate_market(wallet(self.creator), self.market_id), self.creator)

    async def trade(self) -> None:
        """The large trader buys YES, the small one NO and then YES."""
        fees = self._keys.fee_wallet.wallet
        for trader in self.traders.values():
            await self._doors.confirmed(await self._doors.rpc("requestAirdrop", wallet(trader), AIRDROP_LAMPORTS))
        for name, outcome in (("large", True), ("small", False), ("small", True)):
            trader = self.traders[name]
            await self._send(
                self._program.buy_shares(wallet(trader), self.market_id, outcome, SPENT[name], fees), trader
            )

    async def resolve(self) -> None:
        """Resolved to YES by the creator."""
        creator = self.creator
        await self._let_time_pass()
        await self._send(self._program.resolve_market(wallet(creator), self.market_id, True, HASH), creator)

    async def dispute(self) -> None:
        """Resolved to YES, and disputed by the small trader a moment later."""
        small = self.traders["small"]
        await self.resolve()
        await self._let_time_pass()
        await self._send(self._program.initiate_dispute(wallet(small), self.market_id), small)

    async def shares(self, name: str) -> int:
        """What a trader holds, both outcomes together, read from the ledger."""
        position = await self._reader.position(self.market_id, wallet(self.traders[name]))
        assert position is not None
        return position.shares_yes + position.shares_no

    async def _let_time_pass(self) -> None:
        """A second or more, as the chain's own clock shows it."""
        before_s = (await self._reader.clock()).unix_s
        await self._doors.advance_clock(2)

        async def passed() -> bool:
            return (await self._reader.clock()).unix_s > before_s

        await eventually_async(passed)

    async def _send(self, call: Instruction, pair: Keypair) -> None:
        latest = await self._doors.rpc("getLatestBlockhash", {"commitment": "confirmed"})
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        raw = base64.b64encode(bytes(Transaction([pair], Message([call], pair.pubkey()), blockhash))).decode()
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        await self._doors.confirmed(await self._doors.rpc("sendTransaction", raw, options))


class Booth:
    """Where wallets vote on the dispute."""

    def __init__(self, system: RunningSystem, channel: grpc.aio.Channel, market_id: MarketId) -> None:
        self._system = system
        self._market_id = market_id
        self.stub = VoteServiceStub(channel)

    async def cast(self, pair: Keypair, word: str, **more: str) -> pb.CastDisputeVoteResponse:
        metadata = (("authorization", f"Bearer {self._system.token(pair).token}"),)
        request = pb.CastDisputeVoteRequest(market_id=self._market_id, vote=word, **more)
        answer = await self.stub.CastDisputeVote(request, metadata=metadata, timeout=20)
        assert isinstance(answer, pb.CastDisputeVoteResponse)
        return answer

    async def refused(self, pair: Keypair, word: str, **more: str) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.cast(pair, word, **more)
        return reason(caught.value)
