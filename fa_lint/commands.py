"""What the commands do: settings, discovery, the engine, fixes, output and the exit code."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import click

from fa_lint.config import ConfigError, Settings, as_rows, find_config, load
from fa_lint.discovery import DiscoveryError, discover
from fa_lint.engine import Report, lint, lint_text
from fa_lint.findings import Diagnostic, Level
from fa_lint.fixes import FixError, fix_data, write_atomically
from fa_lint.rules import ENGINE_CODES, RuleError, registry

__all__ = ["ENGINE_PAGES", "CheckOptions", "check", "explain", "init"]

_Codes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The flags of ``fa-lint check``; None and () mean "as configured"."""

    select: _Codes | None = None
    ignore: _Codes | None = None
    extend_select: _Codes | None = None
    per_file_ignores: tuple[tuple[str, _Codes], ...] | None = None
    exclude: _Codes = ()
    extend_exclude: _Codes = ()
    force_exclude: bool = False
    fix: bool = False
    unsafe_fixes: bool = False
    diff: bool = False
    output_format: str = "full"
    output_file: str | None = None
    statistics: bool = False
    fail_on: str | None = None
    exit_zero: bool = False
    stdin_filename: str | None = None
    show_files: bool = False
    show_settings: bool = False
    isolated: bool = False
    config_file: str | None = None
    color: str = "auto"
    jobs: int = 0
    no_cache: bool = False
    with_runtime: str | None = None


def _stop(message: str) -> NoReturn:
    click.echo(f"fa-lint: error: {message}", err=True)
    sys.exit(2)


def check(paths: tuple[str, ...], options: CheckOptions) -> NoReturn:
    """``fa-lint check``; ends the process with the documented exit code."""
    if not paths:
        _stop("no path given; try `fa-lint .` or `fa-lint --help`")
    try:
        settings = _settings(paths, options)
        registry()
    except (ConfigError, RuleError) as error:
        _stop(str(error))
    if options.show_settings:
        for key, value in as_rows(settings):
            click.echo(f"{key} = {value}")
        sys.exit(0)
    if paths == ("-",):
        if options.with_runtime is not None:
            _stop("--with-runtime needs files; standard input has no path of its own")
        _check_stdin(settings, options)
    if "-" in paths:
        _stop("`-` (standard input) cannot be mixed with paths")
    try:
        files = discover(paths, settings)
    except DiscoveryError as error:
        _stop(str(error))
    if options.show_files:
        for path in files:
            click.echo(path)
        sys.exit(0)
    with _progress(options) as progress:
        report = lint(files, settings, jobs=options.jobs, use_cache=not options.no_cache, progress=progress)
    if not files:
        click.echo("fa-lint: warning: no Python file or notebook under the given paths", err=True)
    failed = False
    if options.fix or options.diff:
        report, failed = _fix_files(report, files, settings, options)
    if options.with_runtime is not None:
        _confirm(report, options.with_runtime, files, settings)
    _finish(report, settings, options, failed=failed)


def _confirm(report: Report, log: str, files: list[str], settings: Settings) -> None:
    from fa_lint.confirm import RuntimeLogError, confirm, read_events

    try:
        outside = confirm(report, read_events(log), files, settings)
    except RuntimeLogError as error:
        _stop(str(error))
    if outside:
        shown = ", ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")
        click.echo(f"fa-lint: note: {_plural(len(outside), 'guard event')} in files not linted here: {shown}", err=True)


