"""``--shard i/n``: each file belongs to one of n parts, by its path alone, so that n machines share a repository."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b

__all__ = ["in_shard", "parse_shard"]


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

    A file's shard depends on its path below ``root`` and on n: another file that comes or goes moves nothing.
    """
    index, count = shard
    return [path for path in paths if _number(path, count, root) == index]


def _number(path: str, count: int, root: str) -> int:
    inside = os.path.relpath(os.path.abspath(path), os.path.abspath(root)).replace(os.sep, "/")
    return int.from_bytes(blake2b(inside.encode("utf-8", "surrogateescape"), digest_size=8).digest()) % count + 1
