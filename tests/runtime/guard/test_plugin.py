"""The pytest plug-in, driven as its user drives it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch._dynamo  # noqa: F401  # pytester forgets what a run imports, and this cannot be imported twice

from fa_lint_runtime.guard import read_log

from .programs import PROGRAMS

pytest_plugins = ["pytester"]

LIB = """
import torch, torch.nn.functional as F
def low():
    return F.cosine_similarity(torch.full((2, 3), 1e-10), torch.ones(2, 3))
"""
PLACE = "lib.py:3"
EVENT = f"{PLACE}: FAL202 clamped-cosine: F.cosine_similarity: 2 of 2 cosines were clamped: a norm of 1.73e-10"
# Plug-ins of other people, and the filters of this very run, are not what is tested.
QUIET = ("-p", "no:asyncio", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", "-W", "default")


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*QUIET, *options)


def make(pytester: pytest.Pytester, text: str, name: str = "test_it") -> None:
    pytester.makepyfile(lib=LIB)
    pytester.makepyfile(**{name: f"import pytest\nfrom lib import low\n{text}"})


def suite(pytester: pytest.Pytester) -> tuple[set[str], set[str]]:
    """A test a program: those that must fail, those that must pass."""
    for name, text in PROGRAMS.items():
        body = text.replace("FILE", "str(tmp_path / 'checkpoint.pt')").replace("\n", "\n    ")
        # Imports of the program stay inside its test.
        pytester.makepyfile(**{f"test_{name}": f"def test_{name}(tmp_path):{body}\n"})
    bad = {f"test_{name}" for name in PROGRAMS if not name.endswith("_right")}
    return bad, {f"test_{name}" for name in PROGRAMS} - bad


def outcomes(text: str) -> tuple[set[str], set[str]]:
    found = {word: set(re.findall(rf"(?:::(\w+) {word}|{word} \S*::(\w+))", text)) for word in ("FAILED", "PASSED")}
    return tuple({a or b for a, b in found[word]} for word in ("FAILED", "PASSED"))  # type: ignore[return-value]


def table(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"FAL\d{3}  ", line)]


def test_error_fails_exactly_the_defective_tests(pytester: pytest.Pytester) -> None:
    bad, good = suite(pytester)
    result = run(pytester, "--fa-guard=error", "-v", "--fa-guard-json=events.json")
    assert outcomes(result.stdout.str()) == (bad, good)
    assert len(table(result.stdout.str())) == len(read_log(pytester.path / "events.json"))
    off = run(pytester, "-q")
    off.assert_outcomes(passed=len(PROGRAMS))
    assert "fa-guard" not in off.stdout.str()


@pytest.mark.slow
def test_two_processes_say_the_same(pytester: pytest.Pytester) -> None:
    bad, good = suite(pytester)
    options = ("-p", "no:asyncio", "--fa-guard=error", "-v")
    one = pytester.runpytest_subprocess(*options, "--fa-guard-json=one.json")
    two = pytester.runpytest_subprocess(*options, "-n", "2", "--fa-guard-json=two.json")
    assert outcomes(one.stdout.str()) == outcomes(two.stdout.str()) == (bad, good)
    assert table(one.stdout.str()) == table(two.stdout.str())
    assert (pytester.path / "one.json").read_text() == (pytester.path / "two.json").read_text()


def test_error_shows_call_site_and_fix(pytester: pytest.Pytester) -> None:
    make(pytester, "def test_a():\n    low()\ndef test_b(): pass")
    result = run(pytester, "--fa-guard=error")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([f"fa-guard: {EVENT}*Use fa_lint_runtime.safe_cosine*"])
    assert table(result.stdout.str()) == [
        f"FAL202  {PLACE}  clamped-cosine  2/2  1 test  worst 0.0173 of the true value"
    ]
    assert "Traceback" not in result.stdout.str()


def test_warn_passes_and_warns_at_the_line(pytester: pytest.Pytester) -> None:
    make(pytester, "def test_a():\n    low()\ndef test_b():\n    low()")
    result = run(pytester, "--fa-guard=warn", "-rA")
    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines([f"*{PLACE}: GuardWarning: FAL202 clamped-cosine: *", "*fa-guard call*", f"{EVENT}*"])
    assert "4/4  2 tests" in result.stdout.str()
    strict = run(pytester, "--fa-guard=warn", "-W", "error::fa_lint_runtime.guard.events.GuardWarning")
    strict.assert_outcomes(failed=2)


@pytest.mark.parametrize("way", ["command line", "ini", "marker", "in the test"])
def test_warn_fails_no_test_where_warnings_are_errors(pytester: pytest.Pytester, way: str) -> None:
    marker = '@pytest.mark.filterwarnings("error")\n' if way == "marker" else ""
    inside = 'import warnings; warnings.simplefilter("error")\n    ' if way == "in the test" else ""
    make(pytester, f"{marker}def test_a():\n    {inside}low()")
    if way == "ini":
        pytester.makeini("[pytest]\nfilterwarnings = error\n")
    result = pytester.runpytest_inprocess(
        *(option for option in QUIET if way != "ini" or option not in ("-W", "default")),
        "--fa-guard=warn",
        *(("-W", "error") if way == "command line" else ()),
    )
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines([f"*{PLACE}: GuardWarning: FAL202 clamped-cosine: *"])


@pytest.mark.parametrize("mode", ["off", "warn", "error"])
def test_ini_and_command_line(pytester: pytest.Pytester, mode: str) -> None:
    make(pytester, "def test_a():\n    low()")
    pytester.makeini(f"[pytest]\nfa_guard = {mode}\n")
    run(pytester).assert_outcomes(
        failed=int(mode == "error"), passed=int(mode != "error"), warnings=int(mode == "warn")
    )
    run(pytester, "--fa-guard=off").assert_outcomes(passed=1)


def test_allowed_everywhere(pytester: pytest.Pytester) -> None:
    make(pytester, "def test_a():\n    low()")
    pytester.makeini("[pytest]\nfa_guard = error\nfa_guard_allow = FAL202 FAL1\n")
    run(pytester).assert_outcomes(passed=1)


def test_marker(pytester: pytest.Pytester) -> None:
    make(
        pytester,
        """
