"""What both journals, PostgreSQL and its twin, demand of a writer."""

from collections.abc import Iterable

from domain.ids import MarketId, virtual_shard
from domain.journal import ChainBallot, Change, Epochs, Fenced


class VersionMoved(Fenced):
    """A market does not stand at the version before ours, though the epochs are ours: somebody else wrote it."""

    def __init__(self, market_ids: Iterable[MarketId], epochs: Epochs) -> None:
        super().__init__(epochs, epochs)
        self.market_ids = tuple(sorted(market_ids))

    def __str__(self) -> str:
        return f"markets written by somebody else: {', '.join(self.market_ids)}"


def check_fenced(market_ids: Iterable[MarketId], epochs: Epochs) -> None:
    """Writes reach only markets whose virtual shards the transaction was fenced for; anything else is a bug."""
    strangers = {market_id for market_id in market_ids if virtual_shard(market_id) not in epochs}
    assert not strangers, f"not fenced for {sorted(strangers)}"


def check_distinct(changes: Iterable[Change]) -> None:
    """A transaction makes one version of a market; two are a bug."""
    market_ids = [change.market.market_id for change in changes]
    assert len(set(market_ids)) == len(market_ids), "two versions of one market in one save"


def check_versions(written: Iterable[MarketId], changes: Iterable[Change], epochs: Epochs) -> None:
    """Raises VersionMoved unless every change was written."""
    if missing := {change.market.market_id for change in changes} - set(written):
        raise VersionMoved(missing, epochs)


def one_of_each_place(ballots: Iterable[ChainBallot]) -> list[ChainBallot]:
    """The first ballot for each market, wallet and vote type: the chain holds one, whatever its forks showed."""
    places: dict[tuple[str, ...], ChainBallot] = {}
    for ballot in ballots:
        vote = ballot.vote
        places.setdefault((vote.market_id, vote.wallet, vote.vote_type), ballot)
    return list(places.values())
