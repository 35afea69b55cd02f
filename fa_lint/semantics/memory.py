"""Answers that depend on one another, in circles, too, each found once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Memory"]

Answer = TypeVar("Answer")


class Memory(Generic[Answer]):
    """What is known of the nodes of one module where to ask about one is to ask about others.

    A node that is asked about while its own answer is still being found gets ``circular``, and so does one that is
    ``deepest`` questions away from the first. An answer that rests on one of these lacks what the circle would add, so
    it is good for the question at hand only; but within that question it is found once, as names that are bound
    through each other would be asked exponentially often. Every other answer is final.
    """

    def __init__(self, circular: Answer, deepest: int = 40) -> None:
        self._circular = circular
        self._deepest = deepest
        self._known: dict[Hashable, Answer] = {}
        self._round: dict[Hashable, Answer] = {}
        self._open: set[Hashable] = set()
        self._cuts = 0

    def ask(self, nid: Hashable, find: Callable[[], Answer]) -> Answer:
        """The answer about node ``nid``: remembered, or ``find()``."""
        if nid in self._known:
            return self._known[nid]
        if nid in self._round:
            self._cuts += 1
            return self._round[nid]
        if nid in self._open or len(self._open) > self._deepest:
            self._cuts += 1
            return self._circular
        self._open.add(nid)
        before = self._cuts
        try:
            answer = find()
        finally:
            self._open.discard(nid)
            if not self._open:
                self._round.clear()
        if self._cuts == before or not self._open:
            self._known[nid] = answer
        else:
            self._round[nid] = answer
        return answer
