"""The report as one page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ..dependencies import install_command
from ..diagnostics.report import DiagnosticReport
from ..escaping import visible_copy
from ..files import write_text
from .figures import figures
from .words import EXPLANATIONS, SIGNS, figure, headline, interval, percent, probability, signed

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["to_html"]


@functools.cache
def _template() -> Template:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise ImportError(f"HTML needs jinja2: {install_command('report')}") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(
        figure=figure, interval=interval, percent=percent, probability=probability, signed=signed, signs=SIGNS
    )
    source = files("fa_lint_runtime.render").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def to_html(report: DiagnosticReport, path: str | Path | None = None) -> str:
    """The page; written to ``path`` if given, whole or not at all.

    Raises:
        ImportError: without the extra ``report`` (jinja2, matplotlib).
        OSError: ``path`` cannot be written.
    """
    report = visible_copy(report)
    page = _template().render(
        report=report, headline=headline(report), explanation=EXPLANATIONS[report.verdict], figures=figures(report)
    )
    if path is not None:
        write_text(path, page)
    return page
