"""What a module proves about its feedback: what counts, who owns it, how it is kept; and what the saves of a module write."""

from __future__ import annotations

import textwrap

import pytest

from fa_lint.semantics.facts import extract
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites
from fa_lint.semantics.feedback_names import is_feedback_name, is_possible_name, names_a_method, speaks_of_feedback
from fa_lint.semantics.origins import origins
from fa_lint.semantics.roles import RoleNames
from fa_lint.semantics.saves import is_model_entry, saves

HEAD = "import torch, numpy as np\nfrom torch import nn\nfrom torch.autograd import Variable\n# feedback alignment\n"


def sites(code: str, declared: RoleNames | None = None) -> tuple[FeedbackSite, ...]:
    return feedback_sites(extract(HEAD + textwrap.dedent(code), declared))


def layer(*body: str, bases: str = "nn.Module", name: str = "LinearFA") -> str:
    lines = "\n".join(f"        {line}" for line in body)
    return f"class {name}({bases}):\n    def __init__(self, n, seed=None, rng=None):\n        super().__init__()\n{lines}\n"


@pytest.mark.parametrize(
    ("statement", "storage"),
    [
        ("self.weight_fa = torch.randn(n, n)", "tensor"),
        ("self.weight_fa = 0.1 * torch.randn(n, n).to('cuda')", "tensor"),
        ("self.weight_fa = Variable(torch.FloatTensor(n, n)).normal_()", "tensor"),
        ("self.weight_fa = Variable(torch.randn(n, n))", "variable"),
        ("self.weight_fa = nn.Parameter(torch.randn(n, n))", "parameter"),
        ("self.weight_fa = nn.Buffer(torch.randn(n, n))", "buffer"),
        ("self.weight_fa = nn.Buffer(torch.randn(n, n), persistent=False)", "transient"),
        ("self.register_buffer('weight_fa', torch.randn(n, n))", "buffer"),
        ("self.register_buffer(name='weight_fa', tensor=torch.randn(n, n), persistent=False)", "transient"),
        ("self.register_parameter('weight_fa', nn.Parameter(torch.randn(n, n)))", "parameter"),
        ("self.weight_fa = nn.ParameterList([torch.randn(n, n)])", "parameters"),
        ("self.weight_fa = [torch.randn(n, n) for _ in range(3)]", "list"),
        ("self.weight_fa = {i: torch.randn(n, n) for i in range(3)}", "dict"),
        ("self.weight_fa = tuple(torch.randn(n, n) for _ in range(3))", "list"),
        ("self.weight_fa: torch.Tensor = torch.nn.init.orthogonal_(torch.empty(n, n))", "tensor"),
        ("self.weight_fa = []\n        self.weight_fa.append(torch.randn(n, n))", "list"),
        ("self.weight_fa = nn.ModuleList([nn.Linear(n, n)])\n        self.weight_fa.append(torch.randn(n))", "modules"),
        ("w = torch.zeros(n, n)\n        nn.init.kaiming_uniform_(w)\n        self.weight_fa = w", "tensor"),
        ("self.register_buffer('weight_fa', None)\n        self.weight_fa = torch.randn(n, n)", "buffer"),
    ],
)
def test_storage(statement: str, storage: str) -> None:
    (site,) = sites(layer(statement))
    assert (site.name, site.owner, site.owner_kind, site.storage) == ("weight_fa", "LinearFA", "module", storage)
    assert site.registered == (storage in ("parameter", "buffer", "parameters", "modules"))
    assert site.drawn == "random"


@pytest.mark.parametrize(
    ("draw", "seed"),
    [
        ("torch.randn(n, n)", ""),
        ("torch.randn(n, n, generator=torch.Generator().manual_seed(3))", "constant"),
        ("torch.randn(n, n, generator=torch.Generator().manual_seed(seed))", "argument"),
        ("torch.randn(n, n, generator=rng)", "argument"),
        ("torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (n, n)))", "constant"),
        ("torch.from_numpy(np.random.RandomState(seed).randn(n, n))", "argument"),
        ("torch.from_numpy(np.random.default_rng().normal(size=(n, n)))", ""),
        ("torch.as_tensor(rng.normal(size=(n, n)))", "argument"),
    ],
)
def test_seeds(draw: str, seed: str) -> None:
    (site,) = sites(layer(f"self.feedback_weights = {draw}"))
    assert site.seed == seed