import torch
pytestmark = pytest.mark.fa_guard(mode="error")
def test_module(): low()
@pytest.mark.fa_guard(allow=["FAL202"], reason="the clamp is what is tested")
def test_allowed(): low()
@pytest.mark.fa_guard(allow=["FAL101"])
def test_other_code(): low()
@pytest.mark.fa_guard(mode="off")
def test_off(): low()
@pytest.mark.fa_guard(mode="warn")
def test_warn(): low()
@pytest.mark.xfail(strict=True)
def test_expected(): low()
""",
    )
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfa_guard = warn\n")
    result = run(pytester, "-v")
    assert outcomes(result.stdout.str()) == (
        {"test_module", "test_other_code"},
        {"test_off", "test_warn", "test_allowed"},
    )
    result.assert_outcomes(failed=2, passed=3, xfailed=1, warnings=1)


def test_a_marker_alone_switches_the_guard_on(pytester: pytest.Pytester) -> None:
    make(pytester, "@pytest.mark.fa_guard(mode='error')\ndef test_a(): low()\ndef test_b(): low()")
    run(pytester).assert_outcomes(failed=1, passed=1)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("mode='loud'", "fa_guard: mode must be one of off, warn, error, got 'loud'"),
        ("allow=['FAL9']", "fa_guard(allow=…): no event has code 'FAL9'"),
        ("level=3", "fa_guard takes mode=, allow=, reason=; got ['level']"),
        ("'error'", "fa_guard takes mode=, allow=, reason=; got ['error']"),
    ],
)
def test_bad_markers(pytester: pytest.Pytester, marker: str, message: str) -> None:
    make(pytester, f"@pytest.mark.fa_guard({marker})\ndef test_a(): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    assert message in result.stdout.str()


@pytest.mark.parametrize(
    ("ini", "options", "message"),
    [
        ("fa_guard = loud", [], "fa_guard must be one of off, warn, error, got 'loud'"),
        ("fa_guard_allow = E501", [], "fa_guard_allow: no event has code 'E501'"),
        ("", ["--fa-guard-json=no/such/folder.json"], "--fa-guard-json: no such folder"),
        ("", ["--fa-guard=loud"], "invalid choice: 'loud'"),
    ],
)
def test_bad_configuration(pytester: pytest.Pytester, ini: str, options: list[str], message: str) -> None:
    make(pytester, "def test_a(): pass")
    pytester.makeini(f"[pytest]\n{ini}\n")
    result = run(pytester, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_fixture_sees_setup_and_call(pytester: pytest.Pytester) -> None:
    make(
        pytester,
        """
@pytest.fixture
def prepared():
    low()
    yield
    low()
def test_a(prepared, fa_guard):
    assert [event.calls for event in fa_guard] == [1]
    low()
    assert [event.code for event in fa_guard] == ["FAL202", "FAL202"]
def test_b(fa_guard):
    assert not fa_guard and repr(fa_guard) == "GuardLog(0 events, 0 calls unchecked)"
