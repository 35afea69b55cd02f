"""What a walk over a graph with circles remembers."""

from __future__ import annotations

from collections import Counter

import pytest

from fa_lint.semantics.memory import Memory


def _reach(graph: dict[int, tuple[int, ...]], deepest: int = 40) -> tuple[Memory[frozenset[int]], Counter[int]]:
    """A memory of the nodes that can be reached from each node, and how often each was looked into."""
    asked: Counter[int] = Counter()
    memory: Memory[frozenset[int]] = Memory(frozenset(), deepest)

    def of(node: int) -> frozenset[int]:
        def find() -> frozenset[int]:
            asked[node] += 1
            return frozenset({node}).union(*(of(other) for other in graph[node]))

        return memory.ask(node, find)

    for node in graph:
        of(node)
    return memory, asked


def _known(memory: Memory[frozenset[int]], node: int) -> frozenset[int]:
    return memory.ask(node, lambda: pytest.fail(f"{node} is not known"))


def test_without_circles_every_node_is_asked_once() -> None:
    """Every node has two ways to each node below it: without memory the first would ask the last 2**29 times."""
    graph = {i: (i + 1, i + 1) if i < 30 else () for i in range(31)}
    memory, asked = _reach(dict(reversed(graph.items())))
    assert set(asked.values()) == {1}
    assert _known(memory, 0) == frozenset(range(31))


def test_within_circles_every_node_is_asked_once_a_question_and_every_answer_is_whole() -> None:
    graph = {i: ((i * 7 + 1) % 30, (i * 11 + 2) % 30, (i + 1) % 30) for i in range(30)}
    memory, asked = _reach(graph)
    assert max(asked.values()) <= len(graph)
    for node in graph:
        assert _known(memory, node) == frozenset(range(30))


def test_what_is_too_far_away_is_left_out_and_not_taken_for_known() -> None:
    graph = {i: (i + 1,) if i < 30 else () for i in range(31)}
    memory, _ = _reach(graph, deepest=10)
    assert _known(memory, 0) == frozenset(range(11))
    assert _known(memory, 25) == frozenset(range(25, 31))


def test_an_error_leaves_nothing_open_and_nothing_half_known() -> None:
    memory = Memory(0)

    def breaks() -> int:
        memory.ask(2, lambda: 2 + memory.ask(1, int))
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        memory.ask(1, breaks)
    assert memory.ask(1, lambda: 7) == 7
    assert memory.ask(2, lambda: 9) == 9
