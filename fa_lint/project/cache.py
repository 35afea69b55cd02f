"""Results by content: a file that was linted with the same rules and settings is not parsed again.

One JSON file per tool version, project and settings, in the user's cache folder. It is never trusted: an entry counts
only with the digest of its key and content, what is read has the types that were written, and fixes are never in it,
so that nothing in it can be written into a file. Anything wrong with it means an empty cache, never an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import stat
import sys
import tempfile
import time
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import Any

from fa_lint._version import __version__
from fa_lint.analysis.modules import ClassBases
from fa_lint.analysis.summaries import Noted
from fa_lint.findings import Diagnostic, Located
from fa_lint.project.check_file import FileResult
from fa_lint.project.config import Settings
from fa_lint.project.decoding import decode
from fa_lint.rules import registry
from fa_lint.rules.base import ProjectRule
from fa_lint.source.reading import read_file

__all__ = ["Cache", "cache_files", "cache_folder", "digest"]

_FORMAT = 5
_MOST_ENTRIES = 50_000
_LONGEST = 500_000_000
_DAYS = 30
# What `Cache` names its files: a version and the fingerprint of settings, or what `mkstemp` makes of the prefix.
_TEMPORARY = ".fa-lint-"
_NAME = re.compile(rf"\d[\w.+]*-[0-9a-f]{{16}}\.json|{re.escape(_TEMPORARY)}\w+\.tmp")
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)


def cache_folder() -> str | None:
    """Where the cache lies: FA_LINT_CACHE_DIR, or fa-lint's place in the user's own cache folder.

    None where there is no such place, so that none is made up in the repository.
    """
    given = os.environ.get("FA_LINT_CACHE_DIR", "")
    if given:
        return given if os.path.isabs(given) else None
    if os.name == "nt":
        folder = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        folder = os.path.expanduser("~/Library/Caches")
    else:
        folder = os.environ.get("XDG_CACHE_HOME", "")
        folder = folder if os.path.isabs(folder) else os.path.expanduser("~/.cache")
    return os.path.join(folder, "fa-lint") if os.path.isabs(folder) else None


def cache_files(folder: str) -> list[Path]:
    """Return the files of the cache, of every version and project, and what a killed run left.

    The folder may be one that the user named, with files of others in it.
    """
    try:
        return sorted(path for path in Path(folder).iterdir() if _NAME.fullmatch(path.name) and not path.is_dir())
    except OSError:
        return []


def _is_ours(path: Path, kind: int) -> bool:
    """Return True if it is of the right kind, no link, and not writable by another user."""
    found = os.lstat(path)
    if stat.S_IFMT(found.st_mode) != kind:
        return False
    return os.name == "nt" or (found.st_uid == os.geteuid() and not found.st_mode & 0o022)


def digest(data: bytes, path: str, codes: frozenset[str]) -> str:
    """The key of one file's result: its bytes, its kind and the codes that were on."""
    key = blake2b(data, digest_size=16)
    key.update(f"\0{PurePath(path).suffix.lower()}\0".encode("utf-8", "surrogateescape"))
    key.update(",".join(sorted(codes)).encode())
    return key.hexdigest()


def _fingerprint(settings: Settings) -> str:
    names = (settings.feedback_names, settings.credit_names, settings.alignment_names)
    # The rules themselves are part of the key: a development checkout changes them under one version.
    package = Path(__file__).parent.parent
    stamps = sorted((str(f), f.stat().st_mtime_ns) for f in package.rglob("*.py"))
    root = os.path.abspath(settings.root)
    text = repr((_FORMAT, __version__, platform.python_version(), root, names, stamps))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


