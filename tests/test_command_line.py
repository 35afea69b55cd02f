"""The command line as people use it: the tool itself as a process, piped and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fa_lint.project.config_keys import KEYS
from fa_lint.rules import ENGINE_CODES, registry
from tests.conftest import CLAMPED, MIXED, SAFE, UNSAFE, Lint, notebook, write

_PAGES = "https://github.com/fa-lint/fa-lint/blob/main/docs/rules"


def _process(*arguments: str, cwd: str = ".", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fa_lint", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        cwd=cwd,
        check=False,
    )


def _on_terminal(*arguments: str, **environment: str) -> str:
    """What the tool prints where its standard output is a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **environment}
    command = [sys.executable, "-m", "fa_lint", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=variables) as process:
        os.close(theirs)
        pieces = []
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            pieces.append(piece)
        process.wait(60)
    os.close(ours)
    return b"".join(pieces).decode().replace("\r\n", "\n")


def _bare(text: str) -> str:
    """The text without colours and links."""
    return re.sub(r"\x1b\][^\x1b]*\x1b\\|\x1b\[[\d;]*m", "", text)


# -- what runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["check"], ["."]])
def test_no_path_is_the_current_directory(arguments: list[str]) -> None:
    write("sub/a.py")
    done = _process(*arguments)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("sub/a.py:4:16 FAL101 error ")


def test_options_without_a_path(fa_lint: Lint) -> None:
    write("a.py")
    assert fa_lint("--statistics").stdout == "1  FAL101       negative-norm-order\n"


def test_a_path_with_the_name_of_a_command_is_mentioned(fa_lint: Lint) -> None:
    write("rules/a.py")
    note = "fa-lint: note: `rules` is a command; `fa-lint check rules` lints what has its name\n"
    assert fa_lint("rules").stderr == note
    assert fa_lint("check", "rules").stdout.startswith("rules/a.py:4:16 FAL101")
    assert fa_lint("config").stderr == ""


def test_help_has_groups(fa_lint: Lint) -> None:
    text = fa_lint("check", "--help").stdout
    headings = re.findall(r"(?m)^(\S.*):$", text)
    assert headings == [
        "Rules",
        "Files",
        "Fixes and suppressions",
        "Old findings and changes",
        "Output",
        "Configuration",
        "Running",
        "Help",
    ]
    groups = dict(zip(headings, re.split(r"(?m)^\S.*:$", text)[1:], strict=True))
    assert "--select" in groups["Rules"]
    assert "--max-findings" in groups["Output"]


def test_quiet_prints_findings_and_nothing_else(fa_lint: Lint) -> None:
    write("a.py", CLAMPED)
    loud, quiet = fa_lint("a.py"), fa_lint("-q", "a.py")
    assert quiet.stdout == loud.stdout[: loud.stdout.rindex("Found ")]
    assert (quiet.stderr, quiet.exit_code) == ("", 1)
    fixed = fa_lint("--quiet", "--fix", "--unsafe-fixes", "a.py")
    assert (fixed.stdout, fixed.stderr, fixed.exit_code) == ("", "", 0)
    assert fa_lint("-q", "gone.py").stderr == "fa-lint: error: gone.py: no such file or directory\n"


def test_quiet_is_quiet_about_baselines(fa_lint: Lint) -> None:
    write("a.py")
    assert fa_lint("-q", "--write-baseline", "b.json").output == ""
    write("a.py", "x = 1\n")
    assert fa_lint("-q", "--baseline", "b.json").output == ""
    assert "entry no longer matches" in fa_lint("--baseline", "b.json").stderr


def test_verbose_says_what_the_run_used(fa_lint: Lint) -> None:
    write("a.py")
    write("fa-lint.toml", 'select = ["FAL1"]\n')
    first = fa_lint("-v").stderr.splitlines()
    assert first[0].endswith("configuration: " + os.path.realpath("fa-lint.toml"))
    assert first[1:4] == [
        "fa-lint: rules: FAL101, FAL102, FAL103, FAL104",
        "fa-lint: 1 file to lint, 0 more read for links",
        f"fa-lint: cache: {os.environ['FA_LINT_CACHE_DIR']}",
    ]
    assert first[4].startswith("fa-lint: 1 parsed, 0 from the cache, in ")
    assert "cache: not used" in fa_lint("--verbose", "--no-cache").stderr
    assert fa_lint("-v").stdout == fa_lint().stdout
    assert fa_lint("-v", "-q").stderr == "fa-lint: error: --quiet cannot be combined with --verbose\n"


