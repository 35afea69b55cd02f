"""How to install fa-lint, in one place: until it is released, no index holds the name."""

from __future__ import annotations

__all__ = ["NEEDS_RUNTIME", "RUNTIME", "install_command"]

RUNTIME = "fa_lint_runtime"
_RELEASED = False
_REPOSITORY = "git+https://github.com/fa-lint/fa-lint"


def install_command(extra: str) -> str:
    """The command that installs fa-lint with one of its extras."""
    return f'pip install "fa-lint[{extra}]{"" if _RELEASED else f" @ {_REPOSITORY}"}"'


NEEDS_RUNTIME = f"Code that imports {RUNTIME} needs it installed: {install_command('runtime')}"
