"""Output formats: one file each, one function each, ``Report`` in and text out."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from fa_lint.output._common import rule_url, shown_path
from fa_lint.output.concise import render_concise
from fa_lint.output.full import render_full
from fa_lint.output.github import render_github
from fa_lint.output.gitlab import render_gitlab
from fa_lint.output.json import render_json, render_jsonl
from fa_lint.output.junit import render_junit
from fa_lint.output.rdjson import render_rdjson
from fa_lint.output.sarif import render_sarif
from fa_lint.output.statistics import render_statistics
from fa_lint.project.engine import Report

__all__ = ["FORMATS", "render_statistics", "rule_url", "shown_path"]

FORMATS: MappingProxyType[str, Callable[[Report], str]] = MappingProxyType(
    {
        "full": render_full,
        "concise": render_concise,
        "json": render_json,
        "jsonl": render_jsonl,
        "sarif": render_sarif,
        "github": render_github,
        "gitlab": render_gitlab,
        "junit": render_junit,
        "rdjson": render_rdjson,
    }
)