class Cache:
    """A dictionary of results, read at the start of a run and written at its end."""

    def __init__(self, settings: Settings) -> None:
        folder = cache_folder()
        self._file = Path(folder, f"{__version__}-{_fingerprint(settings)}.json") if folder is not None else None
        self._old: dict[str, Any] = {}
        self._new: dict[str, list[str]] = {}
        if self._file is None:
            return
        with contextlib.suppress(OSError, ValueError, RecursionError, MemoryError):
            if _is_ours(self._file.parent, stat.S_IFDIR) and _is_ours(self._file, stat.S_IFREG):
                loaded = json.loads(read_file(self._file, _LONGEST))
                if isinstance(loaded, dict):
                    self._old = loaded

    def get(self, key: str, path: str) -> FileResult | None:
        """The result stored under ``key``, with its path set to ``path``; None where there is none that can be read."""
        try:
            stored = self._stored(key)
            return None if stored is None else _result(stored, path)
        except _BROKEN:
            return None

    def put(self, key: str, result: FileResult) -> None:
        """Remember a result, unless it holds a fix or is none of the file's own doing."""
        noted = [n for facts in result.facts.values() for n in facts]
        places = [n.at.diagnostic for n in noted if n.at is not None]
        if not result.problems and not any(
            d.fix or d.torch_fix for d in (*result.diagnostics, *result.elsewhere, *places)
        ):
            content = {
                "path": result.path,
                "diagnostics": [asdict(d) for d in result.diagnostics],
                "facts": {
                    code: [(type(n.fact).__name__, asdict(n.fact), asdict(n.at) if n.at else None) for n in facts]
                    for code, facts in result.facts.items()
                },
                "imports": result.imports,
                "classes": [asdict(c) for c in result.classes],
                "elsewhere": [asdict(d) for d in result.elsewhere],
                "silenced": result.silenced,
                "depends": result.depends,
            }
            self._store(key, content)

    def _stored(self, key: str) -> Any:
        entry = self._new.get(key, self._old.get(key))
        if entry is None:
            return None
        check, text = entry
        if check != _check(key, text):
            raise ValueError(key)
        content = json.loads(text)
        self._new[key] = entry
        return content

    def _store(self, key: str, content: dict[str, Any]) -> None:
        text = json.dumps(content, separators=(",", ":"))
        self._new[key] = [_check(key, text), text]

    def write(self) -> None:
        """Write atomically; a cache that cannot be written is no error."""
        # By identity: an entry that could not be read is in `_old` too, and must be replaced.
        if self._file is None or all(self._old.get(key) is value for key, value in self._new.items()):
            return
        merged = self._old | self._new
        if len(merged) > _MOST_ENTRIES:
            merged = self._new
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(self._file.parent, stat.S_IFDIR):
                return
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=_TEMPORARY, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    json.dump(merged, stream, separators=(",", ":"))
                os.replace(name, self._file)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
            _drop_old(self._file.parent)


def _drop_old(folder: Path) -> None:
    """Remove what no run has written for a month: other versions, other projects, what a killed run left."""
    for path in cache_files(str(folder)):
        with contextlib.suppress(OSError):
            if os.lstat(path).st_mtime < time.time() - _DAYS * 86_400:
                path.unlink()


def _check(key: str, text: str) -> str:
    return blake2b(f"{key}\0{text}".encode(), digest_size=16).hexdigest()


# -- from JSON ----------------------------------------------------------------------------------------------------


def _diagnostic(stored: Any, path: str, own: str) -> Diagnostic:
    return _moved(decode(Diagnostic, stored), path, own)


def _moved(found: Diagnostic, path: str, own: str) -> Diagnostic:
    """A finding as it was made; what named the file where it lay then (``own``) names it where it lies now."""

    def here(named: str) -> str:
        return path if named == own else named

    related = tuple(replace(place, path=here(place.path)) for place in found.related)
    return replace(found, path=here(found.path), related=related)


def _noted(code: str, stored: Any, path: str, own: str) -> Noted:
    name, fact, at = stored
    rule = registry()[code]
    if not isinstance(rule, ProjectRule):
        raise TypeError(code)
    (kind,) = (kind for kind in rule.facts if kind.__name__ == name)
    place = decode(Located, at) if at is not None else None
    here = replace(place, diagnostic=_moved(place.diagnostic, path, own)) if place is not None else None
    return Noted(path, decode(kind, fact), here)


def _result(stored: dict[str, Any], path: str) -> FileResult:
    own = decode(str, stored["path"])
    return FileResult(
        path,
        [_diagnostic(d, path, own) for d in stored["diagnostics"]],
        {code: [_noted(code, n, path, own) for n in facts] for code, facts in stored["facts"].items()},
        decode(tuple[tuple[str, str], ...], stored["imports"]),
        decode(tuple[ClassBases, ...], stored["classes"]),
        elsewhere=[_diagnostic(d, path, own) for d in stored["elsewhere"]],
        silenced=list(decode(tuple[tuple[str, str, tuple[int, int]], ...], stored["silenced"])),
        depends=decode(tuple[tuple[str, str], ...], stored["depends"]),
    )
