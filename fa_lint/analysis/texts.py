"""What the text of a file or function can do, before it is parsed: name gradients, take a cosine, average values."""

from __future__ import annotations

import re

from fa_lint.analysis.interest import SUBJECT_BYTES

__all__ = ["compares", "concerns", "copies", "makes", "matters", "names_gradients", "reduces"]

_MEASURE = re.compile(rb"norm|cos|dot\(|inner\(|einsum|\bsum\(|@|sqrt|matmul")
_NORM = re.compile(rb"norm\(|@|dot\(|inner\(|einsum|sqrt\(|\*\* ?-?0?\.5")
_DIVISION = re.compile(rb"[^/]/[^/]|div_?\(|reciprocal|rsqrt")
_LIBRARY = re.compile(rb"cosine_similarity|CosineSimilarity|normalize\(")
_COSINE = re.compile(rb"cosine_similarity|CosineSimilarity|distance\.cosine|safe_cosine")
_REDUCES = re.compile(rb"mean\(|median\(|average\(|len\(|nan_to_num|isnan|isfinite|nan_?=|\b(\w+) ?!= ?\1\b")
_COPIES = re.compile(rb"copy|clone|detach")
_ROOT = re.compile(rb"norm\(|sqrt\(|\*\* ?-?0?\.5|normalize\(")
_PRODUCT = re.compile(rb"@|dot\(|inner\(|einsum|\.sum\(|matmul|mm\(")


def names_gradients(text: bytes) -> bool:
    """Return True where gradients are named or made."""
    return SUBJECT_BYTES.search(text) is not None


def compares(text: bytes) -> bool:
    """Return True where a function can take a cosine: a library's, or a product and roots under a division."""
    if _COSINE.search(text) is not None:
        return True
    if _ROOT.search(text) is None:
        return False
    parts = (_DIVISION, _ROOT, _PRODUCT)
    return any(all(part.search(function) is not None for part in parts) for function in text.split(b"def "))


def reduces(text: bytes) -> bool:
    """Return True where values may be averaged, or replaced where they are not finite."""
    return _REDUCES.search(text) is not None


def copies(text: bytes) -> bool:
    """Return True where something is copied."""
    return _COPIES.search(text) is not None


def concerns(text: bytes) -> bool:
    """Return True for what matters whatever it is given."""
    return names_gradients(text) or compares(text)


def makes(text: bytes) -> bool:
    """Return True where a norm or a product, and a division, stand together: what a cosine is made of."""
    return _LIBRARY.search(text) is not None or (_NORM.search(text) is not None and _DIVISION.search(text) is not None)


def matters(text: bytes) -> bool:
    """Return True for what can make a gradient, or measure or average what it is given."""
    return names_gradients(text) or _MEASURE.search(text) is not None or reduces(text)
