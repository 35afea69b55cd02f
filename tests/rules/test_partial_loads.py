"""FAL408: partial loads of models with feedback, of models without, and of files whose keys were checked."""

from __future__ import annotations

import textwrap

import pytest

from tests.rules.shapes import rows

HEAD = """import torch, torchvision, timm
from torch import nn
from fa_layers import LinearFA, convert_to_fa
from models import Teacher
class FALinear(nn.Linear):
    def __init__(self, i, o):
        super().__init__(i, o)
        self.register_buffer("weight_fa", torch.randn(o, i))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torchvision.models.resnet18()
        self.head = FALinear(512, 10)
class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
def make():
    return Net()
def f(path, model):
    sd = torch.load(path)
"""
LOAD = "\nm.load_state_dict(sd, strict=False)"
DROPPED = [
    "model.load_state_dict(sd, strict=False)",
    "m = LinearFA(4, 3)" + LOAD,
    "m = FALinear(4, 3)" + LOAD,
    "m = Net().cuda()" + LOAD,
    "m = make()" + LOAD,
    "m = nn.Sequential(Plain(), FALinear(4, 3))" + LOAD,
    "net = Net()\nnet.head.load_state_dict(sd, strict=False)",
    "m = torchvision.models.resnet18()\nm.fc = LinearFA(512, 10)" + LOAD,
    "m = torchvision.models.resnet18()\nconvert_to_fa(m)" + LOAD,
    "m = LinearFA(4, 3)\nif 'state_dict' in sd:\n    sd = sd['state_dict']" + LOAD,
    "m = LinearFA(4, 3)\nsd = {k[7:]: v for k, v in sd.items() if k in m.state_dict()}" + LOAD,
    "m = LinearFA(4, 3)\nassert 'epoch' in sd" + LOAD,
    "m = LinearFA(4, 3)\nassert len(sd) > 0" + LOAD,
    "m = LinearFA(4, 3)\nif len(sd) == 0:\n    raise ValueError" + LOAD,
    "m, other = LinearFA(4, 3), Plain()\nsd = {**other.state_dict(), **sd}" + LOAD,
]
FINE = [
    "m = torchvision.models.resnet18(num_classes=10)" + LOAD,
    "m = timm.create_model('vit').eval()" + LOAD,
    "m = nn.DataParallel(torchvision.models.resnet18())" + LOAD,
    "m = Teacher()" + LOAD,
    "m = Plain()" + LOAD,
    "m = nn.Sequential(nn.Linear(3, 4), Plain())" + LOAD,
    "net = Net()\nnet.backbone.load_state_dict(sd, strict=False)",
    "m = torchvision.models.resnet18()" + LOAD + "\nconvert_to_fa(m)",
    "m = torchvision.models.resnet18()" + LOAD + "\nm.fc = LinearFA(512, 10)",
    "m = LinearFA(4, 3)\nmissing = m.state_dict().keys() - sd.keys()\nif missing:\n    raise KeyError(missing)" + LOAD,
    "m = LinearFA(4, 3)\nmissing = set(m.state_dict()) - set(sd)\nif missing:\n    print(missing)" + LOAD,
    "m = LinearFA(4, 3)\nmissing = [k for k in m.state_dict() if k not in sd]\nif missing:\n    raise KeyError" + LOAD,
    "m = LinearFA(4, 3)\nassert all(k in sd for k in m.state_dict())" + LOAD,
    "m = LinearFA(4, 3)\nassert set(m.state_dict()) <= set(sd)" + LOAD,
    "m = LinearFA(4, 3)\nassert set(m.state_dict()).issubset(sd)" + LOAD,
    "m = LinearFA(4, 3)\nfor k in m.state_dict():\n    if k not in sd:\n        raise KeyError(k)" + LOAD,
    "m = LinearFA(4, 3)\nif 'weight_fa' not in sd:\n    raise KeyError" + LOAD,
    "m = LinearFA(4, 3)\nif 'net.0.weight_fa' not in sd.keys():\n    raise KeyError" + LOAD,
    "m = LinearFA(4, 3)" + LOAD + "\nm.weight_fa.copy_(sd['weight_fa'])",
    "m = LinearFA(4, 3)\nown = m.state_dict()\nown.update(sd)\nm.load_state_dict(own, strict=False)",
    "m = LinearFA(4, 3)\nm.load_state_dict({**m.state_dict(), **sd}, strict=False)",
    "m = LinearFA(4, 3)\nm.load_state_dict(m.state_dict() | sd, strict=False)",
    "m = LinearFA(4, 3)\nown = dict(m.state_dict())\nown.update(sd)\nm.load_state_dict(own, strict=False)",
]


@pytest.mark.parametrize("body", DROPPED)
def test_a_model_with_feedback(body: str) -> None:
    assert len(rows("FAL408", HEAD + textwrap.indent(body, "    "))) == 1


@pytest.mark.parametrize("body", FINE)
def test_no_feedback_can_be_missing_unseen(body: str) -> None:
    assert rows("FAL408", HEAD + textwrap.indent(body, "    ")) == []


def test_a_model_that_loads_itself() -> None:
    method = "    def restore(self, sd):\n        self.load_state_dict(sd, strict=False)\n"
    assert len(rows("FAL408", HEAD + "    pass\nclass Deep(Net):\n" + method)) == 1
    assert rows("FAL408", HEAD + "    pass\nclass Deep(Plain):\n" + method) == []
    assert len(rows("FAL408", HEAD + "    pass\nclass Deep(Teacher):\n" + method)) == 1
