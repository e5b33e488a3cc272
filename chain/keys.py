"""Solana key files: the JSON array of 64 bytes that Solana's own tools write; secrets are never shown."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from solders.keypair import Keypair

from domain.ids import Wallet

SECRET_BYTES = 64
KEY_FILE_MODE = 0o600
KEY_FILE_BYTES_MAX = 4_096


class KeyFileError(Exception):
    """A key file that cannot be used; names the file and the fault, never its content."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"key file {path}: {fault}")
        self.path = path
        self.fault = fault


class SigningKey:
    """One ed25519 key that signs; printing, formatting or pickling it never gives the secret away."""

    __slots__ = ("_pair", "wallet")

    def __init__(self, pair: Keypair) -> None:
        self._pair = pair
        self.wallet = Wallet(str(pair.pubkey()))

    @property
    def pair(self) -> Keypair:
        """The key itself, for the one call that signs."""
        return self._pair

    def __repr__(self) -> str:
        return f"SigningKey({self.wallet})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key never leaves its process")


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys this backend signs with; `admin` is None where the operator keeps it elsewhere."""

    backend: SigningKey
    admin: SigningKey | None = None


def load_key(path: Path) -> SigningKey:
    """Read a key file; raises `KeyFileError` for a missing, oversized or malformed one."""
    try:
        with path.open("rb") as file:
            text = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(path, error.strerror or "unreadable") from error
    if len(text) > KEY_FILE_BYTES_MAX:
        raise KeyFileError(path, f"longer than {KEY_FILE_BYTES_MAX} bytes")
    return SigningKey(_parse(path, text))


def _parse(path: Path, text: bytes) -> Keypair:
    try:
        numbers = json.loads(text)
    except ValueError:
        raise KeyFileError(path, "not JSON") from None
    is_key = isinstance(numbers, list) and len(numbers) == SECRET_BYTES
    if not is_key or not all(type(number) is int and 0 <= number <= 255 for number in numbers):
        raise KeyFileError(path, f"not an array of {SECRET_BYTES} bytes")
    try:
        return Keypair.from_bytes(bytes(numbers))
    except ValueError:
        raise KeyFileError(path, "its public half does not belong to its secret half") from None


def ensure_key(path: Path) -> SigningKey:
    """Load the key at `path`, or make a new one there, readable by its owner only.

    Two processes that both find it missing agree on one key: the file appears complete or not at all, and only once.
    """
    if not path.exists():
        _create(path)
    return load_key(path)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, KEY_FILE_MODE)
    with os.fdopen(descriptor, "w") as file:
        json.dump(list(bytes(Keypair())), file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first: its key is the key
    finally:
        draft.unlink()


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """The keys of a data dir's own chain, made once per data dir."""

    admin: SigningKey
    backend: SigningKey
    fee_wallet: SigningKey


def local_key_path(data_dir: Path, role: str) -> Path:
    """Where a data dir keeps its key for `role`: admin, backend, fee_wallet or faucet."""
    return data_dir / "keys" / f"{role}.json"


def ensure_local_keys(data_dir: Path) -> LocalKeys:
    """The data dir's keys, made on first use."""
    roles = {role: ensure_key(local_key_path(data_dir, role)) for role in ("admin", "backend", "fee_wallet")}
    return LocalKeys(**roles)
