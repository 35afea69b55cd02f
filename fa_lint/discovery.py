"""Which files: explicit ones always, directories by suffix, ``.gitignore`` at every level, and excludes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from fa_lint.config import Settings

__all__ = ["SUFFIXES", "DiscoveryError", "discover"]

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
        relative = os.path.relpath(path, self.folder).replace(os.sep, "/")
        return self.spec.check_file(relative + "/" if is_folder else relative).include


def discover(paths: Iterable[str], settings: Settings) -> list[str]:
    """The files to lint, each once, sorted by path; raises :class:`DiscoveryError` for a path that is not there.

    An explicit file is linted whatever its name (unless ``force_exclude``); excludes and ignore files apply below an
    explicit directory, never to the directory itself.
    """
    found: dict[str, str] = {}
    for path in paths:
        if not os.path.exists(path):
            raise DiscoveryError(path, "no such file or directory")
        if os.path.isdir(path):
            for file in _walk(path, settings):
                found.setdefault(os.path.realpath(file), file)
        elif not (settings.force_exclude and _is_excluded(path, settings)):
            found.setdefault(os.path.realpath(path), os.path.normpath(path))
    return sorted(found.values())


def _is_excluded(path: str, settings: Settings) -> bool:
    """``--force-exclude``: is an explicit file, or a folder it lies in, excluded or ignored?"""
    absolute = os.path.abspath(path)
    root = os.path.abspath(settings.root)
    inside = os.path.relpath(absolute, root)
    if inside.startswith(".."):
        return False
    spec = _excludes(settings)
    ignores: list[_Ignore] = []
    current = root
    parts = inside.split(os.sep)
    for number, part in enumerate(parts):
        ignores += _read_ignore(current)
        current = os.path.join(current, part)
        is_folder = number < len(parts) - 1
        if _excluded(current, root, is_folder, spec) or (
            settings.respect_gitignore and _ignored(current, is_folder, ignores)
        ):
            return True
    return False


def _excludes(settings: Settings) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines([*settings.exclude, *settings.extend_exclude])


def _excluded(path: str, root: str, is_folder: bool, spec: GitIgnoreSpec) -> bool:
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    return spec.match_file(relative + "/" if is_folder else relative)


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
            text = Path(folder, name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found.append(_Ignore(folder, GitIgnoreSpec.from_lines(text.splitlines())))
    return found


def _above(folder: str) -> list[_Ignore]:
    """The ignore files between the repository's root and a folder."""
    chain = []
    current = os.path.abspath(folder)
    while not os.path.isdir(os.path.join(current, ".git")):
        parent = os.path.dirname(current)
        if parent == current:
            return []
        current = parent
        chain.append(current)
    return [ignore for above in reversed(chain) for ignore in _read_ignore(above)]


def _walk(top: str, settings: Settings) -> Iterator[str]:
    spec = _excludes(settings)
    top_absolute = os.path.abspath(top)
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
        except OSError:
            continue
        absolute = os.path.abspath(folder)
        if settings.respect_gitignore:
            ignores = ignores + _read_ignore(absolute)
        for entry in entries:
            is_folder = entry.is_dir()
            if not is_folder and not entry.name.endswith(SUFFIXES):
                continue
            path = os.path.join(absolute, entry.name)
            if _excluded(path, top_absolute, is_folder, spec) or (ignores and _ignored(path, is_folder, ignores)):
                continue
            if is_folder:
                stack.append((os.path.join(folder, entry.name), ignores))
            elif entry.is_file():
                yield os.path.normpath(os.path.join(folder, entry.name))
