"""FAL408: a buffer called feedback in a class and a file that say nothing else of it."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

NET = (
    "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        {0}\n"
)
LOADS = [
    "    def load(self, path): self.load_state_dict(torch.load(path), strict=False)\n",
    "    @classmethod\n    def load(cls, path):\n        self = cls()\n"
    "        _ = self.load_state_dict(torch.load(path), strict=False)\n        return self\n",
    "def load(path):\n    net = Net()\n    net.load_state_dict(torch.load(path), strict=False)\n    return net\n",
]
BUFFERS = [
    'self.register_buffer("feedback", torch.randn(2, 4))',
    "self.register_buffer('error_feedback', torch.empty(2, 4).uniform_(-1, 1))",
    'self.register_buffer(name="feedback", tensor=torch.rand(2, 4))',
]
OTHERS = [
    'self.register_buffer("feedback", torch.zeros(2, 4))',
    'self.register_buffer("history", torch.randn(2, 4))  # of the feedback of users',
    'self.feedback = nn.Parameter(torch.randn(2, 4))\n        self.register_buffer("n_feedback", torch.zeros(1))',
    'self.register_buffer("feedback", torch.randn(2, 2))\n    def forward(self, x): return x @ self.feedback',
]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_drawn_buffer_that_is_called_feedback(buffer: str, load: str) -> None:
    assert len(rows("FAL408", NET.format(buffer) + load)) == 1


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("buffer", OTHERS)
def test_a_buffer_that_holds_something_else(buffer: str, load: str) -> None:
    assert rows("FAL408", NET.format(buffer) + load) == []


def test_missing_keys_that_are_looked_at() -> None:
    load = "def load(net, state):\n    missing, _ = net.load_state_dict(state, strict=False)\n    assert not missing\n"
    assert rows("FAL408", NET.format(BUFFERS[0]) + load) == []
