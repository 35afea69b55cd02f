"""``fa-lint explain CODE --verify``: a rule's numbers, measured on the torch that is installed here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import click

from fa_lint.installing import install_command
from fa_lint.output.console import stop, tell
from fa_lint.rules import registry
from fa_lint.rules.base import Demonstration

__all__ = ["Measured", "measure", "verify"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Both values as text, and whether the demonstration's claim about them holds."""

    before: str
    after: str
    holds: bool


def measure(demonstration: Demonstration) -> Measured:
    """Run a demonstration; what it raises comes through."""
    names: dict[str, Any] = {}
    exec(demonstration.setup, names)  # the rule's own program, as trusted as the rule
    before, after = eval(demonstration.before, names), eval(demonstration.after, names)
    holds = bool(eval(demonstration.claim, {**names, "before": before, "after": after}))
    return Measured(str(before), str(after), holds)


def verify(codes: Iterable[str], output_format: str) -> NoReturn:
    """Measure and print the demonstrations of some rules; exit 0, 1 where a claim fails, 2 where nothing can run."""
    rules = registry()
    wanted = [(code, rules[code].demonstration) for code in codes if code in rules]
    shown = [(code, made) for code, made in wanted if made is not None]
    if not shown:
        having = ", ".join(code for code, rule in rules.items() if rule.demonstration is not None)
        stop(f"no numeric demonstration for {', '.join(codes)}; there is one for {having}")
    version = _torch_version()
    rows, failed = [], False
    for code, made in shown:
        try:
            measured = measure(made)
        except ImportError as error:
            stop(f"{code}: the demonstration needs `{error.name}`: {install_command('runtime')}")
        except Exception as error:  # another torch may have dropped what it calls
            stop(f"{code}: the demonstration fails here: {type(error).__name__}: {error}")
        failed = failed or not measured.holds
        rows.append({"code": code, "torch": version, **asdict(measured), "claim": made.claim})
        if output_format == "text":
            _print(code, made, measured, version)
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    sys.exit(int(failed))


def _torch_version() -> str:
    try:
        import torch
    except ImportError:
        stop(f"--verify needs torch: {install_command('runtime')}")
    return str(torch.__version__)


def _print(code: str, made: Demonstration, measured: Measured, version: str) -> None:
    rule = registry()[code]
    click.echo(f"{code} {rule.name}: {rule.summary} (torch {version})\n")
    for line in made.setup.strip().splitlines():
        click.echo(f"    {line}")
    width = max(len(made.before), len(made.after))
    click.echo(f"\n  before  {made.before:<{width}}  {measured.before}")
    click.echo(f"  after   {made.after:<{width}}  {measured.after}\n")
    if not measured.holds:
        tell(f"fa-lint: {code}: `{made.claim}` does not hold on torch {version}; the rule may be out of date")