# -- configuration ------------------------------------------------------------------------------------------------


def test_config_takes_keys_and_flags_win(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    write("fa-lint.toml", 'select = ["FAL2"]\nfail-on = "error"\n')
    assert fa_lint("--statistics").stdout == ""
    assert fa_lint("--statistics", "--config", 'select = ["FAL103"]').stdout.split()[1] == "FAL103"
    assert fa_lint("--config", 'select = ["FAL103"]', "--config", 'fail-on = "hint"').exit_code == 1
    both = fa_lint("--config", 'select = ["FAL103"]', "--select", "FAL101", "--statistics")
    assert both.stdout.split()[1] == "FAL101"
    assert fa_lint("--isolated", "--config", 'select = ["FAL103"]', "--statistics").stdout.split()[1] == "FAL103"
    table = fa_lint("--config", 'select = ["ALL"]', "--config", 'per-file-ignores = {"a.py" = ["FAL1"]}')
    assert table.stdout.startswith("No findings")


def test_config_takes_a_file_and_keys_together(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    write("my=own.toml", 'select = ["FAL103"]\nfail-on = "error"\n')
    assert fa_lint("--config", "my=own.toml").exit_code == 0
    assert fa_lint("--config", "my=own.toml", "--config", "fail-on = 'hint'").exit_code == 1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("fail_on = 'hint'", "--config: unknown key `fail_on`; did you mean `fail-on`?"),
        ("fail-on = 'no'", "--config: `fail-on`: must be one of error, warning, hint"),
        ("fail-on = hint", "--config: `fail-on = hint` is no file and no `key = value` of TOML"),
        ("select = ['clamped-cosin']", "unknown rule `clamped-cosin`; did you mean `clamped-cosine`?"),
    ],
)
def test_a_key_that_cannot_be_used(fa_lint: Lint, given: str, complaint: str) -> None:
    result = fa_lint("--config", given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


def test_config_lists_and_explains_every_key(fa_lint: Lint) -> None:
    lines = fa_lint("config").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(KEYS)
    assert [key["key"] for key in json.loads(fa_lint("config", "--output-format", "json").stdout)] == list(KEYS)
    for key in KEYS:
        assert "\nexample: " in fa_lint("config", key).stdout
        # What is said of a key is so: its example is accepted.
        example = json.loads(fa_lint("config", key, "--output-format", "json").stdout)["example"]
        assert fa_lint("--show-settings", "--config", f"{key} = {example}").exit_code == 0
    missing = fa_lint("config", "fail_on")
    assert (missing.exit_code, missing.stderr) == (
        2,
        "fa-lint: error: unknown key `fail_on`; did you mean `fail-on`?\n",
    )


def test_clean_removes_the_cache_and_nothing_else(fa_lint: Lint) -> None:
    write("a.py", "import torch\n\ndef g(y: torch.Tensor):\n    return y.norm(2, keepdim=True)\n")
    folder = Path(os.environ["FA_LINT_CACHE_DIR"])
    fa_lint()
    made = list(folder.iterdir())
    assert made
    mine = write(folder / "package.json", "{}")
    assert fa_lint("clean").stdout == f"Removed 1 file of the cache from {folder}.\n"
    assert list(folder.iterdir()) == [mine]
    assert fa_lint("clean").stdout == "Removed 0 files of the cache.\n"


# -- rules and their names ----------------------------------------------------------------------------------------


def test_rules_is_one_row_a_rule(fa_lint: Lint) -> None:
    head, *rows = fa_lint("rules").stdout.splitlines()
    codes = sorted([*registry(), *ENGINE_CODES])
    assert head.split() == ["code", "name", "level", "fix", "summary"]
    assert [row.split()[0] for row in rows] == codes
    assert [rule["code"] for rule in json.loads(fa_lint("rules", "--output-format", "json").stdout)] == codes
    for row, code in zip(rows, codes, strict=True):
        rule = registry().get(code)
        if rule is not None:
            assert row.split()[1:4] == [rule.name, str(rule.level), rule.fixable]
            assert row.endswith(rule.summary + ("" if rule.default else " (off by default)"))


def test_rules_fit_a_terminal() -> None:
    lines = _on_terminal("rules").splitlines()
    assert len(lines) == len(registry()) + len(ENGINE_CODES) + 1 < 40
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "arguments",
    [
        ["--select", "norm-keepdim-without-dim"],
        ["--select", "Norm-Keepdim-Without-Dim"],
        ["--select", "FAL1", "--ignore", "negative-norm-order"],
        ["--select", "FAL2", "--extend-select", "norm-keepdim-without-dim"],
        ["--select", "FAL1", "--per-file-ignores", "a.py:negative-norm-order"],
        ["--config", 'select = ["norm-keepdim-without-dim"]'],
        ["--config", 'per-file-ignores = {"*.py" = ["negative-norm-order"]}'],
    ],
)
def test_a_rule_goes_by_its_name(fa_lint: Lint, arguments: list[str]) -> None:
    write("a.py", MIXED)
    assert [line.split()[1] for line in fa_lint("--statistics", *arguments).stdout.splitlines()] == ["FAL103"]


