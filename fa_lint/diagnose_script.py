"""Console script ``fa-diagnose``. It lives here because ``fa_lint_runtime`` cannot be imported without torch."""

from __future__ import annotations

import importlib
import sys

__all__ = ["main"]


def main() -> None:
    """Hand over to ``fa_lint_runtime.cli``; without torch or numpy one line on stderr and exit code 2."""
    try:
        cli = importlib.import_module("fa_lint_runtime.cli")
    except ImportError as error:
        print(f"fa-diagnose: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    cli.main()
