"""What names and bytes say of alignments: words for cosines and angles, and for what they are taken of.

The byte tests are the gates of the rules and conditions of ``rules/_alignments.py`` alike, so that a gate cannot be
narrower than the rule behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from fa_lint.rules.base import Gate
from fa_lint.semantics.words import words

__all__ = [
    "COSINE_GATE",
    "FORMULA_GATE",
    "GRADIENT_FORMULA_GATE",
    "FEEDBACK_WORDS",
    "TRAINED",
    "is_measure_name",
    "may_call_measure",
    "may_have_formula",
    "may_hold_cosine",
    "says_alignment",
    "subject_of_name",
]

_MEASURES = frozenset("cos cosine cosines cossim cosim angle angles align aligns aligned alignment alignments".split())
_VERBS = frozenset({"align", "aligns", "aligned"})
_SIMILARITY = frozenset({"sim", "sims", "similarity", "similarities"})
_OF_GRADIENTS = frozenset("grad grads gradient gradients credit credits bp backprop dfa fa feedback fb ebd".split())
FEEDBACK_WORDS = frozenset({"feedback", "fb", "backward"})
_OF_LAYERS = frozenset(
    {"layer", "layers", "layerwise", "param", "params", "parameter", "parameters", "weight", "weights"}
)
# A cosine that is trained on is not reported.
TRAINED = frozenset(
    "loss losses cost costs objective objectives penalty penalties reg regularizer regularization reward rewards "
    "criterion energy constraint constraints".split()
)
# A schedule, a loss that is trained on, a flag or a count is no measurement.
_OTHER = frozenset(
    "loss losses schedule scheduler annealing lr decay warmup reg penalty cost margin fn func function weighting "
    "threshold thresh tol target targets mask config cfg enabled use num count n path file dir key keys name names "
    "type mode plot fig ax step every corpus ocr text word token sequence tokens words alignment_heads aligner "
    "embedding emb positional rope head heads sum_sq lambda coef coeff set bytes ptr memory pad padding contract "
    "layout".split()
)


# One pattern each, and each begins with letters: so they run at memory speed.
_SPEAKS = tuple(
    re.compile(pattern)
    for pattern in (
        rb"cosine",
        rb"Cosine",
        rb"similarit",
        rb"sim(?<!\wsim)s?\b",
        rb"cos_(?<!\wcos_)\w",
        rb"_cos\b(?<=\w_cos)",
        rb"cos = (?<!\wcos = )",
        rb"cos_?sim",
        rb"cos\((?<!\wcos\()",
        rb"Cos\((?<!\wCos\()",
        rb"angle(?:s|_|\b)",
        rb"Angle(?:s|_|\b)",
        rb"alignments?(?:_|\b)",
        rb"Alignments?(?:_|\b)",
    )
)
_CALLED = tuple(
    re.compile(pattern)
    for pattern in (
        rb"_cos(?<=\w_cos)(?:_\w*)?\s*\(",
        rb"osine(?<=[cC]osine)\w*\s*\(",
        rb"cos_?sim\w*\s*\(",
        rb"ngle(?<=[aA]ngle)s?(?:_\w*)?\s*\(",
        rb"lignment(?<=[aA]lignment)s?(?:_\w*)?\s*\(",
    )
)
_QUOTIENT = re.compile(rb"[\w)\]]\s*/=?\s*[\w(]|\.div_?\(|true_divide|reciprocal|rsqrt|normalize\(|\*\* ?\(?-")
# Of vectors: `layer_norm` and `normal_` are none.
_NORMS = tuple(
    re.compile(pattern)
    for pattern in (
        rb"norm\((?<!\wnorm\()",
        rb"vector_norm\(",
        rb"sqrt",
        rb"\*\* ?\(?-?(?:0?\.5|1 ?/ ?2)",
        rb"pow\(.{0,80}\.5",
        rb"normalize\((?<!_normalize\()",
        rb"norm import",
        rb"norm as",
    )
)
_PRODUCTS = (b"dot(", b"@", b"sum(", b"mm(", b"einsum(", b"inner(", b"matmul(", b"mv(")


_SUBJECTS = "grads?|gradients?|credits?|feedback|fb|bp|backprop|dfa|fa|layers?|layerwise|params?|parameters?|weights?"
_NAMED = re.compile(
    rf"(?<![a-z])(?:{_SUBJECTS})[\w/.-]{{0,16}}(?:cos|angle|align|sim(?:s|ilarit)|sim\b)"
    rf"|(?:cos(?:ine)?s?|angles?|aligns?|alignments?|sims?|similarit(?:y|ies))[_/.-]\w{{0,12}}_?(?:{_SUBJECTS})(?![a-z])",
    re.IGNORECASE,
)


def says_alignment(text: str) -> bool:
    """True if a name, or a text with names in it, names the cosine of something: ``grad_cos``, ``layer_angles``."""
    return _NAMED.search(text) is not None


_LIBRARY = (
    b"cosine_similarity",
    b"CosineSimilarity",
    b"safe_cosine",
    b"safe_angle",
    b"distance.cosine",
    b"import cosine",
)


@lru_cache(maxsize=4)
def may_hold_cosine(data: bytes) -> bool:
    """True if a file can compute or call a cosine at all. Names count only in such a file."""
    return any(name in data for name in _LIBRARY) or may_have_formula(data) or may_call_measure(data)


def may_have_formula(data: bytes) -> bool:
    """True if a file can hold an inner product over norms that is meant as a cosine.

    In a file that never names a cosine or an angle such a quotient is a projection or a regression.
    """
    return any(pattern.search(data) for pattern in _SPEAKS) and _may_have_quotient(data)


def _may_have_quotient(data: bytes) -> bool:
    """True if a file has what an inner product over norms is made of."""
    if not any(product in data for product in _PRODUCTS) or not any(norm.search(data) for norm in _NORMS):
        return False
    return _QUOTIENT.search(data) is not None


def may_call_measure(data: bytes) -> bool:
    """True if a file can call a function of unknown make that is named after a cosine, in a context of gradients."""
    about = b"grad" in data or b"credit" in data or b"feedback" in data
    return about and any(pattern.search(data) for pattern in _CALLED)


def is_measure_name(identifier: str) -> bool:
    """True if a name says cosine, angle or alignment at all. Weak: true of image registration as well."""
    found = set(words(identifier))
    said = bool(found & (_MEASURES - _VERBS)) or "cosine" in identifier.lower()
    return said and not found & _OTHER and "loss" not in identifier.lower()


def subject_of_name(identifier: str) -> str:
    """What a name says it is the alignment of: ``gradient``, ``layer``, or nothing."""
    found = set(words(identifier))
    if found & _OTHER or not says_alignment(identifier):
        return ""
    if found & _OF_GRADIENTS and found & (_MEASURES | _SIMILARITY):
        return "gradient"
    return "layer" if found & _OF_LAYERS and found & _MEASURES else ""


@dataclass(frozen=True, slots=True)
class _CosineGate(Gate):
    """Open where bytes allow a library cosine, a formula, or a helper named after one."""

    def open_for(self, data: bytes) -> bool:
        if not any(library in data for library in self.literals):
            return False
        return may_hold_cosine(data)


@dataclass(frozen=True, slots=True)
class _FormulaGate(_CosineGate):
    """Also open for a file with norms, products and quotients, whatever its names are."""

    about: tuple[bytes, ...] = ()

    def open_for(self, data: bytes) -> bool:
        if super(_FormulaGate, self).open_for(data):
            return True
        imports = any(library in data for library in self.literals)
        return imports and (not self.about or any(word in data for word in self.about)) and _may_have_quotient(data)


_IMPORTS = (b"import",)
COSINE_GATE: tuple[Gate, ...] = (_CosineGate(_IMPORTS),)
FORMULA_GATE: tuple[Gate, ...] = (_FormulaGate(_IMPORTS),)
GRADIENT_FORMULA_GATE: tuple[Gate, ...] = (
    _FormulaGate(_IMPORTS, about=(b"grad", b"credit", b"jac", b"vjp", b"costate")),
)
