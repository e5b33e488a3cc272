"""The keys that sign tokens and receipts: Ed25519, one a PEM file that only its owner reads, or a shared secret."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

KEY_ID_LENGTH = 16


class UnusableKey(Exception):
    """A key file that must not be used; names the file and says how to mend it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and its name: the beginning of its public key's SHA-256, hex; tokens carry it as `kid`."""

    key_id: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    algorithm: ClassVar[str] = "EdDSA"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A secret that both signs and verifies tokens, for those who must; its name tells nothing of it."""

    key_id: str
    private: bytes = field(repr=False)
    algorithm: ClassVar[str] = "HS256"

    @property
    def public(self) -> bytes:
        """The same secret."""
        return self.private


TokenKey = SigningKey | SecretKey


def secret_key(secret: str) -> SecretKey:
    """The named key of a secret of at least 32 unguessable characters."""
    raw = secret.encode()
    return SecretKey(hashlib.sha256(b"key id\0" + raw).hexdigest()[:KEY_ID_LENGTH], raw)


def signing_key(private: Ed25519PrivateKey) -> SigningKey:
    """The named pair of a private key."""
    public = private.public_key()
    return SigningKey(key_id_of(public.public_bytes_raw()), private, public)


def key_id_of(public_key: bytes) -> str:
    """The name of a raw public key."""
    return hashlib.sha256(public_key).hexdigest()[:KEY_ID_LENGTH]


def load_or_create(path: Path) -> SigningKey:
    """The key of a file, made with mode 0600 if there is none. Raises `UnusableKey`; two starters get the same key."""
    with suppress(FileExistsError):  # the usual case: an earlier start made it
        _create(path)
    return load(path)


def load(path: Path) -> SigningKey:
    """The key of a file. Raises `UnusableKey` when others may read it or it is not an Ed25519 key."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UnusableKey(path, "others may read it; run chmod 600, and make a new key if others have read it")
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise UnusableKey(path, "not a PEM private key; remove it to get a new one") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UnusableKey(path, "not an Ed25519 key; remove it to get a new one")
    return signing_key(private)


def _create(path: Path) -> None:
    """Write a whole new key under another name and link it into place, so that nobody ever reads half a key."""
    if path.exists():
        raise FileExistsError(path)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        os.link(draft, path)
    finally:
        draft.unlink()