def test_a_global_seed_counts_only_right_before_the_draw() -> None:
    near = layer("torch.manual_seed(0)", "self.weight_fa = torch.randn(n, n)")
    far = layer(
        "torch.manual_seed(0)", "self.weight = nn.Linear(n, n)", "build(self)", "self.weight_fa = torch.randn(n, n)"
    )
    assert [s.seed for s in sites(near) + sites(far)] == ["constant", ""]


@pytest.mark.parametrize(
    "code",
    [
        layer("self.B = torch.randn(n, n)", name="Fourier"),
        layer("self.B = torch.randn(n, n)", name="RBM") + "    def forward(self, v): return v @ self.B",
        layer("self.noise = torch.randn(n, n)"),
        layer("self.feedback_size = n", "self.feedback_matrix = None"),
        layer("self.weight_fa = self.weight.t()"),
        layer("self.feedback_weights = [w.clone() for w in seed]"),
        layer("self.weight_fa = torch.zeros(n, n)"),
        "B, T = x.shape\nB = torch.ones(3)\n",
    ],
)
def test_what_is_no_feedback(code: str) -> None:
    assert sites(code) == ()


def test_an_error_through_a_possible_name_is_feedback() -> None:
    code = layer("self.B = [torch.randn(n, n)]", name="Net") + (
        "    def step(self, y_hat, y):\n        e = y_hat - y\n        for B in self.B:\n            d = e @ B\n"
    )
    (site,) = sites(code)
    assert (site.storage, site.certain) == ("list", True)
    (unknown,) = sites(code.replace("e = y_hat - y", "e = self.error(y)"))
    assert not unknown.certain
    (named,) = sites(code.replace("e = y_hat - y", "e = self.error(y)").replace("class Net", "class DFANet"))
    assert named.certain
    assert sites(code.replace("e = y_hat - y", "e = y_hat")) == ()


def test_backward_only_arguments_are_feedback_whatever_their_name() -> None:
    function = """
    class Fn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w, c, scale):
            ctx.save_for_backward(x, w, c)
            ctx.scale = scale
            return x.mm(w.t())
        @staticmethod
        def backward(ctx, g):
            x, w, c = ctx.saved_tensors
            return g.mm(c), g.t().mm(x), None, None
    """
    use = "    def forward(self, x): return Fn.apply(x, self.v, self.c, self.s)\n"
    code = textwrap.dedent(function) + layer(
        "self.v = torch.randn(n)", "self.c = torch.randn(n, n)", "self.s = torch.randn(1)"
    )
    found = sites(code + use)
    assert [(s.name, s.certain) for s in found] == [("c", True)]
    # A matrix that the forward pass computes with is a weight.
    assert sites(code.replace("x.mm(w.t())", "x.mm(w.t()) + c") + use) == ()


def test_owners() -> None:
    found = sites(
        """
        class Trainer:
            def __init__(self, n):
                self.feedback_weights = [torch.randn(n, 10)]
        def train_dfa(model, n):
            feedback_matrix = torch.randn(n, 10)
            model.backward_weight = torch.randn(n, 10)
        random_feedback = torch.randn(3, 10)
        """
    )
    assert [(s.owner_kind, s.owner, s.name) for s in found] == [
        ("object", "Trainer", "feedback_weights"),
        ("local", "train_dfa", "feedback_matrix"),
        ("foreign", "model", "backward_weight"),
        ("local", "", "random_feedback"),
    ]


def test_configured_names_are_feedback() -> None:
    code = layer("self.carrier = torch.randn(n, n)")
    assert sites(code) == ()
    assert [s.name for s in sites(code, RoleNames(feedback=("carr*",)))] == ["carrier"]


def test_inherited_attributes_have_one_site() -> None:
    code = layer("self.weight_fa = torch.randn(n, n)", name="Base") + (
        "class Child(Base):\n    def reset(self):\n        self.weight_fa = torch.randn(3, 3)\n"
    )
    assert [(s.owner, s.where) for s in sites(code)] == [("Base", "__init__")]


