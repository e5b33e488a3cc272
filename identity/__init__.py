"""Who is calling, and who signed what: sign-in, access tokens, service keys, signatures of votes, receipts.

It must never know what becomes of a market or a vote, gRPC or where a nonce is stored: it speaks wallets and keys, and
has its own ports. Start reading at `doorkeeper.py` (headers to a caller), then `sign_in.py` (what a wallet signs).
"""

from identity.allowances import Allowances, Standing
from identity.callers import ANONYMOUS, Caller, ServiceKeys, Tier, hash_service_key
from identity.challenges import Challenge, Challenges
from identity.curve import can_sign
from identity.denials import Denial
from identity.doorkeeper import Doorkeeper
from identity.families import FamiliesInMemory
from identity.keys import SecretKey, SigningKey, TokenKey, UnusableKey, load, load_or_create, secret_key
from identity.nonces import NoncesInMemory
from identity.ports import (
    CallCounts,
    FamilyStore,
    NonceStore,
    NonceStoreUnavailable,
    Revocations,
    SessionStoreUnavailable,
)
from identity.receipts import LogPlace, Receipt, ReceiptSigner, Seal
from identity.refreshes import REFRESH_TTL_S, Refreshes, Session
from identity.sign_in import Site
from identity.tokens import ACCESS_TTL_S, OPERATOR_TTL_S, IssuedToken, Tokens
from identity.vote_signatures import Verifies, VoteSignatures, verifies
from identity.webhooks import WebhookMode, WebhookSecrets

__all__ = [
    "ACCESS_TTL_S",
    "ANONYMOUS",
    "OPERATOR_TTL_S",
    "REFRESH_TTL_S",
    "Allowances",
    "CallCounts",
    "Caller",
    "Challenge",
    "Challenges",
    "Denial",
    "Doorkeeper",
    "FamiliesInMemory",
    "FamilyStore",
    "IssuedToken",
    "LogPlace",
    "NonceStore",
    "NonceStoreUnavailable",
    "NoncesInMemory",
    "Receipt",
    "ReceiptSigner",
    "Refreshes",
    "Revocations",
    "Seal",
    "SecretKey",
    "ServiceKeys",
    "Session",
    "SessionStoreUnavailable",
    "SigningKey",
    "Site",
    "Standing",
    "Tier",
    "TokenKey",
    "Tokens",
    "UnusableKey",
    "Verifies",
    "VoteSignatures",
    "WebhookMode",
    "WebhookSecrets",
    "can_sign",
    "hash_service_key",
    "load",
    "load_or_create",
    "secret_key",
    "verifies",
]
