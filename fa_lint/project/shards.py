"""``--shard i/n``: n parts of about as many bytes, so that n machines share a repository."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b

__all__ = ["in_shard", "parse_shard"]

_OPENED = 1000  # bytes that are read in the time that another file takes beside its bytes


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/4"`` → ``(2, 4)``; raises :class:`ValueError`.

    >>> parse_shard("2/4")
    (2, 4)
    """
    index, slash, count = text.partition("/")
    digits = index.isdecimal() and count.isdecimal() and len(text) < 100
    if not (slash and digits and 1 <= int(index) <= int(count)):
        raise ValueError(f"--shard takes i/n with 1 <= i <= n, such as 1/4, not `{text}`")
    return int(index), int(count)


def in_shard(paths: Iterable[str], shard: tuple[int, int], root: str) -> list[str]:
    """The paths of one shard, in their order.

    The files lie side by side in an order that their paths below ``root`` give, and are cut into n stretches of as many
    bytes: a file that comes, goes or grows moves only those beside the cuts.
    """
    index, count = shard
    paths = list(paths)
    weights = {path: _size(path) + _OPENED for path in paths}
    total = sum(weights.values())
    before, chosen = 0, set()
    for path in sorted(weights, key=lambda path: (_place(path, root), path)):
        middle = 2 * before + weights[path]
        if middle * count // (2 * total) + 1 == index:
            chosen.add(path)
        before += weights[path]
    return [path for path in paths if path in chosen]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # the engine says what is wrong with it
        return 0


def _place(path: str, root: str) -> bytes:
    inside = os.path.relpath(os.path.abspath(path), os.path.abspath(root)).replace(os.sep, "/")
    return blake2b(inside.encode("utf-8", "surrogateescape"), digest_size=8).digest()
