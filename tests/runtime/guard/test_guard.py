"""Modes, rules, sampling, nesting, the log, the switch: the guard as its user meets it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fa_lint_runtime import GuardError, GuardEvent, GuardLog, GuardWarning, guard, safe_cosine, strictness
from fa_lint_runtime.dependencies import install_command
from fa_lint_runtime.guard import CODES, EVENTS, read_log
from fa_lint_runtime.guard.install import is_installed
from fa_lint_runtime.guard.session import Session, enter, leave

SMALL = torch.tensor([[3e-10, 4e-10], [6e-10, 8e-10]])
FIXED = torch.tensor([[0.6, 0.8], [0.8, 0.6]])


def low(scale: float = 1.0) -> Tensor:
    return F.cosine_similarity(SMALL * scale, FIXED, dim=1)


LINE = low.__code__.co_firstlineno + 1


def test_what_an_event_says() -> None:
    with guard("record") as log:
        low()
    [event] = log
    assert (event.code, event.kind, event.function) == ("FAL202", "clamped-cosine", "F.cosine_similarity")
    assert (event.file, event.line, event.end_line) == (__file__, LINE, LINE)
    text = Path(__file__).read_text().splitlines()[LINE - 1]
    assert text[event.column - 1 : event.end_column - 1] == "F.cosine_similarity(SMALL * scale, FIXED, dim=1)"
    assert (event.calls, event.count, event.total) == (1, 2, 2)
    assert event.worst == pytest.approx(0.05)
    assert (event.was, event.should) == (pytest.approx(0.05), pytest.approx(1.0))
    assert event.magnitude == pytest.approx(5e-10)
    assert event.shapes == ((2, 2), (2, 2)) and event.dtypes == ("float32", "float32")
    assert event.text() == (
        f"{__file__}:{LINE}: FAL202 clamped-cosine: F.cosine_similarity: 2 of 2 cosines were clamped: a norm of 5e-10 is "
        "below eps=1e-08; was 0.0500, should be 1.0000; operands [2, 2] float32, [2, 2] float32. Use "
        "fa_lint_runtime.safe_cosine, and report the norms beside every cosine."
    )


def test_one_event_a_call_site_with_the_worst_case() -> None:
    with guard("record") as log:
        for scale in (10.0, 1.0, 5.0, 1e3):
            low(scale)
    [event] = log
    assert (event.calls, event.count, event.total) == (3, 5, 8)  # at 10, one of the two norms is 1e-8 exactly
    assert event.worst == pytest.approx(0.05)


def test_warn_is_at_the_line_of_the_user() -> None:
    with pytest.warns(GuardWarning) as caught, guard("warn"):  # noqa: PT031
        low()
        low()
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, LINE)]
    assert str(caught[0].message).startswith("FAL202 clamped-cosine: F.cosine_similarity: 2 of 2 cosines")


def test_a_filter_may_turn_the_warning_into_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuardWarning)
        with pytest.raises(GuardWarning), guard("warn"):
            low()
    assert not is_installed()


@pytest.mark.parametrize(
    "filters",
    [
        [("error", "", Warning)],
        [("error", "", UserWarning)],
        [("error", "", Warning), ("default", "", DeprecationWarning)],
        [("error", "nothing of the guard", Warning), ("error", "", Warning)],
    ],
)
def test_a_filter_that_makes_errors_of_all_warnings_is_not_about_the_guard(filters: list[Any]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for action, text, category in reversed(filters):
            warnings.filterwarnings(action, text, category)
        before = list(warnings.filters)
        with guard("warn"):
            low()
        assert warnings.filters == before
    assert [(w.category, w.lineno) for w in caught] == [(GuardWarning, LINE)]


@pytest.mark.parametrize("text", ["FAL202", "FAL202 clamped"])
def test_a_filter_may_name_the_code(text: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", text)
        with pytest.raises(GuardWarning), guard("warn"):
            low()


def test_an_ignored_warning_stays_ignored() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", GuardWarning)
        with guard("warn"):
            low()
    assert caught == []


def test_error_is_raised_at_the_call() -> None:
    after = []
    with pytest.raises(GuardError, match=r"FAL202 clamped-cosine") as caught, guard("error"):  # noqa: PT012
        low()
        after.append(1)
    assert not after
    assert caught.value.events[0].line == LINE
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.events) == (str(caught.value), caught.value.events)


def test_error_in_a_backward_hook_reaches_the_caller_of_backward() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    x.register_hook(lambda g: low())
    with pytest.raises(GuardError), guard("error"):
        x.sum().backward()


def test_the_users_own_exception_wins() -> None:
    with pytest.raises(KeyError), guard("error") as log:  # noqa: PT012
        try:
            low()
        except GuardError:
            raise KeyError from None
    assert len(log) == 1


def test_a_swallowed_error_is_in_the_log() -> None:
    with guard("error") as log, contextlib.suppress(ArithmeticError):
        low()
    assert len(log) == 1


@pytest.mark.parametrize(
    ("level", "given_mode", "expected"),
    [("off", "error", "nothing"), ("off", None, "nothing"), ("warn", None, "warn"), ("raise", None, "error"),
     ("raise", "record", "record"), (None, None, "warn"), (None, "error", "error")],
)  # fmt: skip
def test_the_switch(level: str | None, given_mode: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAL_RUNTIME", raising=False)
    if level is not None:
        monkeypatch.setenv("FAL_RUNTIME", level)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with guard(given_mode) as log:
                assert is_installed() == (expected != "nothing")
                low()
            told = "warn" if caught else "record" if log else "nothing"
        except GuardError:
            told = "error"
    assert told == expected


def test_strictness_off_hooks_nothing() -> None:
    with strictness("off"), guard("error") as log:
        assert not is_installed()
        low()
    assert not log


def test_decorator_and_coroutine() -> None:
    @guard("error")
    def plain() -> str:
        """Doc."""
        low()
        return "done"

    @guard("error", ignore=["FAL202"])
    async def soon() -> str:
        await asyncio.sleep(0)
        low()
        return "done"

    assert plain.__doc__ == "Doc."
    for _ in range(2):
        with pytest.raises(GuardError):
            plain()
    assert asyncio.run(soon()) == "done"
    assert not is_installed()


def test_tasks_have_guards_of_their_own() -> None:
    async def one(count: int) -> int:
        with guard("record") as log:
            for _ in range(count):
                await asyncio.sleep(0)
                low()
        return log.events[0].calls

    async def both() -> list[int]:
        return await asyncio.gather(one(2), one(5))

    assert asyncio.run(both()) == [2, 5]


def test_nested_guards_the_inner_one_takes_what_it_watches() -> None:
    with guard("record") as outer:
        low()
        with guard("record", rules=["FAL1"]) as inner:
            low()
            FIXED.norm(-1)
        with guard("record", ignore=["FAL202"]) as silent:
            low()
        with guard("record") as full:
            low()
    assert [event.code for event in inner] == ["FAL101"]
    assert not silent
    assert [(event.code, event.calls) for event in full] == [("FAL202", 1)]
    assert [(event.code, event.calls) for event in outer] == [("FAL202", 3)]


@given(st.floats(0.01, 1.0), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_sample_checks_the_first_call_and_an_even_share_of_the_rest(share: float, count: int) -> None:
    with guard("record", sample=share) as log:
        for _ in range(count):
            low()
    assert abs(log.events[0].calls - max(1, share * count)) <= 1.5


def test_sampling_leaves_the_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    with guard("record", sample=0.5):
        for _ in range(5):
            low()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "raise"}, "mode must be one of warn, error, record, got 'raise'"),
        ({"rules": ["FAL999"]}, "no event has code 'FAL999'; the guard knows FAL101, "),
        ({"ignore": ["X"]}, "no event has code 'X'"),
        ({"rules": "FAL202"}, "rules and ignore take a list of codes, not one string"),
        ({"sample": 0}, r"sample must be in \(0, 1\], got 0"),
        ({"sample": 1.5}, r"sample must be in \(0, 1\], got 1.5"),
    ],
)
def test_bad_wishes(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        guard(**options)


def test_a_failed_check_never_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise OSError("out of luck")

    monkeypatch.setattr(sys.modules["fa_lint_runtime.guard.dispatcher"], "clamped_cosine", broken)
    with guard("error") as log:
        low()
    assert dict(log.unchecked) == {"F.cosine_similarity: the check failed: OSError: out of luck": 1}
    assert "not checked: F.cosine_similarity" in log.report()


# -- numbers ------------------------------------------------------------------------------------------------------


@given(st.floats(-12, 0), st.floats(-12, 0), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_was_and_should_against_the_exact_cosine(a: float, b: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 2, 16, generator=generator, dtype=torch.float64) * 10**a
    y = torch.randn(2, 16, generator=generator, dtype=torch.float64) * 10**b
    with guard("record") as log:
        result = F.cosine_similarity(x, y, dim=-1)
    floors = (x.norm(dim=-1) / 1e-8).clamp(max=1) * (y.norm(dim=-1) / 1e-8).clamp(max=1)
    assert bool(log) == bool((floors < 1).any())
    for event in log:
        assert event.count == int((floors < 1).sum()) and event.total == 6
        assert event.worst == pytest.approx(float(floors.min()), rel=1e-9)
        at = int(floors.argmin())
        assert event.was == float(result.reshape(-1)[at])
        assert event.should == pytest.approx(float(safe_cosine(x, y).reshape(-1)[at]), rel=1e-12)
        assert event.was / event.should == pytest.approx(event.worst, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-5, 1.0])
def test_gradients_that_float16_loses_between_two_layers(scale: float) -> None:
    """The output's gradient fits into float16; what the second layer sends down does not."""
    x, first = torch.ones(4, 8), torch.full((8, 8), 0.1, requires_grad=True)
    second = torch.full((8, 2), 1e-4, requires_grad=True)
    with guard("record") as log:
        with torch.autocast("cpu", torch.float16):
            y = (x @ first) @ second
        (y.float() * scale).sum().backward()
        line = sys._getframe().f_lineno - 1
    assert bool((first.grad == 0).all()) == (scale < 1)
    assert [(e.code, e.kind, e.line) for e in log] == ([("FAL301", "gradient-flush", line)] if scale < 1 else [])


