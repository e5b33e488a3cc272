"""Who may call, as the settings describe it: token keys, service keys and the site that sign-in messages name."""

from __future__ import annotations

import re
import secrets
import string
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from app import clock
from app.config import Settings
from app.embedded.loopback import kept_secret
from app.retold import retold
from app.sessions import Families
from app.setting_types import HASHED
from domain.ids import Wallet
from identity import (
    Challenges,
    Doorkeeper,
    NonceStoreUnavailable,
    ReceiptSigner,
    Refreshes,
    ServiceKeys,
    SigningKey,
    Site,
    TokenKey,
    Tokens,
    hash_service_key,
    load,
    load_or_create,
    secret_key,
)
from storage.database import Guard
from storage.nonces import NonceStore
from storage.redis_nonces import RedisNonces
from storage.sessions import RefreshFamilies

if TYPE_CHECKING:  # breakers are shown as metrics, whose library asks for its folder when it is imported
    from app.breakers import Breakers

NONCE_LENGTH = 24
STATEMENT = "Sign in to zmart. This request will not trigger a transaction or cost any fees."
_NONCE_LETTERS = string.ascii_letters + string.digits


class Nonces:
    """Adapts a store of nonces to identity's port; the guard may keep it from being asked."""

    def __init__(self, store: NonceStore | RedisNonces, guard: Guard = nullcontext) -> None:
        self._store = store
        self._guard = guard

    async def put(self, nonce: str, address: Wallet, message: str, expires_at_s: int) -> None:
        """Remember a challenge."""
        with retold(NonceStoreUnavailable), self._guard():
            await self._store.put(nonce, address, message, expires_at_s)

    async def take(self, nonce: str, address: Wallet) -> str | None:
        """Use up a nonce."""
        with retold(NonceStoreUnavailable), self._guard():
            return await self._store.take(nonce, address)


def tokens(settings: Settings) -> Tokens:
    """Issues and verifies access tokens; every process of one deployment shares the key file."""
    key, *older = token_keys(settings)
    return Tokens(
        key,
        tuple(older),
        settings.token_issuer,
        settings.token_audience,
        lambda: int(clock.wall_s()),
        lambda: str(uuid.uuid4()),
    )


def token_keys(settings: Settings) -> Sequence[TokenKey]:
    """The key that signs, then all that are still verified; what was signed before a rotation stays valid (T67)."""
    files = [_key(settings.token_key, settings.data_dir / "token.pem"), *map(load, settings.former_token_keys)]
    shared = [secret_key(secret) for secret in settings.token_secrets]
    return [*shared, *files] if settings.token_algorithm == "HS256" else [*files, *shared]  # noqa: S105 - a name


def receipts(settings: Settings) -> ReceiptSigner:
    """Signs receipts; every gRPC server of one deployment shares the key file."""
    key = _key(settings.receipt_key, settings.data_dir / "receipt.pem")
    return ReceiptSigner(key, [bytes.fromhex(former) for former in settings.former_receipt_keys])


def _key(configured: Path | None, generated: Path) -> SigningKey:
    if configured is not None:
        return load(configured)
    generated.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return load_or_create(generated)


def service_keys(settings: Settings) -> tuple[str, ...]:
    """The live service keys, some maybe as hashes: configured, or one that is made for the data dir."""
    return settings.service_keys or (kept_secret(settings.data_dir / "service.key"),)


def known_service_key(settings: Settings) -> str:
    """The first service key that is known here, empty when only hashes are."""
    return next((key for key in service_keys(settings) if not key.startswith(HASHED)), "")


def _hash_of(key: str) -> bytes:
    return bytes.fromhex(key.removeprefix(HASHED)) if key.startswith(HASHED) else hash_service_key(key)


def webhook_secrets(settings: Settings) -> tuple[str, ...]:
    """The live secrets of the webhook: configured, or one that is made for the data dir."""
    return settings.webhook_secrets or (kept_secret(settings.data_dir / "webhook.secret"),)


def doorkeeper(settings: Settings) -> Doorkeeper:
    """Turns headers into callers."""
    return Doorkeeper(tokens(settings), ServiceKeys(map(_hash_of, service_keys(settings))))


def challenges(settings: Settings, redis: RedisNonces, database: NonceStore, breakers: Breakers) -> Challenges:
    """Sign-in challenges for the sites of this deployment."""
    sites = [site_of(domain, settings.sign_in_chain) for domain in settings.sign_in_domain]
    first = Nonces(redis, breakers.asking_redis)
    return Challenges(sites, first, clock.utc_now, new_nonce, Nonces(database))


def site_of(domain: str, chain_id: str) -> Site:
    """What messages under a domain say; wallets hold the URI against the page's: https, but on the own machine."""
    is_local = re.fullmatch(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", domain) is not None
    return Site(domain, f"{'http' if is_local else 'https'}://{domain}", chain_id, STATEMENT)


def refreshes(settings: Settings, families: RefreshFamilies) -> Refreshes:
    """Sessions of wallets, with tokens by the deployment's key."""
    return Refreshes(
        Families(families),
        tokens(settings),
        lambda: int(clock.wall_s()),
        lambda: str(uuid.uuid4()),
        lambda: secrets.token_urlsafe(32),
    )


def new_nonce() -> str:
    """24 letters and digits, 142 random bits."""
    return "".join(secrets.choice(_NONCE_LETTERS) for _ in range(NONCE_LENGTH))
