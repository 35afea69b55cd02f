from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from fa_lint._version import __version__
from fa_lint.findings import Diagnostic, Level, Place
from fa_lint.output._common import base_folder, file_rows, relative, rule_url
from fa_lint.project.engine import Report
from fa_lint.rules import ENGINE_CODES, registry
from fa_lint.source.escaping import to_json

__all__ = ["render_sarif"]

_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.HINT: "note"}
_ENGINE_TEXT = {
    "FAL900": "A file or notebook cell that is not Python and was not checked.",
    "FAL901": "A suppression comment that silences nothing.",
}


def _uri(path: str) -> dict[str, str]:
    shown = PurePath(relative(path))
    if shown.is_absolute():
        return {"uri": shown.as_uri()}
    return {"uri": quote(shown.as_posix(), errors="surrogateescape"), "uriBaseId": "%SRCROOT%"}


def _region(start: Place, end: Place) -> dict[str, int]:
    return {"startLine": start.row, "startColumn": start.column, "endLine": end.row, "endColumn": end.column}


def _location(path: str, start: Place, end: Place, cell: int | None, message: str = "") -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": _uri(path), "region": _region(start, end)}}
    if cell is not None:
        location["logicalLocations"] = [{"name": f"cell {cell}", "kind": "module"}]
    if message:
        location["message"] = {"text": message}
    return location


def _finding_location(found: Diagnostic) -> dict[str, Any]:
    location = _location(found.path, found.start, found.end, found.cell)
    if found.cell is not None:
        # Rows of the file, which services count in; a cell's columns are not the file's.
        first, last = file_rows(found)
        location["physicalLocation"]["region"] = {"startLine": first, "endLine": last}
    return location


def _rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {
            "id": code,
            "name": rule.name,
            "shortDescription": {"text": rule.summary},
            "fullDescription": {"text": rule.summary},
            "help": {"text": rule.documentation(), "markdown": rule.documentation()},
            **({"helpUri": url} if (url := rule_url(code)) else {}),
            "defaultConfiguration": {"level": _LEVELS[rule.level], "enabled": rule.default},
            "properties": {"pitfall": rule.pitfall, "runtime": rule.runtime},
        }
        for code, rule in registry().items()
    ]
    for code, name in ENGINE_CODES.items():
        level = "error" if code == "FAL900" else "warning"
        text = {"text": _ENGINE_TEXT[code]}
        rules.append(
            {
                "id": code,
                "name": name,
                "shortDescription": text,
                "fullDescription": text,
                "helpUri": rule_url(code),
                "defaultConfiguration": {"level": level, "enabled": True},
            }
        )
    return sorted(rules, key=lambda rule: rule["id"])


def _result(found: Diagnostic, index: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": found.code,
        # An event of the guard may carry a code that no rule of this version has.
        **({"ruleIndex": index[found.code]} if found.code in index else {}),
        "level": _LEVELS[found.level],
        "message": {"text": found.message},
        "locations": [_finding_location(found)],
    }
    if found.related:
        result["relatedLocations"] = [_location(r.path, r.start, r.end, r.cell, r.message) for r in found.related]
    # A cell's rows are not rows of the file: such a fix cannot be said in SARIF.
    if found.fix is not None and found.cell is None:
        replacements = [
            {"deletedRegion": _region(e.start, e.end), "insertedContent": {"text": e.content}} for e in found.fix.edits
        ]
        change = {"artifactLocation": _uri(found.path), "replacements": replacements}
        result["fixes"] = [{"description": {"text": found.fix.message}, "artifactChanges": [change]}]
    return result


def render_sarif(report: Report) -> str:
    """SARIF 2.1.0 with the metadata of every rule."""
    rules = _rules()
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    root = base_folder().as_uri() + "/"
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "fa-lint",
                        "informationUri": "https://github.com/fa-lint/fa-lint",
                        "semanticVersion": __version__,
                        "rules": rules,
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {"%SRCROOT%": {"uri": root}},
                "results": [_result(found, index) for found in report.diagnostics],
                "invocations": [
                    {
                        "executionSuccessful": not report.problems,
                        "toolExecutionNotifications": [
                            {"level": "error", "message": {"text": problem}} for problem in report.problems
                        ],
                    }
                ],
            }
        ],
    }
    return to_json(log, indent=2) + "\n"