def test_zero_vectors_have_no_true_value() -> None:
    with guard("record") as log:
        F.cosine_similarity(torch.zeros(2, 3), torch.ones(2, 3))
    [event] = log
    assert (event.was, event.worst) == (0.0, 0.0)
    assert event.should != event.should
    assert "was 0, should be nan" in event.message()


def test_norms_below_the_squares_of_float32_are_measured_right() -> None:
    with guard("record") as log:
        F.cosine_similarity(SMALL * 1e-25, FIXED, dim=1)
    assert log.events[0].magnitude == pytest.approx(5e-35, rel=1e-3)
    assert log.events[0].should == pytest.approx(1.0)


@pytest.mark.parametrize("eps", [1e-8, 1e-4, 0.0])
def test_the_eps_that_was_given(eps: float) -> None:
    with guard("record") as log:
        F.cosine_similarity(FIXED * 1e-5, FIXED, dim=1, eps=eps)
    assert bool(log) == (eps == 1e-4)


def test_zero_by_zero_of_a_cosine_without_eps() -> None:
    with guard("record") as log:
        F.cosine_similarity(torch.zeros(2, 3), torch.ones(2, 3), eps=0)
        F.cosine_similarity(torch.full((2, 3), float("nan")), torch.ones(2, 3), eps=0)
    assert [(event.code, event.count) for event in log] == [("FAL405", 2)]


