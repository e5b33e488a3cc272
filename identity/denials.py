"""Why somebody is not who they say: one reason for each way to fail, and none of them is an error of ours."""

from __future__ import annotations

import enum


class Denial(enum.Enum):
    """A member's name is its reason in the public catalogue."""

    ADDRESS_CANNOT_SIGN = enum.auto()
    """The address is not a point of the curve (a program's account, say) or fits any signature."""

    SIGN_IN_DOMAIN_UNKNOWN = enum.auto()
    """A challenge was asked for under a domain that is not ours."""
    SIGN_IN_MESSAGE_MALFORMED = enum.auto()
    NONCE_UNKNOWN = enum.auto()
    """Never issued for this address, used up, or expired; which of them is nobody's business."""
    SIGN_IN_DOMAIN_MISMATCH = enum.auto()
    SIGN_IN_ADDRESS_MISMATCH = enum.auto()
    SIGN_IN_URI_MISMATCH = enum.auto()
    SIGN_IN_CHAIN_MISMATCH = enum.auto()
    SIGN_IN_FIELD_NOT_ISSUED = enum.auto()
    SIGN_IN_MESSAGE_ALTERED = enum.auto()
    CHALLENGE_NOT_YET_VALID = enum.auto()
    CHALLENGE_EXPIRED = enum.auto()
    SIGNATURE_MALFORMED = enum.auto()
    SIGNATURE_INVALID = enum.auto()

    TOKEN_MISSING = enum.auto()
    AUTHORIZATION_MALFORMED = enum.auto()
    """The header is not `Bearer <token>`."""
    TOKEN_MALFORMED = enum.auto()
    TOKEN_ALGORITHM_REFUSED = enum.auto()
    TOKEN_KEY_UNKNOWN = enum.auto()
    TOKEN_SIGNATURE_INVALID = enum.auto()
    TOKEN_CLAIM_MISSING = enum.auto()
    TOKEN_CLAIM_INVALID = enum.auto()
    """Correctly signed, but with a value that is never issued: an older build's, or a key shared with others."""
    TOKEN_ISSUER_MISMATCH = enum.auto()
    TOKEN_AUDIENCE_MISMATCH = enum.auto()
    TOKEN_EXPIRED = enum.auto()

    TOKEN_REVOKED = enum.auto()

    REFRESH_TOKEN_MALFORMED = enum.auto()
    REFRESH_TOKEN_UNKNOWN = enum.auto()
    REFRESH_TOKEN_EXPIRED = enum.auto()
    REFRESH_TOKEN_REUSED = enum.auto()
    """It was replaced before, so two have it: everything that came of its sign-in ends."""
    REFRESH_FAMILY_REVOKED = enum.auto()

    WEBHOOK_NOT_PROVEN = enum.auto()
    """Neither the secret nor a signature with it; which of them was wrong is nobody's business."""
