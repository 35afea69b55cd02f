"""Checkpoints: round trips, processes killed at every step, fuzzed files, feedback and inspection."""

from __future__ import annotations

import enum
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from fa_lint_runtime import (
    CheckpointError,
    Feedback,
    MissingFeedbackError,
    inspect_checkpoint,
    load_checkpoint,
    output_error,
    save_checkpoint,
)
from fa_lint_runtime import checkpoint as module
from fa_lint_runtime.cli import main
from fa_lint_runtime.commands.weights import load_into, read_weights

ROOT = Path(__file__).parents[2]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def same(x: dict[str, Tensor], y: dict[str, Tensor]) -> bool:
    return list(x) == list(y) and all(torch.equal(x[k], y[k]) for k in x)


def test_round_trip_with_everything(tmp_path: Path) -> None:
    model, feedback = network(), Feedback.dfa([4, 4], 3, seed=7)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(5, 6)).sum().backward()
    optimizer.step()
    path = tmp_path / "run.pt"
    meta = {"epoch": 3, "curve": [1.0, float("nan")], "note": "ä", "none": None}
    digest = save_checkpoint(path, model, feedback=feedback, optimizer=optimizer, meta=meta)
    loaded = load_checkpoint(path)
    assert loaded.digest == digest
    assert same(loaded.model, dict(model.state_dict()))
    assert loaded.meta["note"] == "ä"
    assert loaded.has_feedback
    assert (loaded.kind, loaded.seed) == ("dfa", 7)
    assert loaded.feedback().digest == feedback.digest
    assert loaded.feedback().seed == 7
    assert loaded.auxiliary("blocks.1").digests[""] == feedback.digests["blocks.1"]
    fresh = network()
    fresh.load_state_dict(loaded.model)
    torch.optim.AdamW(fresh.parameters()).load_state_dict(loaded.optimizer or {})
    assert os.listdir(tmp_path) == ["run.pt"]
    assert torch.load(path, weights_only=True)["format"] == "fa-lint-checkpoint"  # no library of ours needed


def test_bridges_are_stored_with_their_site(tmp_path: Path) -> None:
    bridge = nn.Linear(4, 4)
    save_checkpoint(tmp_path / "sb.pt", network(), feedback={"h_0": bridge, "h_1": torch.randn(4, 3)})
    loaded = load_checkpoint(tmp_path / "sb.pt")
    assert same(loaded.auxiliary("h_0").tensors, dict(bridge.state_dict()))
    assert loaded.auxiliary("h_0").type == "module"
    assert loaded.feedback().sites == ("h_1",)


def test_without_feedback_it_loads_and_what_needs_it_raises(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "bp.pt", network(), feedback=None)
    loaded = load_checkpoint(tmp_path / "bp.pt")
    assert not loaded.has_feedback
    with pytest.raises(MissingFeedbackError, match=r"bp\.pt"):
        loaded.feedback()
    with pytest.raises(MissingFeedbackError, match="h_1"):
        loaded.auxiliary("h_1")
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "bp.pt", network())  # type: ignore[call-arg]


def test_what_cannot_be_stored_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    path.write_bytes(b"old")
    with pytest.raises(CheckpointError, match=r"cannot store a \w*Path"):
        save_checkpoint(path, network(), feedback=None, meta={"where": tmp_path})
    with pytest.raises(TypeError, match="tensor or a module"):
        save_checkpoint(path, network(), feedback={"h": 3})  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match="could not be written"):
        save_checkpoint(tmp_path / "nowhere" / "run.pt", network(), feedback=None)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.pt"]


def test_a_full_disk_and_a_false_read_back_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pt"
    old = save_checkpoint(path, network(), feedback=None)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left"):
            save_checkpoint(path, network(), feedback=None)
    feedback = Feedback.dfa([4], 3, seed=0)
    true = module._read

    def flipped(where: Path) -> dict[str, object]:
        payload = true(where)
        payload["feedback"]["sites"]["blocks.0"]["tensors"][""][0, 0] += 1e-7
        return payload

    with monkeypatch.context() as patch:
        patch.setattr(module, "_read", flipped)
        with pytest.raises(CheckpointError, match="projects errors differently"):
            save_checkpoint(path, network(), feedback=feedback)
    assert load_checkpoint(path).digest == old
    assert os.listdir(tmp_path) == ["run.pt"]


