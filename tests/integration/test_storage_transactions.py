"""The way of a transaction, held against PostgreSQL and against the in-memory twin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from domain.intents import Intent, IntentStatus
from domain.journal import AggregationNote, AlertNote, Change
from domain.lifecycle import Lifecycle
from domain.tally import Tally, VoteType
from storage.transactions import BEFORE, TransitionRefused
from tests.support.markets import market, market_id, observed
from tests.support.storage import ALL_SHARDS, AnyStore, Ground, adopted, new_id, own, planned

HEIGHT = 2**64 - 1


async def plan(ground: Ground, number: int = 1) -> Intent:
    """One market with one planned attempt."""
    journal = await ground.journal(acquire_timeout_s=0)
    epochs = await own(journal)
    before = market(market_id=market_id(number))
    change = planned(before)
    for step in (adopted(before), change):
        async with journal.transaction(epochs) as transaction:
            await transaction.save([step])
    await journal.close()
    return change.planned[0]


async def sign(store: AnyStore, intent: Intent, signature: str = "sig") -> None:
    await store.mark_signed(intent.intent_id, b"\x00raw\xff", signature, "hash", HEIGHT)


MARKS: dict[IntentStatus, Callable[[AnyStore, Intent], Awaitable[None]]] = {
    IntentStatus.SIGNED: sign,
    IntentStatus.SENT: lambda store, intent: store.mark_sent(intent.intent_id),
    IntentStatus.CONFIRMED: lambda store, intent: store.mark_confirmed(intent.intent_id, HEIGHT, observed(slot=HEIGHT)),
    IntentStatus.FINALIZED: lambda store, intent: store.mark_finalized(intent.intent_id),
    IntentStatus.FAILED: lambda store, intent: store.mark_failed(intent.intent_id, "InvalidState", None),
    IntentStatus.EXPIRED: lambda store, intent: store.mark_expired(intent.intent_id, observed(slot=5)),
}
WAY: dict[IntentStatus, tuple[IntentStatus, ...]] = {
    IntentStatus.PLANNED: (),
    IntentStatus.SIGNED: (IntentStatus.SIGNED,),
    IntentStatus.SENT: (IntentStatus.SIGNED, IntentStatus.SENT),
    IntentStatus.CONFIRMED: (IntentStatus.SIGNED, IntentStatus.SENT, IntentStatus.CONFIRMED),
    IntentStatus.FINALIZED: (
        IntentStatus.SIGNED,
        IntentStatus.SENT,
        IntentStatus.CONFIRMED,
        IntentStatus.FINALIZED,
    ),
    IntentStatus.FAILED: (IntentStatus.FAILED,),
    IntentStatus.EXPIRED: (IntentStatus.SIGNED, IntentStatus.EXPIRED),
}


async def bring_to(ground: Ground, status: IntentStatus) -> Intent:
    intent = await plan(ground)
    for step in WAY[status]:
        await MARKS[step](ground.store, intent)
    return intent


async def settled_status(ground: Ground) -> IntentStatus | None:
    journal = await ground.journal()
    settlements = await journal.settlements(ALL_SHARDS, 10)
    await journal.close()
    return settlements[0].status if settlements else None


async def test_a_planned_attempt_is_open_and_unsigned(ground: Ground) -> None:
    intent = await plan(ground)
    (row,) = await ground.store.open_transactions(10)
    assert (row.intent, row.status) == (intent, IntentStatus.PLANNED)
    assert (row.raw, row.signature, row.last_valid_block_height) == (None, None, None)


async def test_signed_bytes_are_kept_exactly(ground: Ground) -> None:
    await bring_to(ground, IntentStatus.SIGNED)
    (row,) = await ground.store.open_transactions(10)
    assert (row.status, row.raw, row.signature) == (IntentStatus.SIGNED, b"\x00raw\xff", "sig")
    assert row.last_valid_block_height == HEIGHT


async def test_open_attempts_come_oldest_first_up_to_a_limit(ground: Ground) -> None:
    intents = [await plan(ground, number) for number in (1, 2, 3)]
    await sign(ground.store, intents[0])
    assert [row.intent for row in await ground.store.open_transactions(2)] == intents[:2]


async def test_other_bytes_for_the_same_attempt_are_refused(ground: Ground) -> None:
    intent = await bring_to(ground, IntentStatus.SIGNED)
    with pytest.raises(TransitionRefused):
        await sign(ground.store, intent, signature="another")
    (row,) = await ground.store.open_transactions(10)
    assert row.signature == "sig"


async def test_an_unknown_attempt_is_refused(ground: Ground) -> None:
    with pytest.raises(TransitionRefused, match="unknown"):
        await ground.store.mark_sent(new_id())


@pytest.mark.parametrize("mark", list(MARKS))
@pytest.mark.parametrize("start", list(WAY))
async def test_a_mark_moves_a_row_on_repeats_harmlessly_or_is_refused(
    ground: Ground, start: IntentStatus, mark: IntentStatus
) -> None:
    intent = await bring_to(ground, start)
    moves = start in BEFORE[mark]
    after_a_send = start in (IntentStatus.CONFIRMED, IntentStatus.FINALIZED, IntentStatus.FAILED, IntentStatus.EXPIRED)
    is_behind = (
        start is mark
        or (mark is IntentStatus.SENT and after_a_send)
        or (mark is IntentStatus.CONFIRMED and start is IntentStatus.FINALIZED)
    )
    if not moves and not is_behind:
        with pytest.raises(TransitionRefused):
            await MARKS[mark](ground.store, intent)
    else:
        for _ in range(2):
            await MARKS[mark](ground.store, intent)
    expected = mark if moves else start
    ended = {IntentStatus.CONFIRMED, IntentStatus.FINALIZED, IntentStatus.FAILED, IntentStatus.EXPIRED}
    assert await settled_status(ground) == (expected if expected in ended else None)
    open_now = [row.status for row in await ground.store.open_transactions(10)]
    assert open_now == ([] if expected in ended else [expected])


async def test_a_settlement_carries_what_was_seen_on_chain(ground: Ground) -> None:
    intent = await bring_to(ground, IntentStatus.SENT)
    seen = observed(slot=HEIGHT, state=Lifecycle.APPROVED, final_outcome=False, total_volume=HEIGHT, proposal_likes=7)
    await ground.store.mark_confirmed(intent.intent_id, HEIGHT, seen)
    journal = await ground.journal()
    (settlement,) = await journal.settlements(ALL_SHARDS, 10)
    assert (settlement.intent, settlement.signature, settlement.slot) == (intent, "sig", HEIGHT)
    assert (settlement.observed, settlement.error_name) == (seen, None)


async def test_a_failure_carries_its_name_and_no_account(ground: Ground) -> None:
    await bring_to(ground, IntentStatus.FAILED)
    journal = await ground.journal()
    (settlement,) = await journal.settlements(ALL_SHARDS, 10)
    assert (settlement.error_name, settlement.observed, settlement.slot) == ("InvalidState", None, None)


async def test_no_word_of_a_program_can_block_its_market(ground: Ground) -> None:
    intent = await plan(ground)
    await ground.store.mark_failed(intent.intent_id, "Bad\0Wo\x1frd\x1e", None)
    journal = await ground.journal()
    (settlement,) = await journal.settlements(ALL_SHARDS, 10)
    assert settlement.error_name == "BadWord"
    await journal.close()
    await note(ground, intent, "failed", "Bad\0Wo\x1frd\x1e")
    assert [row[1] for row in await ground.aggregations()] == ["failed"]


async def test_settlements_come_oldest_first_up_to_a_limit(ground: Ground) -> None:
    intents = [await plan(ground, number) for number in (1, 2, 3)]
    for intent in reversed(intents):
        await ground.store.mark_failed(intent.intent_id, "x", None)
    journal = await ground.journal()
    assert [s.intent for s in await journal.settlements(ALL_SHARDS, 2)] == [intents[2], intents[1]]


async def test_an_aggregation_follows_its_transaction(ground: Ground) -> None:
    intent = await plan(ground)
    assert await ground.aggregations() == [(intent.intent_id, "pending", None, 7, 3, "")]
    await sign(ground.store, intent)
    assert await ground.aggregations() == [(intent.intent_id, "pending", None, 7, 3, "")]
    await ground.store.mark_sent(intent.intent_id)
    assert await ground.aggregations() == [(intent.intent_id, "submitted", "sig", 7, 3, "")]
    await note(ground, intent, "confirmed", "landed")
    assert await ground.aggregations() == [(intent.intent_id, "confirmed", "sig", 7, 3, "landed")]


async def test_an_aggregation_that_ended_stays_as_it_ended(ground: Ground) -> None:
    intent = await plan(ground)
    await sign(ground.store, intent)
    await note(ground, intent, "failed", "InvalidState")
    ended = [(intent.intent_id, "failed", "sig", 7, 3, "InvalidState")]
    assert await ground.aggregations() == ended
    await ground.store.mark_sent(intent.intent_id)
    await note(ground, intent, "confirmed", "", version=4)
    assert await ground.aggregations() == ended


async def note(ground: Ground, intent: Intent, status: str, reason: str, version: int = 3) -> None:
    """What the market's next version says of the attempt; its figures are not those of the plan."""
    journal = await ground.journal()
    epochs = await own(journal)
    after = replace(market(), version=version, intent=None)
    place = (intent.intent_id, intent.market_id, VoteType.PROPOSAL)
    told = AggregationNote(*place, status, Tally(1, 1, 1, 1), (1, 1), 1, threshold_met=False, reason=reason)
    async with journal.transaction(epochs) as transaction:
        await transaction.save([Change(after, None, is_new=False, aggregations=(told,))])
    await journal.close()


