"""Adoption on first touch: one read per market, bounded, and no second look at what is absent."""

import asyncio

import pytest

from domain.commands import AdoptMarket, CastVote, DescribeMarket
from domain.ids import Wallet
from domain.lifecycle import Lifecycle
from domain.outcomes import Done, VoteTaken
from domain.refusals import MarketNotFound, WrongState
from domain.tally import VoteType
from grpc_server import adoption as adoption_module
from grpc_server.adoption import FLIGHTS_MAX, LOOK_S, LOOKS_MAX, READS_MAX, Adoption
from grpc_server.ports import AccountsUnavailable, ShardUnavailable
from grpc_server.problems import Rejected
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import Accounts, Clock, Town, market_id_of, observed

CREATOR = Wallet("6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw")
MARKET = market_id_of(1)


class Scene:
    """An adoption over twins."""

    def __init__(self) -> None:
        self.town, self.accounts, self.clock = Town(), Accounts(), Clock()
        self.adoption = Adoption(self.town, self.accounts, self.town, self.clock.monotonic_s)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


def vote(number: int = 1, voter: str = CREATOR) -> CastVote:
    return CastVote(market_id_of(number), f"vote {voter}", Wallet(voter), VoteType.PROPOSAL, True, 1, None)


async def test_a_known_market_is_not_looked_up_on_chain(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    await scene.adoption.adopt(MARKET)
    scene.accounts.reads.clear()
    assert isinstance(await scene.adoption.submit(vote()), VoteTaken)
    assert (await scene.adoption.read(MARKET))[0].market_id == MARKET
    assert scene.accounts.reads == []


async def test_a_command_about_an_unknown_market_takes_it_in_and_is_carried_out_once(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    outcome = await scene.adoption.submit(vote())
    assert isinstance(outcome, VoteTaken)
    assert [type(command) for command in scene.town.commands] == [CastVote, AdoptMarket, CastVote]


async def test_a_market_that_is_not_on_chain_either_is_not_found(scene: Scene) -> None:
    assert await scene.adoption.submit(vote()) == MarketNotFound(MARKET)
    assert len(scene.town.commands) == 1
    with pytest.raises(Rejected) as caught:
        await scene.adoption.read(MARKET)
    assert caught.value.problem == MarketNotFound(MARKET)


async def test_many_first_touches_of_one_market_are_one_read(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    scene.accounts.gate.clear()
    touches = [asyncio.create_task(scene.adoption.submit(vote(1, f"voter {n}"))) for n in range(50)]
    await eventually_async(lambda: _fact(len(scene.town.commands) == 50 and scene.accounts.reading == 1))
    scene.accounts.gate.set()
    outcomes = await asyncio.gather(*touches)
    assert all(isinstance(outcome, VoteTaken) for outcome in outcomes)
    assert scene.accounts.reads == [MARKET]


async def test_a_caller_that_goes_away_stops_nobody_else(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    scene.accounts.gate.clear()
    first, second = (asyncio.create_task(scene.adoption.adopt(MARKET)) for _ in range(2))
    await eventually_async(lambda: _fact(scene.accounts.reading == 1))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    scene.accounts.gate.set()
    assert await second
    assert scene.accounts.reads == [MARKET]


async def test_an_absent_account_is_believed_absent_for_a_while(scene: Scene) -> None:
    assert not await scene.adoption.adopt(MARKET)
    scene.accounts.put(observed(1, CREATOR))
    scene.clock.at_s += LOOK_S - 0.1
    assert not await scene.adoption.adopt(MARKET)
    assert len(scene.accounts.reads) == 1
    scene.clock.at_s += 0.1
    assert await scene.adoption.adopt(MARKET)


async def test_what_is_believed_absent_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOOKS_MAX >= 3
    monkeypatch.setattr(adoption_module, "LOOKS_MAX", 3)
    for number in range(1, 6):
        assert not await scene.adoption.adopt(market_id_of(number))
    scene.accounts.reads.clear()
    assert not await scene.adoption.adopt(market_id_of(5))
    assert scene.accounts.reads == []
    assert not await scene.adoption.adopt(market_id_of(1))
    assert scene.accounts.reads == [market_id_of(1)]


async def test_few_accounts_are_read_at_once_and_not_too_many_wait(scene: Scene) -> None:
    scene.accounts.gate.clear()
    waiting = [asyncio.create_task(scene.adoption.adopt(market_id_of(n))) for n in range(FLIGHTS_MAX)]
    await eventually_async(lambda: _fact(scene.accounts.reading == READS_MAX))
    with pytest.raises(AccountsUnavailable):
        await scene.adoption.adopt(market_id_of(FLIGHTS_MAX))
    scene.accounts.gate.set()
    assert not any(await asyncio.gather(*waiting))
    assert scene.accounts.reading_max == READS_MAX


async def test_an_outage_of_the_chain_reaches_every_waiter_and_is_not_remembered(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    scene.accounts.outage = AccountsUnavailable("down")
    results = await asyncio.gather(*(scene.adoption.adopt(MARKET) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [AccountsUnavailable] * 3
    scene.accounts.outage = None
    assert await scene.adoption.adopt(MARKET)


async def test_a_read_that_does_not_end_is_an_outage(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption_module, "READ_S_MAX", 0.01)
    scene.accounts.gate.clear()
    with pytest.raises(AccountsUnavailable, match="no answer"):
        await scene.adoption.adopt(MARKET)


async def test_an_outage_of_the_actors_while_adopting_is_told(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    scene.town.outage = ShardUnavailable("nobody")
    with pytest.raises(ShardUnavailable):
        await scene.adoption.adopt(MARKET)


async def test_closing_ends_the_reads_under_way(scene: Scene) -> None:
    scene.accounts.gate.clear()
    reader = asyncio.create_task(scene.adoption.adopt(MARKET))
    await eventually_async(lambda: _fact(scene.accounts.reading == 1))
    await scene.adoption.close()
    assert scene.accounts.reading == 0
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_a_description_of_an_unknown_market_takes_it_in_too(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    assert isinstance(await scene.adoption.submit(DescribeMarket(MARKET, CREATOR, False, "q", "c")), Done)
    assert (await scene.adoption.read(MARKET))[0].question == "q"


# --- a state that the chain has moved on from (T105) ------------------------------------------------------------------


async def test_a_refusal_for_the_state_is_looked_up_and_the_command_carried_out_once_more(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR, Lifecycle.ACTIVE))
    refused = await scene.adoption.submit(vote())
    assert refused == WrongState(MARKET, Lifecycle.ACTIVE, Lifecycle.PROPOSED)
    scene.accounts.put(observed(1, CREATOR, Lifecycle.PROPOSED, slot=11))
    scene.clock.at_s += LOOK_S
    assert isinstance(await scene.adoption.submit(vote()), VoteTaken)
    assert len(scene.accounts.reads) == 2


async def test_a_state_is_looked_up_once_in_a_while_and_not_tried_again_in_vain(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR, Lifecycle.ACTIVE))
    await scene.adoption.adopt(MARKET)
    scene.clock.at_s += LOOK_S
    scene.town.commands.clear()
    for _ in range(5):
        assert isinstance(await scene.adoption.submit(vote()), WrongState)
    assert len(scene.accounts.reads) == 2
    assert [type(command) for command in scene.town.commands].count(CastVote) == 5


async def test_without_the_chain_a_refusal_for_the_state_stands(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR, Lifecycle.ACTIVE))
    await scene.adoption.adopt(MARKET)
    scene.clock.at_s += LOOK_S
    scene.accounts.outage = AccountsUnavailable("down")
    assert isinstance(await scene.adoption.submit(vote()), WrongState)
    assert (await scene.adoption.read_votable(MARKET, VoteType.DISPUTE)).state is Lifecycle.ACTIVE


# --- many commands ----------------------------------------------------------------------------------------------------


async def test_many_commands_are_mended_together_with_one_read_for_each_market(scene: Scene) -> None:
    for number in range(1, 30, 2):
        scene.accounts.put(observed(number, CREATOR))
    votes = [vote(number, f"voter {n}") for n in range(3) for number in range(1, 31)]
    outcomes = await scene.adoption.submit_many(votes)
    for cast, outcome in zip(votes, outcomes, strict=True):
        known = cast.market_id in scene.accounts.accounts
        assert isinstance(outcome, VoteTaken if known else MarketNotFound)
        assert not isinstance(outcome, VoteTaken) or outcome.vote_id == cast.vote_id
    assert sorted(scene.accounts.reads) == sorted({cast.market_id for cast in votes})
    assert scene.accounts.reading_max <= READS_MAX


async def test_an_outage_of_one_look_hits_the_commands_of_its_market_only(scene: Scene) -> None:
    scene.accounts.put(observed(1, CREATOR))
    await scene.adoption.adopt(MARKET)
    scene.accounts.outage = AccountsUnavailable("down")
    known, unknown = await scene.adoption.submit_many([vote(1), vote(2)])
    assert isinstance(known, VoteTaken)
    assert isinstance(unknown, AccountsUnavailable)


async def test_looks_that_take_too_long_together_are_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption_module, "LOOKS_S_MAX", 0.05)
    scene.accounts.put(observed(1, CREATOR))
    await scene.adoption.adopt(MARKET)
    scene.accounts.gate.clear()
    outcomes = await scene.adoption.submit_many([vote(1), *(vote(number) for number in range(2, 30))])
    assert isinstance(outcomes[0], VoteTaken)
    assert all(isinstance(outcome, AccountsUnavailable) for outcome in outcomes[1:])


async def _fact(value: bool) -> bool:
    return value
