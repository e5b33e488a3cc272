"""What a dispute vote weighs: the shares that the chain shows once trading has ended, exactly, and read once."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from domain.commands import CastVote
from domain.ids import Wallet
from domain.lifecycle import Lifecycle
from domain.refusals import MarketNotFound, NoPosition, WrongState
from domain.tally import VoteType
from grpc_server import weights as weights_module
from grpc_server.adoption import LOOK_S, Adoption
from grpc_server.ports import AccountsUnavailable
from grpc_server.problems import Rejected
from grpc_server.weights import READS_MAX, Weights
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import Accounts, Clock, Person, Positions, Town, market_id_of, observed

U64_MAX = 2**64 - 1
MARKET = market_id_of(1)
SLOT = 10
"""At which the markets of these tests were observed."""


class Scene:
    """Weights over twins."""

    def __init__(self) -> None:
        self.town, self.accounts, self.positions, self.clock = Town(), Accounts(), Positions(), Clock()
        self.adoption = Adoption(self.town, self.accounts, self.town, self.clock.monotonic_s)
        self.weights = Weights(self.adoption, self.positions)
        self.wallet = Person().wallet
        self.state(Lifecycle.DISPUTED)

    def state(self, state: Lifecycle) -> None:
        """The market's on chain."""
        self.accounts.put(observed(1, self.wallet, state))

    def vote(self, request_id: str | None = None, wallet: Wallet | None = None) -> CastVote:
        voter = wallet or self.wallet
        return CastVote(MARKET, str(uuid.uuid4()), voter, VoteType.DISPUTE, True, 0, request_id)

    async def refusal(self, vote: CastVote) -> object:
        with pytest.raises(Rejected) as caught:
            await self.weights.weighed(vote)
        return caught.value.problem


@pytest.fixture
async def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("yes", "no", "weight"),
    [
        (1, 0, 1),
        (0, 1, 1),
        (1_000_000_000, 7, 1_000_000_007),
        (2**53 + 1, 0, 2**53 + 1),
        (U64_MAX, 0, U64_MAX),
        (U64_MAX, U64_MAX, 2 * U64_MAX),
    ],
)
async def test_a_vote_weighs_both_kinds_of_shares_exactly(scene: Scene, yes: int, no: int, weight: int) -> None:
    scene.positions.put(MARKET, scene.wallet, yes, no, slot=77)
    weighed = await scene.weights.weighed(scene.vote())
    assert (weighed.weight, weighed.weight_slot) == (weight, 77)


async def test_a_position_is_read_no_earlier_than_its_market_was_seen_disputed(scene: Scene) -> None:
    scene.positions.put(MARKET, scene.wallet, 1, 0)
    await scene.weights.weighed(scene.vote())
    assert scene.positions.reads == [(MARKET, scene.wallet, SLOT)]


@pytest.mark.parametrize("shares", [None, 0])
async def test_without_shares_nobody_votes(scene: Scene, shares: int | None) -> None:
    if shares is not None:
        scene.positions.put(MARKET, scene.wallet, shares, shares)
    assert await scene.refusal(scene.vote()) == NoPosition(MARKET)


async def test_a_final_position_and_its_absence_are_read_once(scene: Scene) -> None:
    scene.positions.put(MARKET, scene.wallet, 1, 0)
    stranger = Person().wallet
    for _ in range(3):
        assert (await scene.weights.weighed(scene.vote())).weight == 1
        assert await scene.refusal(scene.vote(wallet=stranger)) == NoPosition(MARKET)
    assert len(scene.positions.reads) == 2


async def test_only_so_many_positions_are_remembered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "KEPT_MAX", 2)
    wallets = [Person().wallet for _ in range(3)]
    for wallet in wallets:
        scene.positions.put(MARKET, wallet, 1, 0)
    for wallet in (*wallets[:2], wallets[0], wallets[2], wallets[0], wallets[1]):
        await scene.weights.weighed(scene.vote(wallet=wallet))
    asked = [wallet for _, wallet, _ in scene.positions.reads]
    assert asked == [*wallets, wallets[1]], "the one asked for longest ago was forgotten"


async def test_an_unknown_market_comes_before_a_missing_position(scene: Scene) -> None:
    scene.accounts.accounts.clear()
    assert await scene.refusal(scene.vote()) == MarketNotFound(MARKET)
    assert scene.positions.reads == []


@pytest.mark.parametrize("state", [state for state in Lifecycle if state is not Lifecycle.DISPUTED])
async def test_the_wrong_state_comes_before_a_missing_position_and_costs_no_read(
    scene: Scene, state: Lifecycle
) -> None:
    scene.state(state)
    assert await scene.refusal(scene.vote()) == WrongState(MARKET, state, Lifecycle.DISPUTED)
    assert scene.positions.reads == []


async def test_a_possible_repeat_goes_to_its_market_in_any_state(scene: Scene) -> None:
    scene.state(Lifecycle.FINALIZED)
    scene.positions.put(MARKET, scene.wallet, 3, 4)
    assert (await scene.weights.weighed(scene.vote(str(uuid.uuid4())))).weight == 7
    refused = await scene.refusal(scene.vote(str(uuid.uuid4()), Person().wallet))
    assert refused == WrongState(MARKET, Lifecycle.FINALIZED, Lifecycle.DISPUTED)


async def test_what_is_read_while_trading_may_go_on_is_not_remembered(scene: Scene) -> None:
    scene.state(Lifecycle.ACTIVE)
    scene.positions.put(MARKET, scene.wallet, 3, 0)
    assert (await scene.weights.weighed(scene.vote(str(uuid.uuid4())))).weight == 3
    scene.positions.put(MARKET, scene.wallet, 5, 0)
    assert (await scene.weights.weighed(scene.vote(str(uuid.uuid4())))).weight == 5


async def test_a_dispute_that_only_the_chain_knows_of_is_found_by_a_look(scene: Scene) -> None:
    scene.state(Lifecycle.RESOLVING)
    scene.positions.put(MARKET, scene.wallet, 1, 0)
    await scene.refusal(scene.vote())
    scene.accounts.put(observed(1, scene.wallet, Lifecycle.DISPUTED, slot=SLOT + 1))
    scene.clock.at_s += LOOK_S
    assert (await scene.weights.weighed(scene.vote())).weight == 1
    assert scene.positions.reads == [(MARKET, scene.wallet, SLOT + 1)]


async def test_an_outage_of_the_chain_is_neither_a_refusal_nor_remembered(scene: Scene) -> None:
    scene.positions.put(MARKET, scene.wallet, 1, 0)
    scene.positions.outage = AccountsUnavailable("refused")
    with pytest.raises(AccountsUnavailable):
        await scene.weights.weighed(scene.vote())
    scene.positions.outage = None
    assert (await scene.weights.weighed(scene.vote())).weight == 1


async def test_reads_are_bounded_in_number_and_in_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "READ_S_MAX", 0.05)
    scene.positions.gate.clear()
    votes = [scene.vote(wallet=Person().wallet) for _ in range(READS_MAX + 2)]
    tasks = [asyncio.create_task(scene.weights.weighed(vote)) for vote in votes]

    async def all_reading() -> bool:
        return scene.positions.reading == READS_MAX

    await eventually_async(all_reading)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, AccountsUnavailable) for end in ends)
    assert scene.positions.reading_max == READS_MAX
