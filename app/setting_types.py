"""Types of settings that are lists: written with commas between, and each of their words checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

HASHED = "sha256:"
"""What a service key begins with that is given as its hash alone."""
SECRET_LENGTH_MIN = 32


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(word for part in value.split(",") if (word := part.strip()))


def _each(is_right: Callable[[str], bool], otherwise: str, is_secret: bool = False) -> AfterValidator:
    """Every word is right; a secret one is not repeated in the complaint."""

    def checked(words: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [word for word in words if not is_right(word)]:
            raise ValueError(otherwise if is_secret else f"{otherwise}: {', '.join(wrong)}")
        return words

    return AfterValidator(checked)


def _is_service_key(word: str) -> bool:
    return not word.startswith(HASHED) or re.fullmatch("[0-9a-f]{64}", word.removeprefix(HASHED)) is not None


def _is_network(word: str) -> bool:
    return ip_network(word) is not None  # raises what is wrong, with the reason


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]
PublicKeys = Annotated[
    Words, _each(lambda word: re.fullmatch("[0-9a-f]{64}", word) is not None, "not 64 lower-case hex digits")
]
Domains = Annotated[
    Words, _each(lambda word: re.fullmatch(r"[^\s/]+", word) is not None, "not a domain, without scheme and path")
]
Networks = Annotated[Words, _each(_is_network, "not a network")]
ServiceKeys = Annotated[
    Words, _each(_is_service_key, f"what begins with {HASHED} goes on with 64 lower-case hex digits", is_secret=True)
]
TokenSecrets = Annotated[
    Words,
    _each(
        lambda word: len(word) >= SECRET_LENGTH_MIN,
        f"a secret has {SECRET_LENGTH_MIN} characters or more",
        is_secret=True,
    ),
]
