"""Every call of the client against CI 6.1 and 6.3: accounts, order, rights, bytes; the smaller accounts as values."""

import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM

from chain.errors import idl_json
from chain.ledger.zmart.records import Market, Position, VoteRecord
from chain.program import DISPUTE_VOTE, NEWEST_PROGRAM_ID, PROPOSAL_VOTE, ConfigChange, UndecodableAccount, ZmartProgram
from domain.ids import MarketId, Wallet, base58_encode, key_bytes

P = ZmartProgram.at(NEWEST_PROGRAM_ID)
MARKET = MarketId(base58_encode(bytes([1]) * 32))
ADMIN, USER, BACKEND, FEES, RESOLVER = (Wallet(base58_encode(bytes([n]) * 32)) for n in range(2, 7))
PDA, CONFIG = P.market_address(MARKET)[0], P.config_address()[0]
PROPOSAL, DISPUTE = (P.vote_address(PDA, USER, kind)[0] for kind in (PROPOSAL_VOTE, DISPUTE_VOTE))
POSITION = P.position_address(PDA, USER)[0]
CHANGE = ConfigChange(300, 200, 500, 7000, 6000, 30, 120)
HASH = b"Qm" + b"h" * 44

NAMED = {
    "admin": ADMIN,
    "user": USER,
    "backend": BACKEND,
    "fees": FEES,
    "resolver": RESOLVER,
    "market": str(PDA),
    "config": str(CONFIG),
    "position": str(POSITION),
    "proposal-vote": str(PROPOSAL),
    "dispute-vote": str(DISPUTE),
    "system": str(SYSTEM_PROGRAM),
}
TRADE = "config market+w position+w user+ws fees+w system"
CALLS: dict[str, tuple[Instruction, str, str | None]] = {
    "initializeGlobalConfig": (
        P.initialize_global_config(ADMIN, BACKEND, FEES),
        "admin+ws config+w fees system",
        "71d87a83e1d11637" + bytes([4] * 32).hex(),
    ),
    "updateGlobalConfig": (
        P.update_global_config(ADMIN, CHANGE),
        "admin+s config+w",
        "a45482bd6f3afac82c01c800f401581b7017011e00000000000000017800000000000000",
    ),
    "emergencyPause": (P.emergency_pause(ADMIN), "admin+s config+w", "158f1b8ec8b5d2ff"),
    "createMarket": (
        P.create_market(USER, MARKET, 10**11, 10**8, HASH),
        "user+ws market+w config system",
        "67e261ebc8bcfbfe" + "01" * 32 + "00e8764817000000" + "00e1f50500000000" + HASH.hex(),
    ),
    "submitProposalVote": (
        P.submit_proposal_vote(USER, MARKET, True),
        "market proposal-vote+w user+ws system",
        "b1bb3be61db90ef001",
    ),
    "aggregateProposalVotes": (
        P.aggregate_proposal_votes(BACKEND, MARKET, 7, 3),
        "market+w config backend+s",
        "1a9c1215b9b0ca480700000003000000",
    ),
    "approveProposal": (P.approve_proposal(ADMIN, MARKET), "admin+ws market+w config", "886c665562720793"),
    "cancelMarket": (P.cancel_market(ADMIN, MARKET), "admin+s market+w config", "cd7954d2de47960b"),
    "activateMarket": (P.activate_market(USER, MARKET), "user+ws market+w config", "0a1ac57471634859"),
    "buyShares": (P.buy_shares(USER, MARKET, True, 10**9, FEES), TRADE, "28ef8a9a08256a6c0100ca9a3b00000000"),
    "sellShares": (
        P.sell_shares(USER, MARKET, False, 250, 200, FEES),
        TRADE,
        "b8a4a910e79ec7c400fa00000000000000c800000000000000",
    ),
    "resolveMarket": (
        P.resolve_market(RESOLVER, MARKET, True, HASH),
        "config market+w resolver+ws",
        "9b1750ad2e4a17ef01" + HASH.hex(),
    ),
    "initiateDispute": (P.initiate_dispute(USER, MARKET), "config market+w user+s", "80f2a0172c3dab25"),
    "submitDisputeVote": (
        P.submit_dispute_vote(USER, MARKET, False),
        "market dispute-vote+w user+ws system",
        "31df3d4298eb48e600",
    ),
    "aggregateDisputeVotes": (
        P.aggregate_dispute_votes(BACKEND, MARKET, 6, 4),
        "market+w config backend+s",
        "4a0e1e13d48d70190600000004000000",
    ),
    "finalizeMarket": (
        P.finalize_market(BACKEND, MARKET, 6, 4),
        "config market+w backend+s",
        "10e1261cd5d901f701060000000104000000",
    ),
    "claimWinnings": (
        P.claim_winnings(USER, MARKET, RESOLVER),
        "config market+w position+w user+ws resolver+w system",
        "a1d7183b0eecf2dd",
    ),
    "withdrawLiquidity": (P.withdraw_liquidity(USER, MARKET), "market+w user+ws", "959e21b92ff3fd1f"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_has_the_published_accounts_rights_and_bytes(name: str) -> None:
    call, accounts, data = CALLS[name]
    found = [(str(meta.pubkey), meta.is_writable, meta.is_signer) for meta in call.accounts]
    expected = [(*entry.split("+"), "")[:2] for entry in accounts.split()]
    assert found == [(NAMED[key], "w" in rights, "s" in rights) for key, rights in expected]
    assert bytes(call.data).hex() == data
    assert call.program_id == P.program_id


def test_every_instruction_of_the_interface_has_its_call_with_the_same_rights() -> None:
    idl = {entry["name"]: entry["accounts"] for entry in idl_json()["instructions"]}
    assert set(idl) == set(CALLS)
    for name, accounts in idl.items():
        found = [(meta.is_writable, meta.is_signer) for meta in CALLS[name][0].accounts]
        assert found == [(entry["isMut"], entry["isSigner"]) for entry in accounts], name


def test_a_market_without_dispute_is_finalized_without_tallies() -> None:
    assert bytes(P.finalize_market(BACKEND, MARKET).data).hex() == "10e1261cd5d901f70000"


def test_an_evidence_hash_longer_than_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match="evidence hash of 47 bytes"):
        P.resolve_market(RESOLVER, MARKET, True, b"q" * 47)


def test_a_position_is_read_as_it_was_written() -> None:
    written = Position(
        market=bytes(PDA),
        user=key_bytes(USER),
        shares_yes=2**64 - 1,
        shares_no=7,
        total_invested=8,
        trades_count=2**32 - 1,
        last_trade_at=-5,
        has_claimed=True,
        claimed_amount=9,
        bump=254,
    ).write_over(bytes(182))
    assert (written[:8].hex(), len(written), written[181]) == ("fbf8d1f553ea111b", 182, 254)
    seen = P.position(POSITION, written, slot=3)
    assert (seen.market, seen.user, seen.slot, seen.has_claimed) == (str(PDA), USER, 3, True)
    assert (seen.shares_yes, seen.shares_no, seen.total_invested, seen.claimed_amount) == (2**64 - 1, 7, 8, 9)
    assert (seen.trades_count, seen.last_trade_at_s) == (2**32 - 1, -5)


@pytest.mark.parametrize(("kind", "address"), [(PROPOSAL_VOTE, PROPOSAL), (DISPUTE_VOTE, DISPUTE)])
def test_a_vote_is_read_as_it_was_written(kind: int, address: Pubkey) -> None:
    record = VoteRecord(
        market=bytes(PDA), user=key_bytes(USER), vote_type=kind, vote=True, voted_at=1_762_510_000, bump=252
    ).write_over(bytes(83))
    assert (record[:8].hex(), len(record), record[72:74], record[82]) == (
        "70097ba5ea099da7",
        83,
        bytes([kind, 1]),
        252,
    )
    seen = P.vote(address, record, slot=9)
    assert (seen.market, seen.user, seen.slot) == (str(PDA), USER, 9)
    assert (seen.is_dispute, seen.vote, seen.voted_at_s) == (kind == DISPUTE_VOTE, True, 1_762_510_000)


def test_a_record_at_another_ones_address_is_refused() -> None:
    vote = VoteRecord(market=bytes(PDA), user=key_bytes(USER)).write_over(bytes(83))
    position = Position(market=bytes(PDA), user=key_bytes(ADMIN)).write_over(bytes(182))
    with pytest.raises(UndecodableAccount, match=f"{DISPUTE}: its contents belong to {PROPOSAL}"):
        P.vote(DISPUTE, vote, 1)
    with pytest.raises(UndecodableAccount, match="its contents belong to"):
        P.position(POSITION, position, 1)
    with pytest.raises(UndecodableAccount, match="discriminator"):
        P.position(POSITION, vote, 1)
    with pytest.raises(UndecodableAccount, match="not a VoteRecord"):
        P.vote(PROPOSAL, vote[:82], 1)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [(HASH, HASH.decode()), (b"Qm".ljust(46, b"\0"), "Qm"), (bytes(46), ""), (b"\0q" * 23, "0071" * 23)],
)
def test_a_markets_hash_is_text_or_hex(stored: bytes, shown: str) -> None:
    data = Market(market_id=bytes([1]) * 32, resolver=key_bytes(RESOLVER), ipfs_evidence_hash=stored)
    seen = P.market(MARKET, data.write_over(bytes(488)), 1)
    assert (seen.content_hash, seen.resolver) == (shown, RESOLVER)
