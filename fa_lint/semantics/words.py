"""What an identifier alone suggests. The weakest evidence: used only where the code shows no origin."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["EPS_WORDS", "NORM_WORDS", "PLACES", "is_short_gradient_name", "suggests", "words"]

NORM_WORDS = frozenset({"norm", "norms"})
EPS_WORDS = frozenset({"eps", "epsilon", "tiny", "stability"})
# Differentiating a field by where it is evaluated gives a normal or a force of order one, not a training gradient.
PLACES = frozenset(
    "points point pts coords coord coordinates coordinate xyz pos positions position locations vertices rays "
    "samples3d queries space grid surface".split()
)
_SPLIT = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_GRADIENT = frozenset({"grad", "grads", "gradient", "gradients"})
# With one of these beside it, "grad" is a flag, a count, a function, a scalar of it, or another kind of gradient.
_NOT_A_GRADIENT = frozenset(
    "proxy fn func function norm norms scale scaler clip clipping accum accumulation steps step enabled "
    "requires no checkpoint checkpointing image img spatial sdf normal normals eps epsilon tol threshold mask "
    "masks count color style cos cosine sim sims similarity similarities penalty magnitude mag hook hooks sign "
    "idx index names name key keys mode type dtype shape dim dims size numel len num log logger path file dir "
    "loss angle angles align alignment conflict var std snr cam boost descent policy ready bucket buckets "
    "reducer none is has use with set zero".split()
)
_CREDIT = frozenset({"credit", "credits", "costate", "costates", "pseudogradient", "pseudograd"})
_METHODS = frozenset({"bp", "backprop", "fa", "dfa", "drtp"})
_DELTAS = frozenset({"d", "delta", "deltas", "update", "updates"})
_WEIGHT = frozenset(
    ["weight", "weights", "kernel", "kernels", "param", "params", "parameter", "parameters", "bias", "biases", "theta"]
)
_FEATURE = frozenset(
    "feat feats feature features emb embs embed embeds embedding embeddings hidden hiddens repr reprs "
    "representation representations latent latents logit logits prob probs probability score scores image "
    "images img imgs text texts token tokens query queries key keys proj projection projections prototype "
    "prototypes proto protos centroid centroids anchor anchors positive positives negative negatives output "
    "outputs out pred preds prediction predictions target targets activation activations act acts vector "
    "vectors z h student teacher view views user item items sentence sentences word words doc docs class "
    "classes label labels input inputs caption captions encoded encoding encodings visual audio video speech "
    "speaker spk face faces patch patches point points coords coord normal normals ray rays xyz position "
    "positions pos direction directions velocity velocities dir dirs rotation rotations quat quaternion pose "
    "poses state states memory center centers mean means residual residuals onehot clip prompt prompts attn "
    "attention content style src tgt ref hyp sent mel spec spectrum signal vec vecs loss losses".split()
)
_FEEDBACK = re.compile(
    r"(?:random_|fixed_)?(?:feedback|fb|fa|backward|b)_?(?:matrix|matrices|weights?|mats?)$|weights?_(?:fa|fb|feedback|"
    r"backward)$|fixed_(?:fb|feedback)\w*$|random_feedback\w*$|B(?:s|_?\d+|_syn|_[a-z])?$"
)


_SHORT = re.compile(r"g(?:_?[a-z0-9]{1,3})?(?:_?(?:list|flat|vec))?|gs")


def is_short_gradient_name(identifier: str, function: str) -> bool:
    """``g1`` means nothing by itself; in a function that is named after gradients it means gradient."""
    return _SHORT.fullmatch(identifier) is not None and bool(set(words(function)) & _GRADIENT)


@lru_cache(maxsize=8192)
def words(identifier: str) -> tuple[str, ...]:
    """``dfa_gradW1`` → ``("dfa", "grad", "w", "1")``."""
    return tuple(word.lower() for word in _SPLIT.findall(identifier))


@lru_cache(maxsize=8192)
def suggests(identifier: str) -> str | None:
    """The role an identifier hints at: gradient, credit, feedback, weight, feature, or None."""
    parts = words(identifier)
    found = set(parts)
    if found & _GRADIENT:
        return None if found & _NOT_A_GRADIENT else "gradient"
    # ``delta_bp``, ``dW_fa``: what one method or the other sends back.
    if found & _CREDIT or (found & _METHODS and found & _DELTAS):
        return "credit" if not found & _NOT_A_GRADIENT - {"no"} else None
    if _FEEDBACK.fullmatch(identifier.lstrip("_")):
        return "feedback"
    if found & _WEIGHT:
        return "weight"
    if found & _FEATURE:
        return "feature"
    return None
