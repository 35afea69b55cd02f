"""FAL301: the ways fp16 autocast reaches a gradient and the ways it does not."""

from __future__ import annotations

import textwrap

import pytest

from fa_lint.findings import Level
from tests.rules.shapes import found, rows

IMPORTS = """\
import contextlib, functools, torch
import torch.nn.functional as F
from torch import nn
from torch.cuda import amp
"""


def measured(context: str, loss: str = "loss") -> str:
    """A function that takes a gradient of a loss computed in ``context``."""
    return IMPORTS + textwrap.dedent(f"""\
    def probe(model, x, y, args, scaler, use_amp=True, off=False):
        with {context}:
            loss = F.cross_entropy(model(x), y)
        return torch.autograd.grad({loss}, x)
    """)


ON = [
    "torch.autocast('cuda')",
    "torch.autocast('cuda:1')",
    "torch.autocast(device_type='mps')",
    "torch.autocast('cuda', torch.float16)",
    "torch.autocast('cpu', dtype=torch.half)",
    "torch.amp.autocast('cuda', enabled=True)",
    "torch.cuda.amp.autocast()",
    "torch.cuda.amp.autocast(True, torch.float16)",
    "amp.autocast(enabled=use_amp)",
    "amp.autocast(enabled=not off)",
    "torch.autocast(torch.device('cuda').type)",
    "contextlib.ExitStack(), torch.autocast('cuda')",
]
MAYBE = [
    "torch.autocast('cuda', enabled=args.fp16)",
    "torch.autocast(x.device.type)",
    "torch.autocast(str(args.device))",
    "torch.autocast(device_type=str(x.device).split(':')[0])",
    "torch.autocast(f'{args.device}')",
    "torch.autocast('cuda' if torch.cuda.is_available() else 'cpu')",
    "torch.autocast('cuda') if args.amp else contextlib.nullcontext()",
    "torch.autocast('cuda', dtype=torch.bfloat16 if args.bf16 else torch.float16)",
]
OFF = [
    "torch.autocast('cuda', dtype=torch.bfloat16)",
    "torch.autocast('cuda', dtype=args.dtype)",
    "torch.autocast('cpu')",
    "torch.autocast('cuda', enabled=False)",
    "torch.cuda.amp.autocast(False)",
    "amp.autocast(enabled=off)",
    "amp.autocast(enabled=use_amp and off)",
    "amp.autocast(enabled=not use_amp)",
    "torch.autocast('cuda'), torch.autocast('cuda', enabled=False)",
    "contextlib.nullcontext()",
    "autocast_of_this_file()",
]


@pytest.mark.parametrize("context", ON)
def test_a_gradient_under_fp16_is_an_error(context: str) -> None:
    (finding,) = found("FAL301", measured(context))
    assert (finding.start.row, finding.level) == (8, Level.ERROR)
    assert finding.related[0].start.row == 6


@pytest.mark.parametrize("context", MAYBE)
def test_fp16_on_some_way_is_a_warning(context: str) -> None:
    (finding,) = found("FAL301", measured(context))
    assert (finding.start.row, finding.level) == (8, Level.WARNING)


@pytest.mark.parametrize("context", OFF)
def test_other_precisions_are_silent(context: str) -> None:
    assert rows("FAL301", measured(context)) == []


@pytest.mark.parametrize(
    "loss",
    [
        "scaler.scale(loss)",
        "loss * 1024",
        "2.0**16 * loss",
        "loss * args.loss_scale",
        "loss.mul(65536.0)",
        "(loss * 128).sum()",
        "amp.scale_loss(loss)",
        "1024 * loss + 1024 * x.sum()",
    ],
)
def test_a_scaled_loss_is_silent(loss: str) -> None:
    assert rows("FAL301", measured("amp.autocast()", loss)) == []


@pytest.mark.parametrize("loss", ["loss / 4", "0.5 * loss", "loss + 1024", "1024 * loss + x.sum()", "loss.mean()"])
def test_what_does_not_scale_up_is_reported(loss: str) -> None:
    assert rows("FAL301", measured("amp.autocast()", loss)) == [8]


def test_a_default_dtype_that_the_file_changes_is_unknown() -> None:
    assert rows("FAL301", measured("amp.autocast()") + "torch.set_autocast_dtype('cuda', torch.bfloat16)\n") == []


def test_a_scaled_seed_is_silent() -> None:
    code = measured("amp.autocast()").replace("grad(loss, x)", "grad(loss, x, grad_outputs=scaler.scale(y))")
    assert rows("FAL301", code) == []


SCALERS = """
class Dummy:
    def scale(self, loss):
        return loss
class Better(Dummy):
    pass
class Real(Dummy):
    def scale(self, loss):
        return loss * self.factor
def main(model, x, y, args):
    return probe(model, x, y, args, {scaler})
"""


