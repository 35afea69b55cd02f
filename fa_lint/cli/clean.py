"""``fa-lint clean``: the cache goes, and nothing else that lies in its folder."""

from __future__ import annotations

from fa_lint.output.console import echo, plural, stop
from fa_lint.project.cache import cache_files, cache_folder

__all__ = ["clean"]


def clean() -> None:
    """Remove the files of the cache, of every project and version."""
    folder = cache_folder()
    files = [] if folder is None else cache_files(folder)
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            stop(f"cannot remove {path}: {error.strerror or error}")
    echo(f"Removed {plural(len(files), 'file')} of the cache{f' from {folder}' if files else ''}.\n")
