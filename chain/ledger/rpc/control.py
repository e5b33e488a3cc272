"""The ledger's own methods: its clock, its faults, its webhook. No fault ever meets them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from chain.ledger import faults
from chain.ledger.bank import LAG_SLOTS_MAX, Block
from chain.ledger.faults import Fault
from chain.ledger.node import CLOCK_ADVANCE_S_MAX, Node, Webhook
from chain.ledger.rpc.faults import invalid_params
from chain.ledger.rpc.params import Config, Params, read_block

FAULT_SECONDS_MAX = 600
HEADER_CHARS_MAX = 4_096
URL_CHARS_MAX = 2_048

_OPTIONS = frozenset({"probability", "count", "seconds", "slots", "slot", "seed"})


def get_clock(node: Node, params: Params) -> dict[str, int]:
    """The Clock sysvar's slot and Unix time at a commitment, `processed` by default."""
    return _clock(read_block(node, params.config(0), default="processed"))


def advance_clock(node: Node, params: Params) -> dict[str, int]:
    """Move the Clock forwards by whole seconds; a read at `confirmed` sees it one slot later, as any change."""
    seconds = params.number(0)
    if seconds > CLOCK_ADVANCE_S_MAX:
        raise invalid_params(f"Invalid params: at most {CLOCK_ADVANCE_S_MAX} seconds at once.")
    return _clock(node.advance_clock(seconds))


def _clock(block: Block) -> dict[str, int]:
    return {"slot": block.slot, "unixTimestamp": block.unix_s}


def set_fault(node: Node, params: Params) -> list[dict[str, Any]]:
    """Turn a fault on in place of an earlier one of its name; a count or probability of 0 turns it off.

    The answer lists every fault that is on.
    """
    name = params.text(0)
    if name not in faults.NAMES:
        raise invalid_params(f"Invalid params: no fault `{name}`; there are {', '.join(faults.NAMES)}.")
    node.set_fault(_fault(name, params.config(1)))
    return get_faults(node, params)


def _fault(name: str, config: Config) -> Fault:
    unknown = sorted(set(config.values) - _OPTIONS)
    if unknown:
        raise invalid_params(f"Invalid params: no option `{unknown[0]}`; there are {', '.join(sorted(_OPTIONS))}.")
    return Fault(
        name=name,
        probability=_probability(config.raw("probability")),
        count=config.number("count"),
        seconds=_at_most(config.number("seconds"), FAULT_SECONDS_MAX, "seconds"),
        slots=_at_most(config.number("slots"), LAG_SLOTS_MAX, "slots"),
        slot=config.number("slot"),
        seed=config.number("seed") or 0,
    )


def _probability(value: Any) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise invalid_params("Invalid params: probability is a number from 0 to 1.")
    return float(value)


def _at_most(value: int | None, value_max: int, name: str) -> int | None:
    if value is not None and value > value_max:
        raise invalid_params(f"Invalid params: {name} is at most {value_max}.")
    return value


def clear_faults(node: Node, params: Params) -> list[dict[str, Any]]:
    """Turn every fault off."""
    node.clear_faults()
    return get_faults(node, params)


def get_faults(node: Node, _params: Params) -> list[dict[str, Any]]:
    """Every fault that is on, with how often it will still strike (null: no end)."""
    return [
        {
            "name": fault.name,
            "probability": fault.probability,
            "left": left,
            "seconds": fault.seconds,
            "slots": fault.slots,
            "slot": fault.slot,
            "seed": fault.seed,
        }
        for fault, left in node.faults
    ]


def set_webhook(node: Node, params: Params) -> dict[str, Any]:
    """Post confirmed transactions of the program to a URL with this `Authorization`; a null URL ends it."""
    if params.count and params.values[0] is None:
        node.set_webhook(None)
        return {"url": None}
    url = params.text(0)
    header = "" if params.count < 2 or params.values[1] is None else params.text(1)
    _check_webhook(url, header)
    node.set_webhook(Webhook(url, header))
    return {"url": url}


def _check_webhook(url: str, header: str) -> None:
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_http = False
    if not is_http or len(url) > URL_CHARS_MAX:
        raise invalid_params("Invalid params: the webhook's URL is http or https, with a host.")
    if len(header) > HEADER_CHARS_MAX or not header.isprintable():
        raise invalid_params(f"Invalid params: the header is printable and at most {HEADER_CHARS_MAX} characters.")


METHODS = {
    "zmart_getClock": get_clock,
    "zmart_advanceClock": advance_clock,
    "zmart_setFault": set_fault,
    "zmart_clearFaults": clear_faults,
    "zmart_getFaults": get_faults,
    "zmart_setWebhook": set_webhook,
}