@pytest.mark.parametrize("scaler", ["Dummy()", "Better()", "torch.amp.GradScaler(enabled=False)"])
def test_a_scaler_that_does_nothing_does_not_count(scaler: str) -> None:
    code = measured("amp.autocast()", "scaler.scale(loss)") + SCALERS.format(scaler=scaler)
    (finding,) = found("FAL301", code)
    assert finding.start.row == 8
    assert "unchanged" in finding.message


@pytest.mark.parametrize(
    "scaler", ["Real()", "torch.amp.GradScaler()", "args.scaler", "Dummy() if args.off else torch.amp.GradScaler()"]
)
def test_a_scaler_that_may_scale_counts(scaler: str) -> None:
    assert rows("FAL301", measured("amp.autocast()", "scaler.scale(loss)") + SCALERS.format(scaler=scaler)) == []


FLOW = [
    # what ran under autocast counts, not where backward is called
    (
        "def f(net, x):\n    out = net(x)\n    with amp.autocast():\n        return torch.autograd.grad(out.sum(), x)\n",
        [],
    ),
    (
        "def f(net, x):\n    with amp.autocast():\n        out = net(x)\n    return torch.autograd.grad(out.sum(), x)\n",
        [8],
    ),
    # a loss of fp32 outputs
    (
        "def f(net, x, y, criterion):\n    out = net(x)\n    with amp.autocast():\n        loss = criterion(out, y)\n"
        "    return torch.autograd.grad(loss, x)\n",
        [],
    ),
    # through a function that returns the loss
    (
        "def loss_of(net, x):\n    with amp.autocast():\n        return net(x).sum()\n"
        "def f(net, x):\n    loss = loss_of(net, x)\n    return torch.autograd.grad(loss, x)\n",
        [10],
    ),
    # through a parameter
    (
        "def g(loss, x):\n    return torch.autograd.grad(loss, x)\n"
        "def f(net, x):\n    with amp.autocast():\n        loss = net(x).sum()\n    return g(loss, x)\n",
        [6],
    ),
    (
        "def g(loss, x):\n    return torch.autograd.grad(loss, x)\n"
        "def f(net, x, s):\n    with amp.autocast():\n        loss = net(x).sum()\n    return g(s.scale(loss), x)\n",
        [],
    ),
    # the caller opens the autocast, one and two calls away
    (
        "def g(net, x):\n    return torch.autograd.grad(net(x).sum(), x)\n"
        "def h(net, x):\n    return g(net, x)\n"
        "def f(net, x):\n    with amp.autocast():\n        return h(net, x)\n",
        [6],
    ),
    (
        "def g(net, x):\n    return torch.autograd.grad(net(x).sum(), x)\n"
        "def f(net, x):\n    with amp.autocast(enabled=False):\n        return g(net, x)\n",
        [],
    ),
    # a flag that is False here and True in a caller
    (
        "def f(net, x, on=False):\n    with amp.autocast(enabled=on):\n        out = net(x)\n"
        "    return torch.autograd.grad(out.sum(), x)\ndef main(net, x):\n    return f(net, x, True)\n",
        [8],
    ),
    # a method, an attribute, a base class
    (
        "class Base:\n    def context(self):\n        return amp.autocast()\n"
        "class Probe(Base):\n    def loss(self, net, x):\n        with torch.autocast('cuda'):\n            return net(x).sum()\n"
        "    def run(self, net, x):\n        self.value = self.loss(net, x)\n"
        "        return torch.autograd.grad(self.value, x)\n",
        [14],
    ),
    # torch.func
    (
        "def loss_of(w, net, x):\n    return net(x).sum()\n"
        "def f(w, net, x):\n    with amp.autocast():\n        return torch.func.grad(loss_of)(w, net, x)\n",
        [9],
    ),
    # Fabric and accelerate
    (
        "from accelerate import Accelerator\naccelerator = Accelerator(mixed_precision='fp16')\n"
        "def f(net, x):\n    with accelerator.autocast():\n        out = net(x)\n    return torch.autograd.grad(out.sum(), x)\n",
        [10],
    ),
    (
        "from accelerate import Accelerator\naccelerator = Accelerator(mixed_precision='bf16')\n"
        "def f(net, x):\n    with accelerator.autocast():\n        out = net(x)\n    return torch.autograd.grad(out.sum(), x)\n",
        [],
    ),
    (
        "from lightning.fabric import Fabric\ndef f(net, x):\n    fabric = Fabric(precision='16-mixed')\n"
        "    with fabric.autocast():\n        out = net(x)\n    fabric.backward(out.sum())\n    return x.grad\n",
        [],
    ),
    # branches that scale where autocast is on
    (
        "def f(net, x, args, scaler):\n    with amp.autocast(enabled=args.amp):\n        loss = net(x).sum()\n"
        "    if args.amp:\n        scaler.scale(loss).backward()\n    else:\n        loss.backward()\n    return x.grad\n",
        [],
    ),
    (
        "def f(net, x, args):\n    with amp.autocast(enabled=args.amp):\n        loss = net(x).sum()\n"
        "    if not args.amp:\n        loss.backward()\n    return x.grad\n",
        [],
    ),
    # nobody looks at the gradient, nothing steps with it
    ("def f(net, x):\n    with amp.autocast():\n        net(x).sum().backward()\n    net.zero_grad()\n", []),
    # inner products
    ("def f(p, q):\n    with amp.autocast():\n        return p.grad @ q.grad\n", [7]),
    ("def f(p, q):\n    with torch.autocast('cpu'):\n        return p.grad @ q.grad\n", []),
    ("def f(p, q):\n    with amp.autocast():\n        return p @ q + p.grad.sum()\n", []),
    ("def f(p, q):\n    with amp.autocast():\n        return p.grad.float().mv(q.grad)\n", [7]),
]


