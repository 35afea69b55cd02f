"""JSON and back, after ``report.schema.json``. Figures in full; NaN and infinities as strings, which JSON lacks."""

from __future__ import annotations

import functools
import json
import math
import types
import typing
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import Any

from .. import escaping
from ..diagnostics.report import DiagnosticReport

__all__ = ["SCHEMA_VERSION", "from_json", "schema", "to_json"]

SCHEMA_VERSION = 1
_FORMAT = "fa-lint-diagnostic-report"


def schema() -> dict[str, Any]:
    """The JSON Schema of this version.

    Example:
        >>> schema()["properties"]["schema_version"]
        {'const': 1}
    """
    text = files("fa_lint_runtime.render").joinpath("report.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def to_json(report: DiagnosticReport) -> str:
    """One object with ``format``, ``schema_version`` and every field of the report, by its name."""
    payload = {"format": _FORMAT, "schema_version": SCHEMA_VERSION, **_encoded(report)}
    return escaping.to_json(payload)


def from_json(text: str) -> DiagnosticReport:
    """The report that :func:`to_json` wrote.

    Raises:
        ValueError: no JSON, another format, a newer version, a field that is missing or has another type.
    """
    try:
        payload = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(payload, dict) or payload.get("format") != _FORMAT:
        raise ValueError(f'not a diagnostic report: "format" is not "{_FORMAT}"')
    version = payload.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version!r}; this fa_lint_runtime reads version {SCHEMA_VERSION}: update it")
    content = {key: value for key, value in payload.items() if key not in ("format", "schema_version")}
    report = _decoded(content, DiagnosticReport, "report")
    assert isinstance(report, DiagnosticReport)
    return report


def _encoded(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _encoded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decoded(value: Any, kind: Any, where: str) -> Any:
    """``value`` as an instance of a type annotation."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        (kind,) = [a for a in arguments if a is not types.NoneType]
        return _decoded(value, kind, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise ValueError(f"{where}: a list expected, got {type(value).__name__}")
        return origin(_decoded(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: an object expected, got {type(value).__name__}")
        names = {field.name for field in fields(kind)}
        if set(value) != names:
            odd = sorted(set(value) ^ names)[0]
            raise ValueError(f"{where}: field {odd!r} is {'missing' if odd in names else 'unknown'}")
        return kind(**{name: _decoded(value[name], _hints(kind)[name], f"{where}.{name}") for name in value})
    if kind is float:
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif kind in (int, str, bool) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: {kind.__name__} expected, got {value!r}")