def test_symbolic_links_and_modes_are_kept(tmp_path: Path) -> None:
    real = tmp_path / "real.pt"
    save_checkpoint(real, network(), feedback=None)
    real.chmod(0o640)
    link = tmp_path / "latest.pt"
    link.symlink_to(real)
    save_checkpoint(link, network(), feedback=None, meta={"n": 2})
    assert link.is_symlink()
    assert load_checkpoint(real).meta == {"n": 2}
    assert real.stat().st_mode & 0o777 == 0o640


_KILLED = """
import builtins, os, sys, torch
from pathlib import Path
from torch import nn
from fa_lint_runtime import Feedback, save_checkpoint
from fa_lint_runtime import checkpoint as module

path, step = Path(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(1)
count = 0

def killer(true, before):
    def call(*args, **kwargs):
        global count
        count += 1
        mine = count == step
        if mine and before:
            os._exit(9)
        result = true(*args, **kwargs)
        if mine:
            os._exit(9)
        return result
    return call

class Dying:
    # a file whose n-th write reaches the disk by half only, then the process is gone
    def __init__(self, file):
        self.file = file
    def write(self, data):
        global count
        count += 1
        if count == step:
            self.file.write(bytes(data)[: len(bytes(data)) // 2])
            self.file.flush()
            os._exit(9)
        return self.file.write(data)
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *args):
        self.file.close()

true_open = builtins.open
def opened(name, mode="r", *args, **kwargs):
    file = true_open(name, mode, *args, **kwargs)
    return Dying(file) if "b" in mode and any(c in mode for c in "xw+") else file

module.open = opened
for name in ("fsync", "replace", "open"):
    setattr(os, name, killer(getattr(os, name), before=name != "open"))
module._prove = killer(module._prove, before=False)
module.torch.load = killer(torch.load, before=True)
save_checkpoint(path, nn.Linear(300, 30), feedback=Feedback.dfa([30], 3, seed=2), meta={"which": "new"})
print("finished", count)
"""