@pytest.mark.parametrize(("code", "expected"), FLOW)
def test_flow(code: str, expected: list[int]) -> None:
    assert rows("FAL301", IMPORTS + code) == expected


def test_an_unread_gradient_is_a_warning() -> None:
    code = "def f(net, x, optimizer):\n    with amp.autocast():\n        loss = net(x).sum()\n    loss.backward()\n    optimizer.step()\n"
    (finding,) = found("FAL301", IMPORTS + code)
    assert finding.level is Level.WARNING


CHOSEN = [
    # by an item of a dict
    ("TYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16}", "torch.autocast('cuda', dtype=TYPES['fp16'])"),
    ("TYPES = dict(half=torch.half, full=torch.float32)", "torch.autocast('cuda', dtype=TYPES['half'])"),
    ("TYPES = {'fp16': torch.float16}\nNAME = 'fp16'", "torch.autocast('cuda', dtype=TYPES.get(NAME))"),
    ("", "torch.autocast('cuda', dtype={'fp16': torch.half, 'bf16': torch.bfloat16}['fp16'])"),
    ("", "torch.autocast('cuda', dtype=getattr(torch, 'float16'))"),
    # by a function of this file
    ("def amp_():\n    return torch.autocast('cuda', dtype=torch.float16)", "amp_()"),
    ("def amp_(dtype=torch.float16):\n    return torch.autocast('cuda', dtype=dtype)", "amp_()"),
    ("def kind():\n    return torch.autocast('cuda')\ndef amp_():\n    return kind()", "amp_()"),
    # by a partial
    ("amp_ = functools.partial(torch.autocast, 'cuda', dtype=torch.float16)", "amp_()"),
    ("amp_ = functools.partial(torch.autocast, dtype=torch.half)", "amp_('cuda')"),
    ("amp_ = functools.partial(torch.cuda.amp.autocast, enabled=False)", "amp_(enabled=True)"),
]
CHOSEN_ELSE = [
    ("TYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16}", "torch.autocast('cuda', dtype=TYPES['bf16'])"),
    ("TYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16}", "torch.autocast('cuda', dtype=TYPES[args.dtype])"),
    (
        "TYPES = {'fp16': torch.float16}\nTYPES['fp16'] = torch.bfloat16",
        "torch.autocast('cuda', dtype=TYPES['fp16'])",
    ),
    (
        "TYPES = {'fp16': torch.float16}\nTYPES.update(fp16=torch.bfloat16)",
        "torch.autocast('cuda', dtype=TYPES['fp16'])",
    ),
    ("", "torch.autocast('cuda', dtype=getattr(torch, 'bfloat16'))"),
    ("", "torch.autocast('cuda', dtype=getattr(torch, args.dtype))"),
    ("def amp_():\n    return torch.autocast('cuda', dtype=torch.bfloat16)", "amp_()"),
    ("def amp_(dtype=torch.float16):\n    return torch.autocast('cuda', dtype=dtype)", "amp_(torch.bfloat16)"),
    ("def amp_(on=True):\n    return amp.autocast(enabled=on)", "amp_(False)"),
    ("amp_ = functools.partial(torch.autocast, 'cuda', dtype=torch.float16)", "amp_(dtype=torch.bfloat16)"),
    ("amp_ = functools.partial(torch.autocast, 'cuda', dtype=torch.float16)", "amp_(enabled=False)"),
    ("amp_ = functools.partial(torch.autocast, dtype=torch.bfloat16)", "amp_('cuda')"),
]


@pytest.mark.parametrize(("chosen", "context"), CHOSEN)
def test_fp16_that_is_chosen_elsewhere_in_the_file_is_an_error(chosen: str, context: str) -> None:
    (finding,) = found("FAL301", measured(context) + chosen + "\n")
    assert (finding.start.row, finding.level) == (8, Level.ERROR)


@pytest.mark.parametrize(("chosen", "context"), CHOSEN_ELSE)
def test_another_precision_that_is_chosen_elsewhere_is_silent(chosen: str, context: str) -> None:
    assert rows("FAL301", measured(context) + chosen + "\n") == []
