"""``fa-lint server``: the Language Server Protocol over standard input and output."""

from __future__ import annotations

from fa_lint.installing import install_command
from fa_lint.output.console import stop

__all__ = ["serve"]


def serve() -> None:
    """Run the server until the client leaves; needs the extra ``lsp``."""
    try:
        import pygls.lsp.server  # noqa: F401
    except ImportError:
        stop(f"the server needs the extra `lsp`: {install_command('lsp')}")
    from fa_lint.integrations.lsp.server import make_server

    make_server().start_io()
