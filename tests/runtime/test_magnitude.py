"""Magnitude reports, headroom, the strictness switch, errors."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
import threading

import pytest
import torch

import fa_lint_runtime
from fa_lint_runtime import (
    CheckpointError,
    MagnitudeError,
    MissingFeedbackError,
    RuntimeCheckWarning,
    assert_magnitude,
    check_magnitude,
    current_strictness,
    dtype_headroom,
    strictness,
)
from fa_lint_runtime.dependencies import install_command


def test_report_counts_everything() -> None:
    x = torch.ones(5, 4)
    x[0] *= 0.5
    x[1] = 0
    x[2, 1] = float("nan")
    x[3] = 1e-12
    report = check_magnitude(x, name="g_2")
    assert (report.count, report.first_index, report.ok) == (5, (1,), False)
    assert (report.share_below, report.zero_share, report.nonfinite_share) == (0.4, 0.2, 0.2)
    assert report.minimum == 0.0
    assert report.median == pytest.approx((2e-12 + 1.0) / 2)
    assert report.maximum == 2.0
    assert report.dtype_floor == 2.0**-149
    assert report.dtype_tiny == 2.0**-126
    message = report.message()
    assert all(part in message for part in ("g_2", "40.0%", "safe_cosine", "N/A", "overflow", "index (1,)", "FAL201"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_norms_are_measured_beyond_the_dtype(dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    report = check_magnitude(torch.full((1, 4), top, dtype=dtype))
    assert dtype == torch.float64 or report.maximum == 2 * top
    small = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    assert check_magnitude(torch.full((1, 4), small, dtype=dtype)).minimum == 2 * small
    assert report.dtype_floor == small


def test_dimensions_and_edge_cases() -> None:
    x = torch.ones(3, 4)
    x[:, 2] = 0
    assert check_magnitude(x, dim=0).first_index == (2,)
    assert check_magnitude(torch.tensor(1e-9)).first_index == ()
    empty = check_magnitude(torch.empty(0, 4))
    assert empty.ok
    assert math.isnan(empty.minimum)
    assert math.isnan(empty.median)
    with pytest.raises(TypeError, match="convert it"):
        check_magnitude(torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="floor"):
        check_magnitude(x, floor=-1.0)
    with pytest.raises(IndexError):
        check_magnitude(x, dim=2)


def test_assertion_carries_the_report_and_survives_pickling() -> None:
    assert_magnitude(torch.ones(3, 4))
    with pytest.raises(MagnitudeError, match="g_1") as caught:
        assert_magnitude(torch.full((3, 4), 1e-10), name="g_1")
    assert caught.value.report.share_below == 1.0
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.report == caught.value.report
    assert str(again) == str(caught.value)


def test_strictness(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = torch.zeros(3, 4)
    monkeypatch.delenv("FAL_RUNTIME", raising=False)
    assert current_strictness() == "raise"
    monkeypatch.setenv("FAL_RUNTIME", "off")
    assert_magnitude(bad)
    assert_magnitude("not even a tensor")  # type: ignore[arg-type]
    with strictness("warn"), pytest.warns(RuntimeCheckWarning, match="Zero vectors") as caught:
        assert_magnitude(bad)
    assert caught[0].filename == __file__
    with strictness("raise"), strictness("off"):
        assert_magnitude(bad)
    with strictness("raise"), pytest.raises(MagnitudeError):
        assert_magnitude(bad)
    seen: list[str] = []
    with strictness("raise"):
        thread = threading.Thread(target=lambda: seen.append(current_strictness()))
        thread.start()
        thread.join()
    assert seen == ["off"]
    monkeypatch.setenv("FAL_RUNTIME", "loud")
    with pytest.raises(ValueError, match="FAL_RUNTIME must be one of"):
        assert_magnitude(bad)
    with pytest.raises(ValueError, match="strictness must be"), strictness("loud"):  # type: ignore[arg-type]
        pass


def test_headroom_of_half_precision() -> None:
    x = torch.tensor([2.0**-24, 2.0**-25 * 1.01, 2.0**-25, 1e-9, 1.0, 65519.0, 65520.0, 0.0, float("inf")])
    found = dtype_headroom(x, torch.float16)
    assert found.flushed_share == pytest.approx(2 / 9)  # 2^-25 ties to zero; just above it rounds up
    assert found.overflow_share == pytest.approx(1 / 9)
    assert found.nonfinite_share == pytest.approx(1 / 9)
    assert found.lost_share == pytest.approx(3 / 9)
    assert found.subnormal_share == pytest.approx(2 / 9)
    assert found.bits_below_overflow == 0.0
    assert found.bits_above_flush == pytest.approx(math.log2(1e-9) + 25, abs=1e-6)
    safe = dtype_headroom(torch.tensor([1e-9, 2e-9]), torch.float16)
    scaled = dtype_headroom(torch.tensor([1e-9, 2e-9]) * 2.0 ** (safe.scale_exponent or 0), torch.float16)
    assert scaled.lost_share == 0.0
    assert 2.0 <= scaled.bits_below_overflow < 3.0
    assert dtype_headroom(torch.tensor([1e-9]), torch.bfloat16).lost_share == 0.0
    assert dtype_headroom(torch.zeros(3)).scale_exponent is None
    assert dtype_headroom(torch.empty(0)).flushed_share == 0.0
    assert dtype_headroom(torch.tensor([1e308, 5e-324], dtype=torch.float64), torch.float64).lost_share == 0.0
    with pytest.raises(TypeError, match="dtype must be"):
        dtype_headroom(x, torch.int8)


def test_errors_carry_data_and_pickle() -> None:
    for error in (
        CheckpointError("a/b.pt", "because"),
        MissingFeedbackError("feedback", "x.pt"),
        MissingFeedbackError("y"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_public_names_exist_and_are_documented() -> None:
    for name in fa_lint_runtime.__all__:
        thing = getattr(fa_lint_runtime, name)
        if callable(thing):
            assert ">>>" in (thing.__doc__ or ""), name


def test_without_torch_one_clear_line() -> None:
    program = "import sys; sys.modules['torch'] = None; from fa_lint_runtime import safe_cosine"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f"ImportError: fa_lint_runtime needs torch and numpy: {install_command('runtime')}"
    )


def test_it_never_imports_the_linter() -> None:
    program = "import sys, fa_lint_runtime; print(any(m == 'fa_lint' or m.startswith('fa_lint.') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
