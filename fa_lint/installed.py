"""What Python may load while it works on untrusted code: installed distributions, never the working directory.

Imported before everything else, so that the modules it needs itself are imported only once the path is safe.
"""

# Not even ``__future__`` and ``typing``: they would come from the working directory.
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["SafeChildren", "entry_points", "is_program", "trusted_path"]

_SITE_NAMES = ("site-packages", "dist-packages")


def is_program() -> bool:
    """Return True if this process is fa-lint itself, and not a program that uses it."""
    started = sys.argv[0] if sys.argv else ""
    if started == "-m":  # Python is still looking for the module to run
        return any(word.removeprefix("-m") == "fa_lint" for word in sys.orig_argv)
    return os.path.splitext(os.path.basename(started))[0] == "fa-lint"


def trusted_path() -> list[str]:
    """``sys.path`` without the working directory, and without what lies in it or around it.

    What the interpreter and its installer put there stays: the standard library, the folders of installed packages,
    and last (so that they shadow nothing) the folders of editable installations.
    """
    here = _real("")
    library = _real(os.path.dirname(os.__file__))
    apart = [entry for entry in sys.path if entry and (_is_below(_real(entry), library) or not _meet(entry, here))]
    known, editable = _known_folders(apart)
    inside = [entry for entry in sys.path if entry and entry not in apart]
    kept = {*apart, *(entry for entry in inside if _real(entry) in known)}
    return [*(e for e in sys.path if e in kept), *(e for e in inside if e not in kept and _real(e) in editable)]


def entry_points(group: str) -> "list[Any]":
    """The entry points of a group, of installed distributions only; loading one never looks in the working directory.

    ``importlib.metadata.entry_points`` takes any ``*.dist-info`` on ``sys.path``, which may begin with the folder that
    is linted.
    """
    before = sys.path[:]
    sys.path[:] = trusted_path()
    try:
        from importlib.metadata import EntryPoint, distributions

        class Installed(EntryPoint):
            def load(self) -> "Any":
                old = sys.path[:]
                sys.path[:] = trusted_path()
                try:
                    return super().load()
                finally:
                    sys.path[:] = old

        found: dict[tuple[str, str], EntryPoint] = {}
        for distribution in distributions(path=_installed_folders()):
            if group in (distribution.read_text("entry_points.txt") or ""):
                for point in distribution.entry_points.select(group=group):
                    # The first on the path is the one that an import finds.
                    found.setdefault((distribution.metadata["Name"], point.name), point)
        return [Installed(point.name, point.value, point.group) for point in found.values()]
    finally:
        sys.path[:] = before


class SafeChildren:
    """While it is entered, a Python that is started here reads neither the working directory nor PYTHONPATH first."""

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
        os.environ["PYTHONSAFEPATH"] = "1"
        os.environ.pop("PYTHONPATH", None)

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _installed_folders() -> list[str]:
    """The folders of ``sys.path`` that an installer fills."""
    known, _ = _known_folders(sys.path)
    here = _real("")
    return [
        entry
        for entry in sys.path
        if _real(entry) in known
        or (os.path.basename(entry.rstrip("/\\")) in _SITE_NAMES and os.path.isabs(entry) and not _meet(entry, here))
    ]


def _known_folders(path: "Iterable[str]") -> tuple[set[str], set[str]]:
    """The folders that installers fill, and those of editable installations."""
    before = sys.path[:]
    sys.path[:] = path
    try:
        import site
        import sysconfig

        # Within the safe path: the paths are read from a module that is found by its name.
        paths = sysconfig.get_paths()
        folders = [paths["purelib"], paths["platlib"], *getattr(site, "getsitepackages", list)()]
        if site.ENABLE_USER_SITE:
            folders.append(site.getusersitepackages())
    finally:
        sys.path[:] = before
    folders.append(os.path.join(sys.base_exec_prefix, "DLLs"))  # of Windows' standard library
    known = {_real(folder) for folder in folders}
    # Where fa-lint itself was found, with what was installed beside it; a checkout that is linted is no such place.
    own = _real(os.path.dirname(os.path.dirname(__file__)))
    editable = {own, *(_real(line) for folder in known for line in _links(folder))}
    return known | ({own} - {_real("")}), editable


def _links(folder: str) -> list[str]:
    found: list[str] = []
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".pth")]
    except OSError:
        return found
    for name in names:
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as stream:
                lines = [line.strip() for line in stream]
        except OSError:
            continue
        found += [os.path.join(folder, line) for line in lines if line and not line.startswith(("#", "import"))]
    return found


def _real(path: str) -> str:
    """The path without links; empty for a relative one when the working directory is gone."""
    try:
        return os.path.realpath(path or os.getcwd())
    except OSError:
        return ""


def _meet(entry: str, here: str) -> bool:
    """Return True if an entry of ``sys.path`` is the working directory, in it, or around it."""
    real = _real(entry)
    return not os.path.isabs(entry) or _is_below(real, here) or _is_below(here, real)


def _is_below(path: str, folder: str) -> bool:
    return bool(folder) and (path == folder or path.startswith(os.path.join(folder, "")))
