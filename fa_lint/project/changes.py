"""``--diff-from REV``: which rows of which files are new since a git revision."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from fa_lint.findings import Diagnostic
from fa_lint.project.git import Git, GitError, difference, repository_top
from fa_lint.source.reading import LONGEST, read_file
from fa_lint.source.text import Source, SourceError

__all__ = ["ChangeError", "Changes", "changes_since"]

# (cell, row): the cell is None in a plain file.
_Row = tuple[int | None, int]
_Rows = frozenset[_Row] | None

_HUNK = re.compile(rb"@@ -\S+ \+(\d+)(?:,(\d+))? @@")


class ChangeError(Exception):
    """A revision, a repository or a git that is not there."""

    def __init__(self, revision: str, reason: str) -> None:
        super().__init__(revision, reason)
        self.revision = revision
        self.reason = reason

    def __str__(self) -> str:
        return f"--diff-from {self.revision}: {self.reason}"


@dataclass(slots=True)
class Changes:
    """The changed files by path as they were named, with their new rows; None where the whole file is new."""

    rows: dict[str, _Rows] = field(default_factory=dict)

    def __contains__(self, path: str) -> bool:
        return path in self.rows

    def touch(self, found: Diagnostic) -> bool:
        """Return True if a finding is on a changed row; a changed file that is not Python counts as a whole."""
        if found.path not in self.rows:
            return False
        rows = self.rows[found.path]
        if rows is None or found.code == "FAL900":
            return True
        # By the rows that there are: a log of the guard may say anything about where a call ends.
        return any(cell == found.cell and found.start.row <= row <= found.end.row for cell, row in rows)


def changes_since(revision: str, files: Iterable[str]) -> Changes:
    """What changed in ``files`` since the work tree left ``revision`` (their merge base); untracked files are new.

    git is asked for its objects and its index, never about the work tree: that is where the configuration of a
    repository has programs run (filters, a monitor of files). So line ends alone are no change, whatever the
    attributes say. Raises :class:`ChangeError`.
    """
    changes = Changes()
    for top, paths in _repositories(revision, files).items():
        git = Git(top)
        try:
            changes.rows |= _changed(git, _base(revision, top, git), paths)
        except GitError as error:
            raise ChangeError(revision, str(error)) from None
    return changes


def _changed(git: Git, base: str, paths: dict[bytes, str]) -> dict[str, _Rows]:
    tracked = frozenset(git("ls-files", "-z").split(b"\0"))
    before = _tree(git("ls-tree", "-r", "-z", "--full-tree", base))
    renamed = {} if all(name in before for name in paths) else _renames(git, base)
    found: dict[str, _Rows] = {}
    changed: dict[str, tuple[bytes, bytes]] = {}
    for inside, path in paths.items():
        blob = before.get(inside, before.get(renamed.get(inside, b""), b""))
        try:
            data = read_file(path)
        except OSError:
            data = None
        if data is None or not blob or inside not in tracked:
            found[path] = None
        elif blob != _blob_name(data, blob):
            changed[path] = blob, data
    old = dict(git.blobs((blob for blob, _ in changed.values()), LONGEST))
    return found | _rows({path: (old.get(blob), data) for path, (blob, data) in changed.items()})


def _tree(listing: bytes) -> dict[bytes, bytes]:
    """Path → name of its blob, of ``git ls-tree -z``."""
    entries = (entry.partition(b"\t") for entry in listing.split(b"\0") if entry)
    return {path: about.split(b" ")[2] for about, _, path in entries}


def _renames(git: Git, base: str) -> dict[bytes, bytes]:
    """New path → old path, between a commit and the index."""
    words = git("diff-index", "--cached", "--raw", "-z", "--find-renames", "-l1000", "--diff-filter=R", base).split(
        b"\0"
    )
    return dict(zip(words[2::3], words[1::3], strict=False))


def _blob_name(data: bytes, like: bytes) -> bytes:
    """The name git gives to these bytes, by the algorithm of another name."""
    made = hashlib.sha1 if len(like) == 40 else hashlib.sha256
    return made(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest().encode()


def _repositories(revision: str, files: Iterable[str]) -> dict[str, dict[bytes, str]]:
    """By the top of each repository: the path inside it → the path as it was named."""
    tops: dict[str, str | None] = {}
    found: dict[str, dict[bytes, str]] = {}
    for path in files:
        real = os.path.realpath(path)
        top = repository_top(os.path.dirname(real), tops)
        if top is None:
            raise ChangeError(revision, f"{path} is in no git repository")
        inside = os.path.relpath(real, top).replace(os.sep, "/")
        found.setdefault(top, {})[os.fsencode(inside)] = path
    return found


def _base(revision: str, top: str, git: Git) -> str:
    commit = git.quietly("rev-parse", "--quiet", "--verify", "--end-of-options", revision + "^{commit}")
    if not commit:
        raise ChangeError(revision, f"no such revision in {top} (a shallow clone may lack it: fetch it first)")
    # What the other branch did meanwhile is not this branch's doing.
    base = git.quietly("merge-base", commit.decode().strip(), "HEAD")
    return (base or commit).decode().strip()


def _rows(pairs: dict[str, tuple[bytes | None, bytes]]) -> dict[str, _Rows]:
    """Path → its new rows, as fa-lint counts them; those of a notebook are its cells', not its file's."""
    found: dict[str, _Rows] = {}
    texts: list[tuple[bytes, bytes]] = []
    sources: list[Source] = []
    for path, (old, data) in pairs.items():
        try:
            new = Source.read(path, data)
            before = None if old is None else Source.read(path, old)
        except SourceError:
            before = None
        if before is None:
            found[path] = None
        else:
            sources.append(new)
            texts.append((_lines(before), _lines(new)))
    for number, rows in _hunks(difference(texts) if texts else b"").items():
        source = sources[number]
        places = (source.place(source.starts[row - 1]) for row in rows)
        found[source.path] = frozenset((cell, place.row) for cell, place in places)
    return found


def _lines(source: Source) -> bytes:
    lines = (source.line(row) for row in range(1, len(source.starts) + 1))
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")


def _hunks(patch: bytes) -> dict[int, list[int]]:
    """Of a patch without context: the number of each pair of texts that differ → the new rows."""
    found: dict[int, list[int]] = {}
    rows: list[int] = []
    left = 0  # lines of the hunk still to come: they may look like anything
    for line in patch.split(b"\n"):
        hunk = _HUNK.match(line) if left <= 0 else None
        if left > 0:
            left -= not line.startswith((b"-", b"\\"))
        elif line.startswith(b"+++ b/"):
            rows = found.setdefault(int(line[6:]), [])
        elif hunk is not None:
            first, left = int(hunk[1]), int(hunk[2] or b"1")
            rows += range(first, first + left)
    return found