def _settings(paths: tuple[str, ...], options: CheckOptions) -> Settings:
    if options.isolated and options.config_file:
        raise ConfigError("--isolated", "cannot be combined with --config")
    start = options.stdin_filename or "." if paths == ("-",) else paths[0]
    found = None if options.isolated else options.config_file or find_config(start)
    settings = load(found)
    changes: dict[str, Any] = {}
    for name in ("select", "ignore", "extend_select", "per_file_ignores"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    for name in ("exclude", "extend_exclude"):
        if getattr(options, name):
            changes[name] = tuple(p for value in getattr(options, name) for p in value.split(",") if p)
    if options.force_exclude:
        changes["force_exclude"] = True
    if options.fail_on:
        changes["fail_on"] = Level(options.fail_on)
    return replace(settings, **changes)


def _check_stdin(settings: Settings, options: CheckOptions) -> NoReturn:
    data = sys.stdin.buffer.read()
    path = options.stdin_filename or "-"
    report = lint_text(path, data, settings)
    if options.fix or options.diff:
        try:
            fixed = fix_data(path, data, report.diagnostics, settings, unsafe=options.unsafe_fixes).data
        except FixError as error:
            _stop(str(error))
        if options.diff:
            _print_diff(path, data, fixed, options)
            _say_problems(report)
            sys.exit(2 if report.problems else int(fixed != data and not options.exit_zero))
        # As Ruff does: the code to stdout, what is left to say to stderr.
        sys.stdout.buffer.write(fixed)
        _finish(lint_text(path, fixed, settings), settings, options, err=True)
    _finish(report, settings, options)


def _fix_files(report: Report, files: list[str], settings: Settings, options: CheckOptions) -> tuple[Report, bool]:
    """Apply (or show) the fixes and lint again; files that cannot be fixed are reported and left alone.

    The second value says whether there was one of those.
    """
    by_path: dict[str, list[Diagnostic]] = {}
    for found in report.diagnostics:
        if found.fix is not None:
            by_path.setdefault(found.path, []).append(found)
    changed = applied = 0
    problems = []
    for path, found_here in by_path.items():
        try:
            data = Path(path).read_bytes()
            result = fix_data(path, data, found_here, settings, unsafe=options.unsafe_fixes)
            if result.data == data:
                continue
            changed += 1
            applied += result.applied
            if options.diff:
                _print_diff(path, data, result.data, options)
            else:
                write_atomically(path, result.data)
        except FixError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{path}: not fixed: {error.strerror or error}")
    for problem in problems:
        click.echo(f"fa-lint: error: {problem}", err=True)
    if options.diff:
        _say_problems(report)
        click.echo(f"Would fix {_plural(applied, 'finding')} in {_plural(changed, 'file')}.", err=True)
        sys.exit(2 if problems or report.problems else int(bool(changed) and not options.exit_zero))
    if applied:
        click.echo(f"Fixed {_plural(applied, 'finding')} in {_plural(changed, 'file')}.", err=True)
        report = lint(files, settings, jobs=options.jobs, use_cache=not options.no_cache)
    return report, bool(problems)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _print_diff(path: str, old: bytes, new: bytes, options: CheckOptions) -> None:
    before = old.decode("utf-8", "replace").splitlines(keepends=True)
    after = new.decode("utf-8", "replace").splitlines(keepends=True)
    colours = {"-": "red", "+": "green", "@": "cyan"} if _wants_colour(options, sys.stdout.isatty()) else {}
    for line in difflib.unified_diff(before, after, f"a/{path}", f"b/{path}"):
        text = line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
        colour = colours.get(line[0]) if not line.startswith(("---", "+++")) else None
        _echo(click.style(text, fg=colour) if colour else text)


def _wants_colour(options: CheckOptions, terminal: bool) -> bool:
    if options.color != "auto":
        return options.color == "always"
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def _progress(options: CheckOptions) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal's error stream once a run takes over a second."""
    if not sys.stderr.isatty() or options.output_format != "full":
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("Linting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    began = time.monotonic()
    task = None

    def advance(done: int, total: int) -> None:
        nonlocal task
        if task is None and time.monotonic() - began > 1:
            bar.start()
            task = bar.add_task("", total=total)
        if task is not None:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        bar.stop()


def _say_problems(report: Report) -> None:
    for problem in report.problems:
        click.echo(f"fa-lint: internal error: {problem}", err=True)


def _echo(text: str, *, err: bool = False) -> None:
    """UTF-8 whatever the terminal; a file name that is none is shown (and is valid JSON) as ``\\udcff``."""
    click.echo(text.encode("utf-8", "backslashreplace"), nl=False, err=err)


def _finish(
    report: Report, settings: Settings, options: CheckOptions, *, failed: bool = False, err: bool = False
) -> NoReturn:
    """Print the report and end with its exit code; ``failed`` is trouble that was told already."""
    from fa_lint.output import FORMATS, render_statistics

    _say_problems(report)
    if options.output_file is not None:
        text = render_statistics(report) if options.statistics else FORMATS[options.output_format](report)
        try:
            with open(options.output_file, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
                stream.write(text)
        except OSError as error:
            _stop(f"cannot write {options.output_file}: {error.strerror or error}")
    elif options.statistics:
        _echo(render_statistics(report), err=err)
    elif options.output_format == "full" and _wants_colour(options, (sys.stderr if err else sys.stdout).isatty()):
        from fa_lint.output.full import render_full

        _echo(render_full(report, colour=True), err=err)
    else:
        _echo(FORMATS[options.output_format](report), err=err)
    sys.exit(2 if failed else _exit_code(report, settings, options))


def _exit_code(report: Report, settings: Settings, options: CheckOptions) -> int:
    if report.problems:
        return 2
    failing = any(d.level.rank >= settings.fail_on.rank or d.code == "FAL900" for d in report.diagnostics)
    return int(failing and not options.exit_zero)


# -- fa-lint rule -------------------------------------------------------------------------------------------------

ENGINE_PAGES = {
    "FAL900": "A file, or a cell of a notebook, that is not Python and was not checked. It says where and why. "
    "The other files are checked all the same; the exit code is at least 1.",
    "FAL901": "A suppression comment that silences nothing. The safe fix deletes it, or drops the idle codes.",
}


def _rule_dict(code: str) -> dict[str, Any]:
    from fa_lint.output._common import rule_url

    if code in ENGINE_CODES:
        return {
            "code": code,
            "name": ENGINE_CODES[code],
            "summary": ENGINE_PAGES[code],
            "level": "error" if code == "FAL900" else "warning",
            "pitfall": None,
            "runtime": None,
            "fix": "safe" if code == "FAL901" else "no",
            "default": True,
            "explanation": ENGINE_PAGES[code],
            "url": rule_url(code),
        }
    rule = registry()[code]
    return {
        "code": code,
        "name": rule.name,
        "summary": rule.summary,
        "level": str(rule.level),
        "pitfall": rule.pitfall,
        "runtime": rule.runtime,
        "fix": rule.fixable,
        "default": rule.default,
        "explanation": rule.documentation(),
        "url": rule_url(code),
    }


def explain(code: str | None, everything: bool, output_format: str) -> None:
    """``fa-lint rule``"""
    known = sorted([*registry(), *ENGINE_CODES])
    if everything == (code is not None):
        _stop("give one rule code, or --all")
    if code is not None and code.upper() not in known:
        close = difflib.get_close_matches(code.upper(), known, 1)
        _stop(f"unknown rule `{code}`" + (f"; did you mean `{close[0]}`?" if close else ""))
    rules = [_rule_dict(c) for c in (known if everything else [str(code).upper()])]
    if output_format == "json":
        click.echo(json.dumps(rules if everything else rules[0], indent=2, ensure_ascii=False))
        return
    for number, rule in enumerate(rules):
        if number:
            click.echo("\n" + "-" * 100 + "\n")
        click.echo(f"# {rule['code']} {rule['name']} ({rule['level']})\n")
        click.echo(rule["explanation"])


# -- fa-lint init -------------------------------------------------------------------------------------------------

_TEMPLATE = """\
[tool.fa-lint]
# Codes or prefixes; `fa-lint rule --all` explains them.
select = ["FAL"]
ignore = []
# Lowest level that fails a run: error, warning or hint.
fail-on = "warning"
extend-exclude = []
# What this project calls its fixed random feedback, its local credit signals and its alignment values.
feedback-names = []
credit-names = []
alignment-names = []

[tool.fa-lint.per-file-ignores]
# "tests/*" = ["FAL202"]
"""


def init(folder: str) -> None:
    """``fa-lint init``"""
    import tomllib

    root = Path(folder)
    if not root.is_dir():
        _stop(f"{folder}: no such directory")
    project = root / "pyproject.toml"
    own = root / "fa-lint.toml"
    try:
        text = project.read_bytes().decode() if project.is_file() else None
        tomllib.loads(text or "")
        if own.exists() or (text is not None and re.search(r"^\[tool\.fa-lint", text, re.MULTILINE)):
            click.echo(f"{own if own.exists() else project}: already configured, left as it is")
        elif text is not None:
            newline = "\r\n" if "\r\n" in text else "\n"
            gap = newline * (0 if not text.strip() else 1 if text.endswith("\n") else 2)
            write_atomically(str(project), (text + gap + _TEMPLATE.replace("\n", newline)).encode())
            click.echo(f"{project}: added [tool.fa-lint]")
        else:
            bare = _TEMPLATE.replace("[tool.fa-lint]\n", "").replace("tool.fa-lint.", "")
            own.write_text(bare, encoding="utf-8")
            click.echo(f"{own}: written")
        _tell_ruff(root)
    except tomllib.TOMLDecodeError as error:
        _stop(f"{project}: not valid TOML: {error}")
    except (OSError, UnicodeDecodeError, FixError) as error:
        _stop(str(error))


def _tell_ruff(root: Path) -> None:
    """Ruff reports ``# noqa: FAL101`` as unknown (RUF100, RUF102) unless the prefix is declared external."""
    import tomllib

    for name, table in (("ruff.toml", ""), (".ruff.toml", ""), ("pyproject.toml", "tool.ruff.")):
        path = root / name
        if not path.is_file():
            continue
        text = path.read_bytes().decode()
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            _stop(f"{path}: not valid TOML: {error}")
        ruff = document.get("tool", {}).get("ruff") if table else document
        if ruff is None:
            continue
        if "FAL" in ruff.get("lint", {}).get("external", []):
            return
        unix = text.replace("\r\n", "\n")
        changed = _with_external(unix, table, "external" in ruff.get("lint", {}))
        write_atomically(str(path), (changed if unix == text else changed.replace("\n", "\r\n")).encode())
        click.echo(f'{path}: lint.external = ["FAL"]')
        return


def _with_external(text: str, table: str, has_key: bool) -> str:
    """The TOML text with FAL among Ruff's external codes; the rest is kept as it is."""
    import tomllib

    candidates = []
    if has_key:
        candidates.append(re.sub(r"(?m)^((?:lint\.)?external\s*=\s*\[)", r'\1"FAL", ', text, count=1))
    header = f"[{table}lint]"
    if header in text:
        candidates.append(text.replace(header, f'{header}\nexternal = ["FAL"]', 1))
    parent = f"[{table.rstrip('.')}]"
    if table and parent in text:
        candidates.append(text.replace(parent, f'{parent}\nlint.external = ["FAL"]', 1))
    if not table:
        candidates.append(f'lint.external = ["FAL"]\n{text}')
    candidates.append(text.rstrip("\n") + f'\n\n{header}\nexternal = ["FAL"]\n')
    for candidate in candidates:
        try:
            document = tomllib.loads(candidate)
        except tomllib.TOMLDecodeError:
            continue
        ruff = document.get("tool", {}).get("ruff", {}) if table else document
        if "FAL" in ruff.get("lint", {}).get("external", []):
            return candidate
    _stop('cannot add `lint.external = ["FAL"]` to the Ruff configuration; please add it by hand')
