"""Which files: explicit ones always, directories by suffix, ``.gitignore`` at every level, and excludes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from fa_lint.project.config import DEFAULT_EXCLUDE, Settings, is_pattern
from fa_lint.project.ignoring import ignore_spec
from fa_lint.source.reading import read_file

__all__ = ["SUFFIXES", "DiscoveryError", "discover", "is_excluded"]

SUFFIXES = (".py", ".pyi", ".ipynb")


class DiscoveryError(Exception):
    """A path on the command line that cannot be linted."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class _Ignore:
    """The patterns of one ``.gitignore``, relative to its folder."""

    folder: str
    spec: GitIgnoreSpec

    def judge(self, path: str, is_folder: bool) -> bool | None:
        return self.spec.check_file(_below(path, self.folder, is_folder)).include


def discover(paths: Iterable[str], settings: Settings) -> list[str]:
    """The files to lint, each once, sorted by path; raises :class:`DiscoveryError` for a path that is not there.

    An explicit file is linted whatever its name (unless ``force_exclude``); excludes and ignore files apply below an
    explicit directory, never to the directory itself. What cannot be looked into (a folder too) is among the files:
    reading it reports the error.
    """
    found: dict[str, str] = {}
    for path in paths:
        if _is_missing(path):
            raise DiscoveryError(path, "no such file or directory")
        if os.path.isdir(path):
            for file in _walk(path, settings):
                found.setdefault(os.path.realpath(file), file)
        elif not (settings.force_exclude and is_excluded(path, settings)):
            found.setdefault(os.path.realpath(path), os.path.normpath(path))
    return sorted(found.values())


def _is_missing(path: str) -> bool:
    """Return True if nothing is there; what is there and cannot be reached is not missing."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def is_excluded(path: str, settings: Settings) -> bool:
    """Return True if a file, or a folder above it, is excluded or ignored: ``--force-exclude``, open editors."""
    absolute = os.path.abspath(path)
    root = os.path.abspath(settings.root)
    inside = os.path.relpath(absolute, root)
    if inside.startswith(".."):
        return False
    spec = ignore_spec([*settings.exclude, *settings.extend_exclude])
    ignores: list[_Ignore] = []
    current = root
    parts = inside.split(os.sep)
    for number, part in enumerate(parts):
        ignores += _read_ignore(current)
        current = os.path.join(current, part)
        is_folder = number < len(parts) - 1
        excluded = spec.match_file(_below(current, root, is_folder))
        if excluded or (settings.respect_gitignore and _ignored(current, is_folder, ignores)):
            return True
    return False


def _excludes(settings: Settings, top: str) -> list[_Ignore]:
    """The excludes that hold below ``top``.

    A configured pattern with a folder in it (``src/generated``) counts from the configuration's folder, as Ruff's
    do; the others hold at any depth. One that matches ``top`` itself is off: what is named is wanted.
    """
    root = os.path.abspath(settings.root)
    patterns = [*settings.exclude, *settings.extend_exclude]
    inside = top.startswith(os.path.join(root, ""))
    rooted = {p for p in patterns if inside and "/" in p.lstrip("!").rstrip("/") and p not in DEFAULT_EXCLUDE}
    named = {p for p in rooted if ignore_spec([p]).match_file(_below(top, root, True))}
    return [
        _Ignore(top, ignore_spec(p for p in patterns if p not in rooted)),
        _Ignore(root, ignore_spec(p for p in patterns if p in rooted - named)),
    ]


def _below(path: str, folder: str, is_folder: bool) -> str:
    relative = os.path.relpath(path, folder).replace(os.sep, "/")
    return relative + "/" if is_folder else relative


def _ignored(path: str, is_folder: bool, ignores: list[_Ignore]) -> bool:
    """Git's order: the innermost file that says anything decides."""
    for ignore in reversed(ignores):
        verdict = ignore.judge(path, is_folder)
        if verdict is not None:
            return verdict
    return False


def _read_ignore(folder: str) -> list[_Ignore]:
    found = []
    for name in (".gitignore",):
        try:
            text = read_file(os.path.join(folder, name)).decode("utf-8", "replace")
        except OSError:
            continue
        lines = text.split("\n")
        try:
            spec = ignore_spec(lines)
        except ValueError:  # git skips what it cannot read
            spec = ignore_spec(filter(is_pattern, lines))
        found.append(_Ignore(folder, spec))
    return found


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError as error:
        # A link to itself is nothing; what is out of reach is something.
        return error.errno != errno.ELOOP


def _above(folder: str) -> list[_Ignore]:
    """The ignore files between the repository's root and a folder."""
    chain = []
    current = os.path.abspath(folder)
    # In a worktree or a submodule `.git` is a file.
    while not os.path.exists(os.path.join(current, ".git")):
        parent = os.path.dirname(current)
        if parent == current:
            return []
        current = parent
        chain.append(current)
    return [ignore for above in reversed(chain) for ignore in _read_ignore(above)]


def _walk(top: str, settings: Settings) -> Iterator[str]:
    top_absolute = os.path.abspath(top)
    excludes = [spec for spec in _excludes(settings, top_absolute) if len(spec.spec)]
    above = _above(top) if settings.respect_gitignore else []
    # A folder that is named on the command line is wanted, whatever an ignore file above it says.
    if above and _ignored(top_absolute, True, above):
        above = []
    stack: list[tuple[str, list[_Ignore]]] = [(top, above)]
    seen: set[str] = set()
    while stack:
        folder, ignores = stack.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:  # gone meanwhile
            continue
        except OSError:
            yield os.path.normpath(folder)
            continue
        absolute = os.path.abspath(folder)
        if settings.respect_gitignore:
            ignores = ignores + _read_ignore(absolute)
        for entry in entries:
            is_folder = _is_dir(entry)
            if not is_folder and not entry.name.endswith(SUFFIXES):
                continue
            path = os.path.join(absolute, entry.name)
            if any(spec.judge(path, is_folder) for spec in excludes) or _ignored(path, is_folder, ignores):
                continue
            if is_folder:
                stack.append((os.path.join(folder, entry.name), ignores))
            elif _is_file(entry):
                yield os.path.normpath(os.path.join(folder, entry.name))
