"""``--diff-from REV``: which rows of which files are new since a git revision, asked of git itself."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from fa_lint.findings import Diagnostic
from fa_lint.source import Source, SourceError

__all__ = ["ChangeError", "Changes", "changes_since"]

# (cell, row): the cell is None in a plain file.
_Row = tuple[int | None, int]

_HUNK = re.compile(rb"@@ -\S+ \+(\d+)(?:,(\d+))? @@")
# Git counts rows by \n alone.
_LONE_RETURN = re.compile(rb"\r(?!\n)")
# What a hook's environment says about *its* repository.
_GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
_DIFF = (
    *("diff", "--unified=0", "--inter-hunk-context=0", "--find-renames", "--no-color", "--no-ext-diff"),
    *("--no-textconv", "--text", "--no-relative", "--ignore-submodules", "--src-prefix=a/", "--dst-prefix=b/"),
)


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

    rows: dict[str, frozenset[_Row] | None] = field(default_factory=dict)

    def __contains__(self, path: str) -> bool:
        return path in self.rows

    def touch(self, found: Diagnostic) -> bool:
        """Return True if a finding is on a changed row; a changed file that is not Python counts as a whole."""
        if found.path not in self.rows:
            return False
        rows = self.rows[found.path]
        if rows is None or found.code == "FAL900":
            return True
        return any((found.cell, row) in rows for row in range(found.start.row, found.end.row + 1))


def changes_since(revision: str, files: Iterable[str]) -> Changes:
    """What changed in ``files`` since the work tree left ``revision`` (their merge base); untracked files are new.

    Raises :class:`ChangeError`.
    """
    changes = Changes()
    for top, paths in _repositories(revision, files).items():
        base = _base(revision, top)
        tracked = frozenset(_git(revision, top, "ls-files", "-z").split(b"\0"))
        old_names, rows = _patch(_git(revision, top, *_DIFF, base, "--"))
        for inside, path in paths.items():
            if inside not in tracked:
                changes.rows[path] = None
            elif inside in rows:
                changes.rows[path] = _exact(path, revision, top, base, old_names.get(inside), rows[inside])
    return changes


def _repositories(revision: str, files: Iterable[str]) -> dict[str, dict[bytes, str]]:
    """By the top of each repository: the path inside it → the path as it was named."""
    tops: dict[str, str | None] = {}
    found: dict[str, dict[bytes, str]] = {}
    for path in files:
        real = os.path.realpath(path)
        top = _top(os.path.dirname(real), tops)
        if top is None:
            raise ChangeError(revision, f"{path} is in no git repository")
        inside = os.path.relpath(real, top).replace(os.sep, "/")
        found.setdefault(top, {})[os.fsencode(inside)] = path
    return found


def _top(folder: str, known: dict[str, str | None]) -> str | None:
    if folder not in known:
        parent = os.path.dirname(folder)
        # A file in a worktree or a submodule.
        own = os.path.exists(os.path.join(folder, ".git"))
        known[folder] = folder if own else None if parent == folder else _top(parent, known)
    return known[folder]


def _git(revision: str, top: str, *arguments: str, quiet: bool = False) -> bytes:
    environment = {key: value for key, value in os.environ.items() if key not in _GIT_VARIABLES}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-C", top, "-c", "core.quotepath=off", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise ChangeError(revision, f"git cannot be run: {error.strerror or error}") from None
    if done.returncode and not quiet:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"git exits with {done.returncode}"]
        raise ChangeError(revision, lines[0].removeprefix("fatal: "))
    return b"" if done.returncode else done.stdout


def _base(revision: str, top: str) -> str:
    commit = _git(
        revision, top, "rev-parse", "--quiet", "--verify", "--end-of-options", revision + "^{commit}", quiet=True
    )
    if not commit:
        raise ChangeError(revision, f"no such revision in {top} (a shallow clone may lack it: fetch it first)")
    # What the other branch did meanwhile is not this branch's doing.
    base = _git(revision, top, "merge-base", commit.decode().strip(), "HEAD", quiet=True)
    return (base or commit).decode().strip()


def _patch(patch: bytes) -> tuple[dict[bytes, bytes], dict[bytes, frozenset[_Row]]]:
    """Of a patch without context: new name → old name, and new name → the new rows."""
    old_names: dict[bytes, bytes] = {}
    found: dict[bytes, set[_Row]] = {}
    old = new = None
    left = 0  # lines of the hunk still to come: they may look like anything
    for line in patch.split(b"\n"):
        hunk = _HUNK.match(line) if left <= 0 else None
        if left > 0:
            left -= not line.startswith((b"-", b"\\"))
        elif line.startswith(b"diff --git "):
            old = new = None
        elif line.startswith(b"--- ") and new is None:
            old = _name(line[4:])
        elif line.startswith(b"+++ ") and new is None:
            new = _name(line[4:])
            if new is not None:
                found.setdefault(new, set())
                if old is not None:
                    old_names[new] = old
        elif hunk is not None and new is not None:
            first, count = int(hunk[1]), int(hunk[2] or b"1")
            found[new] |= {(None, row) for row in range(first, first + count)}
            left = count
    return old_names, {name: frozenset(rows) for name, rows in found.items()}


def _name(field_: bytes) -> bytes | None:
    """The path in a ``---`` or ``+++`` line; None for /dev/null."""
    text = field_.rstrip(b"\t\r")
    if text.startswith(b'"'):
        text = text[1:-1].decode("unicode_escape").encode("latin-1")
    return None if text == b"/dev/null" else text[2:]


def _exact(
    path: str, revision: str, top: str, base: str, old_name: bytes | None, rows: frozenset[_Row]
) -> frozenset[_Row] | None:
    """The rows as fa-lint counts them: those of a notebook are its cells', not its file's."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError:
        return None
    if not path.endswith(".ipynb") and _LONE_RETURN.search(data) is None:
        return rows
    if old_name is None:
        return None
    before = _git(revision, top, "cat-file", "blob", f"{base}:{os.fsdecode(old_name)}", quiet=True)
    try:
        new, old = Source.read(path, data), Source.read(path, before)
    except SourceError:
        return None
    matcher = SequenceMatcher(None, _lines(old), _lines(new), autojunk=False)
    changed = (range(low, high) for tag, _, _, low, high in matcher.get_opcodes() if tag != "equal")
    return frozenset(_places(new, (index for span in changed for index in span)))


def _lines(source: Source) -> list[str]:
    return [source.line(row) for row in range(1, len(source.starts) + 1)]


def _places(source: Source, indices: Iterable[int]) -> Iterator[_Row]:
    for index in indices:
        cell, place = source.place(source.starts[index])
        yield cell, place.row