def test_names() -> None:
    strong = "feedback_matrix feedback_weights weight_fa weight_backward backward_weights fixed_fb_weights random_feedback fa_w"
    assert all(is_feedback_name(name) for name in strong.split())
    weak = "B Bs B1 B_1 feedback feedbacks b_matrix random_matrix B_syn"
    assert all(is_possible_name(name) and not is_feedback_name(name) for name in weak.split())
    other = "feedback_size feedback_lr user_feedback backward weight bias_grad Batch facade fade dfa feedback_fn"
    assert not any(is_feedback_name(name) or is_possible_name(name) for name in other.split())
    assert speaks_of_feedback("LinearFA") and speaks_of_feedback("train_dfa") and not speaks_of_feedback("Facade")
    assert names_a_method("FeedbackLayer") and not names_a_method("collect_feedback")


# -- saves --------------------------------------------------------------------------------------------------------


def written(code: str) -> list[tuple[str, str, str]]:
    found = saves(extract(HEAD + textwrap.dedent(code)))
    return [(entry.what, entry.of, entry.key) for save in found for entry in save.entries]


@pytest.mark.parametrize(
    ("code", "entries"),
    [
        ("torch.save(model, p)", [("object", "model", "")]),
        ("torch.save(model.module.state_dict(), p)", [("state_dict", "model", "")]),
        ("torch.save({'net': net.state_dict(), 'n': 3}, p)", [("state_dict", "net", "net"), ("value", "", "n")]),
        ("state = dict(m=net.state_dict())\ntorch.save(state, p)", [("state_dict", "net", "m")]),
        ("s = {}\ns['m'] = net.state_dict()\ntorch.save(s, p)", [("state_dict", "net", "m")]),
        ("w = net.get_parameters()\nimport pickle\npickle.dump(w, f)", [("part", "net", "")]),
        ("torch.save({k: v.cpu() for k, v in net.state_dict().items()}, p)", [("state_dict", "net", "")]),
        ("import copy\ntorch.save(copy.deepcopy(net).state_dict(), p)", [("state_dict", "net", "")]),
        ("from safetensors.torch import save_file\nsave_file(net.state_dict(), p)", [("state_dict", "net", "")]),
        ("accelerator.save(accelerator.get_state_dict(net), p)", [("state_dict", "net", "")]),
        ("trainer.fit(net)\ntrainer.save_checkpoint(p)", [("state_dict", "net", "")]),
        ("net.save_pretrained(p)", [("state_dict", "net", "")]),
        ("def save(state, p): torch.save(state, p)\nsave({'m': net.state_dict()}, p)", [("state_dict", "net", "m")]),
        ("image.save(p)\nnp.savetxt(p, x)", []),
    ],
)
def test_what_a_save_writes(code: str, entries: list[tuple[str, str, str]]) -> None:
    assert written(code) == entries


def test_the_place_of_a_save_is_where_its_dict_is_put_together() -> None:
    facts = extract(HEAD + "state = {'m': net.state_dict()}\nprint(state)\ntorch.save(state, p)\n")
    (save,) = saves(facts)
    assert facts.source(facts.node(save.place)) == "{'m': net.state_dict()}"
    assert facts.source(facts.node(save.call)) == "torch.save(state, p)"


def test_a_helper_without_a_caller_says_which_parameter_it_saves() -> None:
    (save,) = saves(extract(HEAD + "def write(path, state):\n    torch.save(state, path)\n"))
    assert (save.is_given, save.function) == (True, "write")
    assert save.mentions == {"state"}


def test_optimizers_are_no_models() -> None:
    (save,) = saves(extract(HEAD + "torch.save([net.state_dict(), optimizer.state_dict(), losses], p)\n"))
    assert [is_model_entry(entry) for entry in save.entries] == [True, False, False]


@pytest.mark.parametrize(
    ("code", "of", "found"),
    [
        ("from nets import Net\nmodel = Net(3).to('cuda')", "model", ("nets.Net",)),
        ("import nets\nm = nets.Net()\nmodel = nn.DataParallel(m)", "model", ("nets.Net",)),
        ("from nets import Net\nclass T:\n    def __init__(self): self.net = Net()", "self.net", ("nets.Net",)),
        ("class Net(nn.Module): ...\nnet = Net() if big else build()", "net", ("Net", "build")),
        ("def train(model): torch.save(model, p)", "model", ()),
    ],
)
def test_origins(code: str, of: str, found: tuple[str, ...]) -> None:
    assert origins(extract(HEAD + code), of) == found
