"""What the command line writes into source files: fixes and suppressions, whole files or nothing."""

from __future__ import annotations

import difflib
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import click

from fa_lint.findings import Diagnostic
from fa_lint.fixes.edits import FixError, write_atomically
from fa_lint.installing import RUNTIME
from fa_lint.output.console import echo, tell, wants_colour
from fa_lint.source.escaping import visible, visible_line
from fa_lint.source.reading import read_file

__all__ = ["Rewriting", "imports_runtime", "print_diff", "rewrite"]

# A file's path, bytes and findings → its new bytes and how many findings of each code they settle; raises FixError.
Change = Callable[[str, bytes, list[Diagnostic]], tuple[bytes, Counter[str]]]


@dataclass(slots=True)
class Rewriting:
    """How many files changed, how many findings of each code that settled, and which files could not be changed.

    ``needs_runtime`` says that one of them imports ``fa_lint_runtime`` now and did not before.
    """

    files: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    needs_runtime: bool = False
    problems: list[str] = field(default_factory=list)


def rewrite(
    found: Iterable[Diagnostic], seen: Mapping[str, int], change: Change, *, diff_colour: str | None = None
) -> Rewriting:
    """Change each file with findings; with ``diff_colour`` (a ``--color``) only show what would change.

    A file that is not what it was when it was ``seen`` (the hashes by path) is left alone: places in it are others now.
    """
    done = Rewriting()
    by_path: dict[str, list[Diagnostic]] = {}
    for item in found:
        by_path.setdefault(item.path, []).append(item)
    for path, items in by_path.items():
        try:
            data = read_file(path)
            _check_unchanged(path, data, seen)
            new, count = change(path, data, items)
            if new == data:
                continue
            if diff_colour is not None:
                print_diff(path, data, new, diff_colour)
            else:
                _check_unchanged(path, read_file(path), seen)
                write_atomically(path, new)
            done.files += 1
            done.findings += count
            done.needs_runtime |= imports_runtime(data, new)
        except FixError as error:
            done.problems.append(str(error))
        except BrokenPipeError:  # nobody reads the diff any more; click ends the run
            raise
        except OSError as error:
            done.problems.append(f"{path}: not fixed: {error.strerror or error}")
    for problem in done.problems:
        tell(f"fa-lint: error: {problem}")
    return done


def _check_unchanged(path: str, data: bytes, seen: Mapping[str, int]) -> None:
    if hash(data) != seen.get(path):
        raise FixError(path, "it was changed during the run; run again")


def imports_runtime(old: bytes, new: bytes) -> bool:
    """Return True where a fix has made code import ``fa_lint_runtime``."""
    return RUNTIME.encode() in new and RUNTIME.encode() not in old


def print_diff(path: str, old: bytes, new: bytes, color: str) -> None:
    """A unified diff on standard output."""
    before = [*io.StringIO(old.decode("utf-8", "replace"), newline="\n")]
    after = [*io.StringIO(new.decode("utf-8", "replace"), newline="\n")]
    colours = {"-": "red", "+": "green", "@": "cyan"} if wants_colour(color, sys.stdout.isatty()) else {}
    for line in difflib.unified_diff(before, after, visible(f"a/{path}"), visible(f"b/{path}")):
        code = line.rstrip("\r\n") if line.endswith("\n") else line
        end = line[len(code) :] or "\n\\ No newline at end of file\n"
        text = line[0] + (visible_line if line[0] == " " else visible)(code[1:]) + visible(end, keep="\r\n")
        colour = colours.get(line[0]) if not line.startswith(("---", "+++")) else None
        echo(click.style(text, fg=colour) if colour else text)
