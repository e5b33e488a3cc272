"""What a person must hear about a transaction."""

from __future__ import annotations

from chain.ports import AlertNote
from domain.intents import IntentStatus, StoredTransaction


def late(stored: StoredTransaction) -> AlertNote:
    """It is signed, overdue and still under way; one alert for each attempt."""
    intent = stored.intent
    data = {
        "action": intent.action.value,
        "signature": stored.signature or "",
        "age_s": str(stored.age_s),
        "means": "It is signed and may still land, so it is followed until it has or can no longer.",
    }
    return AlertNote("aggregation_overdue", "HIGH", f"aggregation_overdue:{intent.intent_id}", intent.market_id, data)


def undone(stored: StoredTransaction, error_name: str | None) -> AlertNote:
    """It was confirmed and its slot was dropped; one open alert for each market and action."""
    intent = stored.intent
    data = {
        "action": intent.action.value,
        "signature": stored.signature or "",
        "end": error_name or IntentStatus.EXPIRED.value,
        "means": "It was confirmed, then its slot was dropped. The market follows the chain and tries again.",
    }
    key = f"confirmation_undone:{intent.market_id}:{intent.action.value}"
    return AlertNote("confirmation_undone", "HIGH", key, intent.market_id, data)