def _save_and_die(path: Path, step: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", _KILLED, str(path), str(step)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_process_killed_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    whole = _save_and_die(tmp_path / "whole.pt", 0)
    assert whole.returncode == 0, whole.stderr
    steps = int(whole.stdout.split()[1])
    assert steps >= 8
    outcomes = []
    chosen = sorted(
        {1, 2, 3, *random.Random(0).sample(range(1, steps + 1), min(10, steps)), *range(max(1, steps - 7), steps + 1)}
    )
    for step in chosen:
        save_checkpoint(path, nn.Linear(2, 2), feedback=None, meta={"which": "old"})
        died = _save_and_die(path, step)
        assert died.returncode == 9, (step, died.stderr)
        outcomes.append(load_checkpoint(path).meta["which"])
    assert "old" in outcomes
    assert "new" in outcomes  # killed after the rename, while the folder is synchronised
    assert outcomes == sorted(outcomes, reverse=True)


def test_two_hundred_fuzzed_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save_checkpoint(path, network(), feedback=Feedback.dfa([4], 3, seed=0), meta={"epoch": 1})
    good = path.read_bytes()
    rng = random.Random(5)
    target = tmp_path / "fuzzed.pt"

    def variants() -> list[bytes]:
        made = [b"", b"PK", b"not a checkpoint", good[4:], good + b"x", good + good, b"\x80\x02.", os.urandom(4096)]
        while len(made) < 200:
            data = bytearray(good)
            kind = len(made) % 4
            if kind == 0:
                data = data[: rng.randrange(len(data))]
            elif kind == 1:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            elif kind == 2:
                start = rng.randrange(len(data) - 64)
                data[start : start + 64] = rng.randbytes(64)
            else:
                start = rng.randrange(len(data) - 200)
                del data[start : start + rng.randrange(1, 200)]
            made.append(bytes(data))
        return made

    reasons = set()
    for number, data in enumerate(variants()):
        target.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(target)
        assert caught.value.path == target, number
        reasons.add(caught.value.reason)
    assert len(reasons) >= 4


def test_foreign_and_tampered_archives(tmp_path: Path) -> None:
    path, other = tmp_path / "run.pt", tmp_path / "other.pt"
    save_checkpoint(path, network(), feedback=Feedback.dfa([4], 3, seed=0))
    payload = torch.load(path, weights_only=True)
    payload["feedback"]["sites"]["blocks.0"]["tensors"][""][0, 0] += 1

    def sealed(content: object) -> None:
        torch.save(content, other)
        with open(other, "r+b") as file:
            module._seal(file)

    torch.save(payload, other)
    with pytest.raises(CheckpointError, match="no seal"):
        load_checkpoint(other)
    sealed(payload)
    with pytest.raises(CheckpointError, match="does not match its digests"):
        load_checkpoint(other)
    sealed({"format": "fa-lint-checkpoint", "version": 99})
    with pytest.raises(CheckpointError, match="version 99"):
        load_checkpoint(other)
    sealed({"format": "fa-lint-checkpoint", "version": 1, "digest": "x"})
    with pytest.raises(CheckpointError, match=r"malformed|does not match"):
        load_checkpoint(other)
    sealed([1, 2])
    with pytest.raises(CheckpointError, match="something else"):
        load_checkpoint(other)
    sealed(network())
    with pytest.raises(CheckpointError, match="unreadable"):
        load_checkpoint(other)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")


def test_feedback_module() -> None:
    state = torch.get_rng_state()
    dfa, fa = Feedback.dfa([5, 6], 3, seed=1), Feedback.fa([5, 6], 3, seed=1, sites=["a", "b"])
    assert torch.equal(state, torch.get_rng_state())
    assert fa["a"].shape == (5, 6)
    assert fa["b"].shape == (6, 3)
    error = torch.randn(8, 3)
    torch.testing.assert_close(dfa.credit(error)["blocks.1"], error @ dfa["blocks.1"].T)
    torch.testing.assert_close(fa.credit(error)["a"], error @ fa["b"].T @ fa["a"].T)
    assert list(fa.credit(error)) == ["a", "b"]
    clone = Feedback.dfa([5, 6], 3, seed=9)
    clone.load_state_dict(dfa.state_dict())
    assert (clone.digest, clone.seed) == (dfa.digest, 1)
    assert dfa.to(torch.float16).digest != clone.digest
    assert not list(dfa.parameters())
    assert "kind='fa'" in repr(fa)
    with pytest.raises(MissingFeedbackError, match="known: a, b"):
        fa["c"]
    with pytest.raises(ValueError, match="does not say"):
        Feedback({"x": torch.randn(2, 2)}).credit(error)
    with pytest.raises(ValueError, match="next site has"):
        Feedback({"x": torch.randn(2, 2), "y": torch.randn(3, 2)}, kind="fa")
    with pytest.raises(ValueError, match="2-D"):
        Feedback({"x": torch.randn(2)})
    with pytest.raises(ValueError, match="at least one"):
        Feedback({})
    with pytest.raises(ValueError, match="different site names"):
        Feedback.dfa([2, 2], 3, seed=0, sites=["a", "a"])
    entries = Feedback.dfa([400], 100, seed=0)["blocks.0"]
    assert entries.std().item() == pytest.approx(0.1, rel=0.02)


def test_output_error_contract() -> None:
    logits, target = torch.randn(4, 5, 10, dtype=torch.float64, requires_grad=True), torch.randint(10, (4, 5))
    (true,) = torch.autograd.grad(
        nn.functional.cross_entropy(logits.reshape(20, 10), target.reshape(20), reduction="sum"), logits
    )
    torch.testing.assert_close(output_error(logits, target), true)
    assert torch.autograd.gradcheck(lambda x: output_error(x, target), (logits,))
    single = logits.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = output_error(single, target)
    assert torch.equal(inside, output_error(single, target))
    assert torch.equal(torch.func.vmap(output_error)(single, target), output_error(single, target))
    assert output_error(single.to("meta"), target.to("meta")).shape == (4, 5, 10)
    with pytest.raises(TypeError, match="integer class"):
        output_error(single, target.float())
    with pytest.raises(ValueError, match=r"\(\.\.\., C\)"):
        output_error(single, target[0])
    with pytest.raises(IndexError, match=r"0\.\.9"):
        output_error(single, target + 5)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.float32(0.5), 0.5), (np.float64(0.1), 0.1), (np.float16(2), 2.0), (np.int64(3), 3), (np.uint8(4), 4),
        (np.bool_(True), True), (np.str_("ä"), "ä"), (np.bytes_(b"x"), b"x"), (Colour.RED, "red"), (Level.HIGH, 3),
        ({"curve": [np.float32(1), (np.int32(2), None)]}, {"curve": [1.0, (2, None)]}), ({np.int64(1): 2}, {1: 2}),
    ],
    ids=str,
)  # fmt: skip
def test_scalars_of_numpy_and_enumerations_are_stored_as_those_of_python(
    tmp_path: Path, given: Any, stored: Any
) -> None:
    save_checkpoint(tmp_path / "x.pt", network(), feedback=None, meta={"value": given})
    found = load_checkpoint(tmp_path / "x.pt").meta["value"]
    assert found == stored and type(found) is type(stored)