async def test_only_what_was_never_signed_is_failed_for_being_overdue(ground: Ground) -> None:
    intent = await plan(ground)
    assert await ground.store.mark_overdue(intent.intent_id, "AttemptOverdue")
    assert not await ground.store.mark_overdue(intent.intent_id, "AttemptOverdue")
    journal = await ground.journal()
    (settlement,) = await journal.settlements(ALL_SHARDS, 10)
    assert (settlement.status, settlement.error_name, settlement.observed) == (
        IntentStatus.FAILED,
        "AttemptOverdue",
        None,
    )


async def test_what_was_signed_is_not_failed_for_being_overdue(ground: Ground) -> None:
    intent = await plan(ground)
    await sign(ground.store, intent)
    assert not await ground.store.mark_overdue(intent.intent_id, "AttemptOverdue")
    assert [row.status for row in await ground.store.open_transactions(10)] == [IntentStatus.SIGNED]


# --- until it is final ------------------------------------------------------------------------------------------------


async def take_in(ground: Ground, intent: Intent) -> None:
    """The market takes the end of the attempt in."""
    journal = await ground.journal()
    epochs = await own(journal)
    (before,) = await journal.load([intent.market_id])
    after = replace(before[0], version=before[0].version + 1, intent=None)
    async with journal.transaction(epochs) as transaction:
        await transaction.save([Change(after, None, is_new=False, applied=(intent.intent_id,))])
    await journal.close()


