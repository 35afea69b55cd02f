"""Every format of a report: complete, safe to embed, and readable again."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import subprocess
import types
import typing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from rich.console import Console
from scipy import stats
from training import accuracy, batches, trained
from typesetting import set_by_latex
from zoo import ResidualMLP, vectors

from fa_lint_runtime import DiagnosticReport, DiagnosticThresholds, FrozenBaseline, diagnose
from fa_lint_runtime.render.json import schema
from fa_lint_runtime.render.latex import escaped


@pytest.fixture(scope="module")
def full() -> DiagnosticReport:
    model, feedback = trained("dfa")
    baseline = FrozenBaseline(0.3, rule="embedding by <DFA> & head_exact 100%", epochs=8, learning_rate=1e-3)
    return diagnose(
        model, batches(), accuracy(model), baseline, "DFA_<b>|x", "notes & more", feedback=feedback, progress=False
    )


@pytest.fixture(scope="module")
def broken() -> DiagnosticReport:
    model = ResidualMLP()
    with torch.no_grad():
        model.embed.weight.fill_(math.nan)
    return diagnose(model, [(vectors(8), torch.randint(0, 5, (8,)))], math.nan, 0.3)


def test_json_round_trip(full: DiagnosticReport, broken: DiagnosticReport) -> None:
    for report in (full, broken):
        text = report.to_json()
        again = DiagnosticReport.from_json(text)
        assert again.to_json() == text
        assert again.verdict == report.verdict
        assert repr(again) == repr(report)
        jsonschema.Draft202012Validator(schema()).validate(json.loads(text))
        json.loads(text, parse_constant=pytest.fail)  # no bare NaN or Infinity, which JSON does not have


def drawn_schema(kind: Any, definitions: dict[str, Any]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if a is types.NoneType else drawn_schema(a, definitions) for a in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (list, tuple):
        return {"type": "array", "items": drawn_schema(arguments[0], definitions)}
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = None
            hints = typing.get_type_hints(kind)
            definitions[kind.__name__] = {n: drawn_schema(hints[n], definitions) for n in hints}
        return {"$ref": f"#/$defs/{kind.__name__}"}
    plain = {int: {"type": "integer"}, str: {"type": "string"}, bool: {"type": "boolean"}}
    return plain.get(kind, {"$ref": "#/$defs/number"})


def test_the_schema_in_the_package_is_that_of_the_dataclasses() -> None:
    definitions: dict[str, Any] = {}
    drawn_schema(DiagnosticReport, definitions)
    shipped = schema()
    root = {k: v for k, v in shipped["properties"].items() if k not in ("format", "schema_version")}
    assert root == definitions.pop("DiagnosticReport")
    assert {name: shipped["$defs"][name]["properties"] for name in definitions} == definitions
    for name, properties in definitions.items():
        assert shipped["$defs"][name]["required"] == list(properties)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="x"), "not a diagnostic report"),
        (lambda d: d.update(schema_version=99), "update it"),
        (lambda d: d.pop("verdict"), "'verdict' is missing"),
        (lambda d: d.update(extra=1), "'extra' is unknown"),
        (lambda d: d.update(verdict="fine"), "is not one of"),
        (lambda d: d["layers"][0].update(index="0"), r"layers\[0\].index: int expected"),
        (lambda d: d.update(layers={}), "a list expected"),
    ],
)
def test_foreign_json_is_refused_with_its_place(full: DiagnosticReport, change: Any, message: str) -> None:
    payload = json.loads(full.to_json())
    change(payload)
    with pytest.raises(ValueError, match=message):
        DiagnosticReport.from_json(json.dumps(payload))
    with pytest.raises(ValueError, match="not JSON"):
        DiagnosticReport.from_json("{")


def test_text_fits_100_columns(full: DiagnosticReport, broken: DiagnosticReport) -> None:
    for report in (full, broken):
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= 100
        assert lines[0].startswith(report.method_name)
        for outcome in report.criteria + report.original:
            assert outcome.name in str(report)
    assert all(x.name in str(full) for x in full.layers)
    assert "the original's pairing" in str(full)
    narrow = full.to_text(80)
    assert max(map(len, narrow.splitlines())) <= 80


def test_rich_prints_a_report(full: DiagnosticReport) -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(full)
    console.file.close()
    assert "what decides" in console.export_text()


def test_markdown_tables_are_tables(full: DiagnosticReport) -> None:
    text = full.to_markdown()
    assert "DFA_<b>\\|x" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1
    assert text.count("\n| ") >= len(full.layers) + len(full.criteria) + len(full.original)


@pytest.mark.parametrize("name", ["DFA", r"\end{table} % a_b ^ ~ α-DFA [3] -- ?` é"])
def test_latex_sets_the_report(full: DiagnosticReport, broken: DiagnosticReport, tmp_path: Path, name: str) -> None:
    for report in (full, broken):
        text = dataclasses.replace(report, method_name=name).to_latex()
        assert "Missing character" not in set_by_latex(text, tmp_path)


def test_latex_is_booktabs_and_escaped(full: DiagnosticReport, broken: DiagnosticReport) -> None:
    for report in (full, broken):
        text = report.to_latex()
        for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{table}"):
            assert part in text
        body = text.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines()
        assert len(body) == len(report.layers)
        columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
        assert columns is not None
        assert {row.count("&") for row in body} == {len(columns[1]) - 1}
        assert "nan" not in text
    assert r"DFA\_\textless{}b\textgreater{}" in full.to_latex()
    assert full.to_latex().isascii() or not re.search("[ΓΔ‖×ρλ]", full.to_latex())


class Page(HTMLParser):
    """Balanced tags, ids, and everything that would need a network."""

    VOID = frozenset({"meta", "link", "br", "img", "path", "use", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.stack.append(tag)
        for name, value in attributes:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and value and not value.startswith(("#", "data:")):
                self.fetched.append(value)
            if name == "src" or tag == "script":
                self.fetched.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.stack.pop() == tag


def test_html_is_one_self_contained_page(full: DiagnosticReport, broken: DiagnosticReport, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for report in (full, broken):
        path = tmp_path / "report.html"
        text = report.to_html(path)
        assert path.read_text(encoding="utf-8") == text
        assert list(tmp_path.iterdir()) == [path]
        page = Page()
        page.feed(text)
        assert page.stack == []
        assert page.fetched == []
        assert "<b>|x" not in text
        for outcome in report.criteria:
            assert outcome.title in text.replace("&#39;", "'")
    drawn = full.to_html()
    for mark in ("hidden-norm", "growth-limit-1", "credit-limit", "null-band-2", "interval-2", "gamma-2", "original-2"):
        assert f'id="{mark}"' in drawn
    assert drawn == full.to_html()  # the same report, the same bytes
    with pytest.raises(FileNotFoundError):
        full.to_html(tmp_path / "absent" / "report.html")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_html_in_chromium(full: DiagnosticReport, tmp_path: Path, width: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    pytest.importorskip("matplotlib")
    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    full.to_html(page)
    # The page itself says how far it overflows sideways: the title of the dumped document.
    probe = "<script>document.title = document.documentElement.scrollWidth - innerWidth</script></body>"
    (tmp_path / "probe.html").write_text(page.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command.append(f"--window-size={width},2000")
    done = subprocess.run(
        [*command, f"--screenshot={shot}", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert shot.stat().st_size > 10_000
    assert "CONSOLE" not in done.stderr
    dumped = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "probe.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    overflow = re.search(r"<title>(-?\d+)</title>", dumped.stdout)
    assert overflow is not None
    assert int(overflow[1]) <= 0


def test_without_the_extra_the_error_says_what_to_install(
    full: DiagnosticReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fa_lint_runtime.render import html

    html._template.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"fa-lint\[report\]"):
        full.to_html()


def test_margin_forms_and_the_ceiling() -> None:
    model, _ = trained("bp")
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    with torch.no_grad():
        correct = model(x).argmax(1) == y
    worse = correct & (torch.arange(len(y)) % 10 > 0)

    def state(headline: Any, baseline: Any) -> tuple[str, str]:
        report = diagnose(model, batches(), headline, baseline, progress=False)
        (found,) = [o for o in report.criteria if o.name == "margin"]
        return found.state, found.text

    paired = state(correct, worse)
    assert paired[0] == "passes"
    assert "paired bootstrap" in paired[1]
    assert state(0.36, 0.349)[0] == "inconclusive"
    assert state(0.30, FrozenBaseline(0.349, rule="head only"))[0] == "fires"
    assert "head only" in state(0.30, FrozenBaseline(0.349, rule="head only"))[1]
    ceiling = state(0.96, FrozenBaseline(0.968, rule="embedding by DFA", bp_accuracy=0.982))
    assert ceiling[0] == "information"
    assert "ceiling" in ceiling[1]
    assert state(math.nan, 0.3)[0] == "invalid"
    same = state(correct, correct.clone())
    assert same[0] == "inconclusive"
    assert "same samples" in same[1]
    assert all("of two networks, not of two methods" in found[1] for found in (paired, state(0.30, 0.349)))
    with pytest.raises(ValueError, match=r"0\.615, not 61\.5"):
        state(61.5, 0.3)


def test_the_margin_of_several_seeds_has_an_interval_over_seeds() -> None:
    model, _ = trained("bp")
    own = accuracy(model)
    seeds = [own - 0.02, own, own + 0.03, own + 0.01]

    def margin(headline: Any, baseline: Any) -> tuple[str, str, Any]:
        report = diagnose(model, batches(), headline, baseline, progress=False)
        assert "headline" not in report.fired
        (found,) = [o for o in report.criteria if o.name == "margin"]
        assert report.margin is not None
        return found.state, found.text, report.margin.pp

    frozen = [s - 0.10 for s in seeds[:3]] + [seeds[3] - 0.16]
    for baseline, expected in (
        (frozen, stats.ttest_rel(seeds, frozen)),
        (frozen[:3], stats.ttest_ind(seeds, frozen[:3], equal_var=False)),
        (own - 0.1, stats.ttest_1samp([s - own + 0.1 for s in seeds], 0.0)),
    ):
        state, text, pp = margin(torch.tensor(seeds) if baseline is frozen else seeds, baseline)
        interval = expected.confidence_interval(0.95)
        assert (pp.low, pp.high) == pytest.approx((100 * interval.low, 100 * interval.high), abs=1e-3)
        assert "seeds" in text
        assert "two networks" not in text
        assert state == "passes"
    state, text, _ = margin(seeds, seeds)
    assert state == "inconclusive"
    assert "the same accuracy in every seed" in text


def test_the_nine_original_fields_come_first_and_thresholds_are_keywords() -> None:
    names = [field.name for field in dataclasses.fields(DiagnosticReport)][:9]
    assert names == [
        "method_name", "notes", "residual_norms", "bp_grad_norms", "stability_layer", "cross_batch_stability",
        "headline_acc", "frozen_baseline_acc", "thresholds",
    ]  # fmt: skip
    data = [(vectors(16), torch.randint(0, 5, (16,))) for _ in range(2)]
    strict = diagnose(ResidualMLP(), data, 0.2, thresholds={"max_block_growth": 0.5})
    assert "growth" in strict.fired
    assert "(a)" in strict.original_fired
    assert strict.exit_code == 1
    lenient = diagnose(ResidualMLP(), data, 0.2, thresholds=DiagnosticThresholds(max_block_growth=1e9))
    assert (lenient.verdict, lenient.exit_code) == ("no fault found", 3)
    with pytest.raises(TypeError, match="unknown threshold 'growth'"):
        diagnose(ResidualMLP(), data, 0.2, thresholds={"growth": 1})


def test_latex_joins_no_signs() -> None:
    assert escaped("a--b---c – ?` λΩ") == r"a-{}-b-{}-{}-c -- ?\textasciigrave{} $\lambda$$\Omega$"
