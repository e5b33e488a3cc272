"""The program client against the published vectors (CI 3, 4, 6.3)."""

import hashlib

import pytest
from solders.pubkey import Pubkey

from chain.errors import BY_NAME, BY_NUMBER, build_of, error_name, idl_json, names_of, numbers_of
from chain.idl import zmart_idl
from chain.program import NEWEST_PROGRAM_ID, UndecodableAccount, ZmartProgram, instruction_data
from domain.ids import MarketId, Wallet, base58_encode

PROGRAM = ZmartProgram.at(NEWEST_PROGRAM_ID)
MARKET = MarketId(base58_encode(bytes([1]) * 32))
USER = Wallet("4MkybTASDtmzQnfUWztHmfgyHgBREw74eTKipVADqQLA")


@pytest.mark.parametrize(
    ("program_id", "address", "bump"),
    [
        ("7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS", "73ZXQr6GjjD4qnMgsuZNcJsNmd2juUsevXgdAhiKtokz", 255),
        ("8TVi2vkDxbeqETWDCwUtL6RUwFSYyBTaVF4wMMxciz3L", "DYP4TiK9jmSgvvKC1bADHHwSHrruxjYDV6m14vGPBAtv", 254),
        ("3rQhUrqQhHxYCkj3RqTHL1PTrHSnUShMe3z4KdHaHjkz", "3ypodY83YEJHyGV4cKfYARzWeuvJZbpGrkaXuhXe1s4t", 254),
        ("B5LimwoBn4aAqFmJsV1KtrxDbtEjaZ9WeNrfDWmJc42Z", "CF8kfDGNJxXwx1xtqfkb2yc7NJ3jkmfqdBAXkkgvSzm6", 255),
        ("6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw", "HJUjpSEUaZCunLAhwJu1G44nUQ4R8JCLvSJNJzWWDpNP", 255),
        ("Fg6PaFpoGXkYsidMpWTK6W2BeZ7FEfcYkg476zPFsLnS", "AziAYkJSfPDFL9QKDLS7JGd354GVLqWKwCsWtXhDZPCt", 254),
    ],
)
def test_global_config_is_found_under_every_known_program(program_id: str, address: str, bump: int) -> None:
    assert ZmartProgram.at(program_id).config_address() == (Pubkey.from_string(address), bump)


def test_market_position_and_vote_addresses_match_the_vectors() -> None:
    market, bump = PROGRAM.market_address(MARKET)
    assert (str(market), bump) == ("F1doAVqwVZdnDRp4U6R3SXpVFNZ4Rk7NZmgFQB2fbbuv", 255)
    position, bump = PROGRAM.position_address(market, USER)
    assert (str(position), bump) == ("8e3u1orgjAAVQyk1RYQg14PsjrBqJVXSEoLPefDVqreH", 254)
    votes = [PROGRAM.vote_address(market, USER, vote_type) for vote_type in (0, 1)]
    assert [(str(address), bump) for address, bump in votes] == [
        ("43ggs9Y2wXxbP3YpHa9N4L6QqhsuUTjw8XoxE8MQysh5", 254),
        ("9yjfwdhzevxNUqp1LR5LQCgiCrVfGepsAiv6jLA497js", 252),
    ]


def test_a_position_printed_by_a_devnet_run_is_reproduced() -> None:
    older = ZmartProgram.at("7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS")
    market = Pubkey.from_string("5so3RBJRfwgHmrur4xjrk3aVQK5JN6ZRPpho8wuuPHdD")
    position = Pubkey.from_string("2FHs2FGKeYdsDqdsyzp3WvoCKGgmTTcEtvj8BBQhYjSV")
    assert older.position_address(market, USER) == (position, 253)


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("submit_proposal_vote", {"vote": True}, "b1bb3be61db90ef001"),
        ("submit_dispute_vote", {"vote": False}, "31df3d4298eb48e600"),
        ("aggregate_proposal_votes", {"final_likes": 7, "final_dislikes": 3}, "1a9c1215b9b0ca480700000003000000"),
        ("aggregate_dispute_votes", {"final_agrees": 6, "final_disagrees": 4}, "4a0e1e13d48d70190600000004000000"),
        ("approve_proposal", {}, "886c665562720793"),
        ("activate_market", {}, "0a1ac57471634859"),
        ("cancel_market", {}, "cd7954d2de47960b"),
        ("emergency_pause", {}, "158f1b8ec8b5d2ff"),
        ("finalize_market", {"dispute_agree": None, "dispute_disagree": None}, "10e1261cd5d901f70000"),
        ("finalize_market", {"dispute_agree": 6, "dispute_disagree": 4}, "10e1261cd5d901f701060000000104000000"),
        ("buy_shares", {"outcome": True, "target_cost": 10**9}, "28ef8a9a08256a6c0100ca9a3b00000000"),
        (
            "sell_shares",
            {"outcome": False, "shares_to_sell": 250, "min_proceeds": 200},
            "b8a4a910e79ec7c400fa00000000000000c800000000000000",
        ),
        ("initiate_dispute", {}, "80f2a0172c3dab25"),
        ("claim_winnings", {}, "a1d7183b0eecf2dd"),
        ("withdraw_liquidity", {}, "959e21b92ff3fd1f"),
        (
            "update_global_config",
            {
                "protocol_fee_bps": 300,
                "resolver_reward_bps": 200,
                "liquidity_provider_fee_bps": 500,
                "proposal_approval_threshold": 7000,
                "dispute_success_threshold": 6000,
                "min_resolution_delay": 30,
                "dispute_period": 120,
            },
            "a45482bd6f3afac82c01c800f401581b7017011e00000000000000017800000000000000",
        ),
    ],
)
def test_instruction_data_matches_the_vectors(name: str, args: dict[str, object], expected: str) -> None:
    assert instruction_data(name, args).hex() == expected