def test_a_rule_is_explained_by_its_name(fa_lint: Lint) -> None:
    assert fa_lint("rule", "clamped-cosine").stdout == fa_lint("explain", "FAL202").stdout
    assert fa_lint("rule", "unused-suppression").stdout.startswith("# FAL901 ")
    assert fa_lint("rule", "clamped-cosin").stderr.endswith("did you mean `clamped-cosine`?\n")


# -- terminals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "arguments", "coloured"),
    [
        ({}, (), False),
        ({"FORCE_COLOR": "1"}, (), True),
        ({"FORCE_COLOR": "3"}, (), True),
        ({"FORCE_COLOR": "0"}, (), False),
        ({"FORCE_COLOR": ""}, (), False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, (), False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, (), True),
        ({"FORCE_COLOR": "1"}, ("--color", "never"), False),
        ({"NO_COLOR": "1"}, ("--color", "always"), True),
    ],
)
def test_colours_where_they_are_wanted(
    fa_lint: Lint, environment: dict[str, str], arguments: tuple[str, ...], coloured: bool
) -> None:
    write("a.py", SAFE)
    assert ("\x1b[" in _process("a.py", *arguments, **environment).stdout) is coloured
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        assert ("\x1b[" in fa_lint("a.py", "--diff", *arguments).stdout) is coloured


def test_a_code_is_a_link_on_a_terminal_only() -> None:
    write("a.py")
    link = rf"\x1b\]8;[^;]*;{re.escape(_PAGES)}/FAL101\.md\x1b\\(?:\x1b\[[\d;]*m)*FAL101"
    shown = _on_terminal("a.py")
    assert re.search(link, shown) or re.search(r"\x1b\]8;id=\d+;\S+FAL101\.md\x1b\\", shown)
    assert _bare(shown) == _process("a.py").stdout
    assert "\x1b]8" not in _on_terminal("a.py", NO_COLOR="1")
    assert "\x1b]8" not in _process("a.py", "--color", "always").stdout
    assert f"= rule: {_PAGES}/FAL101.md\n" in _process("a.py").stdout


@pytest.mark.parametrize("command", ["rule", "explain"])
def test_a_rule_is_rendered_on_a_terminal(command: str) -> None:
    shown = _on_terminal(command, "FAL203")
    page = _process(command, "FAL203").stdout
    assert "## Why is this bad" in page
    assert "```python" in page
    assert "\x1b[" not in page
    assert "Why is this bad" in shown
    assert "\x1b[" in shown
    assert "```" not in shown
    assert "## " not in _bare(shown)
    assert f"{_PAGES}/FAL203.md" in _bare(shown)
    assert max(map(len, _bare(shown).splitlines())) <= 100
    assert not re.search(r"\x1b\[(?:\d+;)*[349]\d", _on_terminal(command, "FAL203", NO_COLOR="1"))


