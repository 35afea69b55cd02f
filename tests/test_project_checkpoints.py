"""Across files: feedback kept in one file, saved (or not) by another."""

from __future__ import annotations

import cProfile
import json
import pstats
from collections.abc import Callable
from pathlib import Path

import pytest

from fa_lint.analysis.modules import Modules
from fa_lint.project.cache import _check, cache_folder
from fa_lint.project.check_file import analyse
from fa_lint.project.linking import link
from fa_lint.semantics.roles import RoleNames
from tests.conftest import Lint, write

Codes = Callable[..., list[str]]

MODEL = """import torch
from torch import nn

class LinearFA(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight_fa = torch.randn(n, n)

class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first = LinearFA(n)

class Plain(nn.Module):
    pass

def build(n):
    return Net(n)
"""
BUFFER = MODEL.replace("self.weight_fa = torch.randn(n, n)", "self.register_buffer('weight_fa', torch.randn(n, n))")


def lost(codes: Codes) -> list[str]:
    return [place for place in codes(".") if "FAL401" in place]


@pytest.mark.parametrize(
    ("script", "where"),
    [
        ("import torch\nfrom model import LinearFA\nnet = LinearFA(3)\ntorch.save(net.state_dict(), 'a.pt')\n", "4:1"),
        (
            "import torch\nfrom model import Net\nnet = Net(3).cuda()\ntorch.save({'net': net.state_dict()}, 'a.pt')\n",
            "4:1",
        ),
        ("import torch\nimport model\nnet = model.build(3)\ntorch.save(net.state_dict(), 'a.pt')\n", "4:1"),
        ("import torch\nfrom model import *\nnet = Net(3)\ntorch.save(net.state_dict(), 'a.pt')\n", "4:1"),
        (
            "import torch\nfrom model import Net as N\ndef main():\n    net = torch.nn.DataParallel(N(3))\n"
            "    state = {'epoch': 1, 'net': net.state_dict()}\n    torch.save(state, 'a.pt')\n",
            "5:13",
        ),
        (
            "from model import Net\nfrom tools import save_state\nnet = Net(3)\nsave_state(net.state_dict(), 'a.pt')\n",
            "4:1",
        ),
    ],
)
def test_a_script_that_saves_what_it_makes(codes: Codes, script: str, where: str) -> None:
    write("model.py", MODEL)
    write("train.py", script)
    assert lost(codes) == [f"train.py:{where} FAL401"]
    assert [c for c in codes("train.py") if "FAL401" in c] == []
    assert [c for c in codes("model.py") if "FAL401" in c] == []


@pytest.mark.parametrize(
    "build",
    [
        "return Net(3)",
        "return Net(3).cuda()",
        "net = Net(3)\n        return torch.nn.DataParallel(net)",
        "return self._make(3)\n    def _make(self, n):\n        return build(n)",
    ],
)
def test_a_saver_whose_model_comes_from_its_own_method(codes: Codes, build: str) -> None:
    write("model.py", MODEL)
    write(
        "run.py",
        "import torch\nfrom model import Net, build\nclass Run:\n    def __init__(self):\n        self.net = self._build()\n"
        "    def save(self, path):\n        torch.save(self.net.state_dict(), path)\n"
        f"    def _build(self):\n        {build}\n",
    )
    assert lost(codes) == ["run.py:7:9 FAL401"]


SAVE = "torch.save(net.state_dict(), 'a.pt')\n"


@pytest.mark.parametrize(
    ("model", "script"),
    [
        (BUFFER, f"import torch\nfrom model import Net\nnet = Net(3)\n{SAVE}"),
        (MODEL, f"import torch\nfrom model import Plain\nnet = Plain()\n{SAVE}"),
        (MODEL, f"import torch\nfrom other import Net\nnet = Net(3)\n{SAVE}"),
        (MODEL, "import torch\nfrom model import Net\nnet = Net(3)\ntorch.save(net, 'a.pt')\n"),
        (
            MODEL,
            "import torch\nfrom model import Net\nnet = Net(3)\ntorch.save({'net': net.state_dict(), 'fa': net.first.weight_fa}, 'a')\n",
        ),
        (MODEL, f"import torch\nfrom model import Net\nnet = Net(3)\n{SAVE}torch.save(net.first.weight_fa, 'b.pt')\n"),
        (
            MODEL,
            "import torch\nfrom model import Net\nnet = Net(3)\nopt = torch.optim.SGD(net.parameters())\ntorch.save(opt.state_dict(), 'a')\n",
        ),
        (MODEL, f"import torch\nfrom model import Net\ndef f(net):\n    {SAVE}"),
    ],
)
def test_other_saves_lose_nothing(codes: Codes, model: str, script: str) -> None:
    write("model.py", model)
    write("train.py", script)
    assert lost(codes) == []


