"""The Clock and Rent sysvar accounts, made on demand from the slot that is read."""

from __future__ import annotations

import struct

from chain.ledger.accounts import CLOCK_SYSVAR, RENT_SYSVAR, SYSVAR_OWNER, Account, rent_exempt_lamports

SLOTS_PER_EPOCH = 432_000
KEYS = frozenset({CLOCK_SYSVAR, RENT_SYSVAR})

_CLOCK = struct.Struct("<QqQQq")
"""slot, epoch start, epoch, leader schedule epoch, unix timestamp."""
_RENT = struct.Struct("<QdB")
"""lamports per byte and year, years to be exempt, percent burned."""


def account(key: bytes, slot: int, unix_s: int) -> Account:
    """The sysvar account `key` as of `slot`."""
    if key == CLOCK_SYSVAR:
        epoch = slot // SLOTS_PER_EPOCH
        data = _CLOCK.pack(slot, unix_s, epoch, epoch + 1, unix_s)
    else:
        data = _RENT.pack(3_480, 2.0, 50)
    return Account(rent_exempt_lamports(len(data)), SYSVAR_OWNER, data)
