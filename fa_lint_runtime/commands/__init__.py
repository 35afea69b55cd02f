"""Subcommands of ``fa-diagnose``, one file each."""

__all__: list[str] = []
