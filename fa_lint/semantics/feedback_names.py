"""Names of feedback: what identifiers say about fixed random feedback, alone and together with other evidence."""

from __future__ import annotations

import re

from fa_lint.semantics.words import words

__all__ = [
    "ATTRIBUTE",
    "VOCABULARY",
    "is_feedback_name",
    "is_possible_name",
    "names_a_method",
    "speaks_of_feedback",
]

_TENSOR = (
    r"(?:layers|matrix|matrices|mats?|weights?|w|kernels?|tensors?|connections?|projections?|proj|params?|biases|bias)"
)
_STRONG = re.compile(
    rf"(?:rn_|rand_|random_|fixed_|init_|output_|dfa_|fa_)?(?:feedback|feed_back|fb|fa|dfa|drtp)_?(?:[hwb]_)?{_TENSOR}"
    r"(?:_?(?:list|dict|\d+|[a-z]))?|"
    r"(?:back|backward|bwd)_?(?:weights?|matrix|matrices|mats?)(?:_?(?:list|\d+))?|"
    r"(?:weights?|w|kernel|matrix|bias)_?(?:fa|fb|feedback|backward|bwd|dfa)(?:_?(?:list|\d+))?|"
    r"(?:fixed|random|rand)_(?:fb|feedback)s?(?:_?(?:list|\w*weights?|\w*matri\w+))?",
    re.IGNORECASE,
)
# Said by many fields: feedback only where the code sends an error through it, or its surroundings are named after it.
_POSSIBLE = re.compile(
    r"[BR](?:s|mats?|_?\d+|_(?:[a-z]|syn|list|fb|fixed|rand|random|fa|dfa|mats?|matrix|matrices|weights?))?|b_(?:mat|matrix|matrices)|"
    r"(?:error_|output_)?feedbacks?|fixed_(?:weights?|matri\w+|random\w*|projections?)|"
    r"(?:W|w|weights?)_?(?:back|bwd|backward|fb|feedback)s?|back|bwd|"
    r"fbs?|random_(?:matri\w+|weights?|projections?|proj)|(?:error_|output_)?projections?(?:_matri\w+)?|H_?\d"
)
ATTRIBUTE = rf"\._*(?:{_POSSIBLE.pattern})(?!\w)"
# Every file with a finding about feedback says one of these somewhere, if only in a comment.
VOCABULARY = (
    r"(?i:(?:random|fixed|direct|synthetic|broadcast|learned)[ _-]?feedback|feed_?back[ _-]?(?:alignment|matri|"
    r"mats?\b|weight|w\b|layer|tensor|connection|proj|path|param|kernel|linear|conv|net|mod|signal))|\.feedbacks?\b|"
    r"DFA|DRTP|PEPITA|\b_?dfa|_dfa|drtp|pepita|[a-z\d]FA\b|\bFA[A-Z][a-z]|\bFA_|\bfa_(?:w|m|l|c)|_fa\b|"
    r"(?i:\bfb_?(?:weight|matri)|(?<!_)(?:weights?|matrix|bias)_?(?:fb|bwd|backward)\b|\b_?(?:back|backward|bwd)_?(?:weight|mat))"
)
# "LinearFA", "Conv2dDFA", "fa_linear" speak of it; "fa" as a part of a longer word does not.
_SPEAKS = frozenset("dfa fa drtp feedback feedbacks pepita usf brsf frsf sdfa ifa".split())
# People give feedback, too.
_OF_A_NETWORK = frozenset(
    "alignment align matrix matrices weight weights layer layers linear conv direct random asymmetric fixed".split()
)


def is_feedback_name(identifier: str) -> bool:
    """True if a name by itself says that it holds feedback weights."""
    return _STRONG.fullmatch(identifier.strip("_")) is not None


def is_possible_name(identifier: str) -> bool:
    """True for a name that feedback often has, and other things as well."""
    return _POSSIBLE.fullmatch(identifier.strip("_")) is not None


def speaks_of_feedback(identifier: str) -> bool:
    """True if the name of a class, a function or an option names a method of the feedback-alignment family."""
    return bool(set(words(identifier)) & _SPEAKS)


def names_a_method(identifier: str) -> bool:
    """The same where there is no other evidence: ``feedback`` alone may be a user's."""
    said = set(words(identifier)) & _SPEAKS
    return bool(said - {"feedback", "feedbacks"}) or bool(said and set(words(identifier)) & _OF_A_NETWORK)
