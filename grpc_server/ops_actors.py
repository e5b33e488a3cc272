"""What operators see of actors, of the shard processes they live in, and of the transactions they plan."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from domain.ids import virtual_shard
from domain.intents import Action, IntentStatus
from domain.shards import ShardProcess
from domain.standing import ActorStanding, AwaitedDeadline
from domain.transactions import ListedTransaction, TransactionFilter, TransactionPlace
from grpc_server import translate
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import OperatorBook
from grpc_server.problems import Invalid, Rejected, violation
from zmart.v1 import ops_service_pb2 as pb

_STATUSES = frozenset(status.value for status in IntentStatus)
_ACTIONS = frozenset(action.value for action in Action)
_COUNT_MAX = 2**32 - 1


class Actors:
    """Asks the market's actor itself; shards and transactions are read from the database as last committed."""

    def __init__(self, book: OperatorBook, page_tokens: PageTokens) -> None:
        self._book = book
        self._page_tokens = page_tokens

    async def describe(self, request: pb.DescribeActorRequest) -> pb.DescribeActorResponse:
        """Answer how the actor stands; raises the outages of a command, for the question goes the same way."""
        standing = await self._book.standing(translate.market_id(request.market_id))
        if not isinstance(standing, ActorStanding):
            raise Rejected(standing)
        return _described(standing, await self._in_flight(standing))

    async def shards(self) -> pb.ListShardsResponse:
        """Answer who owns what, and each process's last word."""
        owned, processes = await self._book.virtual_shards(), await self._book.shard_processes()
        return pb.ListShardsResponse(
            shards=[
                pb.VirtualShard(virtual_shard=each.number, host=each.host, pid=each.pid, epoch=each.epoch)
                for each in owned
            ],
            processes=[_process(each) for each in processes],
        )

    async def transactions(self, request: pb.ListTransactionsRequest) -> pb.ListTransactionsResponse:
        """Answer one page, newest first; asks for one row more to know whether there is another page."""
        wanted, size = _filter(request), translate.page_size(request.page_size)
        conditions = f"ListTransactions {wanted}"
        place = self._page_tokens.read(request.page_token, conditions)
        rows = list(await self._book.transactions(wanted, TransactionPlace(*place) if place else None, size + 1))
        token = self._page_tokens.issue(rows[size - 1].place, conditions) if len(rows) > size else ""
        return pb.ListTransactionsResponse(transactions=[_shown(row) for row in rows[:size]], next_page_token=token)

    async def _in_flight(self, standing: ActorStanding) -> ListedTransaction | None:
        if standing.market.intent is None:
            return None
        wanted = TransactionFilter(transaction_id=standing.market.intent.intent_id)
        rows = await self._book.transactions(wanted, None, 1)
        return rows[0] if rows else None


def _filter(request: pb.ListTransactionsRequest) -> TransactionFilter:
    if request.status and request.status not in _STATUSES:
        raise violation(Invalid.TRANSACTION_STATUS_UNKNOWN, "status", request.status)
    if request.action and request.action not in _ACTIONS:
        raise violation(Invalid.TRANSACTION_ACTION_UNKNOWN, "action", request.action)
    market_id = translate.market_id(request.market_id) if request.market_id else None
    return TransactionFilter(market_id, request.status or None, request.action or None)


def _described(standing: ActorStanding, in_flight: ListedTransaction | None) -> pb.DescribeActorResponse:
    market, last = standing.market, standing.last_decision
    return pb.DescribeActorResponse(
        market_id=market.market_id,
        virtual_shard=virtual_shard(market.market_id),
        active=standing.is_active,
        version=market.version,
        state=market.state.name,
        next_deadline=Timestamp(seconds=standing.deadlines[0].deadline.at_s) if standing.deadlines else None,
        last_decision=last.words if last else market.skip_reason,
        decided_at=Timestamp(seconds=last.at_s) if last else None,
        in_flight=_shown(in_flight) if in_flight else None,
        deadlines=[_deadline(each) for each in standing.deadlines],
        shard=standing.slot,
        host=standing.host,
        pid=standing.pid,
        epoch=standing.epoch,
        mailbox=standing.mailbox,
        failures=market.failures,
    )


def _deadline(awaited: AwaitedDeadline) -> pb.ActorDeadline:
    deadline = awaited.deadline
    return pb.ActorDeadline(kind=awaited.kind, at=Timestamp(seconds=deadline.at_s), clock=deadline.clock.value)


def _process(process: ShardProcess) -> pb.ShardProcess:
    beat = process.beat
    return pb.ShardProcess(
        slot=beat.slot,
        host=beat.host,
        pid=beat.pid,
        virtual_shards=beat.virtual_shards,
        resident_markets=beat.resident_markets,
        deadlines=beat.deadlines,
        lag_seconds=beat.lag_s,
        restarts=min(beat.restarts, _COUNT_MAX),
        recent_losses=beat.recent_losses,
        started_at=_instant(process.started_at),
        heartbeat_at=_instant(process.heartbeat_at),
        alive=process.is_alive,
    )


def _shown(row: ListedTransaction) -> pb.Transaction:
    return pb.Transaction(
        transaction_id=row.place.transaction_id,
        market_id=row.market_id,
        action=row.action,
        attempt=row.attempt,
        status=row.status,
        transaction_signature=row.signature,
        last_valid_block_height=row.last_valid_block_height,
        slot=row.slot,
        error_name=row.error_name,
        created_at=_instant(row.planned_at),
        updated_at=_instant(row.updated_at),
    )


def _instant(instant: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp
