"""``fa-diagnose partial LOG.json…``: what can be judged from training logs alone."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from ..audit.partial import LogError, partial_audit, read_log
from ..escaping import visible
from .shared import EXIT_INCONCLUSIVE, EXIT_WALKED_BACK, as_json, refuse, say, write_output

__all__ = ["partial"]


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--frozen", multiple=True, help="Accuracy with frozen blocks (0 to 1), or a log of such a run; repeatable."
)
@click.option("--blocks", type=click.IntRange(1), default=4, show_default=True, help="L.")
@click.option("--h0", type=click.FloatRange(min=0, min_open=True), default=9.0, show_default=True, help="‖h_0‖.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON to FILE.")
def partial(logs: tuple[Path, ...], frozen: tuple[str, ...], blocks: int, h0: float, json_file: Path | None) -> None:
    """Judge one method by the logs of its seeds; each answer says exact, proxy, bounded or not measured.

    A log: {"final_test_acc": 0.36, "log": [{"h_L_norm": 33.0, "g_2_norm": 1e-6}, ...]}.

    Exit code 0 trustworthy, 1 walked back or invalid, 3 inconclusive or not measurable, 2 usage.
    """
    try:
        read = [read_log(path) for path in logs]
        baseline = [_baseline(value) for value in frozen]
    except LogError as error:
        if error.invalid:
            say(visible(f"invalid: {error}"), err=True)
            sys.exit(EXIT_WALKED_BACK)
        refuse(str(error))
    found = partial_audit(read, baseline, blocks=blocks, h_first=h0)
    for answer in found.answers:
        say(visible(f"{answer.name} {answer.state:7} [{answer.quality}] {answer.text}"))
    spread = f" ± {found.accuracy.std:.3f}" if found.seeds > 1 else ""
    reasons = f": {', '.join(found.fired)}" if found.fired else ""
    click.echo(f"accuracy {found.accuracy.mean:.3f}{spread} over {found.seeds} seeds: {found.verdict}{reasons}")
    write_output(json_file, lambda: as_json(asdict(found) | {"verdict": found.verdict}) + "\n")
    sys.exit({"walked back": EXIT_WALKED_BACK, "trustworthy": 0}.get(found.verdict, EXIT_INCONCLUSIVE))


def _baseline(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return read_log(value).accuracy
    if not 0 <= number <= 1:
        raise LogError(f"--frozen {value}: an accuracy is a share between 0 and 1")
    return number
