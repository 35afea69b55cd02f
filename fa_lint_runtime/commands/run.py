"""``fa-diagnose run``: the diagnostics on a model and data of the user."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import click
import torch
from torch import nn

from ..diagnostics import DiagnosticReport, FrozenBaseline, diagnose
from ..diagnostics.batches import Batch, call, to_batch
from ..diagnostics.diagnose import on_device
from ..diagnostics.outputs import logits_of
from ..diagnostics.restore import measured
from ..errors import RuntimeNumericsError
from ..escaping import visible
from ..render.words import scope
from ..targets import TargetError, resolve
from .shared import refuse, say, write_output
from .weights import load_into, read_weights

__all__ = ["run"]

_File = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--model", "model_target", required=True, metavar="PKG.MOD:FACTORY", help="Makes the model.")
@click.option("--data", "data_target", required=True, metavar="PKG.MOD:BATCHES", help="Disjoint (x, y), or a function.")
@click.option("--checkpoint", type=_File, help="Weights, and feedback if it is in there.")
@click.option("--state", "state_key", metavar="KEY", help="Key of the state_dict in CHECKPOINT.")
@click.option("--feedback", "feedback_key", metavar="KEY", help="Key of the training feedback in CHECKPOINT.")
@click.option("--layers", metavar="GLOB", help="Blocks, for example transformer.h.*")
@click.option("--loss", "loss_target", metavar="PKG.MOD:FUNCTION", help="Of (logits, y) (default: cross-entropy).")
@click.option("--credit", "credit_target", metavar="PKG.MOD:FUNCTION", help="Of CreditInputs, for credit by site.")
@click.option("--sites", metavar="SITE=STATE,…", help="Which hidden state (name or index) each credit trains.")
@click.option("--token", help="cls, last, mean, all or an index (default: found from the gradient).")
@click.option("--accuracy", type=click.FloatRange(0, 1), help="Headline accuracy (default: measured on the batches).")
@click.option("--frozen", type=click.FloatRange(0, 1), help="Accuracy with frozen blocks.")
@click.option("--frozen-rule", default="", help="How that baseline was trained.")
@click.option("--name", default="method", show_default=True, help="For the report.")
@click.option("--device", help="For example cuda.")
@click.option(
    "--reference", type=click.Choice(["own", "twin"]), default="own", help="Whose gradients are the reference."
)
@click.option("--json", "json_file", type=_File, help="Write the report to FILE.")
@click.option("--html", "html_file", type=_File, help="Write a page to FILE.")
@click.option("--quiet", is_flag=True, help="Only the verdict, in one line.")
def run(
    model_target: str,
    data_target: str,
    checkpoint: Path | None,
    state_key: str | None,
    feedback_key: str | None,
    layers: str | None,
    loss_target: str | None,
    credit_target: str | None,
    sites: str | None,
    token: str | None,
    accuracy: float | None,
    frozen: float | None,
    frozen_rule: str,
    name: str,
    device: str | None,
    reference: Literal["own", "twin"],
    json_file: Path | None,
    html_file: Path | None,
    quiet: bool,
) -> None:
    """Diagnose a trained network.

    Without feedback Γ is N/A, never a number. Exit code 0 trustworthy, 1 walked back or invalid, 3 inconclusive, not
    measurable, or no fault found (neither Γ nor the margin measured), 2 usage.
    """
    if feedback_key is not None and checkpoint is None:
        refuse("--feedback needs --checkpoint")
    for path in (json_file, html_file):
        if path is not None and not path.parent.is_dir():
            refuse(f"{path}: its folder does not exist")
    try:
        model = _model(model_target)
        feedback, note = None, ""
        if checkpoint is not None:
            weights = read_weights(checkpoint, feedback_key, state_key)
            load_into(checkpoint, model, weights.state)
            feedback, note = weights.feedback, weights.note
        batches = _batches(data_target)
        report = diagnose(
            model,
            batches,
            _accuracy(model, batches, device) if accuracy is None else accuracy,
            None if frozen is None else FrozenBaseline(frozen, rule=frozen_rule),
            loss_fn=None if loss_target is None else resolve(loss_target),
            credit=None if credit_target is None else resolve(credit_target),
            sites=None if sites is None else _sites(sites),
            method_name=name,
            notes=", ".join(filter(None, [model_target, str(checkpoint or "fresh weights"), data_target, note])),
            feedback=feedback,
            layers=layers,
            token=int(token) if token and token.lstrip("-").isdigit() else token,  # type: ignore[arg-type]
            device=device,
            reference=reference,
        )
    except (RuntimeNumericsError, ValueError, TypeError, RuntimeError) as error:
        refuse(str(error))
    except (Exception, SystemExit) as error:  # what the user's forward raises
        refuse(f"{type(error).__name__}: {error}")
    write_output(json_file, report.to_json)
    try:
        write_output(html_file, report.to_html)
    except ImportError as error:
        refuse(str(error))
    _show(report, quiet)
    sys.exit(report.exit_code)


def _model(target: str) -> nn.Module:
    factory = resolve(target)
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise TargetError(f"{target} is no module and cannot be called")
    try:
        model = factory()
    except (Exception, SystemExit) as error:  # the user's own code
        raise TargetError(f"{target}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise TargetError(f"{target}() returned a {type(model).__name__}, not an nn.Module")
    return model


def _batches(target: str) -> list[Any]:
    found = resolve(target)
    try:
        made = found() if callable(found) else found
        if not isinstance(made, Iterable):
            raise TargetError(f"{target} gives a {type(made).__name__}, not batches")
        return list(made)
    except TargetError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code
        raise TargetError(f"{target} failed: {type(error).__name__}: {error}") from error


def _sites(text: str) -> dict[str, str | int]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(site and state for site, _, state in pairs):
        raise ValueError(f"--sites takes SITE=STATE,SITE=STATE, got {text!r}")
    return {site.strip(): int(state) if state.strip().isdigit() else state.strip() for site, _, state in pairs}


def _accuracy(model: nn.Module, batches: list[Any], device: str | None) -> float | None:
    """Return the accuracy on the batches themselves; None where targets are no classes."""
    right, total = 0, 0
    with on_device(model, device) as home, measured(model, track_parameters=False), torch.no_grad():
        for index, item in enumerate(batches):
            batch: Batch = to_batch(item, index).to(home)
            logits = logits_of(call(model, batch.x)).to(home)
            if (
                not isinstance(batch.y, torch.Tensor)
                or batch.y.shape != logits.shape[:-1]
                or batch.y.is_floating_point()
            ):
                return None
            right += int((logits.argmax(-1) == batch.y).sum())
            total += batch.y.numel()
    if not total:
        raise ValueError("no batches")
    return right / total


def _show(report: DiagnosticReport, quiet: bool) -> None:
    if quiet:
        reasons = ", ".join(report.fired) or scope(report)
        say(visible(report.verdict + (f": {reasons}" if reasons else "")))
    else:
        click.echo(report.to_text())
