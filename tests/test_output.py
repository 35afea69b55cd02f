"""Outputs: exact text where people read it, schemas and readers where machines do, carets under tabs and wide characters."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest

from fa_lint._version import __version__
from fa_lint.findings import Diagnostic, Level, Place, RelatedPlace
from fa_lint.installing import NEEDS_RUNTIME
from fa_lint.output import FORMATS, render_statistics
from fa_lint.project.engine import Report
from fa_lint.rules import ENGINE_CODES, registry
from tests.conftest import CLAMPED, MIXED, SAFE, UNSAFE, Lint, diagnostics_of, notebook, write

_SCHEMA = Path(__file__).parents[1].parent / "shared" / "schemas" / "sarif-2.1.0.json"


def _json(fa_lint: Lint, *arguments: str) -> Any:
    return json.loads(fa_lint(*arguments, "--output-format", "json").stdout)


def _caret_rows(code: str) -> list[tuple[str, str]]:
    """Each marked row of the frame and the row of carets under it, after the margin."""
    lines = FORMATS["full"](Report(diagnostics_of(code), files=1)).splitlines()
    return [(above[6:], below[6:]) for above, below in pairwise(lines) if set(below[6:].strip()) == {"^"}]


# -- full, concise, github, statistics ----------------------------------------------------------------------------


def test_full(fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    [found] = _json(fa_lint, "a.py")
    assert fa_lint("a.py").stdout == (
        f"a.py:4:16 FAL101 error negative-norm-order: {found['message']}\n"
        "  3 | def f(x):\n"
        "  4 |     return x / x.norm(-1, keepdim=True)\n"
        "    |                ^^^^^^^^^^^^^^^^^^^^^^^^\n"
        f"    = computes: {found['computes']}\n"
        f"    = fix: {found['fix']['message']} (--fix --unsafe-fixes)\n"
        f"    = at run time: {found['runtime']}\n"
        "    = rule: https://github.com/fa-lint/fa-lint/blob/main/docs/rules/FAL101.md\n"
        "\n"
        "Found 1 error in 1 file. 1 fixable with --fix --unsafe-fixes.\n"
    )
    assert found["runtime"] == "fa_lint_runtime.safe_norm"


def test_full_shows_the_evidence(fa_lint: Lint) -> None:
    write("a.py", CLAMPED)
    text = fa_lint("a.py").stdout
    assert "    = because: " in text
    [found] = _json(fa_lint, "a.py")
    because = [f"    = because: {r['message']} (a.py:4:{r['location']['column']})" for r in found["related"]]
    assert len(because) >= 1
    assert [line for line in text.splitlines() if line.startswith("    = because")] == because
    assert text.endswith(f"Found 1 error in 1 file. 1 fixable with --fix --unsafe-fixes. {NEEDS_RUNTIME}\n")


def test_full_summary(fa_lint: Lint) -> None:
    write("a.py", MIXED + "y = 1  # noqa: FAL102\n")
    write("b.py", MIXED)
    last = fa_lint(".").stdout.splitlines()[-1]
    assert last == "Found 2 errors, 1 warning, 2 hints in 2 files. 1 fixable with --fix, 3 with --fix --unsafe-fixes."


def test_concise(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    messages = [found["message"] for found in _json(fa_lint, "a.py")]
    assert fa_lint("a.py", "--output-format", "concise").stdout == (
        f"a.py:4:16: FAL101 error: {messages[0]}\na.py:7:12: FAL103 hint: {messages[1]}\n"
    )
    write("a.py", SAFE)
    assert fa_lint("a.py", "--output-format", "concise").stdout.startswith("a.py:6:9: FAL402 [*] error: ")


def test_github(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    write("b.py", "import torch\ny = torch.ones(3).norm(\n    -1)\n")
    first, second, third = fa_lint(".", "--output-format", "github").stdout.splitlines()
    messages = [found["message"] for found in _json(fa_lint, ".")]
    assert first == (
        "::error title=fa-lint (FAL101),file=a.py,line=4,endLine=4,col=16,endColumn=40::a.py:4:16: FAL101 "
        + messages[0]
    )
    assert second.startswith("::notice title=fa-lint (FAL103),file=a.py,line=7,endLine=7,col=12,")
    assert third.startswith("::error title=fa-lint (FAL101),file=b.py,line=2,endLine=3::b.py:2:5: FAL101 ")


def test_github_escapes() -> None:
    place = Place(1, 1)
    found = Diagnostic("a,b:c%.py", None, place, place, "FAL205", "n", "50%\r\nof it", Level.WARNING)
    assert FORMATS["github"](Report([found])) == (
        "::warning title=fa-lint (FAL205),file=a%2Cb%3Ac%25.py,line=1,endLine=1,col=1,endColumn=1::"
        "a,b:c%25.py:1:1: FAL205 50%25%0D%0Aof it\n"
    )


def test_statistics() -> None:
    assert render_statistics(Report()) == ""
    report = Report(diagnostics_of(MIXED) + diagnostics_of(UNSAFE) * 11 + diagnostics_of(SAFE))
    assert render_statistics(report) == (
        "12  FAL101       negative-norm-order\n 1  FAL103       norm-keepdim-without-dim\n"
        " 1  FAL402  [*]  unregistered-feedback\n"
    )


# -- carets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "shown", "carets"),
    [
        ("\treturn x.norm(-1)", "    return x.norm(-1)", "           ^^^^^^^^^^"),
        ("    return '文字', x.norm(-1)", "    return '文字', x.norm(-1)", " " * 19 + "^" * 10),
        ("    return '😀é', x.norm(-1)", "    return '😀é', x.norm(-1)", " " * 18 + "^" * 10),
        ("    return (x\t.norm(-1))", "    return (x   .norm(-1))", " " * 12 + "^" * 13),
        ("    return x.norm(-1) # 文", "    return x.norm(-1) # 文", " " * 11 + "^" * 10),
    ],
)
def test_carets_stand_under_the_text(line: str, shown: str, carets: str) -> None:
    assert _caret_rows(f"import torch\ndef f(x):\n{line}\n") == [(shown, carets)]


def test_carets_of_several_rows() -> None:
    code = "import torch\ny = 1 + torch.ones(3).norm(\n    -1,\n) + 1\n"
    assert _caret_rows(code) == [
        ("y = 1 + torch.ones(3).norm(", "        ^^^^^^^^^^^^^^^^^^^"),
        ("    -1,", "    ^^^"),
        (") + 1", "^"),
    ]


def test_the_margin_is_as_wide_as_the_rows() -> None:
    text = FORMATS["full"](Report(diagnostics_of("\n" * 96 + UNSAFE + "\n"), files=1))
    assert "\n   99 | def f(x):\n  100 |     return" in text


def test_colour_changes_no_text(fa_lint: Lint) -> None:
    from rich.text import Text

    write("a.py", MIXED + CLAMPED)
    coloured = fa_lint("a.py", "--color", "always").stdout
    assert Text.from_ansi(coloured).plain.rstrip() == fa_lint("a.py").stdout.rstrip()


# -- json ---------------------------------------------------------------------------------------------------------

_RUFF = {"cell", "code", "end_location", "filename", "fix", "location", "message", "noqa_row", "url"}


def test_json_has_ruffs_fields(fa_lint: Lint) -> None:
    write("a.py", CLAMPED)
    [found] = _json(fa_lint, "a.py")
    assert _RUFF | {"name", "level", "runtime", "related", "computes", "path"} == set(found)
    assert found["filename"] == os.path.abspath("a.py")
    assert found["cell"] is None
    assert found["location"] == {"row": 4, "column": 12}
    assert found["end_location"] == {"row": 4, "column": 54}
    assert found["noqa_row"] == 4
    assert found["url"].endswith("/docs/rules/FAL201.md")
    assert (found["level"], found["name"]) == ("error", "clamped-gradient-cosine")
    assert found["fix"]["applicability"] == "unsafe"
    assert {"content", "location", "end_location"} == set(found["fix"]["edits"][0])
    assert found["fix"]["edits"][0] == {
        "content": "from fa_lint_runtime import safe_cosine\n",
        "location": {"row": 2, "column": 1},
        "end_location": {"row": 2, "column": 1},
    }
    assert set(found["related"][0]) == {"cell", "end_location", "filename", "location", "message"}


def test_jsonl_is_json_by_lines(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    lines = fa_lint("a.py", "--output-format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == _json(fa_lint, "a.py")
    assert json.loads(lines[1])["fix"] is None


def test_the_row_for_noqa_is_the_last_of_the_statement(fa_lint: Lint) -> None:
    write("a.py", "import torch\ny = torch.ones(3).norm(\n    -1,\n)\n")
    [found] = _json(fa_lint, "a.py")
    assert found["noqa_row"] == 4


def test_standard_input_has_no_path(fa_lint: Lint) -> None:
    for name in FORMATS:
        result = fa_lint("-", "--output-format", name, stdin=CLAMPED.encode())
        assert result.exit_code == 1
        assert os.getcwd() + "/-" not in result.stdout


# -- sarif --------------------------------------------------------------------------------------------------------


def _sarif(fa_lint: Lint, *arguments: str) -> Any:
    return json.loads(fa_lint(*arguments, "--output-format", "sarif").stdout)


@pytest.mark.skipif(not _SCHEMA.exists(), reason="the schema is not part of the package")
def test_sarif_is_valid(fa_lint: Lint) -> None:
    write("sub dir/a é.py", MIXED + CLAMPED + "x = 1  # noqa: FAL102\n")
    write("b.py", "x = (\n")
    write("c.ipynb", json.dumps(notebook(UNSAFE)))
    schema = json.loads(_SCHEMA.read_text())
    for arguments in (["."], [os.path.abspath("b.py")], ["b.py", "--select", "FAL1"]):
        jsonschema.Draft7Validator(schema).validate(_sarif(fa_lint, *arguments))
    piped = json.loads(fa_lint("-", "--output-format", "sarif", stdin=CLAMPED.encode()).stdout)
    jsonschema.Draft7Validator(schema).validate(piped)


def test_sarif_says_what_the_rules_are(fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    [run] = _sarif(fa_lint, "a.py")["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("fa-lint", __version__)
    assert [rule["id"] for rule in driver["rules"]] == sorted([*registry(), *ENGINE_CODES])
    [result] = run["results"]
    rule = driver["rules"][result["ruleIndex"]]
    assert rule["id"] == result["ruleId"] == "FAL101"
    assert rule["defaultConfiguration"] == {"level": "error", "enabled": True}
    assert rule["help"]["markdown"].startswith("## What it does")
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["invocations"][0]["executionSuccessful"] is True


def test_sarif_places_and_fixes(fa_lint: Lint) -> None:
    write("sub dir/é.py", UNSAFE)
    [result] = _sarif(fa_lint, "sub dir")["runs"][0]["results"]
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": "sub%20dir/%C3%A9.py", "uriBaseId": "%SRCROOT%"}
    assert physical["region"] == {"startLine": 4, "startColumn": 16, "endLine": 4, "endColumn": 40}
    [change] = result["fixes"][0]["artifactChanges"]
    assert change["artifactLocation"] == physical["artifactLocation"]
    assert change["replacements"][0]["insertedContent"]["text"] == "dim=-1"
    assert _sarif(fa_lint, os.path.abspath("sub dir"))["runs"][0]["results"][0]["locations"] == result["locations"]


def test_sarif_outside_the_working_directory(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("x/a.py", UNSAFE).resolve()
    Path("y").mkdir()
    monkeypatch.chdir("y")
    [result] = _sarif(fa_lint, str(path))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": path.as_uri()}
    assert json.loads(fa_lint(str(path), "--output-format", "gitlab").stdout)[0]["location"]["path"] == str(path)


def test_sarif_in_a_notebook(fa_lint: Lint) -> None:
    write("n.ipynb", json.dumps(notebook("import torch.nn.functional as F", CLAMPED.split("\n\n")[1])))
    [result] = _sarif(fa_lint, "n.ipynb")["runs"][0]["results"]
    assert result["locations"][0]["logicalLocations"] == [{"name": "cell 2", "kind": "module"}]
    assert "fixes" not in result
    assert result["relatedLocations"][0]["message"]["text"]


# -- gitlab -------------------------------------------------------------------------------------------------------


def _gitlab(fa_lint: Lint, *arguments: str) -> list[dict[str, Any]]:
    issues: list[dict[str, Any]] = json.loads(fa_lint(*arguments, "--output-format", "gitlab").stdout)
    return issues


def test_gitlab_fields(fa_lint: Lint) -> None:
    write("sub/a.py", MIXED + "x = 1  # noqa: FAL102\n")
    issues = _gitlab(fa_lint, os.path.abspath("sub"))
    assert [issue["severity"] for issue in issues] == ["critical", "info", "major"]
    assert issues[0]["location"] == {"path": "sub/a.py", "lines": {"begin": 4, "end": 4}}
    assert issues[0]["check_name"] == "FAL101"
    assert issues[0]["description"].startswith("negative-norm-order: `-1` in `norm`")
    assert set(issues[0]) == {"check_name", "description", "fingerprint", "location", "severity"}


def test_gitlab_fingerprints_are_unique_and_stay_when_lines_move(fa_lint: Lint) -> None:
    body = UNSAFE.split("\n\n")[1]
    path = write("a.py", "import torch\n\n" + body + "\n" + body + "\n" + MIXED.split("\n\n")[2])
    before = _gitlab(fa_lint, "a.py")
    path.write_text("import torch\n\n# moved\n\n\n" + body + "\n# on\n" + body + "\n\n" + MIXED.split("\n\n")[2])
    after = _gitlab(fa_lint, "a.py")
    assert len({issue["fingerprint"] for issue in before}) == len(before) == 3
    assert [issue["fingerprint"] for issue in after] == [issue["fingerprint"] for issue in before]
    assert [issue["location"] for issue in after] != [issue["location"] for issue in before]
    write("b.py", path.read_text())
    assert len({issue["fingerprint"] for issue in _gitlab(fa_lint, ".")}) == 6


# -- junit --------------------------------------------------------------------------------------------------------


def _junit(text: str) -> junitparser.JUnitXml:
    return junitparser.JUnitXml.fromstring(text.encode())


def test_junit_is_read_back(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    write("b <&>.py", UNSAFE)
    xml = _junit(fa_lint(".", "--output-format", "junit").stdout)
    assert (xml.tests, xml.failures) == (3, 3)
    suites = list(xml)
    assert [(suite.name, suite.tests, suite.failures, suite.errors) for suite in suites] == [
        ("a.py", 2, 2, 0),
        ("b <&>.py", 1, 1, 0),
    ]
    case = next(iter(suites[0]))
    assert (case.name, case.classname) == ("FAL101 4:16", "a.py")
    [failure] = case.result
    [first, *_] = _json(fa_lint, ".")
    assert (failure.type, failure.message) == ("error", first["message"])
    assert failure.text == f"line 4, col 16, {first['message']}"


def test_junit_of_a_clean_run_has_a_passing_case(fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    xml = _junit(fa_lint("a.py", "--output-format", "junit").stdout)
    assert (xml.tests, xml.failures) == (1, 0)
    assert [case.is_passed for suite in xml for case in suite] == [True]


def test_junit_survives_control_characters() -> None:
    place = Place(1, 1)
    found = Diagnostic("a\x01.py", None, place, place, "FAL900", "n", "bad \x00 \x1b ]]> & \udcff", Level.ERROR)
    [suite] = _junit(FORMATS["junit"](Report([found])))
    assert suite.name == "a\N{REPLACEMENT CHARACTER}.py"


# -- problems -----------------------------------------------------------------------------------------------------


def test_sarif_tells_internal_errors() -> None:
    [run] = json.loads(FORMATS["sarif"](Report(problems=["a.py: rule FAL101 failed"])))["runs"]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == "a.py: rule FAL101 failed"


def test_related_places_name_their_cell() -> None:
    place = Place(1, 1)
    related = RelatedPlace("n.ipynb", place, place, "from here", 3)
    found = Diagnostic("n.ipynb", 4, place, place, "FAL201", "n", "m", Level.ERROR, related=(related,))
    assert "    = because: from here (n.ipynb:cell 3:1:1)\n" in FORMATS["full"](Report([found]))
