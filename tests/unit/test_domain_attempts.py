"""Ten attempts of one wallet on one market in an hour, apart from the one-vote rule."""

from domain.attempts import ATTEMPTS_MAX, WINDOW_S, Attempts
from tests.support.markets import NOON_S, market_id, wallet


def refused(times: int, at_s: int = NOON_S) -> Attempts:
    attempts = Attempts()
    for _ in range(times):
        attempts.note_refused(market_id(), wallet(1), at_s)
    return attempts


def test_up_to_the_limit_a_wallet_may_try() -> None:
    assert refused(ATTEMPTS_MAX - 1).wait_s(market_id(), wallet(1), NOON_S) == 0


def test_at_the_limit_it_waits_until_the_oldest_attempt_leaves_the_window() -> None:
    assert refused(ATTEMPTS_MAX).wait_s(market_id(), wallet(1), NOON_S + 600) == WINDOW_S - 600


def test_after_the_window_it_may_try_again() -> None:
    attempts = refused(ATTEMPTS_MAX)
    assert attempts.wait_s(market_id(), wallet(1), NOON_S + WINDOW_S) == 0
    assert len(attempts) == 0, "what has left the window is forgotten"


def test_other_wallets_and_other_markets_are_not_concerned() -> None:
    attempts = refused(ATTEMPTS_MAX)
    assert attempts.wait_s(market_id(), wallet(2), NOON_S) == 0
    assert attempts.wait_s(market_id(2), wallet(1), NOON_S) == 0


def test_memory_is_bounded_and_the_stalest_wallet_is_forgotten_first() -> None:
    attempts = Attempts(attempts_max=1, wallets_max=2)
    for number in (1, 2, 1, 3):
        attempts.note_refused(market_id(), wallet(number), NOON_S)
    assert len(attempts) == 2
    assert [attempts.wait_s(market_id(), wallet(number), NOON_S) > 0 for number in (1, 2, 3)] == [True, False, True]
