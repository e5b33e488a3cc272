"""The statements of `queries.sql`, by name."""

import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PART = re.compile(r"\{(\w+)\}")


def parse(text: str) -> dict[str, str]:
    """Split a file of named statements; `{name}` stands for the statement of that name, which comes before it.

    Raises ValueError for a name used twice.
    """
    _, *pieces = _NAME.split(text)
    statements: dict[str, str] = {}
    for name, body in zip(pieces[::2], pieces[1::2], strict=True):
        if name in statements:
            raise ValueError(f"two statements are named {name}")
        statements[name] = _PART.sub(lambda part: statements[part[1]], body.strip().removesuffix(";"))
    return statements


STATEMENTS: Mapping[str, str] = parse((Path(__file__).parent / "queries.sql").read_text("utf-8"))
_NAMES: Mapping[str, str] = {text: name for name, text in STATEMENTS.items()}


def name_of(text: str) -> str:
    """The name of a statement, the first word of any other."""
    return _NAMES.get(text) or text.split(maxsplit=1)[0]


def sql(name: str) -> str:
    """The statement of that name; a name that does not exist is a bug of the caller (KeyError)."""
    return STATEMENTS[name]
