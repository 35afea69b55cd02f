"""Names of feedback: what identifiers say about fixed random feedback, alone and together with other evidence."""

from __future__ import annotations

import re

from fa_lint.semantics.words import words

__all__ = ["is_feedback_name", "is_possible_name", "speaks_of_feedback"]

_STRONG = re.compile(
    r"(?:rn_|rand_|random_|fixed_|init_|output_|dfa_|fa_)?(?:feedback|fb|fa|backward|bwd|feed_back|dfa|drtp)_?(?:[hwb]_)?"
    r"(?:matrix|matrices|mats?|weights?|w|kernels?|tensors?|connections?|projections?|proj|params?)(?:_?(?:list|dict|\d+|[a-z]))?|"
    r"(?:weights?|w|kernel|matrix|bias)_?(?:fa|fb|feedback|backward|bwd|dfa)(?:_?(?:list|\d+))?|"
    r"(?:fixed|random|rand)_(?:fb|feedback|backward)(?:_?(?:list|\w*weights?|\w*matri\w+))?s?|(?:fb|fa|feedback)(?:[wb])s?",
    re.IGNORECASE,
)
# Said by many fields: feedback only where the code sends an error through it, or the class is named after feedback.
_POSSIBLE = re.compile(
    r"[BR](?:s|_?\d+|_(?:[a-z]|syn|list|fb|fixed|rand|random|fa|dfa|mats?|matrix|matrices|weights?))?|b_(?:mat|matrix|matrices)|"
    r"(?:error_|output_)?feedbacks?|fbs?|back_?weights?|fixed_(?:weights?|matri\w+|random\w*|projections?)|"
    r"random_(?:matri\w+|weights?|projections?|proj)|(?:error_|output_)?projections?(?:_matri\w+)?|H_?\d?|F_?\d?"
)
# "LinearFA", "Conv2dDFA", "fa_linear" speak of it; "fa" as a part of a longer word does not.
_SPEAKS = frozenset("dfa fa drtp feedback feedbacks pepita usf brsf frsf sdfa ifa eprop dtp".split())


def is_feedback_name(identifier: str) -> bool:
    """Does a name by itself say that it holds feedback weights?"""
    return _STRONG.fullmatch(identifier.strip("_")) is not None


def is_possible_name(identifier: str) -> bool:
    """Is it a name that feedback often has, and other things as well?"""
    return _POSSIBLE.fullmatch(identifier.strip("_")) is not None


def speaks_of_feedback(identifier: str) -> bool:
    """Does the name of a class, a function or an option name a method of the feedback-alignment family?"""
    return bool(set(words(identifier)) & _SPEAKS)