def test_create_and_resolve_have_the_published_lengths() -> None:
    create = PROGRAM.create_market(USER, MARKET, 10**11, 10**8, b"Qm")
    resolve = instruction_data("resolve_market", {"proposed_outcome": True, "ipfs_evidence_hash": [0] * 46})
    assert (len(bytes(create.data)), bytes(create.data)[:8].hex()) == (102, "67e261ebc8bcfbfe")
    assert (len(resolve), resolve[:8].hex()) == (55, "9b1750ad2e4a17ef")


def test_a_question_hash_longer_than_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match="47 bytes"):
        PROGRAM.create_market(USER, MARKET, 10**11, 10**8, b"q" * 47)


def test_accounts_go_out_in_the_programs_order_with_its_rights() -> None:
    call = PROGRAM.aggregate_proposal_votes(USER, MARKET, 7, 3)
    market, config = PROGRAM.market_address(MARKET)[0], PROGRAM.config_address()[0]
    assert [(meta.pubkey, meta.is_writable, meta.is_signer) for meta in call.accounts] == [
        (market, True, False),
        (config, False, False),
        (Pubkey.from_string(USER), False, True),
    ]
    approve = PROGRAM.approve_proposal(USER, MARKET)
    assert [(meta.pubkey, meta.is_writable, meta.is_signer) for meta in approve.accounts] == [
        (Pubkey.from_string(USER), True, True),
        (market, True, False),
        (config, False, False),
    ]


def test_the_interface_is_complete_and_its_errors_are_consecutive() -> None:
    idl = zmart_idl()
    assert (len(idl.instructions), len(idl.accounts), len(idl.events or [])) == (18, 4, 18)
    assert [error.code for error in idl.errors or []] == list(range(6000, 6052))
    assert BY_NAME["InvalidGlobalConfig"] == 6005
    assert BY_NUMBER[6051][0] == "InvalidStateForVoting"


def test_every_instruction_has_anchors_discriminator() -> None:
    published = {"createMarket": "67e261ebc8bcfbfe", "withdrawLiquidity": "959e21b92ff3fd1f"}
    names = {entry["name"] for entry in idl_json()["instructions"]}
    assert set(published) < names
    assert hashlib.sha256(b"global:create_market").digest()[:8].hex() == published["createMarket"]


def test_an_error_is_named_by_its_log_line_before_its_number() -> None:
    older_build = ["Program log: AnchorError occurred. Error Code: Unauthorized. Error Number: 6028. Error Message: x."]
    assert error_name(6028, older_build, "Custom") == "Unauthorized"
    assert error_name(6028, [], "Custom") == "AlreadyDisputed"
    assert error_name(6025, ["Program log: hello"], "Custom") == "InsufficientVotes"
    assert error_name(2006, [], "Custom") == "ConstraintSeeds"


def test_both_builds_number_their_errors_as_published() -> None:
    new, old = numbers_of("new"), numbers_of("old")
    assert (new["InvalidFeeStructure"], old["InvalidFeeStructure"]) == (6004, 6004)
    assert (new["InvalidGlobalConfig"], "InvalidGlobalConfig" in old) == (6005, False)
    assert (new["InvalidStateForVoting"], old["InvalidStateForVoting"]) == (6051, 6050)
    assert (new["ConstraintSeeds"], old["ConstraintSeeds"]) == (2006, 2006)
    assert (names_of("new")[0x178C], names_of("old")[0x178C]) == ("AlreadyDisputed", "Unauthorized")
    assert sorted(number for number in old.values() if number >= 6000) == list(range(6000, 6051))
    assert all(new[name] - number == (number >= 6005) for name, number in old.items())


def test_without_logs_the_build_decides_what_a_number_means() -> None:
    assert error_name(6028, [], "Custom", build_of("B5LimwoBn4aAqFmJsV1KtrxDbtEjaZ9WeNrfDWmJc42Z")) == "Unauthorized"
    assert error_name(6028, [], "Custom", build_of(NEWEST_PROGRAM_ID)) == "AlreadyDisputed"
    assert error_name(6051, [], "Custom", "old") == "Custom6051"
    assert build_of("Fg6PaFpoGXkYsidMpWTK6W2BeZ7FEfcYkg476zPFsLnS") == "new"


def test_system_errors_and_runtime_words_have_names() -> None:
    logs = ["Program 11111111111111111111111111111111 failed: custom program error: 0x0"]
    assert error_name(0, logs, "Custom") == "AccountAlreadyInUse"
    assert error_name(1, [], "Custom") == "ResultWithNegativeLamports"
    assert error_name(None, [], "MissingRequiredSignature") == "MissingRequiredSignature"
    assert error_name(77, [], "Custom") == "Custom77"


def test_bytes_that_are_no_market_are_refused_with_their_address() -> None:
    with pytest.raises(UndecodableAccount, match="F1doAVqwVZdnDRp4U6R3SXpVFNZ4Rk7NZmgFQB2fbbuv"):
        PROGRAM.market(MARKET, bytes(488), 1)
    truncated = bytes.fromhex("c94ebbe1f0c6c9fb") + bytes(100)
    with pytest.raises(UndecodableAccount, match="not a MarketAccount"):
        PROGRAM.market(MARKET, truncated, 1)
