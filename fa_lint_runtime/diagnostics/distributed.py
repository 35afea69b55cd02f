"""Under ``torchrun`` every rank takes its share of the batches; every rank ends with the statistics of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed as dist

__all__ = ["gathered", "rank_and_world", "share"]

T = TypeVar("T")


def rank_and_world() -> tuple[int, int]:
    """(0, 1) outside of a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(count: int, *, lockstep: bool) -> list[tuple[int, bool]]:
    """(batch, counts) of this rank: batches ``rank, rank + world, …``.

    Args:
        count: of batches.
        lockstep: every rank runs as many batches as the busiest (FSDP2: a forward is collective); what an idle rank
            repeats does not count.
    """
    rank, world = rank_and_world()
    own = [(index, True) for index in range(rank, count, world)]
    if lockstep:
        own += [(0, False)] * (-(-count // world) - len(own))
    return own


def gathered(own: Sequence[T], index: Callable[[T], int]) -> list[T]:
    """The items of all ranks in the order of their index: exactly what one process would have."""
    _, world = rank_and_world()
    if world == 1:
        return sorted(own, key=index)
    parts: list[list[T] | None] = [None] * world
    dist.all_gather_object(parts, list(own))
    return sorted((item for part in parts if part is not None for item in part), key=index)
