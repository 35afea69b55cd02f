"""What an attacker writes and ``fa-diagnose`` reads: reports, training logs, checkpoints, audit configurations."""

from __future__ import annotations

import functools
import io
import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner
from hypothesis import strategies as st
from torch import nn

from fa_lint_runtime import DiagnosticReport, Feedback, diagnose, save_checkpoint
from fa_lint_runtime.audit.template import TEMPLATE
from fa_lint_runtime.cli import main
from tests.hostile.strategies import Surface, dumped, file_bytes, mutated, mutated_json

__all__ = ["RUNTIME_SURFACES"]


@functools.cache
def _reports() -> list[Any]:
    """A report with everything in it, one without feedback, and one of nine fields."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    batches = [(torch.randn(8, 4), torch.randint(0, 2, (8,))) for _ in range(2)]
    full = diagnose(net, batches, headline_acc=0.5, progress=False, feedback=Feedback.dfa([6, 6], 2, seed=1))
    bare = diagnose(net, batches, headline_acc=0.5, progress=False)
    nine = DiagnosticReport("DFA", "", [9.0, 700.0], [1e-9, 1e-9], 1, 0.4, 0.3, 0.35, full.thresholds)
    return [json.loads(report.to_json()) for report in (full, bare, nine)]


@functools.cache
def _checkpoints() -> list[bytes]:
    made = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.pt")
        for feedback in (None, Feedback.dfa([3], 2, seed=1)):
            save_checkpoint(path, nn.Linear(3, 2), feedback=feedback)
            made.append(path.read_bytes())
    for is_new in (True, False):
        buffer = io.BytesIO()
        torch.save({"model": {"B": torch.ones(2, 2)}}, buffer, _use_new_zipfile_serialization=is_new)
        made.append(buffer.getvalue())
    return made


_HEADER = {"__metadata__": {"a": "b"}, "w.B": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
_LOG = {"final_test_acc": 0.36, "log": [{"h_L_norm": 33.0, "g_2_norm": 1e-6}, {"h_L_norm": 34.0, "g_L_norm": None}]}


@st.composite
def _torn(draw: st.DrawFn) -> bytes:
    """A checkpoint with bytes cut, changed or put in."""
    data = draw(st.sampled_from(_checkpoints()))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=8)) + data[at + draw(st.integers(0, 60)) :]
    return data


@st.composite
def _headers(draw: st.DrawFn) -> bytes:
    text = draw(dumped(mutated_json([_HEADER])))
    length = draw(st.sampled_from([len(text), len(text) + 1, 0, 2**63, 2**64 - 1]))
    return struct.pack("<Q", length) + text + draw(st.sampled_from([b"\0" * 16, b"", b"x"]))


def _ends(name: str, data: bytes, *runs: tuple[str, ...]) -> None:
    """Each run ends by itself, with a line where it cannot go on, and no traceback."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.getcwd()
        os.chdir(folder)
        try:
            Path(name).write_bytes(data)
            for arguments in runs:
                result = CliRunner().invoke(main, arguments, prog_name="fa-diagnose")
                if result.exception is not None and not isinstance(result.exception, SystemExit):
                    raise result.exception
                assert result.exit_code != 2 or len(result.stderr.splitlines()) == 1, result.stderr
        finally:
            os.chdir(before)


def _report_is_read(data: bytes) -> None:
    formats = (
        ("table", "r.json", "--columns", "all", "--format", name) for name in ("text", "markdown", "latex", "csv")
    )
    _ends("r.json", data, ("compare", "r.json", "r.json"), ("utility", "r.json"), ("thresholds", "r.json"), *formats)
    try:
        report = DiagnosticReport.from_json(data.decode("utf-8", "replace"))
    except ValueError:
        return
    for text in (str(report), report.to_markdown(), report.to_latex(), report.to_json()):
        assert text


RUNTIME_SURFACES = [
    Surface("report", st.deferred(lambda: dumped(mutated_json(_reports()))), _report_is_read),
    Surface(
        "training log",
        dumped(mutated_json([_LOG])),
        lambda data: _ends(
            "l.json", data, ("partial", "l.json", "--json", "o.json"), ("partial", "l.json", "--frozen", "l.json")
        ),
    ),
    Surface(
        "checkpoint",
        st.deferred(lambda: st.one_of(_torn(), _headers())),
        lambda data: _ends("c.pt", data, ("inspect", "c.pt"), ("inspect", "c.pt", "--json")),
    ),
    Surface(
        "audit configuration",
        file_bytes(mutated([TEMPLATE])),
        lambda data: _ends("a.toml", data, ("audit", "a.toml", "--dry-run")),
    ),
]
