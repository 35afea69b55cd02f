"""Whether an expression is a forward pass: whether it multiplies matrices, as far as names and calls tell."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.slices import slice_of
from fa_lint.semantics.words import words

__all__ = ["MODEL_WORDS", "Forwards", "is_loss_name", "names_a_model"]

MODEL_WORDS = frozenset(
    "model models net network nets encoder backbone decoder head classifier layer layers block blocks resnet vit bert "
    "clip generator discriminator teacher student transformer mlp module unet gpt llm actor critic policy critics "
    "learner learners agent ddp fc conv linear embedder projector predictor vae denoiser".split()
)
_LOSS_WORDS = frozenset("loss losses criterion objective ce bce mse nll penalty reg regularizer kl cost".split())
# The operations that autocast runs in its low precision (https://docs.pytorch.org/docs/stable/amp.html).
_MATRIX_CALLS = frozenset(
    f"torch.{name}" for name in "matmul mm mv bmm addmm baddbmm addbmm addmv addr einsum chain_matmul".split()
) | frozenset(
    f"torch.nn.functional.{name}"
    for name in "linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d "
    "scaled_dot_product_attention multi_head_attention_forward".split()
)
# Wrappers that run what they are given.
_MATRIX_CALLS |= {
    "torch.func.functional_call",
    "torch.nn.utils.stateless.functional_call",
    "torch.utils.checkpoint.checkpoint",
    "torch.utils.checkpoint.checkpoint_sequential",
}
_WRAPPERS = frozenset({"torch.func.vmap", "torch.compile", "functools.partial"})
_MATRIX_METHODS = frozenset({"matmul", "mm", "mv", "bmm"})
_MODEL_METHODS = frozenset(
    "forward encode decode encode_image encode_text get_image_features get_text_features features "
    "forward_features predict apply_model module log_prob energy potential score_function velocity".split()
)
_MODULE_METHODS = frozenset("parameters named_parameters state_dict load_state_dict eval train zero_grad to".split())
_BUILTINS = frozenset(
    "next iter zip map list tuple dict len range sum min max int float str print isinstance getattr hasattr sorted "
    "enumerate reversed super type abs set any all open vars id round".split()
)
_DATA_WORDS = frozenset("load loader tokenizer tokenize data dataset transform preprocess augment collate".split())
_DATA_WORDS |= frozenset("time sample zeros device prefetch batch one onehot seed log".split())


def is_loss_name(identifier: str) -> bool:
    return bool(set(words(identifier)) & _LOSS_WORDS)


def names_a_model(identifier: str) -> bool:
    """``model``, ``self.encoder``, ``netD``; a single capital is a network where it is called."""
    return bool(set(words(identifier)) & MODEL_WORDS)


class Forwards:
    """Answers :meth:`at`: where a module runs a network."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._calls = facts.derived(Calls)
        self._facts = facts
        self._functions = Memory(False, 5)
        self._parts: set[str] | None = None

    def at(self, node: ir.Node) -> bool:
        """True if a node multiplies matrices: itself, or by calling a model or a function that does."""
        facts, calls = self._facts, self._calls
        if isinstance(node, ir.Binary):
            return node.op == "@"
        if not isinstance(node, ir.Call):
            return False
        name = facts.qualified(node.func)
        if name in _MATRIX_CALLS:
            return True
        entered = calls.entered(node)
        if entered:
            return any(self.within(function) for function in entered)
        match node.func:
            case ir.Name(id=identifier):
                if identifier in _BUILTINS or set(words(identifier)) & _DATA_WORDS:
                    return False
                if name is not None:
                    return _is_given_a_model(node, facts)
                if is_loss_name(identifier):
                    return _is_given_a_model(node, facts) or _is_given_data(node)
                return names_a_model(identifier) or _is_object(node.func, facts)
            case ir.Attr(attr=attr, value=value):
                if name is not None:
                    return not name.startswith(("torch.", "numpy.")) and _is_given_a_model(node, facts)
                if attr in _MATRIX_METHODS:
                    return True
                if attr in _MODEL_METHODS:
                    return True
                if set(words(attr)) & _DATA_WORDS:
                    return False
                if is_loss_name(attr):
                    return _is_given_a_model(node, facts) or _is_given_data(node)
                if isinstance(value, ir.Name) and value.id == "self":
                    return bool(node.args)
                return names_a_model(attr) or self._is_part(node.func)
            case ir.Subscript():
                return bool(node.args)
            case ir.Call(func=made):  # functional_call has its own name; ``vmap(f)(x)`` calls what it is given
                return facts.qualified(made) in _WRAPPERS and bool(node.func.args)
        return False

    def _is_part(self, func: ir.Attr) -> bool:
        """Return True if the module treats a called attribute as a network elsewhere (``pair.disc.parameters()``)."""
        if self._parts is None:
            self._parts = {
                node.value.attr
                for node in self._facts.nodes_of(ir.Attr)
                if isinstance(node, ir.Attr) and isinstance(node.value, ir.Attr) and node.attr in _MODULE_METHODS
            }
        return func.attr in self._parts

    def within(self, function: ir.FunctionDef) -> bool:
        """Return True if what a function returns comes from a forward pass."""
        return self._functions.ask(function.nid, lambda: self._returns_forward(function))

    def _returns_forward(self, function: ir.FunctionDef) -> bool:
        values = self._facts.names.returned(function)
        return any(self.at(part) for value in values for part in slice_of(value, self._facts).nodes)


def _is_given_a_model(node: ir.Call, facts: ModuleFacts) -> bool:
    for arg in node.args:
        match arg.value:
            case ir.Name(id=identifier) | ir.Attr(attr=identifier) if (
                names_a_model(identifier) and facts.qualified(arg.value) is None
            ):
                return True
    return False


def _is_given_data(node: ir.Call) -> bool:
    """``self.loss(batch)``: a loss that is given its input only runs the network itself."""
    match node.args:
        case [ir.Arg(value=ir.Name(id=name), keyword=None, star="")]:
            return bool(set(words(name)) & {"batch", "batches", "data", "inputs"})
    return False


def _is_object(func: ir.Name, facts: ModuleFacts) -> bool:
    """True if a called name is a parameter or bound to a value, so that what it does is not in sight."""
    return any(b.how in ("param", "value", "iterate", "unpack", "with") for b in facts.names.bindings(func))