LARGE = {torch.float32: 3e19, torch.float64: 1e200, torch.bfloat16: 3e19, torch.float16: 6e4}


@pytest.mark.parametrize("dtype", LARGE)
def test_squares_that_overflow(dtype: torch.dtype) -> None:
    a = torch.tensor([[1.0, 1.0, 0.0, 3.0], [2.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    large, small = (a * LARGE[dtype] / a.max()).repeat(1, 5).to(dtype), b.repeat(1, 5).to(dtype)
    with guard("record", rules=["FAL202", "FAL203"]) as log:
        cosine = F.cosine_similarity(large, small)
        norm = large.norm(dim=1)
        unit = F.normalize(large)
        torch.linalg.vector_norm(large)
    assert not bool(cosine.any() | unit.any()) and bool(norm.isinf().all()) and not log.unchecked
    found = [(e.kind, e.function, e.count, e.total) for e in log]
    assert found == [
        ("overflowed-cosine", "F.cosine_similarity", 2, 2),
        ("overflowed-norm", "Tensor.norm", 2, 2),
        ("overflowed-norm", "F.normalize", 2, 2),
        ("overflowed-norm", "torch.linalg.vector_norm", 1, 1),
    ]
    assert log.events[0].was == 0.0
    assert log.events[0].should == pytest.approx(float(safe_cosine(large.double(), small.double())[0]), rel=1e-6)
    assert log.events[1].should == pytest.approx(max(math.hypot(*row) for row in large.tolist()), rel=1e-6)


def test_an_inf_of_the_operands_is_no_overflow() -> None:
    with guard("record") as log:
        for value in (float("inf"), float("nan"), 1e18):
            x = torch.full((2, 3), value)
            F.cosine_similarity(x, torch.ones(2, 3)), x.norm(dim=1), F.normalize(x)
    assert not log and not log.unchecked


def test_zero_by_zero_in_place() -> None:
    before = torch.Tensor.__itruediv__
    x = torch.zeros(2, 3)
    with guard("record") as log:
        x /= torch.zeros(2, 3)
        line = sys._getframe().f_lineno - 1
    assert [(event.code, event.count, event.line) for event in log] == [("FAL405", 6, line)]
    assert torch.Tensor.__itruediv__ is before


def program() -> None:
    low()
    low(0.1)
    F.normalize(SMALL * 1e-4)
    FIXED.norm(-1)
    (SMALL * 1e-16).norm(dim=1)
    torch.acos(FIXED + 0.5)
    SMALL.half()
    torch.zeros(3) / torch.zeros(3)
    F.cosine_embedding_loss(SMALL, FIXED, torch.ones(2))
    F.cosine_similarity(FIXED, FIXED)


def test_deferred_sums_are_those_of_at_once() -> None:
    """As on a GPU: nothing is looked at before the log is read."""
    with guard("record") as now:
        program()
        later = Session("record", ("FAL",), (), 1.0, deferred=True)
        enter(later)
        try:
            program()
        finally:
            leave(later)
        assert all(tally.pending or tally.calls for tally in later._tallies.values())
        later.finish()
    assert [(e.code, e.line, e.count) for e in later.log] == [(e.code, e.line, e.count) for e in now]
    for a, b in zip(later.log, now, strict=True):
        for x, y in ((a.worst, b.worst), (a.magnitude, b.magnitude)):
            assert (x is None) == (y is None) and (x is None or x == pytest.approx(y, rel=1e-4)), a
        if a.kind == "clamped-cosine":
            assert (a.was, a.should) == (pytest.approx(b.was), pytest.approx(b.should, rel=1e-4))


def test_deferred_events_are_told_at_the_end() -> None:
    with guard("record"):
        late = Session("error", ("FAL",), (), 1.0, deferred=True)
        enter(late)
        low()
        leave(late)
        with pytest.raises(GuardError) as caught:
            late.finish()
    assert caught.value.events[0].line == LINE


# -- checkpoints --------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.feedback_matrices = [torch.randn(3, 3), torch.randn(3, 2)]


def test_feedback_of_the_module_must_be_saved_somewhere(tmp_path: Path) -> None:
    net = Net()
    with guard("record") as log:
        torch.save(net.state_dict(), tmp_path / "a.pt")
        torch.save(net.state_dict(), tmp_path / "b.pt")
    assert [(e.code, e.count, e.detail) for e in log] == [("FAL401", 2, "feedback_matrices.0, feedback_matrices.1")] * 2
    with guard("error"):
        torch.save(net, tmp_path / "whole.pt")
        torch.save({"net": net.state_dict(), "B": [b.clone() for b in net.feedback_matrices]}, tmp_path / "c.pt")
    with guard("error"):
        torch.save(net.state_dict(), tmp_path / "a.pt")
        torch.save(net.feedback_matrices, tmp_path / "second.pt")
    with guard("error"):
        torch.save(net.feedback_matrices, tmp_path / "first.pt")
        torch.save(net.state_dict(), tmp_path / "a.pt")


def test_error_for_a_lost_feedback_comes_at_the_end(tmp_path: Path) -> None:
    def script() -> None:
        net = Net()
        torch.save({"model": net.state_dict(), "n": [1, "x", None]}, tmp_path / "a.pt")

    with pytest.raises(GuardError, match="FAL401") as caught, guard("error"):  # noqa: PT012
        script()
        assert (tmp_path / "a.pt").exists()
    assert caught.value.events[0].file == __file__


def test_watched_feedback_must_come_with_any_state_dict(tmp_path: Path) -> None:
    net, b = nn.Linear(2, 2), torch.randn(2, 2)
    guard.watch_feedback({"B.0": b})
    with guard("record") as log:
        torch.save({k: v.clone() for k, v in net.state_dict().items()}, tmp_path / "a.pt")
        torch.save([torch.ones(3)], tmp_path / "metrics.pt")
    assert [(e.code, e.detail) for e in log] == [("FAL401", "B.0")]
    with guard("error"):
        torch.save({"net": net.state_dict(), "aux": {"B.0": b.clone()}}, tmp_path / "a.pt")
    del b
    with guard("error"):
        torch.save(net.state_dict(), tmp_path / "a.pt")
    with pytest.raises(TypeError, match="watch_feedback takes tensors, or a dict, list or module of them, got int"):
        guard.watch_feedback(3)  # type: ignore[arg-type]


# -- log ----------------------------------------------------------------------------------------------------------


def test_log_to_json_and_back(tmp_path: Path) -> None:
    with guard("record") as log:
        program()
    log.write(tmp_path / "log.json")
    again = read_log(tmp_path / "log.json")
    assert sorted(e.text() for e in again) == sorted(e.text() for e in log)
    assert json.loads((tmp_path / "log.json").read_text())["format"] == "fa-guard"
    assert list(tmp_path.iterdir()) == [tmp_path / "log.json"]
    again.merge(log)
    assert {(e.code, e.line, e.count) for e in again} == {(e.code, e.line, 2 * e.count) for e in log}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "not JSON"), ("[]", "not a log of the guard"), ('{"format": "fa-guard", "version": 9}', "version 9, this is version 1"),
     ('{"format": "fa-guard", "version": 1, "events": [{"code": "FAL101"}]}', "not an event of the guard")],
)  # fmt: skip
def test_a_bad_log(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_log(tmp_path / "log.json")


def test_every_kind_makes_a_message() -> None:
    for kind in EVENTS.values():
        event = GuardEvent(kind.code, kind.name, "f", "a.py", 1, count=1, total=2, magnitude=1e-9, detail="-1")
        assert "{" not in event.message() and event.message().endswith(".")
        assert event.advice
    expected = "101 104 201 202 203 204 206 207 301 302 401 404 405 409"
    assert {f"FAL{number}" for number in expected.split()} == CODES


def test_repr_and_empty_log() -> None:
    log = GuardLog()
    assert repr(log) == "GuardLog(0 events, 0 calls unchecked)"
    assert log.report() == "no events" and not log


def test_importing_it_needs_no_torch() -> None:
    text = (
        "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None\n"
        "from fa_lint_runtime import guard, GuardLog; import fa_lint_runtime.pytest_plugin\n"
        "try:\n    guard().__enter__()\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == f"the guard needs torch: {install_command('runtime')}\n"


def test_the_page_of_the_guard_has_the_table_of_events() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guard.md").read_text(encoding="utf-8")
    for kind in EVENTS.values():
        codes = kind.code if kind.code == kind.known_gradient else f"{kind.code} / {kind.known_gradient}"
        assert f"| {kind.name} | {codes} | {kind.watched} |" in page


def test_codes_are_those_of_the_linter() -> None:
    rules = pytest.importorskip("fa_lint.rules")
    announced = {"FAL301", "FAL302", "FAL401", "FAL404", "FAL405"}  # rules of the other pitfalls
    assert CODES - set(rules.registry()) <= announced
