"""The one edge from the actors up to the composition root: a dotted name in a start message (decisions B7).

Shards are forked by Thespian and can be handed nothing but a message, so their parts are looked up by name at run time.
"""

from __future__ import annotations

import importlib
from typing import Any


def resolve(dotted: str) -> Any:
    """The object behind `package.module:name`; raises ImportError or AttributeError for a name that is not there."""
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)
