"""The interface definition of zmart_core as anchorpy reads it, written from the published tables (newer layout)."""

from __future__ import annotations

import json
from functools import cache

from anchorpy_core.idl import Idl

from chain.errors import idl_json


@cache
def zmart_idl() -> Idl:
    """The shipped IDL, parsed: 18 instructions, 4 accounts, 18 events, 52 errors."""
    return Idl.from_json(json.dumps(idl_json()))
