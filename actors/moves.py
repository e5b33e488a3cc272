"""Transitions that were asked for before: a repeat with the same request_id plans nothing a second time."""

from __future__ import annotations

from collections.abc import Mapping

from actors.messages import Answer
from actors.ports import Journal
from domain.commands import Command, MoveMarket
from domain.refusals import AlreadyInState, RequestIdReused
from domain.transitions import repeats


async def repeated(journal: Journal, commands: Mapping[int, Command]) -> dict[int, Answer]:
    """Answers to those whose attempt was planned already, whatever has become of it; the others are to be decided.

    The shard owns the market while it looks, so between this look and the commit nobody else plans that attempt.
    """
    moves = {index: command for index, command in commands.items() if isinstance(command, MoveMarket)}
    if not moves:
        return {}
    known = await journal.attempts([move.intent_id for move in moves.values()])
    return {
        index: AlreadyInState(move.market_id)
        if repeats(move, known[move.intent_id])
        else RequestIdReused(move.market_id, move.request_id or "")
        for index, move in moves.items()
        if move.intent_id in known
    }