def test_a_terminal_shows_what_fits_and_a_pipe_all() -> None:
    write("a.py", UNSAFE + "".join(f"\ndef f{n}(x):\n    return x / x.norm(-1, keepdim=True)\n" for n in range(59)))
    shown = _on_terminal("a.py", NO_COLOR="1")
    assert shown.count(" FAL101 error ") == 50
    assert shown.splitlines()[-2:] == [
        "10 more findings not shown; --max-findings 0 shows all, --statistics counts them by rule.",
        "Found 60 errors in 1 file. 60 fixable with --fix --unsafe-fixes.",
    ]
    assert _on_terminal("a.py", "--max-findings", "0").count("FAL101\x1b") >= 60
    assert _process("a.py").stdout.count(" FAL101 error ") == 60
    assert "not shown" not in _process("a.py").stdout
    few = _process("a.py", "--max-findings", "59").stdout
    assert few.count(" FAL101 error ") == 59
    assert "1 more finding not shown" in few
    assert _on_terminal("a.py", "--output-format", "concise").count("FAL101") == 60


# -- what machines read -------------------------------------------------------------------------------------------


def test_statistics_in_json(fa_lint: Lint) -> None:
    write("a.py", MIXED + SAFE)
    found = json.loads(fa_lint("--statistics", "--output-format", "json").stdout)
    assert found == [
        {
            "code": "FAL101",
            "name": "negative-norm-order",
            "count": 1,
            "fixable": True,
            "fixable_count": 1,
            "safe_count": 0,
        },
        {
            "code": "FAL103",
            "name": "norm-keepdim-without-dim",
            "count": 1,
            "fixable": False,
            "fixable_count": 0,
            "safe_count": 0,
        },
        {
            "code": "FAL402",
            "name": "unregistered-feedback",
            "count": 1,
            "fixable": True,
            "fixable_count": 1,
            "safe_count": 1,
        },
    ]
    lines = fa_lint("--statistics", "--output-format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == found
    assert json.loads(fa_lint("--isolated", "--statistics", "--output-format", "json", "--select", "FAL9").stdout) == []


def _paths(name: str, text: str) -> set[str]:
    if name == "github":
        return set(re.findall(r"file=([^,]+)", text))
    data = json.loads(text)
    if name == "gitlab":
        return {issue["location"]["path"] for issue in data}
    if name == "rdjson":
        return {issue["location"]["path"] for issue in data["diagnostics"]}
    if name == "json":
        return {found["path"] for found in data}
    [run] = data["runs"]
    assert run["originalUriBaseIds"]["%SRCROOT%"]["uri"] == Path.cwd().as_uri() + "/"
    return {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]}


def test_paths_count_from_the_top_of_the_repository() -> None:
    write("pkg/src/a.py")
    subprocess.run(["git", "init", "-q"], check=True)
    os.symlink("pkg", "link")
    through = Path(f"{os.getcwd()}-through")
    os.symlink(os.getcwd(), through)
    out = Path(f"{os.getcwd()}-out")
    out.mkdir()
    names = ("github", "gitlab", "json", "rdjson", "sarif")
    files = [f"--output-file={name}:{out / name}" for name in names]
    runs = [
        (".", "."),
        ("pkg", "."),
        ("pkg/src", "a.py"),
        ("pkg", os.path.abspath("pkg")),
        ("link", "."),
        # A file that is named through a link to a folder above it is the same file.
        ("pkg", str(through / "pkg" / "src" / "a.py")),
    ]
    for folder, path in runs:
        assert _process(path, *files, cwd=folder).returncode == 1
        for name in names:
            assert _paths(name, (out / name).read_text()) == {"pkg/src/a.py"}, (name, folder, path)


def _notebook_row(text: str, needle: str) -> int:
    [row] = [row for row, line in enumerate(text.splitlines(), 1) if needle in line]
    return row


