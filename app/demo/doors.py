"""The public doors of a running system: gRPC, the WebSocket feed and the ledger's JSON-RPC."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import Transaction
from websockets.asyncio.client import ClientConnection, connect

from chain.program import ZmartProgram
from domain.ids import MarketId, Wallet
from zmart.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    market_service_pb2,
    market_service_pb2_grpc,
    vote_service_pb2,
    vote_service_pb2_grpc,
)

CALL_S = 30.0
AIRDROP_LAMPORTS = 10_000_000_000
B_PARAMETER = 100_000_000_000
LIQUIDITY_LAMPORTS = 100_000_000
COMPUTE_PAUSE_S = 0.1


class RpcFailed(Exception):
    """The ledger answered with an error."""

    def __init__(self, method: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{method}: {error}")
        self.error = error


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A wallet with a token."""

    pair: Keypair
    token: str

    @property
    def wallet(self) -> Wallet:
        """Its address."""
        return Wallet(str(self.pair.pubkey()))


class Doors:
    """Calls anybody could make. Nothing is retried: a refusal is an answer."""

    def __init__(self, connection: Mapping[str, Any], channel: grpc.aio.Channel, http: aiohttp.ClientSession) -> None:
        self._connection = connection
        self._http = http
        self._auth = auth_service_pb2_grpc.AuthServiceStub(channel)
        self._votes = vote_service_pb2_grpc.VoteServiceStub(channel)
        self._markets = market_service_pb2_grpc.MarketServiceStub(channel)
        self._program = ZmartProgram.at(connection["program_id"])
        self._ids = itertools.count(1)

    # --- the ledger -----------------------------------------------------------------------------------------------

    async def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call; raises RpcFailed for an error answer."""
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        async with self._http.post(self._connection["rpc_url"], json=body) as response:
            answer = await response.json()
        if "error" in answer:
            raise RpcFailed(method, answer["error"])
        return answer["result"]

    async def create_market(self, creator: Keypair, market_id: MarketId, question_hash: bytes) -> str:
        """The creator pays for and signs `create_market`; returns the signature once it is confirmed."""
        wallet = Wallet(str(creator.pubkey()))
        await self.confirmed(await self.rpc("requestAirdrop", wallet, AIRDROP_LAMPORTS))
        instruction = self._program.create_market(wallet, market_id, B_PARAMETER, LIQUIDITY_LAMPORTS, question_hash)
        latest = await self.rpc("getLatestBlockhash", {"commitment": "confirmed"})
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        transaction = Transaction([creator], Message([instruction], creator.pubkey()), blockhash)
        raw = base64.b64encode(bytes(transaction)).decode()
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        return str(await self.confirmed(await self.rpc("sendTransaction", raw, options)))

    async def confirmed(self, signature: str) -> str:
        """Wait until a transaction is confirmed; raises RpcFailed when it failed, TimeoutError after 30 s."""
        async with asyncio.timeout(CALL_S):
            while True:
                (status,) = (await self.rpc("getSignatureStatuses", [signature]))["value"]
                if status is not None and status["err"] is not None:
                    raise RpcFailed("sendTransaction", status["err"])
                if status is not None and status["confirmationStatus"] in ("confirmed", "finalized"):
                    return signature
                await asyncio.sleep(COMPUTE_PAUSE_S)

    async def account_bytes(self, market_id: MarketId) -> bytes:
        """The raw bytes of the market's account at confirmed commitment."""
        address = str(self._program.market_address(market_id)[0])
        answer = await self.rpc("getAccountInfo", address, {"encoding": "base64", "commitment": "confirmed"})
        return base64.b64decode(answer["value"]["data"][0]) if answer["value"] else b""

    async def advance_clock(self, seconds: int) -> None:
        """Move the chain's clock."""
        await self.rpc("zmart_advanceClock", seconds)

    # --- gRPC -----------------------------------------------------------------------------------------------------

    async def sign_in(self, pair: Keypair) -> SignedIn:
        """Sign the challenge that the server issues for this wallet."""
        address = str(pair.pubkey())
        challenge = await self._auth.CreateChallenge(
            auth_service_pb2.CreateChallengeRequest(address=address), timeout=CALL_S
        )
        signature = str(pair.sign_message(challenge.message.encode()))
        signed_in = await self._auth.SignIn(
            auth_service_pb2.SignInRequest(address=address, message=challenge.message, signature=signature),
            timeout=CALL_S,
        )
        return SignedIn(pair, signed_in.access_token)

    async def register(self, creator: SignedIn, market_id: MarketId, question: str, category: str) -> None:
        """Describe a market as its creator."""
        request = market_service_pb2.RegisterMarketRequest(market_id=market_id, question=question, category=category)
        await self._markets.RegisterMarket(request, metadata=_bearer(creator), timeout=CALL_S)

    async def cast(self, voter: SignedIn, market_id: MarketId, word: str) -> vote_service_pb2.CastProposalVoteResponse:
        """Cast a proposal vote."""
        request = vote_service_pb2.CastProposalVoteRequest(market_id=market_id, vote=word)
        return await self._votes.CastProposalVote(request, metadata=_bearer(voter), timeout=CALL_S)

    async def tally(self, market_id: MarketId) -> vote_service_pb2.GetTallyResponse:
        """The tallies as the API gives them."""
        return await self._votes.GetTally(vote_service_pb2.GetTallyRequest(market_id=market_id), timeout=CALL_S)

    async def market(self, market_id: MarketId) -> market_service_pb2.GetMarketResponse:
        """The market as the API gives it."""
        return await self._markets.GetMarket(market_service_pb2.GetMarketRequest(market_id=market_id), timeout=CALL_S)

    # --- the feed -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watching(self, viewer: SignedIn, market_id: MarketId) -> AsyncIterator[Watch]:
        """A WebSocket subscribed to the market's channel."""
        async with self.subscribed(viewer, f"market_{market_id}") as watch:
            yield watch

    @asynccontextmanager
    async def subscribed(self, viewer: SignedIn, channel: str) -> AsyncIterator[Watch]:
        """A WebSocket subscribed to one channel."""
        url = f"{self._connection['ws_url']}?channels={channel}"
        headers = {"Authorization": f"Bearer {viewer.token}"}
        async with connect(url, additional_headers=headers, compression=None) as socket:
            yield Watch(socket)


class Watch:
    """What arrives on one WebSocket, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Read until a message of this type with these fields has come; raises TimeoutError after 30 s."""
        async with asyncio.timeout(CALL_S):
            while True:
                message: dict[str, Any] = json.loads(await self._socket.recv())
                self.messages.append(message)
                if message["type"] == kind and fields.items() <= message.items():
                    return message


def reason(error: grpc.RpcError) -> str:
    """The reason in a refusal's ErrorInfo, empty when there is none."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return str(info.reason)
    return ""


def _bearer(who: SignedIn) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {who.token}"),)
