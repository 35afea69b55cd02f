"""git, asked so that nothing a repository says makes it run a program, open a connection or wait for ever."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator

__all__ = ["Git", "GitError", "difference", "repository_top"]

# Above what any repository takes, below what looks like a hang: a configuration can include a pipe.
_SECONDS = 120
# What the command line says wins over every configuration file of the repository.
_SAFE = (
    *("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "core.quotepath=off", "-c", "submodule.recurse=false", "-c", "protocol.allow=never"),
)
# Where the user's own configuration lies. The others speak of another repository, or name programs.
_KEPT = frozenset({"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES"})
_DIFF = (
    *("diff", "--no-index", "--unified=0", "--inter-hunk-context=0", "--no-renames", "--no-color", "--no-prefix"),
    *("--no-ext-diff", "--no-textconv", "--text", "--ignore-cr-at-eol"),
)


def repository_top(folder: str, known: dict[str, str | None] | None = None) -> str | None:
    """Return the top of the repository around an absolute folder, or None; ``known`` remembers between calls."""
    known = {} if known is None else known
    if folder not in known:
        parent = os.path.dirname(folder)
        # `.git` is a file in a worktree or a submodule.
        own = os.path.exists(os.path.join(folder, ".git"))
        known[folder] = folder if own else None if parent == folder else repository_top(parent, known)
    return known[folder]


class GitError(Exception):
    """A git that cannot be run, or its first complaint."""


class Git:
    """One repository. Only commands that read objects and the index are safe to call: none that reads the work tree."""

    def __init__(self, top: str) -> None:
        self._top = top

    def __call__(self, *arguments: str, send: bytes = b"") -> bytes:
        """What git prints; raises :class:`GitError`."""
        code, out, complaint = _run(self._top, arguments, send)
        if code:
            raise GitError(complaint or f"git exits with {code}")
        return out

    def quietly(self, *arguments: str) -> bytes:
        """What git prints; nothing where it says by its exit code alone that there is nothing."""
        code, out, complaint = _run(self._top, arguments)
        if code and complaint:
            raise GitError(complaint)
        return b"" if code else out

    def blobs(self, names: Iterable[bytes], longest: int) -> Iterator[tuple[bytes, bytes]]:
        """The content of each blob by its name; those that are longer, or not there, are left out."""
        asked = b"".join(name + b"\n" for name in set(names))
        sizes = (line.split(b" ") for line in self("cat-file", "--batch-check", send=asked).splitlines())
        fitting = [words[0] for words in sizes if words[1] == b"blob" and int(words[2]) <= longest]
        out = self("cat-file", "--batch", send=b"".join(name + b"\n" for name in fitting))
        position = 0
        for name in fitting:
            start = out.index(b"\n", position) + 1
            position = start + int(out[position : start - 1].split(b" ")[2]) + 1
            yield name, out[start : position - 1]


def difference(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """git's patch without context from each first to each second text; they are named ``a/0`` and ``b/0``, and so on.

    Made in a folder of its own, where no configuration and no attributes hold.
    """
    with tempfile.TemporaryDirectory(prefix="fa-lint-") as folder:
        for number, texts in enumerate(pairs):
            for side, text in zip("ab", texts, strict=True):
                os.makedirs(os.path.join(folder, side), exist_ok=True)
                with open(os.path.join(folder, side, str(number)), "xb") as stream:
                    stream.write(text)
        alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
        ceiling = os.path.dirname(os.path.realpath(folder))
        code, out, complaint = _run(folder, (*_DIFF, "a", "b"), extra=alone | {"GIT_CEILING_DIRECTORIES": ceiling})
    if code not in (0, 1):
        raise GitError(complaint)
    return out


def _run(
    folder: str, arguments: Iterable[str], send: bytes = b"", extra: dict[str, str] | None = None
) -> tuple[int, bytes, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in _KEPT}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    # A partial clone would fetch what it lacks, by a program that its configuration names.
    environment |= {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", **(extra or {})}
    command = [_program(), "-C", folder, *_SAFE, *arguments]
    try:
        done = subprocess.run(command, input=send, capture_output=True, env=environment, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise GitError(f"git has not answered in {_SECONDS} seconds") from None
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror or error}") from None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return done.returncode, done.stdout, lines[0].removeprefix("fatal: ") if lines else ""


def _program() -> str:
    """git in an absolute folder of PATH: an empty or relative one, and on Windows the search itself, would find a
    program in the working directory."""
    name = "git.exe" if os.name == "nt" else "git"
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = os.path.join(folder, name)
        if os.path.isabs(folder) and os.path.isfile(found) and os.access(found, os.X_OK):
            return found
    raise GitError("git cannot be run: it is in no folder of PATH")
