"""What library functions mean: one row a function, no code.

``FUNCTIONS`` are found by qualified name, ``METHODS`` by the name of the attribute that is called on an array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["BUILTINS", "FUNCTIONS", "METHODS", "Operation", "Row"]

Operation = Literal[
    "absolute", "add", "angle", "arcsine", "cat", "chain", "clamp", "content", "copy", "cosine", "cosine_module", "dictionary", "distance",
    "divide", "dot", "draw", "einsum", "element", "enumerate", "filter", "first", "full", "gradient", "hidden", "items", "keys", "linear",
    "map", "maximum", "mean", "minimum", "multiply", "named_tuple", "negate", "norm", "normalize", "number", "ones", "outer", "pad", "pairs",
    "parameters", "partial",
    "power", "pullback", "range", "rank", "reciprocal", "repair", "reverse_root", "root", "same", "set_default", "sign", "size", "square", "subtract", "sum",
    "trace", "transform", "unit", "values", "view", "where", "wrapper", "zeros", "zip",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """``operation`` on the parameters ``names``; ``floor`` is the default eps under each norm; ``label`` for messages."""

    operation: Operation
    names: tuple[str, ...] = ()
    floor: float | None = None
    label: str = ""


def _rows(
    operation: Operation, functions: str, names: str = "", *, floor: float | None = None, label: str = ""
) -> Iterator[tuple[str, Row]]:
    for function in functions.split():
        yield function, Row(operation, tuple(names.split()), floor, label)


def _everywhere(operation: Operation, functions: str, names: str = "") -> Iterator[tuple[str, Row]]:
    """The same name in torch, NumPy and JAX."""
    for library in ("torch", "numpy", "jax.numpy"):
        yield from _rows(operation, " ".join(f"{library}.{name}" for name in functions.split()), names)


FUNCTIONS: dict[str, Row] = dict(
    [
        *_rows("cosine", "torch.nn.functional.cosine_similarity", "x1 x2 dim eps", floor=1e-8, label="F.cosine_similarity"),
        *_rows("cosine", "fa_lint_runtime.safe_cosine", "a b dim", label="safe_cosine"),
        *_rows("cosine", "torchmetrics.functional.cosine_similarity optax.cosine_similarity", "a b"),
        *_rows("distance", "scipy.spatial.distance.cosine", "u v"),
        *_rows("cosine_module", "torch.nn.CosineSimilarity", "dim eps", floor=1e-8, label="nn.CosineSimilarity"),
        *_rows("gradient", "torch.autograd.grad tensorflow.gradients", "outputs inputs"),
        *_rows("gradient", "torch.autograd.functional.jacobian torch.autograd.functional.hessian", "func inputs"),
        *_rows("gradient", "torch.autograd.functional.vjp", "func inputs"),
        *_rows("transform", "torch.func.grad torch.func.jacrev torch.func.jacfwd torch.func.hessian", "func"),
        *_rows("transform", "torch.func.grad_and_value torch.func.value_and_grad", "func"),
        *_rows("transform", "jax.value_and_grad jax.grad_and_value", "fun"),
        *_rows("pullback", "torch.func.vjp jax.vjp", "func"),
        *_rows("wrapper", "jax.jit jax.vmap jax.pmap torch.func.vmap torch.vmap torch.compile", "func"),
        *_rows("transform", "jax.grad jax.jacrev jax.jacfwd jax.hessian", "fun"),
        *_everywhere("dot", "dot vdot inner matmul mm bmm mv vecdot", "input other"),
        *_rows("dot", "torch.linalg.vecdot numpy.linalg.vecdot", "input other"),
        *_everywhere("einsum", "einsum"),
        *_everywhere("sum", "sum nansum", "input dim"),
        *_everywhere("multiply", "mul multiply", "input other"),
        *_everywhere("outer", "outer ger", "input other"),
        *_rows("outer", "numpy.multiply.outer", "input other"),
        *_everywhere("add", "add", "input other"),
        *_everywhere("subtract", "sub subtract", "input other"),
        *_everywhere("divide", "div divide true_divide", "input other"),
        *_everywhere("root", "sqrt", "input"),
        *_rows("root", "math.sqrt", "x"),
        *_everywhere("reverse_root", "rsqrt", "input"),
        *_everywhere("reciprocal", "reciprocal", "input"),
        *_everywhere("square", "square", "input"),
        *_everywhere("power", "pow power", "input exponent"),
        *_rows("power", "math.pow", "x y"),
        *_everywhere("clamp", "clamp clip clamp_min", "input min max"),
        *_rows("clamp", "torch.clamp_max", "input max"),
        *_everywhere("maximum", "maximum fmax max", "input other"),
        *_everywhere("minimum", "minimum fmin min", "input other"),
        *_everywhere("absolute", "abs absolute", "input"),
        *_everywhere("negate", "neg negative", "input"),
        *_rows("norm", "torch.norm torch.linalg.norm torch.linalg.vector_norm numpy.linalg.norm jax.numpy.linalg.norm", "input p"),
        *_rows("normalize", "torch.nn.functional.normalize", "input p dim eps", floor=1e-12, label="F.normalize"),
        *_rows("unit", "fa_lint_runtime.safe_unit sklearn.preprocessing.normalize", "input"),
        *_everywhere("angle", "acos arccos", "input"),
        *_rows("angle", "math.acos", "x"),
        *_everywhere("arcsine", "asin arcsin", "input"),
        *_rows("arcsine", "math.asin", "x"),
        *_everywhere("cat", "cat concat concatenate hstack vstack", "tensors dim"),
        *_everywhere("cat", "stack", "tensors dim"),
        *_rows("cat", "torch.nn.utils.parameters_to_vector jax.flatten_util.ravel_pytree", "parameters"),
        *_everywhere("same", "flatten ravel reshape clone squeeze unsqueeze asarray array as_tensor tensor copy from_numpy", "input"),
        *_everywhere("same", "rad2deg deg2rad degrees atleast_1d real float64 float32", "input"),
        *_rows("same", "math.degrees math.fabs jax.device_get jax.lax.stop_gradient", "x"),
        *_rows("same", "torch.autograd.Variable torch.nn.Parameter", "data"),
        *_rows("same", "jax.tree.leaves jax.tree_util.tree_leaves", "tree"),
        *_rows("copy", "copy.copy copy.deepcopy", "x"),
        *_everywhere("view", "transpose permute swapaxes movedim moveaxis t narrow index_select masked_select roll flip diagonal diag", "input"),
        *_rows("pad", "torch.nn.functional.pad numpy.pad jax.numpy.pad", "input pad"),
        *_everywhere("trace", "trace", "input"),
        *_everywhere("mean", "mean nanmean median nanmedian average", "input dim"),
        *_rows("mean", "statistics.mean statistics.fmean statistics.median", "data"),
        *_everywhere("where", "where", "condition input other"),
        *_everywhere("repair", "nan_to_num", "input"),
        *_everywhere("sign", "sign sgn", "input"),
        *_everywhere("zeros", "zeros zeros_like", "input"),
        *_everywhere("ones", "ones ones_like", "input"),
        *_everywhere("full", "full full_like", "input fill_value"),
        *_everywhere("draw", "randn rand randn_like rand_like normal randint", "input"),
        *_rows("draw", "numpy.random.randn numpy.random.rand numpy.random.normal", "input"),
        *_everywhere("number", "var numel", "input"),
        *_everywhere("size", "amax std", "input"),
        *_rows("chain", "itertools.chain"),
        *_rows("pairs", "itertools.combinations itertools.permutations itertools.product"),
        *_rows("partial", "functools.partial"),
        *_rows("dictionary", "types.SimpleNamespace argparse.Namespace"),
        *_rows("named_tuple", "collections.namedtuple", "typename field_names"),
        *_everywhere("dot", "tensordot", "a b"),
        *_rows("hidden", "torch.nn.functional.softmax torch.softmax torch.sigmoid torch.nn.functional.one_hot torch.tanh"),
        *_rows("linear", "torch.nn.functional.linear", "input weight bias"),
        *_rows("hidden", "torch.eye numpy.eye torch.arange torch.linspace torch.nn.functional.log_softmax"),
        *_rows("hidden", "torch.relu torch.nn.functional.relu torch.nn.functional.gelu"),
        *_rows("hidden", "torch.nn.functional.layer_norm torch.nn.functional.embedding torch.nn.functional.interpolate"),
    ]
)  # fmt: skip

METHODS: dict[str, Row] = dict(
    [
        *_rows("dot", "dot vdot inner matmul mm bmm mv", "input other"),
        *_rows("sum", "sum nansum", "input dim"),
        *_rows("multiply", "mul multiply mul_ multiply_", "input other"),
        *_rows("outer", "outer ger", "input other"),
        *_rows("add", "add add_", "input other"),
        *_rows("subtract", "sub sub_ subtract", "input other"),
        *_rows("divide", "div div_ divide true_divide", "input other"),
        *_rows("root", "sqrt sqrt_", "input"),
        *_rows("reverse_root", "rsqrt rsqrt_", "input"),
        *_rows("reciprocal", "reciprocal reciprocal_", "input"),
        *_rows("square", "square square_", "input"),
        *_rows("power", "pow pow_", "input exponent"),
        *_rows("clamp", "clamp clamp_ clip clip_ clamp_min clamp_min_", "input min max"),
        *_rows("clamp", "clamp_max clamp_max_", "input max"),
        *_rows("maximum", "maximum", "input other"),
        *_rows("minimum", "minimum", "input other"),
        *_rows("absolute", "abs abs_", "input"),
        *_rows("negate", "neg neg_", "input"),
        *_rows("norm", "norm", "input p dim"),
        *_rows("angle", "acos arccos acos_ arccos_", "input"),
        *_rows("arcsine", "asin arcsin", "input"),
        *_rows("same", "flatten view reshape ravel detach detach_ clone to cpu cuda double float type type_as numpy item tolist squeeze"),
        *_rows("same", "unsqueeze contiguous requires_grad_ coalesce to_dense astype rad2deg bfloat16 half view_as reshape_as copy"),
        *_rows("same", "expand expand_as unflatten squeeze_ unsqueeze_ data nan_to_num_ repeat block_until_ready"),
        *_rows("view", "t transpose permute swapaxes narrow index_select masked_select gather chunk split unbind movedim flip roll"),
        *_rows("view", "diagonal diag triu tril take select"),
        *_rows("trace", "trace", "input"),
        *_rows("mean", "mean nanmean median nanmedian", "input dim"),
        *_rows("repair", "nan_to_num masked_fill masked_fill_", "input"),
        *_rows("where", "where", "input condition other"),
        *_rows("sign", "sign sgn sign_", "input"),
        *_rows("number", "numel nelement size dim any all argmax argmin var isnan isfinite backward step zero_grad", "input"),
        *_rows("size", "max amax std", "input"),
        *_rows("items", "items", "input"),
        *_rows("values", "values", "input"),
        *_rows("keys", "keys", "input"),
        *_rows("element", "get pop", "input key default"),
        *_rows("set_default", "setdefault", "input key default"),
        *_rows("parameters", "parameters children modules buffers trainable_variables", "input"),
        *_rows("items", "named_parameters named_children named_modules state_dict", "input"),
        *_rows("hidden", "softmax log_softmax sigmoid tanh relu encode encode_image encode_text embed forward predict embedding", "input"),
        *_rows("hidden", "get_image_features get_text_features get_sentence_embedding_dimension", "input"),
        *_rows("full", "new_full", "input size fill_value"),
        *_rows("content", "new_tensor", "input data"),
        *_rows("rank", "argsort sort topk unique", "input"),
    ]
)  # fmt: skip

BUILTINS: dict[str, Row] = dict(
    [
        *_rows("same", "float round list tuple iter sorted reversed tqdm", "input"),
        *_rows("absolute", "abs", "input"),
        *_rows("sum", "sum", "input start"),
        *_rows("maximum", "max", "input other"),
        *_rows("minimum", "min", "input other"),
        *_rows("zip", "zip"),
        *_rows("enumerate", "enumerate"),
        *_rows("map", "map"),
        *_rows("filter", "filter"),
        *_rows("first", "next", "input"),
        *_rows("dictionary", "dict"),
        *_rows("number", "len int bool isinstance hasattr", "input"),
        *_rows("range", "range", "input"),
        *_rows("element", "getattr", "input key default"),
    ]
)
