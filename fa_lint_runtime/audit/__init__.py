"""Methods × seeds × models, resumable, one file a cell; a table with intervals at the end."""

from __future__ import annotations

from .cells import Cell, CellResult, cells_of, run_cell
from .config import AuditConfig, ConfigError, load_config
from .executors import executor_named
from .formats import to_latex, to_markdown
from .intervals import Summary, summary
from .page import audit_page
from .progress import Progress
from .published import against_published
from .running import check_targets, rank_and_world, run_audit
from .table import Row, exit_code, rows_of

__all__ = [
    "AuditConfig",
    "Cell",
    "CellResult",
    "ConfigError",
    "Progress",
    "Row",
    "Summary",
    "against_published",
    "audit_page",
    "cells_of",
    "check_targets",
    "executor_named",
    "exit_code",
    "load_config",
    "rank_and_world",
    "rows_of",
    "run_audit",
    "run_cell",
    "summary",
    "to_latex",
    "to_markdown",
]
