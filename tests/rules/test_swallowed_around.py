"""FAL502: a number that a value had before the attempt, and a decorator that returns one."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = "import functools\nimport logging\nimport math\nimport torch\n"
STARTED = (
    "def f(p, c):\n    {0}\n    try:\n        x = torch.cosine_similarity(p.grad.flatten(), c, dim=0).item()\n"
    "    except RuntimeError as e:\n        {1}\n    {2}"
)
KEPT = [
    ("x = 0.0", "print('failed')", "return x"),
    ("x = 1", "logging.warning('failed: %s', e)", "return {'gamma': x}"),
    ("x = 0.0", "print(e)\n        logging.exception('failed')", "print(x)"),
    ("x = torch.zeros(1)\n    y = 0", "logging.debug(e)", "return x, y"),
]
MARKED = [
    ("x = float('nan')", "print('failed')", "return x"),
    ("x = None", "print('failed')", "return x"),
    ("x = math.nan", "logging.warning('failed')", "return x"),
    ("x = 0.0", "raise ValueError from e", "return x"),
    ("x = 0.0", "x = float('nan')", "return x"),
    ("x = 0.0", "print('failed')\n        x = None", "return x"),
    ("x = 0.0", "print('failed')\n        return None", "return x"),
    ("x = 0.0\n    x = None", "print('failed')", "return x"),
    ("if c is None:\n        x = 0.0", "print('failed')", "return x"),
    ("y = 0.0", "print('failed')", "return y"),
]
COSINE = "    return torch.cosine_similarity(p.grad.flatten(), c, dim=0).item()\n"
PLAIN = (
    "def safe(fn):\n    {wraps}def inner(*a, **k):\n        try:\n            return fn(*a, **k)\n"
    "        except Exception as e:\n            {handler}\n    return inner\n"
)
FACTORY = (
    "def safe(default=0.0):\n    def deco(fn):\n        def inner(*a):\n            try:\n                return fn(*a)\n"
    "            except Exception:\n                return default\n        return inner\n    return deco\n"
)
MEASURE = "def alignment(p, c):\n" + COSINE


@pytest.mark.parametrize(("before", "handler", "after"), KEPT)
def test_a_number_from_before_stands_for_the_value(before: str, handler: str, after: str) -> None:
    assert len(rows("FAL502", HEAD + STARTED.format(before, handler, after))) == 1


@pytest.mark.parametrize(("before", "handler", "after"), MARKED)
def test_a_value_that_is_marked_as_missing(before: str, handler: str, after: str) -> None:
    assert rows("FAL502", HEAD + STARTED.format(before, handler, after)) == []


def test_the_largest_so_far_is_a_measured_value() -> None:
    code = (
        "def f(ps, c):\n    best = 0.0\n    for p in ps:\n        try:\n"
        "            best = max(best, torch.cosine_similarity(p.grad.flatten(), c, dim=0).item())\n"
        "        except RuntimeError:\n            print('failed')\n    return best"
    )
    assert rows("FAL502", HEAD + code) == []


@pytest.mark.parametrize("wraps", ["", "@functools.wraps(fn)\n    "])
@pytest.mark.parametrize(
    ("handler", "number"),
    [
        ("return 0.0", 1),
        ("print(e)\n            return 1.0", 1),
        ("return float('nan')", 0),
        ("return None", 0),
        ("pass", 0),
        ("raise", 0),
        ("return a[0]", 0),
    ],
)
def test_a_decorator_that_returns_a_number(wraps: str, handler: str, number: int) -> None:
    code = PLAIN.format(wraps=wraps, handler=handler)
    assert len(rows("FAL502", f"{HEAD}{code}@safe\n{MEASURE}")) == number


@pytest.mark.parametrize(
    ("applied", "number"),
    [("@safe(0.0)", 1), ("@safe(default=1.0)", 1), ("@safe()", 1), ("@safe(None)", 0), ("@safe(math.nan)", 0)],
)
def test_a_decorator_that_is_given_the_number(applied: str, number: int) -> None:
    assert len(rows("FAL502", f"{HEAD}{FACTORY}{applied}\n{MEASURE}")) == number


def test_a_decorator_of_something_else() -> None:
    code = PLAIN.format(wraps="", handler="return 0.0")
    other = "@safe\ndef accuracy(x, y): return (x == y).float().mean().item()\n"
    assert rows("FAL502", HEAD + code + other + MEASURE) == []