async def test_what_is_confirmed_is_listed_oldest_first_until_it_is_final(ground: Ground) -> None:
    intents = [await plan(ground, number) for number in (1, 2, 3)]
    for number in (1, 0, 2):
        await sign(ground.store, intents[number], signature=f"sig{number}")
        await MARKS[IntentStatus.CONFIRMED](ground.store, intents[number])
    listed = await ground.store.confirmed_transactions(2)
    assert [(row.intent, row.status, row.signature, row.last_valid_block_height) for row in listed] == [
        (intents[1], IntentStatus.CONFIRMED, "sig1", HEIGHT),
        (intents[0], IntentStatus.CONFIRMED, "sig0", HEIGHT),
    ]
    await ground.store.mark_finalized(intents[1].intent_id, HEIGHT - 1)
    assert [row.intent for row in await ground.store.confirmed_transactions(10)] == [intents[0], intents[2]]
    journal = await ground.journal()
    slots = {s.intent: s.slot for s in await journal.settlements(ALL_SHARDS, 10)}
    assert (slots[intents[1]], slots[intents[0]]) == (HEIGHT - 1, HEIGHT)


@pytest.mark.parametrize(("name", "status"), [(None, IntentStatus.EXPIRED), ("InsufficientVotes", IntentStatus.FAILED)])
async def test_an_undone_confirmation_is_settled_a_second_time(
    ground: Ground, name: str | None, status: IntentStatus
) -> None:
    intent = await bring_to(ground, IntentStatus.CONFIRMED)
    await take_in(ground, intent)
    assert await settled_status(ground) is None
    for _ in range(2):
        assert await ground.store.mark_undone(intent.intent_id, name, observed(slot=7)) is True
    journal = await ground.journal()
    (settlement,) = await journal.settlements(ALL_SHARDS, 10)
    assert (settlement.status, settlement.error_name, settlement.observed) == (status, name, observed(slot=7))
    assert await ground.store.confirmed_transactions(10) == []


async def test_a_confirmation_is_undone_only_once_its_market_has_taken_it_in(ground: Ground) -> None:
    intent = await bring_to(ground, IntentStatus.CONFIRMED)
    assert await ground.store.mark_undone(intent.intent_id, None, None) is False
    assert await settled_status(ground) is IntentStatus.CONFIRMED


@pytest.mark.parametrize(
    "start", [IntentStatus.PLANNED, IntentStatus.SIGNED, IntentStatus.SENT, IntentStatus.FINALIZED]
)
async def test_nothing_but_a_confirmation_can_be_undone(ground: Ground, start: IntentStatus) -> None:
    intent = await bring_to(ground, start)
    with pytest.raises(TransitionRefused):
        await ground.store.mark_undone(intent.intent_id, None, None)


async def test_an_expired_attempt_keeps_what_a_node_said_of_it(ground: Ground) -> None:
    intent = await bring_to(ground, IntentStatus.SENT)
    await ground.store.mark_expired(intent.intent_id, None, "Insufficient\0Votes")
    journal = await ground.journal()
    (settlement,) = await journal.settlements(ALL_SHARDS, 10)
    assert (settlement.status, settlement.error_name) == (IntentStatus.EXPIRED, "InsufficientVotes")


async def test_a_days_fees_are_those_of_what_was_signed_and_did_not_expire(ground: Ground) -> None:
    intents = [await plan(ground, number) for number in (1, 2, 3)]
    assert await ground.store.fees_of_day() == 0
    for intent, lamports in zip(intents, (5_000, 6_001, 70_000), strict=True):
        await ground.store.mark_signed(intent.intent_id, b"raw", "sig", "hash", HEIGHT, lamports)
    await ground.store.mark_expired(intents[2].intent_id, None)
    assert await ground.store.fees_of_day() == 11_001


async def test_an_alert_is_raised_once_while_it_is_open(ground: Ground) -> None:
    for severity in ("CRITICAL", "HIGH"):
        await ground.store.raise_alert(AlertNote("fee_cap", severity, "fee_cap", None, {"spent": "1"}))
    assert await ground.alerts() == ["fee_cap"]
