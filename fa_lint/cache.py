"""Results by content: a file that was linted with the same rules and settings is not parsed again.

One JSON file per tool version and settings. Anything wrong with it (corrupt, foreign, unwritable) means an empty
cache, never an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import Any

from fa_lint._version import __version__
from fa_lint.analysis import FileResult
from fa_lint.config import Settings
from fa_lint.findings import (
    Applicability,
    Diagnostic,
    DiagnosticEdit,
    DiagnosticFix,
    Level,
    Place,
    RelatedPlace,
    Trace,
)
from fa_lint.rules.base import Question

__all__ = ["Cache", "digest"]

FOLDER = ".fa_lint_cache"
_FORMAT = 2
_MOST_ENTRIES = 50_000


def digest(data: bytes, path: str, codes: frozenset[str]) -> str:
    """The key of one file's result: its bytes, its kind and the codes that were on."""
    key = blake2b(data, digest_size=16)
    key.update(f"\0{PurePath(path).suffix.lower()}\0".encode())
    key.update(",".join(sorted(codes)).encode())
    return key.hexdigest()


def _fingerprint(settings: Settings) -> str:
    names = (settings.feedback_names, settings.credit_names, settings.alignment_names)
    # The rules themselves are part of the key: a development checkout changes them under one version.
    package = Path(__file__).parent
    stamps = sorted((str(f), f.stat().st_mtime_ns) for f in package.rglob("*.py"))
    text = repr((_FORMAT, __version__, platform.python_version(), names, stamps))
    return blake2b(text.encode(), digest_size=8).hexdigest()


class Cache:
    """A dictionary of results, read at the start of a run and written at its end."""

    def __init__(self, settings: Settings) -> None:
        self._file = Path(settings.root, FOLDER, f"{__version__}-{_fingerprint(settings)}.json")
        self._old: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, RecursionError):
            loaded = json.loads(self._file.read_bytes())
            if isinstance(loaded, dict):
                self._old = loaded

    def get(self, key: str, path: str) -> FileResult | None:
        """The result stored under ``key``, told of ``path``; None where there is none that can be read."""
        stored = self._new.get(key, self._old.get(key))
        if stored is None:
            return None
        try:
            result = _result(stored, path)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return None
        self._new[key] = stored
        return result

    def put(self, key: str, result: FileResult) -> None:
        if not result.problems:
            self._new[key] = {
                "d": [asdict(d) for d in result.diagnostics],
                "c": {code: [asdict(t) for t in traces] for code, traces in result.clues.items()},
                "i": result.imports,
            }

    def answers(self, data: bytes, path: str, code: str, question: Question) -> list[Trace] | None:
        """What the file said to the same question before."""
        key = _asked(data, path, code, question)
        stored = self._new.get(key, self._old.get(key))
        try:
            found = None if stored is None else [_trace(t, path) for t in stored["a"]]
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return None
        if stored is not None:
            self._new[key] = stored
        return found

    def put_answers(self, data: bytes, path: str, code: str, question: Question, answers: list[Trace]) -> None:
        self._new[_asked(data, path, code, question)] = {"a": [asdict(t) for t in answers]}

    def write(self) -> None:
        """Write atomically; a cache that cannot be written is no error."""
        # By identity: an entry that could not be read is in `_old` too, and must be replaced.
        if all(self._old.get(key) is value for key, value in self._new.items()):
            return
        merged = self._old | self._new
        if len(merged) > _MOST_ENTRIES:
            merged = self._new
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            ignore = self._file.parent / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            handle, name = tempfile.mkstemp(dir=self._file.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    json.dump(merged, stream, separators=(",", ":"))
                os.replace(name, self._file)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)


def _asked(data: bytes, path: str, code: str, question: Question) -> str:
    return digest(data, path, frozenset({code, repr(question)}))


def _place(stored: dict[str, int]) -> Place:
    return Place(stored["row"], stored["column"])


def _fix(stored: dict[str, Any] | None) -> DiagnosticFix | None:
    if stored is None:
        return None
    edits = (DiagnosticEdit(_place(e["start"]), _place(e["end"]), e["content"], e["cell"]) for e in stored["edits"])
    return DiagnosticFix(Applicability(stored["applicability"]), stored["message"], tuple(edits))


def _diagnostic(stored: dict[str, Any], path: str) -> Diagnostic:
    return Diagnostic(
        **{
            **stored,
            "path": path,
            "start": _place(stored["start"]),
            "end": _place(stored["end"]),
            "level": Level(stored["level"]),
            "fix": _fix(stored["fix"]),
            "torch_fix": _fix(stored["torch_fix"]),
            "related": tuple(
                RelatedPlace(path, _place(r["start"]), _place(r["end"]), r["message"], r["cell"])
                for r in stored["related"]
            ),
            "frame": tuple((row, text) for row, text in stored["frame"]),
        }
    )


def _trace(stored: dict[str, Any], path: str) -> Trace:
    first, last = stored["rows"]
    return Trace(
        stored["kind"], _diagnostic(stored["diagnostic"], path), stored["data"], (first, last), stored["silenced"]
    )


def _result(stored: dict[str, Any], path: str) -> FileResult:
    return FileResult(
        path,
        [_diagnostic(d, path) for d in stored["d"]],
        {code: [_trace(t, path) for t in traces] for code, traces in stored["c"].items()},
        tuple((local, target) for local, target in stored["i"]),
    )