TRAINER = """import torch

class Trainer:
    def __init__(self, model):
        self.model = model

    def save(self, path):
        torch.save({"model": self.model.state_dict()}, path)
"""


def test_a_trainer_is_given_the_model_by_a_third_file(codes: Codes, fa_lint: Lint) -> None:
    write("pkg/__init__.py", "")
    write("pkg/model.py", MODEL)
    write("pkg/trainer.py", TRAINER)
    write(
        "main.py",
        "from pkg.model import Net\nfrom pkg.trainer import Trainer\nnet = Net(3)\nTrainer(net).save('a.pt')\n",
    )
    assert lost(codes) == ["pkg/trainer.py:8:9 FAL401"]
    (found,) = (d for d in json.loads(fa_lint(".", "--output-format", "json").stdout) if d["code"] == "FAL401")
    assert found["level"] == "error"
    assert [(r["filename"].rpartition("/")[2], r["message"]) for r in found["related"]][:2] == [
        ("main.py", "the model is made here"),
        ("model.py", "`weight_fa` is kept here"),
    ]


def test_the_saver_is_the_base_class_in_another_file(codes: Codes) -> None:
    write("model.py", MODEL)
    write("base.py", TRAINER)
    write("trainer.py", "from base import Trainer\n\nclass FATrainer(Trainer):\n    pass\n")
    write("main.py", "from model import build\nfrom trainer import FATrainer\nFATrainer(build(3)).save('a.pt')\n")
    assert lost(codes) == ["base.py:8:9 FAL401"]


def test_a_trainer_that_gets_another_model(codes: Codes) -> None:
    write("model.py", MODEL)
    write("trainer.py", TRAINER)
    write(
        "main.py",
        "from model import Net, Plain\nfrom trainer import Trainer\nnet = Net(3)\nTrainer(Plain()).save('a.pt')\n",
    )
    assert lost(codes) == []


def test_feedback_on_a_trainer_whose_base_saves(codes: Codes) -> None:
    write("base.py", TRAINER)
    feedback = "import torch\nfrom base import Trainer\n\nclass DFATrainer(Trainer):\n    def setup(self, n):\n        self.feedback_matrix = torch.randn(n, 10)\n"
    write("dfa.py", feedback)
    assert lost(codes) == ["base.py:8:9 FAL401"]
    write("dfa.py", feedback + "\n    def state_dict(self):\n        return {'fb': self.feedback_matrix}\n")
    assert lost(codes) == []


def test_a_module_whose_base_in_another_file_saves_itself(codes: Codes) -> None:
    write(
        "base.py",
        "import torch\nfrom torch import nn\n\nclass Base(nn.Module):\n    def dump(self, path):\n        torch.save(self.state_dict(), path)\n",
    )
    write(
        "model.py",
        MODEL.replace("class LinearFA(nn.Module)", "class LinearFA(Base)").replace(
            "from torch import nn", "from torch import nn\nfrom base import Base"
        ),
    )
    assert lost(codes) == ["base.py:6:9 FAL401"]


def test_circular_imports_and_three_hundred_files(codes: Codes) -> None:
    """A synthetic project: one defect among files that look alike."""
    write("lib/__init__.py", "from .model import *\nfrom .trainer import Trainer\n")
    write("lib/model.py", "from . import trainer\n" + MODEL)
    write("lib/trainer.py", "from . import model\n" + TRAINER)
    for number in range(296):
        write(
            f"exp/run{number}.py",
            f"from lib import Plain, Trainer\n\nnet = Plain()\nTrainer(net).save('{number}.pt')\n",
        )
    assert lost(codes) == []
    write("exp/run296.py", "from lib import Net, Trainer\n\nnet = Net(3)\nTrainer(net).save('a.pt')\n")
    assert lost(codes) == ["lib/trainer.py:9:9 FAL401"]


DRAWN = """import torch
def {maker}(dims):
    return [torch.randn(10, d) for d in dims]
"""
TRAIN = """from torch.nn.functional import one_hot
from drawn import {maker}
from disk import save_model
def train(net, loader, dims, path):
    Bs = {maker}(dims)
    for x, y in loader:
        net.update([(net(x).softmax(1) - one_hot(y, 10)) @ B for B in Bs])
    {save}
"""


