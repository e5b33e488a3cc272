"""Trees of vote logs in memory: the same roots and paths as from all leaves, for every size, and never too many."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from domain.ids import Wallet
from domain.market import Market
from domain.merkle import Frontier, inclusion_path, root_of
from domain.tally import VoteType
from domain.votelog import LogEntry, leaf_of
from grpc_server import log_trees
from grpc_server.altered import AlteredVotes
from grpc_server.log_trees import LogTree, LogTrees
from grpc_server.problems import Rejected
from tests.support.markets import market, market_id
from tests.support.vote_logs import VoteLogs

LEAVES = [hashlib.sha256(b"%d" % number).digest() for number in range(40)]


def grown(*parts: int) -> LogTree:
    """A tree that was extended by so many leaves at a time."""
    tree = LogTree()
    for part in parts:
        tree.extend(LEAVES[tree.size : tree.size + part])
    return tree


@pytest.mark.parametrize("parts", [(40,), (1,) * 40, (7, 1, 30, 2)], ids=["at once", "one by one", "in parts"])
def test_one_tree_answers_for_every_size_that_the_log_had(parts: tuple[int, ...]) -> None:
    tree = grown(*parts)
    for size in range(41):
        assert tree.root(size) == root_of(LEAVES[:size])
        for index in range(size):
            assert tree.path(index, size) == inclusion_path(index, LEAVES[:size])


def test_a_leaf_is_found_at_its_place_only() -> None:
    tree = grown(40)
    assert [tree.index(leaf) for leaf in LEAVES] == list(range(40))
    assert tree.index(hashlib.sha256(b"no leaf").digest()) is None
    across = LEAVES[3][16:] + LEAVES[4][:16]
    assert tree.index(across) is None, "bytes of two leaves are none"


def voted(logs: VoteLogs, number: int, votes: int) -> Market:
    """A market with so many votes, all of one version."""
    log = Frontier()
    for vote in range(votes):
        place = (market_id(number), VoteType.PROPOSAL, Wallet(f"{number}-{vote}"), True, 1, None, "api", None)
        entry = LogEntry(*place, f"{vote:032}", 0, 1, None)
        logs.put(entry)
        log = log.plus(leaf_of(entry))
    return replace(market(), market_id=market_id(number), proposal_log=log, version=1)


async def test_what_was_not_used_for_longest_is_forgotten_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = VoteLogs()
    trees = LogTrees(logs, AlteredVotes(logs, lambda: 0.0), leaves_max=10)
    first, second, third, large = (voted(logs, number, votes) for number, votes in enumerate((4, 4, 4, 30)))

    async def reads(one: Market) -> int:
        before = logs.pages
        assert (await trees.tree(one, VoteType.PROPOSAL)).root(one.proposal_log.size) == one.proposal_log.root()
        return logs.pages - before

    assert [await reads(one) for one in (first, second, first, third)] == [1, 1, 0, 1]
    assert [await reads(one) for one in (first, second)] == [0, 1], "the first was used later than the second"
    assert [await reads(one) for one in (large, large, first)] == [1, 0, 1], "one too large for all is kept alone"
    monkeypatch.setattr(log_trees, "TREES_MAX", 1)
    assert [await reads(one) for one in (second, first, second)] == [1, 1, 1]


async def test_a_log_with_a_vote_too_few_has_not_its_root() -> None:
    logs = VoteLogs()
    trees = LogTrees(logs, AlteredVotes(logs, lambda: 0.0))
    one = voted(logs, 1, 5)
    lost = logs.kept.pop(2)
    with pytest.raises(Rejected):
        await trees.tree(one, VoteType.PROPOSAL)
    logs.kept.append(lost)
    assert (await trees.tree(one, VoteType.PROPOSAL)).size == 5
