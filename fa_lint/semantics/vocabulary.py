"""Which calls make, pass on or end a role. Tables only; :mod:`fa_lint.semantics.roles` reads them."""

from __future__ import annotations

__all__ = [
    "GRADIENT_CALLS",
    "GRADIENT_TRANSFORMS",
    "TRANSPARENT_CALLS",
    "TRANSPARENT_BUILTINS",
    "TRANSPARENT_METHODS",
    "FEATURE_CALLS",
    "FEATURE_METHODS",
    "MODEL_WORDS",
    "UNIT_CALLS",
    "NORMS",
    "WEIGHT_METHODS",
    "HOOKS",
    "PLACES",
]

GRADIENT_CALLS = frozenset(
    {
        "torch.autograd.grad",
        "torch.autograd.functional.jacobian",
        "torch.autograd.functional.hessian",
        "torch.autograd.functional.vjp",
        "tensorflow.gradients",
    }
)
GRADIENT_TRANSFORMS = frozenset(
    f"{library}.{name}"
    for library in ("torch.func", "jax")
    for name in ("grad", "grad_and_value", "value_and_grad", "jacrev", "jacfwd", "hessian", "vjp")
)
TRANSPARENT_CALLS = frozenset(
    "torch.cat torch.concat torch.concatenate torch.stack torch.hstack torch.vstack torch.flatten torch.clone "
    "torch.as_tensor torch.tensor torch.from_numpy torch.reshape torch.squeeze torch.unsqueeze torch.mean "
    "torch.sum torch.ravel torch.transpose torch.permute torch.neg torch.nan_to_num torch.matmul torch.mm "
    "torch.bmm torch.mul torch.add torch.sub torch.div torch.nn.utils.parameters_to_vector copy.copy "
    "copy.deepcopy numpy.array numpy.asarray numpy.concatenate numpy.stack numpy.hstack numpy.vstack "
    "numpy.ravel numpy.reshape numpy.mean numpy.sum numpy.copy jax.numpy.concatenate jax.numpy.stack "
    "jax.numpy.ravel jax.numpy.array jax.numpy.asarray jax.tree_util.tree_leaves jax.tree.leaves "
    "jax.flatten_util.ravel_pytree itertools.chain torch.nn.Parameter".split()
)
TRANSPARENT_BUILTINS = frozenset(
    ["list", "tuple", "sorted", "reversed", "sum", "zip", "enumerate", "iter", "next", "dict", "filter", "set"]
)
TRANSPARENT_METHODS = frozenset(
    "view reshape flatten detach detach_ clone to cpu cuda float double half bfloat16 contiguous numpy squeeze "
    "unsqueeze t transpose permute mean sum expand expand_as repeat type type_as values items get pop copy "
    "ravel requires_grad_ narrow index_select view_as reshape_as unflatten mul add sub neg mul_ add_ sub_ neg_ "
    "div_ div nan_to_num masked_select gather chunk split unbind tolist item swapaxes movedim astype coalesce "
    "to_dense".split()
)
FEATURE_CALLS = frozenset(
    "torch.randn torch.rand torch.randn_like torch.rand_like torch.ones torch.eye torch.arange torch.normal "
    "torch.nn.functional.softmax torch.softmax torch.sigmoid torch.nn.functional.one_hot "
    "torch.nn.functional.log_softmax torch.tanh torch.relu torch.nn.functional.relu torch.nn.functional.linear "
    "torch.nn.functional.gelu torch.randint torch.linspace numpy.random.randn numpy.random.rand "
    "numpy.random.normal numpy.ones numpy.eye torch.nn.functional.interpolate torch.nn.functional.layer_norm "
    "torch.nn.functional.embedding".split()
)
FEATURE_METHODS = frozenset(
    "softmax log_softmax sigmoid tanh relu encode encode_image encode_text get_text_features "
    "get_image_features get_sentence_embedding_dimension embed forward predict embedding last_hidden_state".split()
)
MODEL_WORDS = frozenset(
    "model net network encoder backbone decoder head embed embedding embedder projector predictor classifier "
    "layer block resnet vit bert clip dropout relu norm fc conv linear generator teacher student transformer "
    "mlp activation pool".split()
)
UNIT_CALLS = frozenset(
    {"torch.nn.functional.normalize", "fa_lint_runtime.safe_unit", "sklearn.preprocessing.normalize"}
)
NORMS = frozenset(
    {"torch.norm", "torch.linalg.norm", "torch.linalg.vector_norm", "numpy.linalg.norm", "jax.numpy.linalg.norm"}
)
WEIGHT_METHODS = frozenset({"parameters", "named_parameters", "state_dict", "trainable_variables"})
HOOKS = {
    # method: positions of the gradient parameters of the hook
    "register_backward_hook": (1, 2),
    "register_full_backward_hook": (1, 2),
    "register_full_backward_pre_hook": (1,),
    "register_module_full_backward_hook": (1, 2),
    "register_hook": (0,),
}
# Differentiating a field by where it is evaluated gives a normal or a force of order one, not a training gradient.
PLACES = frozenset(
    "points point pts coords coord coordinates coordinate xyz pos positions position locations vertices rays "
    "samples3d queries space grid surface".split()
)