@pytest.mark.parametrize(
    ("maker", "save", "places"),
    [
        ("make_feedback", "save_model(net, path)", ["train.py:8:5 FAL401"]),
        ("draw_matrices", "save_model({'net': net.state_dict()}, path)", ["train.py:8:5 FAL401"]),
        ("make_feedback", "save_model(net, Bs, path)", []),
        ("make_feedback", "save_model(losses, path)", []),
        ("load_feedback", "save_model(net, path)", []),
    ],
)
def test_drawn_in_one_file_and_saved_by_another(codes: Codes, maker: str, save: str, places: list[str]) -> None:
    write("drawn.py", DRAWN.format(maker=maker))
    write("disk.py", "import torch\ndef save_model(state, path):\n    torch.save(state, path)\n")
    write("train.py", TRAIN.format(maker=maker, save=save))
    assert lost(codes) == places


MODULE_BASE = """import torch
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.setup()

    def setup(self):
        pass

    def save(self, path):
        torch.save({"state": self.state_dict()}, path)
"""
TRAINER_BASE = """import torch

class Base:
    def __init__(self, net):
        self.net = net

    def checkpoint(self):
        return {"net": self.net.state_dict(), **self.extra()}

    def extra(self):
        return {}

    def save(self, path):
        torch.save(self.checkpoint(), path)
"""
BELOW = "import torch\nfrom torch import nn\nfrom base import Base\n\nclass FANet(Base):\n    def setup(self):\n        {}\n"


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        ("self.register_buffer('weight_fa', torch.randn(4, 4))", True),
        ("self.weight_fa = nn.Parameter(torch.randn(4, 4), requires_grad=False)", True),
        ("self.weight_fa = nn.ParameterList([torch.randn(4, 4) for _ in range(3)])", True),
        ("self.register_parameter('weight_fa', nn.Parameter(torch.randn(4, 4)))", True),
        ("self.register_buffer('weight_fa', torch.randn(4, 4), persistent=False)", False),
        ("setattr(self, 'weight_fa', nn.Parameter(torch.randn(4, 4)))", True),
        ("setattr(self, 'weight_fa', torch.randn(4, 4))", False),
        ("self.weight_fa = torch.randn(4, 4)", False),
        ("self.weight_fa = [nn.Parameter(torch.randn(4, 4))]", False),
    ],
)
def test_a_base_in_another_file_saves_what_is_registered(codes: Codes, statement: str, kept: bool) -> None:
    write("base.py", MODULE_BASE)
    write("net.py", BELOW.format(statement))
    assert lost(codes) == ([] if kept else ["base.py:13:9 FAL401"])
    write("net.py", BELOW.replace("(Base)", "(Base[int])").format(statement))
    assert lost(codes) == ([] if kept else ["base.py:13:9 FAL401"])
    # A class between it and the torch module.
    write("base.py", MODULE_BASE.replace("nn.Module", "Root").replace("from torch import nn", "from root import Root"))
    write("root.py", "from torch import nn\n\nclass Root(nn.Module):\n    pass\n")
    assert lost(codes) == ([] if kept else ["base.py:13:9 FAL401"])


def test_a_parameter_of_a_trainer_is_in_no_state(codes: Codes) -> None:
    write("base.py", TRAINER_BASE)
    write("net.py", BELOW.format("self.weight_fa = nn.Parameter(torch.randn(4, 4))"))
    assert lost(codes) == ["base.py:14:9 FAL401"]


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        ("def extra(self):\n        return {'B': self.weight_fa}", True),
        (
            "def extra(self):\n        out = super().extra()\n        out['B'] = self.weight_fa.cpu()\n        return out",
            True,
        ),
        ("def extra(self):\n        return {n: getattr(self, n) for n in ('weight_fa',)}", True),
        ("def extra(self):\n        return {'step': self.step}", False),
        ("def credit(self):\n        return self.weight_fa", False),
        ("def extra(self):\n        return {'credit': self.error @ self.weight_fa}", False),
    ],
)
def test_a_base_in_another_file_saves_what_a_method_of_the_subclass_returns(
    codes: Codes, method: str, kept: bool
) -> None:
    write("base.py", TRAINER_BASE)
    write("net.py", BELOW.format("self.weight_fa = torch.randn(4, 4)") + f"\n    {method}\n")
    assert lost(codes) == ([] if kept else ["base.py:14:9 FAL401"])


