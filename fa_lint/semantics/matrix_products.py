"""The functions and methods of torch, NumPy and JAX that multiply with a matrix."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["MATRIX_PRODUCTS", "is_matrix_product", "is_product"]

_METHODS = frozenset("matmul mm bmm mv dot inner addmm addmv baddbmm".split())
MATRIX_PRODUCTS = _METHODS | frozenset(
    "tensordot einsum contract linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d "
    "conv_general_dilated".split()
)
_LIBRARIES = ("torch.", "numpy.", "jax.", "einops.", "opt_einsum.", "cupy.", "tensorflow.")


def is_matrix_product(facts: ModuleFacts, func: ir.Expr) -> bool:
    """Return True for what is called in ``torch.mm(e, B)``, ``np.tensordot(e, B, 1)``, ``e.mv(B)``."""
    called = facts.qualified(func)
    if called is None:
        return isinstance(func, ir.Attr) and func.attr in _METHODS
    last = called.rpartition(".")[2]
    return called.startswith(_LIBRARIES) and (last in MATRIX_PRODUCTS or called.startswith("torch.nn.grad."))


def is_product(facts: ModuleFacts, node: ir.Node) -> bool:
    """Return True for ``e @ B`` and the call of a matrix product."""
    if isinstance(node, ir.Call):
        return is_matrix_product(facts, node.func)
    return isinstance(node, ir.Binary) and node.op == "@"