@pytest.mark.parametrize("indent", [1, None])
@pytest.mark.parametrize("as_list", [True, False])
def test_a_notebook_annotation_stands_in_the_line_of_the_file(fa_lint: Lint, indent: int | None, as_list: bool) -> None:
    code = CLAMPED.split("\n\n")[1]
    cell = code.splitlines(keepends=True) if as_list else code
    text = json.dumps(notebook("import torch.nn.functional as F", cell), indent=indent)
    write("n.ipynb", text)
    row = _notebook_row(text, "cosine_similarity")
    github = fa_lint("--output-format", "github").stdout
    assert f"file=n.ipynb,line={row},endLine={row}::" in github
    [issue] = json.loads(fa_lint("--output-format", "gitlab").stdout)
    assert issue["location"]["lines"] == {"begin": row, "end": row}
    [result] = json.loads(fa_lint("--output-format", "sarif").stdout)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": row, "endLine": row}
    [found] = json.loads(fa_lint("--output-format", "rdjson").stdout)["diagnostics"]
    assert found["location"]["range"] == {"start": {"line": row}, "end": {"line": row}}
    piped = fa_lint("-", "--stdin-filename", "gone.ipynb", "--output-format", "github", stdin=text.encode())
    assert "file=gone.ipynb,line=1,endLine=1::" in piped.stdout


def test_rdjson_is_what_reviewdog_reads(fa_lint: Lint) -> None:
    """Positions count bytes of UTF-8, severities are upper case, a fix is a suggestion."""
    write("a.py", "import torch\n\ndef f(x):\n    return '文字', x / x.norm(-1, keepdim=True)\n")
    data = json.loads(fa_lint("--output-format", "rdjson").stdout)
    assert data["source"]["name"] == "fa-lint"
    [found] = data["diagnostics"]
    line = Path("a.py").read_bytes().splitlines()[3]
    place = found["location"]["range"]
    assert line[place["start"]["column"] - 1 : place["end"]["column"] - 1] == b"x.norm(-1, keepdim=True)"
    [suggestion] = found["suggestions"]
    inside = suggestion["range"]
    assert line[inside["start"]["column"] - 1 : inside["end"]["column"] - 1] == b"-1"
    assert suggestion["text"] == "dim=-1"
    assert (found["severity"], found["code"]) == ("ERROR", {"value": "FAL101", "url": f"{_PAGES}/FAL101.md"})
    assert json.loads(fa_lint("--output-format", "rdjson", "--select", "FAL9").stdout)["diagnostics"] == []


def test_the_rule_of_a_plug_in_has_no_page_here(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    from fa_lint.output import rule_url

    known: Any = registry()["FAL101"]
    foreign = type("Foreign", (type(known),), {"__module__": "elsewhere", "code": "XYZ101"})()
    monkeypatch.setattr("fa_lint.output._common.registry", lambda: {"XYZ101": foreign, "FAL101": known})
    assert rule_url("XYZ101") is None
    assert rule_url("FAL999") is None
    assert rule_url("FAL101") == f"{_PAGES}/FAL101.md"
    assert rule_url("FAL900") == f"{_PAGES}/FAL900.md"


# -- fixes --------------------------------------------------------------------------------------------------------


def test_the_summary_counts_what_each_command_does(fa_lint: Lint) -> None:
    write("a.py", SAFE)
    write("b.py", UNSAFE)
    write("c.py", CLAMPED)
    assert " 1 fixable with --fix, 3 with --fix --unsafe-fixes. " in fa_lint().stdout
    assert "Would fix 1 finding " in fa_lint("--diff").stderr
    assert "Would fix 3 findings " in fa_lint("--diff", "--unsafe-fixes").stderr
    assert fa_lint("--fix").stderr == "Fixed 1 finding in 1 file: FAL402 unregistered-feedback.\n"
    assert " 2 fixable with --fix --unsafe-fixes. " in fa_lint().stdout
    fixed = "Fixed 2 findings in 2 files: FAL101 negative-norm-order, FAL201 clamped-gradient-cosine.\n"
    assert fa_lint("--fix", "--unsafe-fixes").stderr.startswith(fixed)
    assert fa_lint().stdout == "No findings in 3 files.\n"


def test_silenced_findings_are_named(fa_lint: Lint) -> None:
    write("a.py", UNSAFE + UNSAFE.replace("f(x)", "g(x)"))
    expected = "Silenced 2 findings in 1 file: FAL101 negative-norm-order (2).\n"
    assert fa_lint("--add-ignore=on purpose").stderr == expected