LAYER = "import torch\nfrom {source} import {base}\n\nclass LinearFA({base}):\n    def __init__(self, n):\n        super().__init__()\n        self.weight_fa = torch.randn(n, n)\n"
BASE = "import torch\nfrom torch import nn\n\nclass Layer(nn.Module):\n    pass\n\nclass Recorder:\n    pass\n"


SAVER = "import torch\ndef save(net, path):\n    torch.save(net.state_dict(), path)\n"


@pytest.mark.parametrize(
    ("source", "base", "expected"),
    [("base", "Layer", ["layer.py:7:9 FAL402"]), ("base", "Recorder", []), ("elsewhere", "Layer", [])],
)
def test_a_base_class_in_another_file_says_whether_it_is_a_module(
    codes: Codes, source: str, base: str, expected: list[str]
) -> None:
    write("base.py", BASE)
    write("saver.py", "import layer\n" + SAVER)
    write("layer.py", LAYER.format(source=source, base=base))
    assert [c for c in codes(".") if "FAL402" in c] == expected
    assert [c for c in codes("layer.py") if "FAL402" in c] == []


@pytest.mark.parametrize("other", ["x = 1\n", "import model\nnet = model.Net(3)\n", SAVER])
def test_unregistered_feedback_is_found_whatever_lies_beside_it(codes: Codes, other: str) -> None:
    """A library of layers never saves: whoever uses it does."""
    write("model.py", MODEL)
    write("other.py", other)
    assert [c for c in codes(".") if "FAL402" in c] == ["model.py:7:9 FAL402"]


def test_a_suppression_of_what_the_project_settles_is_used(codes: Codes) -> None:
    write("model.py", MODEL.replace("torch.randn(n, n)", "torch.randn(n, n)  # noqa: FAL402"))
    write("saver.py", "import model\n" + SAVER)
    assert [c for c in codes(".") if "FAL402" in c or "FAL901" in c] == []


NETWORK = """import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.lin = nn.Linear(n, 10)
        self.{name} = torch.randn(10, n)
"""
SENDER = """import torch.nn.functional as F
from network import Net

def step(net, x, y):
    signal = net(x).softmax(1) - F.one_hot(y, 10)
    return {use}
"""


@pytest.mark.parametrize(
    ("name", "use", "lost"),
    [
        ("B", "signal @ net.B", True),
        ("feedback", "F.linear(signal, net.feedback.T)", True),
        ("W_back", "signal.mm(net.W_back)", True),
        ("noise", "signal.mm(net.noise)", False),
        ("B", "x @ net.B", False),
        ("B", "signal @ net.B + x @ net.B", False),
        ("noise", "signal @ net.lin.weight", False),
    ],
)
def test_an_error_that_another_file_sends_through_an_attribute(codes: Codes, name: str, use: str, lost: bool) -> None:
    write("network.py", NETWORK.format(name=name))
    write("rule.py", SENDER.format(use=use))
    assert codes(".") == (["network.py:8:9 FAL402"] if lost else [])
    assert codes("network.py") == []
    write("rule.py", SENDER.format(use=use).replace("from network import Net\n", ""))
    assert codes(".") == []


TRAIN_NET = "import torch\nfrom model import Net\nnet = Net(3)\ntorch.save(net.state_dict(), 'a.pt')\n"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("x = 1\n", ["train.py:4:1 FAL401"]),
        ("import torch\nweight_fa = load()\ntorch.save(weight_fa, 'b.pt')\n", ["train.py:4:1 FAL401"]),
        ("import torch, train\ntorch.save(train.net.first.weight_fa, 'b.pt')\n", []),
    ],
)
def test_only_a_save_of_the_same_program_keeps_a_feedback(codes: Codes, other: str, expected: list[str]) -> None:
    write("model.py", MODEL)
    write("train.py", TRAIN_NET)
    write("other.py", other)
    assert lost(codes) == expected


def test_the_cache_says_the_same_however_it_was_filled(codes: Codes) -> None:
    write("model.py", MODEL)
    write("train.py", TRAIN_NET)
    write("layer.py", LAYER.format(source="base", base="Layer"))
    write("base.py", BASE)
    expected = codes(".", "--no-cache")
    assert "train.py:4:1 FAL401" in expected
    assert "layer.py:7:9 FAL402" in expected
    for path in ("train.py", "model.py", "layer.py"):
        assert codes(path) == codes(path) == codes(path, "--no-cache")
    assert codes(".") == codes(".") == expected
    assert codes("train.py") == codes("train.py", "--no-cache")


