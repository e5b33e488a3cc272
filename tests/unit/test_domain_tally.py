"""Traps section 3: the number table, and integers where floats would lie."""

import pytest

from domain.tally import Tally, VoteType, choice_of, single, word_of

TABLE = [
    (0, 0, 0, False, False),
    (1, 0, 10000, True, True),
    (7, 3, 7000, True, True),
    (70, 30, 7000, True, True),
    (69, 31, 6900, False, True),
    (699, 301, 6990, False, True),
    (6999, 3001, 6999, False, True),
    (71, 29, 7100, True, True),
    (3, 1, 7500, True, True),
    (6, 4, 6000, False, True),
    (3, 2, 6000, False, True),
    (60, 40, 6000, False, True),
    (59, 41, 5900, False, False),
    (599, 401, 5990, False, False),
    (50, 50, 5000, False, False),
    (8000, 2000, 8000, True, True),
    (4, 1, 8000, True, True),
    (7000, 3000, 7000, True, True),
    (10000, 5000, 6666, False, True),
    (0, 3, 0, False, False),
]


@pytest.mark.parametrize(("yes", "no", "bps", "at_7000", "at_6000"), TABLE)
def test_the_share_of_yes_is_counted_in_whole_basis_points(
    yes: int, no: int, bps: int, at_7000: bool, at_6000: bool
) -> None:
    tally = Tally(yes, no, yes, no)
    assert (tally.percentage_bps, tally.meets(7000), tally.meets(6000)) == (bps, at_7000, at_6000)


def test_no_votes_never_pass_even_a_threshold_of_zero() -> None:
    assert not Tally().meets(0)


@pytest.mark.parametrize(("yes", "total", "bps"), [(23, 40, 5750), (29, 50, 5800), (23, 80, 2875)])
def test_where_a_float_formula_is_one_too_low_the_integers_are_exact(yes: int, total: int, bps: int) -> None:
    assert Tally(yes, total - yes).percentage_bps == bps
    assert int(yes / total * 100 * 100) == bps - 1


def test_weights_beyond_64_bits_stay_exact() -> None:
    weight = 2**64 - 1
    tally = Tally(weight * 7, weight * 3)
    assert tally.percentage_bps == 7000


def test_support_means_yes_on_asymmetric_weights() -> None:
    tally = single(choice_of(VoteType.DISPUTE, "support") is True, 5).plus(
        single(choice_of(VoteType.DISPUTE, "reject") is True, 2)
    )
    assert (tally.yes, tally.no, tally.yes_voters, tally.no_voters) == (5, 2, 1, 1)


@pytest.mark.parametrize("vote_type", list(VoteType))
def test_words_and_choices_are_each_others_inverse(vote_type: VoteType) -> None:
    assert [choice_of(vote_type, word_of(vote_type, choice)) for choice in (True, False)] == [True, False]


@pytest.mark.parametrize("word", ["", "yes", "LIKE", "support ", "agree"])
def test_any_other_word_is_no_choice(word: str) -> None:
    assert choice_of(VoteType.PROPOSAL, word) is None
