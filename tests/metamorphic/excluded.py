"""Rewrites that destroy the evidence for a rule, by name, with the reason."""

from __future__ import annotations

from .programs import Seed
from .rewrites._common import Rewrite

_BY_NAME = "nothing but the names says what the values are"
_OUT_OF_REACH = "its eps of 1e-12 stands inside a root; on a norm itself no float32 gradient meets it"
_UNKNOWN_EPS = "its eps is imported from a file that is not there; the rewrite brings a known one"
_A_COPY = "entries of the gradient are set: in a copy that changes nothing"
_HALF_CHECKED = "only one of its two vectors is checked, and each has a floor of its own now"
_BEYOND_THE_CHECK = "the floor is felt at norms far above those that the check refuses"
_IN_A_TEST = "it is silent because it stands in a test, and the helper does not"

# (rule, seed, rewrite or family); an empty string stands for all.
EXCLUDED: dict[tuple[str, str, str], str] = {
    ("FAL102", "invalid-0", "names"): _BY_NAME,
    ("FAL102", "norm_order-weight_norm", "names"): _BY_NAME,
    ("FAL201", "clamped_cosine-by_name_only", "names"): _BY_NAME,
    ("FAL201", "valid-5", "names"): _BY_NAME,
    ("FAL201", "clamped_cosine-eikonal", "names"): _BY_NAME,
    ("FAL202", "", "misleading names"): _BY_NAME,
    ("FAL202", "valid-0", "names"): _BY_NAME,
    ("FAL202", "valid-1", "names"): _BY_NAME,
    ("FAL202", "clamped_cosine-by_name_only", "names"): _BY_NAME,
    ("FAL202", "clamped_cosine-features", "names"): _BY_NAME,
    ("FAL203", "valid-6", "names"): _BY_NAME,
    ("FAL203", "valid-3", "floor: a power"): _UNKNOWN_EPS,
    ("FAL203", "valid-3", "floor: finfo"): _UNKNOWN_EPS,
    ("FAL203", "valid-3", "floor: finfo by a name"): _UNKNOWN_EPS,
    ("FAL203", "valid-3", "units: F.normalize"): _UNKNOWN_EPS,
    ("FAL203", "valid-3", "units: F.normalize inline"): _UNKNOWN_EPS,
    ("FAL203", "valid-9", "units"): _HALF_CHECKED,
    ("FAL203", "valid-9", "floor: finfo"): _BEYOND_THE_CHECK,
    ("FAL203", "valid-9", "floor: finfo by a name"): _BEYOND_THE_CHECK,
    ("FAL203", "valid-9", "floor: inside the root"): _BEYOND_THE_CHECK,
    ("FAL203", "valid-9", "floor: rsqrt"): _BEYOND_THE_CHECK,
    ("FAL203", "floored_cosine-guarded_by_magnitude", "floor: inside the root"): _BEYOND_THE_CHECK,
    ("FAL203", "floored_cosine-guarded_by_magnitude", "floor: rsqrt"): _BEYOND_THE_CHECK,
    ("FAL203", "floored_cosine-floor_in_the_root", "units"): _OUT_OF_REACH,
    ("FAL203", "floored_cosine-floor_in_the_root", "floor: on each factor"): _OUT_OF_REACH,
    ("FAL203", "floored_cosine-floor_in_the_root", "floor: factor after factor"): _OUT_OF_REACH,
    ("FAL203", "floored_cosine-floor_in_the_root", "floor: clamped factors"): _OUT_OF_REACH,
    ("FAL203", "floored_cosine-floor_in_the_root", "floor: one factor"): _OUT_OF_REACH,
    ("FAL203", "floored_cosine-floor_in_the_root", "product: one factor at a time"): _OUT_OF_REACH,
    **{
        ("FAL203", seed, way): _A_COPY
        for seed in ("invalid-4", "floored_cosine-Measurement")
        for way in (
            "through clone",
            "through stack",
            "through cat of flattened",
            "through float",
            "through to",
            "through minus zero",
            "through times two",
            "value by if and else",
            "value by a match",
        )
    },
    ("FAL201", "valid-4", "places"): _IN_A_TEST,
    ("FAL201", "valid-4", "modules"): _IN_A_TEST,
    ("FAL201", "clamped_cosine-test_like", "places"): _IN_A_TEST,
    ("FAL201", "clamped_cosine-test_like", "modules"): _IN_A_TEST,
    ("FAL202", "valid-6", "places"): _IN_A_TEST,
    ("FAL202", "valid-6", "modules"): _IN_A_TEST,
    ("FAL202", "valid-6", "library: a module of self"): _IN_A_TEST,
    ("FAL404", "valid-4", "places"): _IN_A_TEST,
    ("FAL404", "valid-4", "modules"): _IN_A_TEST,
    ("FAL404", "self_comparison-test_identity", "places"): _IN_A_TEST,
    ("FAL404", "self_comparison-test_identity", "modules"): _IN_A_TEST,
}


def reason(seed: Seed, rewrite: Rewrite) -> str | None:
    """Return the reason not to apply ``rewrite`` to ``seed``; None where it is applied."""
    for (rule, name, change), why in EXCLUDED.items():
        if rule in ("", seed.rule) and name in ("", seed.name) and change in ("", rewrite.name, rewrite.family):
            return why
    return None
