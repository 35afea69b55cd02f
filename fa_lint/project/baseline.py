"""A baseline: the findings that a project had when it adopted fa-lint, so that only new ones are reported.

One JSON file, one object a kind of finding, sorted, so that it reads and merges well. What identifies a finding is in
:mod:`fa_lint.project.fingerprints`; the other fields tell a person what it is.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from fa_lint.findings import Diagnostic
from fa_lint.project.fingerprints import fingerprint
from fa_lint.source.escaping import to_json
from fa_lint.source.files import replace_file
from fa_lint.source.reading import read_file

__all__ = ["Baseline", "BaselineError", "Entry"]

_VERSION = 1
_LONGEST = 120


class BaselineError(Exception):
    """A baseline that cannot be read or written: which file, where, and what to do."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Entry:
    """``count`` findings of one fingerprint. ``other_files`` hold the rest of a finding that spans files."""

    fingerprint: str
    code: str
    path: str
    scope: str
    statement: str
    count: int = 1
    other_files: tuple[str, ...] = ()

    @property
    def sort_key(self) -> tuple[str, str, str, str, str]:
        return (self.path, self.code, self.scope, self.statement, self.fingerprint)

    def __str__(self) -> str:
        where = f"{self.path}, {self.scope}" if self.scope else self.path
        return f"{self.code} in {where}: {self.statement}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """``file`` is where it lives; paths count from its folder."""

    file: str
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> str:
        return os.path.dirname(os.path.abspath(self.file))

    @classmethod
    def of(cls, found: Iterable[Diagnostic], file: str) -> Baseline:
        """The baseline that silences exactly these findings."""
        folder = os.path.dirname(os.path.abspath(file))
        entries: dict[str, Entry] = {}
        for item in found:
            key = fingerprint(item, folder)
            entry = entries.get(key)
            entries[key] = _entry(key, item, folder) if entry is None else replace(entry, count=entry.count + 1)
        return cls(file, tuple(sorted(entries.values(), key=lambda e: e.sort_key)))

    @classmethod
    def load(cls, file: str) -> Baseline:
        """Read a baseline; raises :class:`BaselineError`."""
        try:
            text = read_file(file).decode()
        except FileNotFoundError:
            raise BaselineError(file, f"no such baseline; `--write-baseline {file}` makes one") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BaselineError(file, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            row = getattr(error, "lineno", 1)
            raise BaselineError(f"{file}:{row}", f"not JSON: {getattr(error, 'msg', error)}") from None
        if not isinstance(document, dict) or document.get("version") != _VERSION:
            raise BaselineError(file, f"not a fa-lint baseline of version {_VERSION}")
        try:
            return cls(file, tuple(_read_entry(item) for item in document["findings"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(file, f"a finding in it is broken ({type(error).__name__}: {error})") from None

    def apply(
        self, found: Iterable[Diagnostic], linted: Collection[str], codes: frozenset[str]
    ) -> tuple[list[Diagnostic], Baseline]:
        """The findings that are new, and the baseline without the entries that are no longer found.

        An entry is judged only where its rule was on (``codes``) and its files were ``linted``, or are gone.
        """
        left = Counter({entry.fingerprint: entry.count for entry in self.entries})
        new = []
        for item in found:
            key = fingerprint(item, self.folder)
            if left[key] > 0:
                left[key] -= 1
            else:
                new.append(item)
        seen = {_inside(path, self.folder) for path in linted}
        kept = []
        for entry in self.entries:
            gone = left[entry.fingerprint] if self._is_judged(entry, seen, codes) else 0
            if gone < entry.count:
                kept.append(replace(entry, count=entry.count - gone))
        return new, Baseline(self.file, tuple(kept))

    def _is_judged(self, entry: Entry, seen: Collection[str], codes: frozenset[str]) -> bool:
        if not os.path.exists(os.path.join(self.folder, entry.path)):
            return True
        others_seen = all(
            path in seen or not os.path.exists(os.path.join(self.folder, path)) for path in entry.other_files
        )
        return entry.path in seen and others_seen and entry.code in codes

    def without(self, smaller: Baseline) -> list[Entry]:
        """What ``smaller``, made of this baseline, has lost."""
        left = {entry.fingerprint: entry.count for entry in smaller.entries}
        lost = (replace(e, count=e.count - left.get(e.fingerprint, 0)) for e in self.entries)
        return [entry for entry in lost if entry.count]

    def write(self) -> None:
        """Write the file; raises :class:`BaselineError`."""
        document = {"version": _VERSION, "findings": [_as_dict(entry) for entry in self.entries]}
        text = to_json(document, indent=2) + "\n"
        try:
            replace_file(self.file, text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise BaselineError(self.file, f"cannot be written: {error.strerror or error}") from None


def _inside(path: str, folder: str) -> str:
    return os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/")


def _entry(key: str, item: Diagnostic, folder: str) -> Entry:
    line = next((text.strip() for row, text in item.frame if row == item.start.row), "")
    others = {_inside(r.path, folder) for r in item.related if r.path != item.path}
    return Entry(
        key, item.code, _inside(item.path, folder), item.scope, line[:_LONGEST], other_files=tuple(sorted(others))
    )


def _as_dict(entry: Entry) -> dict[str, Any]:
    plain: dict[str, Any] = {"path": entry.path, "code": entry.code}
    if entry.scope:
        plain["scope"] = entry.scope
    plain |= {"statement": entry.statement, "fingerprint": entry.fingerprint, "count": entry.count}
    if entry.other_files:
        plain["other_files"] = list(entry.other_files)
    return plain


def _read_entry(item: dict[str, Any]) -> Entry:
    texts = [item["fingerprint"], item["code"], item["path"], item.get("scope", ""), item.get("statement", "")]
    others, count = item.get("other_files", []), item.get("count", 1)
    if not all(isinstance(text, str) for text in [*texts, *others]):
        raise ValueError("its fields must be strings")
    if not isinstance(count, int) or count < 1:
        raise ValueError("`count` must be a positive number")
    fingerprint_, code, path, scope, statement = texts
    return Entry(fingerprint_, code, path, scope, statement, count, tuple(others))
