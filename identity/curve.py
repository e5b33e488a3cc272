"""Which 32 bytes are the public key of somebody who can sign: points of ed25519 that are not of small order.

Public values only, so nothing here needs constant time.
"""

from __future__ import annotations

from collections.abc import Callable

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Y_OF_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
"""Solves d*y^4 + 2*y^2 = 1, which is where doubling leads to y = 0, a point of order 4."""
SMALL_ORDER_YS = frozenset({0, 1, P - 1, Y_OF_ORDER_8, P - Y_OF_ORDER_8})
"""The y of all eight points whose order divides 8; whoever names such a key has signatures that fit any message."""


def is_on_curve(public_key: bytes) -> bool:
    """Whether x^2 = (y^2 - 1) / (d*y^2 + 1) has a solution, by Euler's criterion; takes 110 us."""
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return pow(x_squared, (P - 1) // 2, P) == 1


def can_sign(public_key: bytes, on_curve: Callable[[bytes], bool] = is_on_curve) -> bool:
    """Whether the bytes are a canonical point of the curve, and not one of small order.

    Program-derived addresses are off the curve on purpose, so they fail here. Whoever checks thousands a second hands
    in a faster `on_curve`.
    """
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    return y < P and y not in SMALL_ORDER_YS and on_curve(public_key)