def test_an_optimizer_may_hold_scalars_of_numpy(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=np.float64(0.1), momentum=np.float32(0.9))
    save_checkpoint(tmp_path / "x.pt", model, feedback=None, optimizer=optimizer)
    assert (load_checkpoint(tmp_path / "x.pt").optimizer or {})["param_groups"][0]["lr"] == 0.1


@pytest.mark.parametrize(
    "given",
    [np.ones(2), np.array(2.5), np.datetime64("2020-01-01"), np.complex64(1j), np.longdouble(1), {1}, Path("x"), 1j],
    ids=str,
)
def test_what_cannot_be_stored_is_refused_by_name(tmp_path: Path, given: Any) -> None:
    with pytest.raises(CheckpointError, match=r"cannot store a \w+ as meta\.runs\.0\.value"):
        save_checkpoint(tmp_path / "x.pt", network(), feedback=None, meta={"runs": [{"value": given}]})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x.safetensors", "x.SAFETENSORS"])
def test_a_name_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"call it \.pt"):
        save_checkpoint(tmp_path / name, network(), feedback=None)
    (tmp_path / "link.pt").symlink_to(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"call it \.pt"):
        save_checkpoint(tmp_path / "link.pt", network(), feedback=None)
    save_checkpoint(tmp_path / "x.pt", network(), feedback=None)
    (tmp_path / "x.pt").rename(tmp_path / name)
    assert not load_checkpoint(tmp_path / name).has_feedback
    assert inspect_checkpoint(tmp_path / name).format.startswith("fa-lint-checkpoint")


