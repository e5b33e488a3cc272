"""The chain package as the settings describe it: whose interface definition is used."""

from pathlib import Path

import pytest

import chain
from app.config import Settings
from app.wiring_chain import chain_reader
from chain.idl import UnusableIdl
from tests.support.markets import market_id

SHIPPED = Path(chain.__file__).with_name("zmart_core.json")


def test_an_operators_own_idl_gives_the_same_program(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_bytes(SHIPPED.read_bytes())
    mine, shipped = chain_reader(Settings(idl_file=own)), chain_reader(Settings())
    assert mine.program.market_address(market_id()) == shipped.program.market_address(market_id())


@pytest.mark.parametrize("content", ["", "{}", '{"version": "0.1.0", "name": "other", "instructions": []}'])
def test_a_file_that_is_no_idl_of_ours_is_refused_by_name(tmp_path: Path, content: str) -> None:
    own = tmp_path / "own.json"
    own.write_text(content)
    with pytest.raises(UnusableIdl, match=r"own\.json"):
        chain_reader(Settings(idl_file=own))
