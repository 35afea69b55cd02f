"""Which calls give back the value they are given, a copy of it, or the same for the same arguments."""

from __future__ import annotations

__all__ = ["ACCESSORS", "COPIES", "COPY_METHODS", "SAME_CALLS", "SAME_METHODS", "is_pure"]

COPIES = frozenset("torch.clone copy.copy copy.deepcopy numpy.copy".split())
COPY_METHODS = frozenset({"clone", "copy", "__deepcopy__"})
SAME_METHODS = frozenset("detach cpu cuda numpy contiguous requires_grad_ tolist item eval train".split())
SAME_CALLS = frozenset("torch.as_tensor torch.from_numpy numpy.asarray torch.tensor numpy.array".split())
# Fresh values at every call: numbers drawn, memory not filled.
_RANDOM = ("rand", "multinomial", "bernoulli", "poisson", "dropout", "gumbel", "rrelu", "fractional", "empty")
_IMPURE = frozenset(
    "load normal uniform choice permutation shuffle grad backward seed autograd jit compile nn optim distributed utils "
    "func vmap cuda".split()
)
# Methods that give the same for the same receiver, as long as that is not written to.
ACCESSORS = frozenset(
    "parameters named_parameters state_dict values items keys flatten view reshape ravel squeeze unsqueeze t transpose "
    "permute mean sum float double half bfloat16 type abs norm unbind children modules named_modules get "
    "view_as astype to sign square pow".split()
)


def is_pure(name: str) -> bool:
    """True if a library function gives the same for the same arguments."""
    top, _, rest = name.partition(".")
    if any(word in rest for word in _RANDOM):
        return False
    if name.startswith("torch.nn.functional.") or name == "torch.nn.utils.parameters_to_vector":
        return True
    return top in ("torch", "numpy", "math", "operator") and not set(rest.split(".")) & _IMPURE