""",
    )
    result = run(pytester, "--fa-guard=warn")
    result.assert_outcomes(passed=2, warnings=3)
    assert "6/6  1 test" in result.stdout.str()
    run(pytester, "-k", "test_b").assert_outcomes(passed=1, deselected=1)
    errors = run(pytester, "--fa-guard=error", "-k", "test_a")
    errors.assert_outcomes(errors=2, deselected=1)


def test_a_test_that_fails_by_itself_shows_its_events_too(pytester: pytest.Pytester) -> None:
    make(pytester, "def test_a():\n    low()\n    assert 0, 'mine'")
    result = run(pytester, "--fa-guard=error")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: mine*", "*fa-guard call*", f"{EVENT}*"])


def test_unittest_and_coroutines(pytester: pytest.Pytester) -> None:
    make(
        pytester,
        """
import asyncio, unittest
class Plain(unittest.TestCase):
    def test_u(self): low()
    def test_fine(self): pass
    @unittest.expectedFailure
    def test_expected(self): assert 0
class Async(unittest.IsolatedAsyncioTestCase):
    async def test_u(self):
        await asyncio.sleep(0)
        low()
def test_loop():
    async def main():
        await asyncio.gather(asyncio.to_thread(low), asyncio.sleep(0))
    asyncio.run(main())
""",
    )
    run(pytester, "--fa-guard=error").assert_outcomes(failed=3, passed=1, xfailed=1)


def test_import_and_collection(pytester: pytest.Pytester) -> None:
    make(pytester, "low()\ndef test_a(): pass")
    result = run(pytester, "--fa-guard=error", "--fa-guard-json=events.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"fa-guard, while importing: {EVENT}*"])
    assert table(result.stdout.str()) == [
        f"FAL202  {PLACE}  clamped-cosine  2/2  import  worst 0.0173 of the true value"
    ]
    assert [event.line for event in read_log(pytester.path / "events.json")] == [3]
    warned = run(pytester, "--fa-guard=warn")
    warned.assert_outcomes(passed=1, warnings=1)
    assert "2/2  import" in warned.stdout.str()


def test_conftest_is_watched(pytester: pytest.Pytester) -> None:
    make(pytester, "def test_a(): pass")
    pytester.makeconftest("from lib import low\nlow()")
    result = run(pytester, "--fa-guard=warn")
    result.assert_outcomes(passed=1, warnings=1)
    assert "2/2  import" in result.stdout.str()


def test_junit_properties(pytester: pytest.Pytester) -> None:
    make(pytester, "def test_a():\n    low()\ndef test_b(): pass")
    run(pytester, "--fa-guard=warn", "--junitxml=junit.xml")
    cases = {case.get("name"): case for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")}
    [found] = cases["test_a"].iter("property")
    assert found.get("name") == "fa_guard"
    assert json.loads(str(found.get("value")))["code"] == "FAL202"
    assert not list(cases["test_b"].iter("property"))


def test_a_guard_of_the_test_itself_comes_first(pytester: pytest.Pytester) -> None:
    make(
        pytester,
        """
from fa_lint_runtime import GuardError, guard
def test_record():
    with guard("record") as log:
        low()
    assert len(log) == 1
def test_error():
    with pytest.raises(GuardError), guard("error"):
        low()
""",
    )
    run(pytester, "--fa-guard=error").assert_outcomes(passed=2)


@pytest.mark.parametrize("options", [[], ["--fa-guard=error"]])
def test_tests_without_torch_stay_without(pytester: pytest.Pytester, options: list[str]) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_a():
            assert not {"torch", "numpy"} & set(sys.modules)
        def test_b(fa_guard):
            assert not fa_guard and not {"torch", "numpy"} & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess(*QUIET, "-p", "no:cov", *options)
    result.assert_outcomes(passed=2)


def test_the_first_import_of_torch_may_be_in_a_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(lib=LIB)
    pytester.makepyfile("def test_a():\n    from lib import low\n    low()\ndef test_b():\n    pass")
    result = pytester.runpytest_subprocess(*QUIET, "-p", "no:cov", "--fa-guard=error")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([f"fa-guard: {EVENT}*"])


def test_off_by_name(pytester: pytest.Pytester) -> None:
    make(pytester, "def test_a():\n    low()")
    run(pytester, "-p", "no:fa_lint").assert_outcomes(passed=1)
    assert run(pytester, "-p", "no:fa_lint", "--fa-guard=error").ret == pytest.ExitCode.USAGE_ERROR


def test_nothing_stays_hooked(pytester: pytest.Pytester) -> None:
    from fa_lint_runtime.guard.install import is_installed

    make(pytester, "def test_a():\n    low()")
    assert not is_installed()
    run(pytester, "--fa-guard=error")
    run(pytester, "--fa-guard=error", "--collect-only", "no_such_file.py")
    assert not is_installed()


def test_entry_point() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\nfa_lint = "fa_lint_runtime.pytest_plugin"' in text