def test_the_cache_follows_what_other_files_come_to_say(codes: Codes) -> None:
    """A file that states nothing while no file keeps feedback states more when one does."""
    write("pkg/__init__.py", "")
    write("pkg/model.py", BUFFER.replace("weight_fa", "weight").replace("LinearFA", "Layer"))
    write("pkg/trainer.py", TRAINER)
    write("main.py", "from pkg.model import Net\nfrom pkg.trainer import Trainer\nTrainer(Net(3)).save('a.pt')\n")
    assert lost(codes) == []
    write("pkg/model.py", MODEL)
    assert lost(codes) == lost(codes) == ["pkg/trainer.py:8:9 FAL401"]
    write("pkg/model.py", BUFFER)
    assert lost(codes) == []


def test_bases_are_followed_through_several_files(codes: Codes) -> None:
    write("root.py", "from torch import nn\n\nclass Root(nn.Module):\n    pass\n")
    write("base.py", "import root\n\nclass Layer(root.Root):\n    pass\n")
    write("shown/__init__.py", "from base import *\n")
    write("layer.py", LAYER.format(source="shown", base="Layer"))
    assert [c for c in codes(".") if "FAL402" in c] == ["layer.py:7:9 FAL402"]


def test_feedback_whose_module_base_is_elsewhere_is_lost_by_a_third_file(codes: Codes) -> None:
    write("base.py", BASE)
    write("layer.py", LAYER.format(source="base", base="Layer"))
    write("train.py", TRAIN_NET.replace("from model import Net", "from layer import LinearFA as Net"))
    assert lost(codes) == ["train.py:4:1 FAL401"]


def test_a_builder_between_files_builds_only_what_it_names(codes: Codes) -> None:
    write("model.py", MODEL)
    write(
        "nets.py",
        "from model import LinearFA\n\nclass FANet:\n    def __init__(self):\n        self.first = LinearFA(3)\n\n"
        "class Deep(FANet):\n    pass\n\ndef fa_net():\n    return Deep()\n\ndef bp_net():\n    '''Not a LinearFA.'''\n",
    )
    for maker, expected in (("fa_net", ["train.py:4:1 FAL401"]), ("bp_net", []), ("Deep", ["train.py:4:1 FAL401"])):
        write("train.py", TRAIN_NET.replace("from model import Net", f"from nets import {maker} as Net"))
        assert lost(codes) == expected, maker


def test_a_damaged_summary_in_the_cache_is_read_anew(codes: Codes) -> None:
    # What has a fix is analysed each time; a list has none.
    write("model.py", MODEL.replace("torch.randn(n, n)", "[torch.randn(n, n)]"))
    write("train.py", TRAIN_NET)
    expected = lost(codes)
    assert expected == ["train.py:4:1 FAL401"]
    (stored,) = Path(cache_folder() or "").glob("*.json")
    good = json.loads(stored.read_bytes())
    for before, after in (
        ('"KeptFeedback"', '"Unknown"'),
        ('"KeptFeedback"', '"SentError"'),
        ('"sure":true', '"sure":1'),
        ('"makers":[', '"makers":[3,'),
        ('"FAL401"', '"FAL101"'),
        ('"kind":"module"', '"kind":"any"'),
    ):
        # With the right checksum: anyone who can write the file can compute it.
        changed = {key: text.replace(before, after) for key, (_, text) in good.items()}
        damaged = {key: [_check(key, text), text] for key, text in changed.items()}
        assert damaged != good, before
        stored.write_text(json.dumps(damaged))
        assert lost(codes) == expected, before


def _joined(projects: int) -> int:
    """How many function calls it takes to conclude about so many small projects with files of the same names."""
    results = {}
    for number in range(projects):
        folder = f"p{number}"
        sources = {
            "model": MODEL,
            "trainer": TRAINER,
            "main": f"from {folder}.model import Net\nfrom {folder}.trainer import Trainer\nTrainer(Net(3)).save('a.pt')\n"
            "import torch\nnet = Net(3)\ntorch.save(net.state_dict(), 'b.pt')\n",
        }
        for name, text in sources.items():
            path = f"{folder}/{name}.py"
            results[path] = analyse(path, text.encode(), frozenset({"FAL401"}), RoleNames())
    noted = [fact for result in results.values() for fact in result.facts.get("FAL401", ())]
    modules = Modules({p: r.imports for p, r in results.items()}, {p: r.classes for p, r in results.items()})
    profile = cProfile.Profile()
    linked = profile.runcall(link, {"FAL401": noted}, modules)
    assert len(linked.diagnostics) == 2 * projects
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_twice_the_files_cost_about_twice_as_much() -> None:
    assert _joined(60) <= 2.2 * _joined(30)
