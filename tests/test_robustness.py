"""Nothing crashes, nothing hangs: generated programs, mutated fixtures, and every file of site-packages."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from pathlib import Path

import hypothesmith
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fa_lint.fixes.edits import fix_data
from fa_lint.project.check_file import FileResult, analyse
from fa_lint.project.config import Settings
from fa_lint.project.discovery import discover
from fa_lint.project.engine import lint
from fa_lint.rules import registry
from fa_lint.semantics.facts import extract
from fa_lint.source.text import ParseFailure, Source

SETTINGS = Settings()
FIXTURES = sorted((Path(__file__).parent.parent / "fixtures").rglob("*.py"))
SEEDS = [path.read_bytes() for path in FIXTURES]
SITE = Path(sysconfig.get_paths()["purelib"])


def analysed(data: bytes, path: str = "example.py") -> FileResult:
    result = analyse(path, data, SETTINGS.codes, SETTINGS.role_names)
    assert result.problems == []
    return result


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(code=hypothesmith.from_grammar())
def test_programs_of_the_grammar(code: str) -> None:
    analysed(code.encode())


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(code=hypothesmith.from_node())
def test_every_rule_sees_every_construct(code: str) -> None:
    """The gates hold most programs back; here each rule looks at the facts of each program."""
    facts = extract(code)
    for rule in registry().values():
        for finding in rule.check(facts):
            assert 0 <= finding.start <= finding.end <= len(code)
    for node in facts.nodes():
        start, end = facts.span(node)
        assert 0 <= start <= end <= len(code)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_findings_or_nothing(data: bytes) -> None:
    for path in ("example.py", "example.ipynb"):
        assert all(d.code.startswith("FAL") for d in analysed(data, path).diagnostics)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    cut=st.floats(0, 1),
    length=st.integers(0, 40),
    junk=st.text(alphabet="()[]{}'\"\\#:=,.-1a \n\t\r\f", max_size=6),
)
def test_mutated_fixtures_never_crash_and_fixes_never_break_them(
    seed: bytes, cut: float, length: int, junk: str
) -> None:
    start = int(cut * len(seed))
    data = seed[:start] + junk.encode() + seed[start + length :]
    result = analysed(data)
    fixed = fix_data("example.py", data, result.diagnostics, SETTINGS, unsafe=True).data
    before = Source.read("example.py", data).parse()
    after = Source.read("example.py", fixed).parse()
    assert isinstance(after, ast.Module) or isinstance(before, ParseFailure)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_the_gates_are_sound_on_the_fixtures(path: Path) -> None:
    """With the gates out of the way the same findings come out."""
    text = path.read_text(encoding="utf-8")
    try:
        facts = extract(text)
    except SyntaxError:
        return
    for rule in registry().values():
        if any(True for _ in rule.check(facts)):
            assert rule.may_match(text.encode()), rule.code


@pytest.mark.slow
def test_every_file_of_site_packages() -> None:
    """No crash over some thousand real files; what cannot be parsed is said, once a file."""
    files = discover([str(SITE)], SETTINGS)
    assert len(files) > 1000
    report = lint(files, SETTINGS, use_cache=False)
    assert report.problems == []
    unparsable = [d.path for d in report.diagnostics if d.code == "FAL900"]
    assert len(unparsable) == len(set(unparsable))
    assert len(unparsable) < len(files) / 20


@pytest.mark.slow
def test_the_gates_are_sound_on_real_code() -> None:
    """On a sample of real files that hold a needle of any rule, gated and ungated findings are equal."""
    tried = 0
    for package in ("torch/nn", "torch/distributions", "torch/optim", "sklearn/metrics", "torch/ao", "numpy/linalg"):
        # Without their gates the rules take seconds a file: a part of each package.
        for path in sorted((SITE / package).rglob("*.py"))[::3]:
            data = path.read_bytes()
            if len(data) > 30_000 or not any(word in data for word in (b"norm", b"cos", b".sum(")):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                facts = extract(data.decode())
            for rule in registry().values():
                if any(True for _ in rule.check(facts)):
                    assert rule.may_match(data), (path, rule.code)
            tried += 1
    assert tried > 20
