"""Secrets of sinks: read from files or the environment, and taken out of every word that leaves this package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from domain.alerts import Announcement

SECRET_LENGTH_MAX = 4096
WORD_LENGTH_MIN = 6
PLAIN_LENGTH_MAX = 20
"""Shorter parts of a secret URL, and plain words in it (`v2`, `services`), are no secrets: taking them out of every
sentence would garble it."""
HIDDEN = "***"
_PARTS = re.compile(r"[/?&=#:@]+")


class SecretMissing(Exception):
    """A secret cannot be had; names where it was looked for, never what it is."""


def read_secret(file: Path | None, variable: str | None, folder: Path, environment: Mapping[str, str]) -> str:
    """The secret in a file (relative to `folder`) or in an environment variable. Raises SecretMissing."""
    if file is not None:
        return _checked(_content(folder / file), f"the file {file}")
    assert variable is not None, "the rules ask for a file or a variable"
    return _checked(environment.get(variable, ""), f"the environment variable {variable}")


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretMissing(f"{path} cannot be read: {type(error).__name__}") from error


def _checked(text: str, where: str) -> str:
    secret = text.strip()
    if not secret:
        raise SecretMissing(f"{where} is empty or not there")
    if len(secret) > SECRET_LENGTH_MAX or not secret.isprintable():
        raise SecretMissing(f"{where} holds no secret: more than one line, or more than {SECRET_LENGTH_MAX} characters")
    return secret


class Redactor:
    """Takes secrets, and the telling parts of secret URLs, out of texts. Longest first, so that no tail is left."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        words = {word for secret in secrets for word in _words(secret)}
        self._words = sorted(words, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without them."""
        for word in self._words:
            text = text.replace(word, HIDDEN)
        return text

    def cleaned(self, announcement: Announcement) -> Announcement:
        """The announcement with its facts without them."""
        data = {name: self.clean(fact) for name, fact in announcement.alert.data.items()}
        return replace(announcement, alert=replace(announcement.alert, data=data))


def _words(secret: str) -> set[str]:
    """The secret, and of a URL its user, its password, and the telling parts of its path and query; hosts may show."""
    if "://" not in secret:
        return {secret, quote(secret, safe="")}
    url = urlsplit(secret)
    parts = [part for part in _PARTS.split(f"{url.path}?{url.query}#{url.fragment}") if _tells(part)]
    found = [secret, url.username or "", url.password or "", *parts]
    return {form for word in found if word for form in (word, quote(word, safe=""))}


def _tells(part: str) -> bool:
    """Whether a part of a path or query could be a secret."""
    plain = part.isalpha() and part.islower() and len(part) < PLAIN_LENGTH_MAX
    return len(part) >= WORD_LENGTH_MIN and not plain
