"""An operator's own interface definition: both formats and both builds are taken, anything else is refused in words."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chain.errors import idl_json
from chain.idl import IDL_BYTES_MAX, UnusableIdl, load_interface, parse_interface, shipped_interface
from chain.ledger.zmart.records import Market
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram, instruction_data
from domain.ids import MarketId, base58_encode
from tests.support.program import newer_format, old_build, text

OLD_ADDRESS = "B5LimwoBn4aAqFmJsV1KtrxDbtEjaZ9WeNrfDWmJc42Z"
FILES: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "old format, new build": (idl_json(), "new", None),
    "old format, old build": ({**old_build(), "metadata": {"address": OLD_ADDRESS}}, "old", OLD_ADDRESS),
    "new format, new build": (newer_format(idl_json(), NEWEST_PROGRAM_ID), "new", NEWEST_PROGRAM_ID),
    "new format, old build": (newer_format(old_build(), OLD_ADDRESS), "old", OLD_ADDRESS),
}
MARKET = MarketId(base58_encode(bytes([1]) * 32))


@pytest.mark.parametrize("name", FILES)
def test_both_formats_and_builds_are_read(name: str, tmp_path: Path) -> None:
    idl, build, address = FILES[name]
    path = tmp_path / "zmart_core.json"
    path.write_bytes(text(idl))
    interface = load_interface(path)
    assert (interface.build, interface.address) == (build, address)


@pytest.mark.parametrize("name", FILES)
def test_a_loaded_definition_codes_the_same_bytes_as_the_shipped_one(name: str) -> None:
    interface = parse_interface(text(FILES[name][0]), name)
    args = {"dispute_agree": 6, "dispute_disagree": None}
    assert instruction_data("finalize_market", args, interface) == instruction_data("finalize_market", args)
    ours, theirs = ZmartProgram.at(NEWEST_PROGRAM_ID), ZmartProgram.at(NEWEST_PROGRAM_ID, interface)
    data = Market(market_id=bytes([1]) * 32, state=3, proposed_outcome=True, proposal_likes=7).write_over(bytes(488))
    assert theirs.market(MARKET, data, 4) == ours.market(MARKET, data, 4)
    assert ours.interface is shipped_interface()


def without(idl: dict[str, Any], section: str, index: int) -> dict[str, Any]:
    del idl[section][index]
    return idl


def swapped(idl: dict[str, Any]) -> dict[str, Any]:
    accounts = idl["instructions"][15]["accounts"]
    accounts[0], accounts[1] = accounts[1], accounts[0]
    return idl


def retyped(idl: dict[str, Any]) -> dict[str, Any]:
    idl["instructions"][5]["args"][0]["type"] = "u64"
    return idl


def renumbered(idl: dict[str, Any]) -> dict[str, Any]:
    idl["errors"][7]["code"] = 6100
    return idl


def retagged(idl: dict[str, Any]) -> dict[str, Any]:
    idl["instructions"][0]["discriminator"] = [1] * 8
    return idl


def renamed_state(idl: dict[str, Any]) -> dict[str, Any]:
    state = next(entry for entry in idl["types"] if entry["name"] == "MarketState")
    state["type"]["variants"].insert(0, {"name": "Draft"})
    return idl


@pytest.mark.parametrize("base", ["old format, new build", "new format, old build"])
@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda idl: without(idl, "instructions", 3), "accounts of create_market|arguments of create_market: missing"),
        (lambda idl: without(idl, "events", 0), "event GlobalConfigInitialized: missing"),
        (lambda idl: without(idl, "accounts", 3), "account VoteRecord: missing"),
        (swapped, "accounts of finalize_market: 'market writable' instead of 'global_config'"),
        (retyped, "arguments of aggregate_proposal_votes: 'final_likes: u64' instead of 'final_likes: u32'"),
        (renumbered, "error .* has number 6100, in the (new|old) build it has 60"),
        (renamed_state, "type MarketState: 'Draft' instead of 'Proposed'"),
    ],
)
def test_a_definition_of_another_program_is_refused_with_the_difference(
    base: str, alter: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    raw = text(alter(copy.deepcopy(FILES[base][0])))
    with pytest.raises(UnusableIdl, match=f"operator.json: does not describe the zmart_core .*({words})"):
        parse_interface(raw, "operator.json")


def test_a_discriminator_that_is_not_its_names_is_refused() -> None:
    raw = text(retagged(copy.deepcopy(FILES["new format, new build"][0])))
    with pytest.raises(UnusableIdl, match="discriminator of initialize_global_config is not the one of its name"):
        parse_interface(raw, "operator.json")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "no Anchor interface definition, old or new"),
        (b"{}", "no Anchor interface definition, old or new"),
        (b'{"instructions": 5}', "no list of instructions"),
        (b'{"instructions": [{}]}', "no Anchor interface definition, old or new"),
        (b'{"instructions": [{"discriminator": 1}]}', "no Anchor interface definition, old or new"),
        (b'{"metadata": {"spec": "0.1.0"}, "instructions": []}', "no Anchor interface definition"),
        (b'{"instructions": []}', "initialize_global_config: missing"),
    ],
)
def test_what_is_no_definition_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(UnusableIdl, match=words):
        parse_interface(raw, "operator.json")


def test_a_file_that_cannot_be_read_or_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableIdl, match=r"nowhere\.json: cannot be read: No such file"):
        load_interface(tmp_path / "nowhere.json")
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (IDL_BYTES_MAX + 1))
    with pytest.raises(UnusableIdl, match="larger than 1048576 bytes"):
        load_interface(large)


def test_a_definition_that_anchorpy_cannot_read_is_refused() -> None:
    idl = idl_json()
    idl["instructions"][0]["docs"] = 5
    with pytest.raises(UnusableIdl, match="is not as Anchor writes it"):
        parse_interface(text(idl), "operator.json")


def test_what_a_definition_has_beyond_ours_does_no_harm() -> None:
    idl = idl_json()
    odd = {"name": "odd", "type": {"vec": {"hashMap": ["string", "bytes"]}}}
    idl["instructions"].append({"name": "somethingNew", "accounts": [], "args": [odd]})
    idl["docs"] = ["for people"]
    assert parse_interface(json.dumps(idl).encode(), "operator.json").build == "new"
