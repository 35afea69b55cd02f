"""Console script ``fa-diagnose``. It lives here so that it can say what is missing where torch is not installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from fa_lint.installing import install_command

__all__ = ["main"]


def main() -> None:
    """Hand over to ``fa_lint_runtime.cli``; without torch or numpy one line on stderr and exit code 2."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "numpy")):
        print(f"fa-diagnose: fa_lint_runtime needs torch and numpy: {install_command('runtime')}", file=sys.stderr)
        raise SystemExit(2)
    try:
        cli = importlib.import_module("fa_lint_runtime.cli")
    except ImportError as error:
        print(f"fa-diagnose: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    cli.main()
