"""The ledger's own Borsh coder: shapes, limits, and agreement with anchorpy."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.ledger.borsh import BOOL, I64, KEY, U8, U16, U32, U64, BorshError, Layout, optional
from chain.ledger.zmart.events import event_bytes, event_line
from chain.ledger.zmart.records import GlobalConfig, Market
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram
from domain.ids import MarketId, Wallet, base58_encode

LAYOUT = Layout([U8, U16, optional(BOOL), U32, optional(I64), U64, KEY, BOOL])
ID, FIRST, USER, AT = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32, 1_762_510_000


@given(
    st.tuples(
        st.integers(0, 255),
        st.integers(0, 2**16 - 1),
        st.none() | st.booleans(),
        st.integers(0, 2**32 - 1),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.integers(0, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
        st.booleans(),
    ),
    st.binary(max_size=8),
)
def test_what_is_encoded_is_decoded_and_what_follows_is_ignored(values: tuple[object, ...], slack: bytes) -> None:
    raw = LAYOUT.encode(values)
    assert LAYOUT.decode(raw + slack) == (list(values), len(raw))


@given(st.binary(max_size=70))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        values, size = LAYOUT.decode(raw)
    except BorshError:
        return
    assert LAYOUT.encode(values) == raw[:size]


@pytest.mark.parametrize(("kind", "value"), [(U8, 256), (U32, -1), (U64, 2**64)])
def test_a_number_that_does_not_fit_is_refused(kind: object, value: int) -> None:
    with pytest.raises(BorshError):
        Layout([kind]).encode([value])  # type: ignore[list-item]


@pytest.mark.parametrize("raw", [b"\x02", b""])
def test_a_bool_is_zero_or_one(raw: bytes) -> None:
    with pytest.raises(BorshError):
        Layout([BOOL]).decode(raw)
    with pytest.raises(BorshError):
        Layout([optional(BOOL)]).decode(raw)


def test_account_tags_and_sizes_are_the_published_ones() -> None:
    assert (GlobalConfig.tag().hex(), Market.tag().hex()) == ("95089ccaa0fcb0d9", "c94ebbe1f0c6c9fb")
    config, market = GlobalConfig().write_over(bytes(206)), Market().write_over(bytes(488))
    assert (len(config), len(market)) == (206, 488)
    assert len(GlobalConfig().write_over(bytes(198))) == 198
    full = Market(proposed_outcome=True, final_outcome=False, cancelled_at=1)
    assert (len(Market().write_over(bytes(473))), len(full.write_over(bytes(483)))) == (473, 483)
    with pytest.raises(BorshError):
        full.write_over(bytes(482))


def test_config_fields_lie_at_the_published_offsets() -> None:
    data = GlobalConfig(
        admin=FIRST, proposal_approval_threshold=7000, dispute_period=259_200, is_paused=True, bump=255
    ).write_over(bytes(206))
    assert data[8:40] == FIRST
    assert int.from_bytes(data[110:112], "little") == 7000
    assert int.from_bytes(data[122:130], "little") == 259_200
    assert (data[132], data[197]) == (1, 255)


def test_market_fields_lie_at_the_published_offsets() -> None:
    data = Market(market_id=ID, creator=FIRST, state=3, proposal_likes=7, was_disputed=True, bump=254).write_over(
        bytes(488)
    )
    assert (data[8:40], data[40:72], data[72]) == (ID, FIRST, 3)
    assert int.from_bytes(data[313:317], "little") == 7
    assert (data[349], data[472]) == (1, 254)
    shifted = Market(proposed_outcome=True, proposal_likes=7, bump=254).write_over(bytes(488))
    assert (shifted[201:203], shifted[314], shifted[473]) == (b"\x01\x01", 7, 254)


def test_anchorpy_reads_what_the_ledger_writes() -> None:
    program = ZmartProgram.at(NEWEST_PROGRAM_ID)
    written = Market(
        market_id=ID,
        creator=FIRST,
        state=4,
        b_parameter=2**64 - 1,
        shares_yes=5,
        finalized_at=-1,
        proposed_outcome=True,
        cancelled_at=9,
        proposal_likes=7,
        dispute_agree=2**32 - 1,
    ).write_over(bytes(488))
    observed = program.market(MarketId(base58_encode(ID)), written, slot=12)
    assert (observed.slot, observed.state.name, observed.creator) == (12, "DISPUTED", base58_encode(FIRST))
    assert (observed.b_parameter, observed.shares_yes, observed.finalized_at_s) == (2**64 - 1, 5, -1)
    assert (observed.proposed_outcome, observed.final_outcome, observed.cancelled_at_s) == (True, None, 9)
    assert (observed.proposal_likes, observed.dispute_agree) == (7, 2**32 - 1)


@pytest.mark.parametrize("state", range(7))
def test_every_state_byte_has_its_domain_state(state: int) -> None:
    data = Market(market_id=ID, state=state).write_over(bytes(488))
    observed = ZmartProgram.at(NEWEST_PROGRAM_ID).market(MarketId(base58_encode(ID)), data, slot=1)
    assert int(observed.state) == state


def test_config_names_which_of_our_keys_it_holds() -> None:
    data = GlobalConfig(
        admin=FIRST, backend_authority=USER, proposal_approval_threshold=1, dispute_period=2
    ).write_over(bytes(206))
    program = ZmartProgram.at(NEWEST_PROGRAM_ID)
    ours, theirs = Wallet(base58_encode(USER)), Wallet(base58_encode(FIRST))
    assert program.config(data, 3, backend=ours, admin=None).may_aggregate
    assert not program.config(data, 3, backend=theirs, admin=ours).may_aggregate
    assert program.config(data, 3, backend=ours, admin=theirs).may_approve
    assert not program.config(data, 3, backend=ours, admin=None).may_approve


@pytest.mark.parametrize(
    ("name", "values", "size", "expected"),
    [
        (
            "MarketCreated",
            (ID, FIRST, 100_000_000_000, 0, AT),
            89,
            "WLiC5+JUBjoBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAOh2SBcAAAAA"
            "sMQNaQAAAAA=",
        ),
        (
            "ProposalAggregated",
            (ID, 7, 3, 70, True, AT),
            58,
            "6qZHdjzzi9UBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQcAAAADAAAARgGwxA1pAAAAAA==",
        ),
        (
            "ProposalApproved",
            (ID, FIRST, AT),
            80,
            "RjGb5J0rWDEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICsMQNaQAAAAA=",
        ),
        (
            "MarketActivated",
            (ID, FIRST, 100_000_000, AT),
            88,
            "xElOMLuEawsBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAOH1BQAAAACw"
            "xA1pAAAAAA==",
        ),
        (
            "MarketCancelled",
            (ID, FIRST, AT),
            80,
            "i6MhqBO0UaoBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICsMQNaQAAAAA=",
        ),
        (
            "GlobalConfigInitialized",
            (FIRST, USER, 300, AT),
            82,
            "Bd2snk1XnXECAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDLAGwxA1pAAAAAA==",
        ),
        (
            "MarketFinalized",
            (ID, None, False, AT),
            50,
            "Uz5CzCVM6rMBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQAAsMQNaQAAAAA=",
        ),
    ],
)
def test_events_have_the_published_bytes(name: str, values: tuple[object, ...], size: int, expected: str) -> None:
    raw = event_bytes(name, *values)
    assert (len(raw), raw[:8]) == (size, hashlib.sha256(f"event:{name}".encode()).digest()[:8])
    assert event_line(name, *values) == f"Program data: {expected}"