class Inner(nn.Module):
    """A module that calls a part of its own what wrappers call theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "none": lambda model: model,
    "data parallel": nn.DataParallel,
    "compiled": lambda model: cast(nn.Module, torch.compile(model)),
    "compiled data parallel": lambda model: cast(nn.Module, torch.compile(nn.DataParallel(model))),
    "data parallel of compiled": lambda model: nn.DataParallel(cast(nn.Module, torch.compile(model))),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile, when it is imported
@pytest.mark.parametrize("saved", WRAPPERS)
@pytest.mark.parametrize("loaded", WRAPPERS)
@pytest.mark.parametrize("make", [network, Inner])
def test_wrappers_leave_no_name_behind(tmp_path: Path, saved: str, loaded: str, make: Callable[[], nn.Module]) -> None:
    model, path = make(), tmp_path / "x.pt"
    digest = save_checkpoint(path, WRAPPERS[saved](model), feedback={"net": WRAPPERS[saved](model)})
    checkpoint = load_checkpoint(path)
    assert same(checkpoint.model, dict(model.state_dict())) and digest == checkpoint.digest
    assert same(checkpoint.auxiliary("net").tensors, dict(model.state_dict()))
    fresh = make()
    checkpoint.load_into(WRAPPERS[loaded](fresh))
    assert same(dict(fresh.state_dict()), dict(model.state_dict()))
    # Files of others carry the names of the wrappers.
    torch.save(WRAPPERS[saved](model).state_dict(), path)
    other = make()
    load_into(path, WRAPPERS[loaded](other), read_weights(path, None, None).state)
    assert same(dict(other.state_dict()), dict(model.state_dict()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile, when it is imported
def test_a_compiled_part_leaves_no_name_behind(tmp_path: Path) -> None:
    model, plain = Inner(), Inner()
    plain.load_state_dict(model.state_dict())
    model.head = cast(nn.Linear, torch.compile(model.head))
    save_checkpoint(tmp_path / "x.pt", model, feedback=None)
    assert same(load_checkpoint(tmp_path / "x.pt").model, dict(plain.state_dict()))


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x.pt", network(), feedback=None)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_checkpoint(tmp_path / "x.pt").load_into(nn.DataParallel(Inner()))


def test_feedback_answers_as_a_mapping_of_its_sites() -> None:
    feedback = Feedback.dfa([4, 2], 3, seed=0)
    assert "blocks.0" in feedback
    assert all(absent not in feedback for absent in ("0", 0, "blocks", "blocks.2", None))
    assert list(feedback) == list(feedback.keys()) == ["blocks.0", "blocks.1"] and len(feedback) == 2
    assert dict(feedback).keys() == dict(feedback.items()).keys()


def test_inspection_of_every_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save({"net": network().state_dict(), "Bs": [torch.randn(4, 3)]}, path)
    found = inspect_checkpoint(path)
    assert [e.name for e in found.feedback_like] == ["Bs.0"]
    assert found.lacking == ("optimizer state: training cannot be resumed as it was",)
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=False)
    assert inspect_checkpoint(path).format == "legacy torch pickle"
    assert "FAL401" in inspect_checkpoint(path).lacking[0]
    torch.save(network(), path)
    unsafe = inspect_checkpoint(path)
    assert "pickled objects" in unsafe.format
    assert "Linear" in unsafe.notes[0]
    save_checkpoint(path, network(), feedback=Feedback.dfa([4], 3, seed=0))
    own = inspect_checkpoint(path)
    assert [e.name for e in own.feedback_like] == ["feedback[blocks.0]"]
    assert "seed 0" in " ".join(own.notes)
    for data in (b"", b"hello, world, hello", b"PK\x03\x04" + b"x" * 40, b"\x80\x02garbage"):
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            inspect_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "feedback"),
    [
        ("blocks.0.weight_fa", True), ("fc1.feedback_matrix", True), ("layer.B_1", True), ("Bs.2", True),
        ("backward_weight", True), ("net.bridge.0.weight", True), ("fc.weight", False), ("model.Bilinear.weight",
        False), ("block.weight", False), ("embed.bias", False),
    ],
)  # fmt: skip
def test_names_that_look_like_feedback(tmp_path: Path, name: str, feedback: bool) -> None:
    torch.save({name: torch.zeros(2, 2)}, tmp_path / "x.pt")
    assert bool(inspect_checkpoint(tmp_path / "x.pt").feedback_like) is feedback


def test_inspection_of_safetensors(tmp_path: Path) -> None:
    header = {
        "fc.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "weight_fa": {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 32]},
        "__metadata__": {"format": "pt"},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(32))
    found = inspect_checkpoint(path)
    assert [e.name for e in found.feedback_like] == ["weight_fa"]
    for broken in (path.read_bytes()[:-1], (10**9).to_bytes(8, "little") + text, (5).to_bytes(8, "little") + text):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="safetensors"):
            inspect_checkpoint(path)
    library = pytest.importorskip("safetensors.torch")
    library.save_file({"w": torch.zeros(3, 2)}, path)
    assert inspect_checkpoint(path).tensors[0].shape == (3, 2)


def test_command_line(tmp_path: Path) -> None:
    runner = CliRunner()
    torch.save(network().state_dict(), tmp_path / "x.pt")
    plain = runner.invoke(main, ["inspect", str(tmp_path / "x.pt")])
    assert plain.exit_code == 0
    assert "0.weight  [4, 6]  torch.float32" in plain.output
    assert "lacking: feedback" in plain.output
    as_json = runner.invoke(main, ["inspect", "--json", str(tmp_path / "x.pt")])
    assert json.loads(as_json.output)["format"] == "torch archive"
    assert runner.invoke(main, ["inspect", "--require-feedback", str(tmp_path / "x.pt")]).exit_code == 1
    (tmp_path / "x.pt").write_bytes(b"junk")
    broken = runner.invoke(main, ["inspect", str(tmp_path / "x.pt")])
    assert broken.exit_code == 2
    assert "neither a torch file nor safetensors" in broken.output
    assert runner.invoke(main, ["--help"]).exit_code == 0
