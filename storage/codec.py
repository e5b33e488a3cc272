"""Domain values as rows and back; exact, because every number crosses as decimal text or as an integer (T6).

Unix seconds with 0 for unset become TIMESTAMPTZ or NULL. Rows are what the statements of `queries.sql` name.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import orjson

from domain.claims import claims_of
from domain.deadlines import ClockName, Deadline
from domain.feed import FeedMessage
from domain.ids import virtual_shard
from domain.intents import Action, Expectation, Intent, IntentStatus, Settlement, StoredTransaction
from domain.journal import AggregationNote, AlertNote, Change
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.merkle import HASH_BYTES, Frontier
from domain.observed import ChainConfig, ObservedMarket
from domain.tally import Tally

Row = Mapping[str, Any]

CELL_SEPARATOR, NULL_CELL = "\x1f", "\x1e"
_UNSTORABLE = str.maketrans("", "", "\0" + CELL_SEPARATOR + NULL_CELL)

_TALLY_COLUMNS = {
    "proposal": ("likes", "dislikes", "like_voters", "dislike_voters"),
    "dispute": ("support", "reject", "support_voters", "reject_voters"),
}
_LOGS = ("proposal_log", "dispute_log")
_MOVED_BY_VOTES = frozenset({"proposal", "dispute", "version", "market_seq", "votes_seq", *_LOGS})
_ELSEWHERE = frozenset({"proposal", "dispute", "state", "intent", "expectation", *_LOGS})
"""Fields of Market that are not one column of the same name."""

_market_fields = [field.name for field in fields(Market)]
_plain_fields = [name for name in _market_fields if name not in _ELSEWHERE]
_untouched_by_votes = attrgetter(*(name for name in _market_fields if name not in _MOVED_BY_VOTES))


def columns(rows: Iterable[Sequence[str | None]]) -> list[str]:
    """Rows turned into one text for each column, as the SQL function `cells` takes it apart.

    Raises ValueError for a cell that contains a separator: text from outside is checked long before it comes here.
    """
    texts = []
    for column in zip(*rows, strict=True):
        text = CELL_SEPARATOR.join([NULL_CELL if cell is None else cell for cell in column])
        nulls = text.count(NULL_CELL)
        if text.count(CELL_SEPARATOR) != len(column) - 1 or (nulls and nulls != column.count(None)):
            raise ValueError("a cell contains a separator of cells")
        texts.append(text)
    return texts


def printable(words: str) -> str:
    """Words that a program on chain chose, without the characters that no row can hold."""
    return words.translate(_UNSTORABLE)


def moves_counts_only(change: Change) -> bool:
    """Whether nothing but tallies, sequences, version and deadline differ from the version before."""
    before = change.before
    return before is not None and _untouched_by_votes(before) == _untouched_by_votes(change.market)


def counts_row(change: Change) -> tuple[str | None, ...]:
    """The columns of `update_counts`, in its order."""
    market, deadline = change.market, change.deadline
    return (
        market.market_id,
        str(market.version),
        str(market.market_seq),
        str(market.votes_seq),
        *_tally_texts(market.proposal),
        *_tally_texts(market.dispute),
        *_log_texts(market.proposal_log),
        *_log_texts(market.dispute_log),
        str(deadline.at_s) if deadline else None,
        deadline.clock.value if deadline else None,
    )


def outbox_row(message: FeedMessage) -> tuple[str | None, ...]:
    """The columns of `save_outbox`, in its order."""
    votes_seq = None if message.votes_seq is None else str(message.votes_seq)
    return message.channel, str(message.seq), message.type, orjson.dumps(message.payload).decode(), votes_seq


def market_json(change: Change) -> dict[str, Any]:
    """The whole row, with the columns of `markets` as keys."""
    market, deadline = change.market, change.deadline
    row = {name.removesuffix("_s"): _plain(name, getattr(market, name)) for name in _plain_fields}
    for name, names in _TALLY_COLUMNS.items():
        tally = getattr(market, name)
        row.update(zip(names, (tally.yes, tally.no, tally.yes_voters, tally.no_voters), strict=True))
    for name in _LOGS:
        size, peaks = _log_texts(getattr(market, name))
        row[f"{name}_size"], row[f"{name}_peaks"] = size, f"\\x{peaks}"
    row["vshard"] = virtual_shard(market.market_id)
    row["state"] = market.state.name
    row["created_at"] = _instant(market.created_at_s)  # lists are ordered by it, so it is never NULL
    row["intent_id"] = market.intent.intent_id if market.intent else None
    expected = market.expectation
    row["expected_yes"] = expected.yes if expected else None
    row["expected_no"] = expected.no if expected else None
    row["expected_threshold_bps"] = expected.threshold_bps if expected else None
    claims = claims_of(market)
    row["claims_enabled"] = claims is not None
    row["claims_available_at"] = _instant(claims.available_at_s) if claims else None
    row["next_deadline_at"] = _instant(deadline.at_s) if deadline else None
    row["next_deadline_clock"] = deadline.clock.value if deadline else None
    return row


def market_of(row: Row) -> Market:
    """The market in a row of `market_row`."""
    plain: dict[str, Any] = {name: row[name] or 0 if name.endswith("_s") else row[name] for name in _plain_fields}
    for name, names in _TALLY_COLUMNS.items():
        plain[name] = Tally(*(row[column] for column in names))
    for name in _LOGS:
        plain[name] = Frontier(row[f"{name}_size"], _peaks_of(row[f"{name}_peaks"]))
    intent = intent_of(row) if row["intent_id"] else None
    return Market(**plain, state=Lifecycle[row["state"]], intent=intent, expectation=_expectation_of(row))


def _expectation_of(row: Row) -> Expectation | None:
    if row["expected_yes"] is None:
        return None
    return Expectation(row["expected_yes"], row["expected_no"], row["expected_threshold_bps"])


def deadline_of(row: Row) -> Deadline | None:
    """The deadline in a row, or None."""
    at_s = row["next_deadline_at_s"]
    return None if at_s is None else Deadline(at_s, ClockName(row["next_deadline_clock"]))


def intent_row(intent: Intent) -> tuple[str | None, ...]:
    """The columns of `plan_intents`, in its order."""
    vshard = virtual_shard(intent.market_id)
    numbers = (str(intent.attempt), _text(intent.yes), _text(intent.no))
    return (intent.intent_id, intent.market_id, str(vshard), intent.action.value, *numbers)


def intent_of(row: Row) -> Intent:
    """The attempt in a row."""
    return Intent(
        intent_id=row["intent_id"],
        market_id=row["intent_market_id"],
        action=Action(row["action"]),
        attempt=row["attempt"],
        yes=row["yes"],
        no=row["no"],
    )


def note_row(note: AggregationNote) -> tuple[str | None, ...]:
    """The columns of `note_aggregations`, in its order."""
    yes, no = note.submitted or (None, None)
    return (
        note.aggregation_id,
        note.market_id,
        note.vote_type.value,
        str(note.tally.yes),
        str(note.tally.no),
        _text(yes),
        _text(no),
        str(note.tally.percentage_bps),
        str(note.threshold_bps),
        "true" if note.threshold_met else "false",
        note.status,
        printable(note.reason),
        None if note.votes_size is None else str(note.votes_size),
        note.votes_root,
        "true" if note.is_synthetic else "false",
    )


def alert_row(note: AlertNote) -> tuple[str | None, ...]:
    """The columns of `raise_alerts`, in its order."""
    data = {name: printable(text) for name, text in note.data.items()}  # jsonb takes no NUL, escaped or not
    return (printable(note.dedupe_key), note.alert_type, note.severity, note.market_id, json.dumps(data))


def settlement_of(row: Row) -> Settlement:
    """The ended attempt in a row of `settlements`."""
    return Settlement(
        intent=intent_of(row),
        status=IntentStatus(row["status"]),
        signature=row["signature"],
        slot=row["slot"],
        error_name=row["error_name"],
        observed=observed_of(row["observed"]),
    )


def transaction_of(row: Row) -> StoredTransaction:
    """The open attempt in a row of `open_transactions`."""
    return StoredTransaction(
        intent=intent_of(row),
        status=IntentStatus(row["status"]),
        raw=row["raw"],
        signature=row["signature"],
        last_valid_block_height=row["last_valid_block_height"],
        age_s=row["age_s"],
    )


def observed_json(observed: ObservedMarket | None) -> str | None:
    """An account as it was read, as JSON; integers stay integers of any size."""
    return None if observed is None else json.dumps(asdict(observed))


def observed_of(text: str | None) -> ObservedMarket | None:
    """The reverse of `observed_json`."""
    if text is None:
        return None
    read = json.loads(text)
    return ObservedMarket(**{**read, "state": Lifecycle(read["state"])})


def config_of(row: Row) -> ChainConfig:
    """The GlobalConfig in a row of `chain_config`."""
    return ChainConfig(**{field.name: row[field.name] for field in fields(ChainConfig)})


def config_row(config: ChainConfig) -> tuple[Any, ...]:
    """The columns of `save_config`, in its order."""
    return tuple(getattr(config, field.name) for field in fields(ChainConfig))


def _plain(name: str, value: Any) -> Any:
    if not name.endswith("_s"):
        return value
    return _instant(value) if value else None


def _instant(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat()


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _tally_texts(tally: Tally) -> tuple[str, str, str, str]:
    return str(tally.yes), str(tally.no), str(tally.yes_voters), str(tally.no_voters)


def _log_texts(log: Frontier) -> tuple[str, str]:
    return str(log.size), b"".join(log.peaks).hex()


def _peaks_of(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES))
