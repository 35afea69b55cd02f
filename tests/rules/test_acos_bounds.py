"""FAL204: an acos whose cosine is kept within bounds by the code around it, and the same code where it is not."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = "import math, sys\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"
COS = "    c = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))\n"

LEAVING = [
    "if abs(c) > 0.9995:\n        return lerp",
    "if np.abs(c) >= thr:\n        return lerp",
    "if torch.any(c.abs() > 0.9995):\n        return lerp",
    "if (c.abs() > 0.9995).any():\n        return lerp",
    "if np.max(np.abs(c)) > 0.9995:\n        return lerp",
    "if c.abs().max().item() > 0.9995:\n        return lerp",
    "if c.gt(0.9995).any():\n        return lerp",
    "if torch.any(torch.ge(c, thr)):\n        return lerp",
    "if 0.9995 < c:\n        return lerp",
    "if c > 1 or c < -1:\n        raise ValueError(c)",
    "if c >= 1:\n        return 0.0\n    if c <= -1:\n        return math.pi",
    "if c >= 1:\n        return 0.0\n    elif c <= -1:\n        return math.pi",
    "if not -1 <= c <= 1:\n        raise ValueError(c)",
    "if not (abs(c) < 1):\n        return math.nan",
    "if 1 - c < 1e-6:\n        return 0.0",
    "if 1.0 - abs(c) < eps:\n        return 0.0",
    "if abs(c - 1) < 1e-6:\n        return 0.0",
    "if abs(abs(c) - 1) < 1e-6:\n        return 0.0",
    "if c * c > 0.999:\n        return 0.0",
    "sin2 = 1 - c * c\n    if sin2 < 1e-9:\n        return 0.0",
    "near = np.abs(c) > thr\n    if near:\n        return lerp",
    "near = (c.abs() > thr).any()\n    if near:\n        return lerp",
    "if flag:\n        return 1\n    elif c > thr:\n        return lerp",
    "if c < 0:\n        b, c = -b, -c\n    if c > thr:\n        return lerp",
    "with np.errstate(all='ignore'):\n        if c > thr:\n            return lerp",
    "if np.isclose(c, 1.0):\n        return 0.0",
    "if math.isclose(abs(c), 1.0):\n        return 0.0",
    "if np.allclose(a, b):\n        return 0.0",
    "if c > 1:\n        sys.exit(1)",
    "assert -1 <= c <= 1",
    "assert abs(c) <= 1.0, c",
    "assert (c <= 1).all()",
    "torch._assert((c.abs() <= 1).all(), 'out of range')",
    "if c > 1:\n        c = 1.0\n    elif c < -1:\n        c = -1.0",
    "if c > 1:\n        c = 1\n    if c < -1:\n        c = -1",
    "c = 1.0 if c > 1.0 else (-1.0 if c < -1.0 else c)",
    "c = c if c < 1 else 1.0",
    "c = np.where(c > 1, 1, np.where(c < -1, -1, c))",
    "c = torch.where(c > 1, torch.ones_like(c), c)",
    "c = c.where(c < 1, 1.0)",
    "c = c.masked_fill(c > 1, 1.0)",
    "c = c[abs(c) <= 1]",
    "c = c[(c > -1) & (c < 1)]",
    "far = c.abs() < thr\n    c = c[far]",
    "near = c.abs() > thr\n    c = c[~near]",
    "c = torch.masked_select(c, c < thr)",
    "c = c * (1 - 1e-6)",
    "c = c * 0.99999",
    "c = c / (1 + eps)",
]
NOT_LEAVING = [
    "if c < 0:\n        return lerp",
    "if c < 0:\n        c = -c",
    "if c < 0.9995:\n        return lerp",
    "if c <= -1:\n        return math.pi",
    "if c == 1:\n        return 0.0",
    "if c > 0.9995:\n        return lerp\n    c = a @ d / (np.linalg.norm(a) * np.linalg.norm(d))",
    "e = c[c < 0.9]\n    print(e)",
    "if c > 0.9995:\n        print('near')",
    "if c > 0.9995 and flag:\n        return lerp",
    "if flag:\n        pass\n    elif c > 0.9995:\n        return lerp",
    "if (c > 0.9995).all():\n        return lerp",
    "if d > 0.9995:\n        return lerp",
    "assert abs(c) <= 1 + 1e-4",
    "assert -1 <= c",
    "c = c[c > 0.5]",
    "c = np.where(c < -1, -1, c)",
    "c = c if c > -1 else -1.0",
    "if np.isclose(c, -1.0):\n        return math.pi",
    "if np.isclose(c, 0.0):\n        return 0.0",
    "c = c * 1.0",
    "c = c * (1 + 1e-6)",
]


def bounded(body: str, arc: str = "np.arccos(c)") -> str:
    return f"{HEAD}def angle(a, b, lerp, thr, eps, flag, d):\n{COS}    {body}\n    return {arc}\n"


@pytest.mark.parametrize("body", LEAVING)
def test_a_cosine_that_is_kept_below_one_is_silent(body: str) -> None:
    assert rows("FAL204", bounded(body)) == []


@pytest.mark.parametrize("body", NOT_LEAVING)
def test_a_test_that_bounds_nothing_is_no_excuse(body: str) -> None:
    assert len(rows("FAL204", bounded(body))) == 1


IN_PLACE = [
    ("return np.arccos(c) if abs(c) <= 1 else math.nan", "return np.arccos(c) if flag else math.nan"),
    ("return np.arccos(c[abs(c) < thr])", "return np.arccos(c[abs(d) < thr])"),
    ("return np.arccos(c, where=abs(c) <= 1, out=d)", "return np.arccos(c, where=flag, out=d)"),
    ("return np.where(abs(c) > thr, 0.0, np.arccos(c))", "return np.where(flag, 0.0, np.arccos(c))"),
    ("return np.arccos(c * (1 - 1e-6))", "return np.arccos(c * 1)"),
    ("return [np.arccos(x) for x in c if x <= 1]", None),
    ("return abs(c) <= 1 and np.arccos(c)", "return flag and np.arccos(c)"),
    ("x = np.arccos(c)\n    if np.isnan(x):\n        return 0.0\n    return x", "x = np.arccos(c)\n    return x"),
    ("x = np.arccos(c)\n    return 0.0 if math.isnan(x) else x", None),
    ("x = np.degrees(np.arccos(c))\n    x[np.isnan(x)] = 0\n    return x", None),
    ("x = np.arccos(c)\n    if x != x:\n        return 0.0\n    return x", None),
    ("return np.nan_to_num(np.arccos(c))", "return np.degrees(np.arccos(c))"),
    (
        "try:\n        return math.acos(c)\n    except ValueError:\n        return 0.0",
        "try:\n        return math.acos(c)\n    except KeyError:\n        return 0.0",
    ),
    (
        "try:\n        x = math.acos(c)\n    except (ValueError, TypeError):\n        x = 0.0\n    return x",
        "try:\n        x = np.arccos(c)\n    except ValueError:\n        x = 0.0\n    return x",
    ),
    (
        "while c > 0.9995:\n        return 0.0\n    return np.sqrt(1 - c ** 2) if abs(c) < 1 else 0.0",
        "return np.sqrt(1 - c ** 2)",
    ),
]


@pytest.mark.parametrize(("code", "beside"), IN_PLACE)
def test_what_is_tested_at_the_place_is_silent(code: str, beside: str | None) -> None:
    head = f"{HEAD}def angle(a, b, thr, flag, d):\n{COS}    "
    assert rows("FAL204", head + code) == []
    if beside is not None:
        assert len(rows("FAL204", head + beside)) == 1


HELPERS = [
    "def bounded(c):\n    return 1.0 if c > 1.0 else -1.0 if c < -1.0 else c\n",
    "def bounded(c):\n    if c > 1.0:\n        return 1.0\n    if c < -1.0:\n        return -1.0\n    return c\n",
    "def bounded(c):\n    if abs(c) > 1:\n        c = np.sign(c)\n    return c\n",
]


@pytest.mark.parametrize("helper", HELPERS)
def test_a_helper_that_bounds_is_followed(helper: str) -> None:
    code = f"{HEAD}{helper}def angle(a, b):\n{COS}    return np.arccos(bounded(c))\n"
    assert rows("FAL204", code) == []
    assert len(rows("FAL204", code.replace("arccos(bounded(c))", "arccos(c)"))) == 1


def test_a_helper_that_does_not_bound_is_no_excuse() -> None:
    code = f"{HEAD}def same(c):\n    return c\ndef angle(a, b):\n{COS}    return np.arccos(same(c))\n"
    assert len(rows("FAL204", code)) == 1


def test_the_branch_may_be_in_the_caller() -> None:
    arc = f"{HEAD}def arc(c):\n    return np.arccos(c)\ndef angle(a, b):\n{COS}"
    assert rows("FAL204", f"{arc}    return arc(c) if abs(c) < 1 else 0.0\n") == []
    assert len(rows("FAL204", f"{arc}    return arc(c)\n")) == 1


def test_a_nan_that_every_caller_tests_is_silent() -> None:
    arc = f"{HEAD}def angle(a, b):\n{COS}    return np.arccos(c)\n"
    tested = "def f(a, b):\n    x = angle(a, b)\n    return 0.0 if np.isnan(x) else x\n"
    assert rows("FAL204", arc + tested) == []
    assert len(rows("FAL204", f"{arc}{tested}def g(a, b):\n    return angle(a, b)\n")) == 1


def test_a_loop_that_skips_is_silent() -> None:
    loop = f"{HEAD}def angles(us, b, out):\n    for a in us:\n        c = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))\n"
    assert (
        rows("FAL204", f"{loop}        if abs(c) > 1:\n            continue\n        out.append(np.arccos(c))\n") == []
    )
    assert len(rows("FAL204", f"{loop}        out.append(np.arccos(c))\n")) == 1
