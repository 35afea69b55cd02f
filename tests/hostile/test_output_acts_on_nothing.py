"""What a repository or a log contains is only shown: by a terminal, by the log of a CI service, by an editor."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fa_lint.findings import Applicability, Diagnostic, DiagnosticFix, Level, Place, RelatedPlace
from fa_lint.output import FORMATS, render_statistics
from fa_lint.output.full import Look, render_full
from fa_lint.project.engine import Report
from fa_lint.source.escaping import to_json, visible, visible_line
from tests.conftest import SAFE, Lint, write

_EVIL = [
    "\x1b[2J", "\x9b31m", "\x07", "\x08", "\r", "\x85", "\u2028", "\u202e", "\u2066", "\x7f", "\udc9b", "\x00",
    "a\n::error file=z::INJ ", "\r::set-output name=a::INJ", "##[error]INJ", "##vso[task.setvariable variable=a]INJ",
    "##teamcity[INJ]", "\x0c\n  ::warning::INJ",
]  # fmt: skip
_ACTS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
    r"|^\s*::(?!(?:error|warning|notice) title=fa-lint)|##[\w.-]*\[",
    re.MULTILINE,
)


def _harmless(text: str) -> None:
    found = _ACTS.search(text.replace("\r\n", "\n"))
    assert found is None, text[max(found.start() - 60, 0) : found.end() + 60]


def _report(evil: str, path: str) -> Report:
    place, end = Place(1, 1), Place(2, 3)
    fix = DiagnosticFix(Applicability.SAFE, evil, ())
    found = Diagnostic(
        path, None, place, end, f"X{evil}", evil, evil, Level.ERROR, computes=evil, runtime=evil, fix=fix,
        related=(RelatedPlace(path, place, end, evil),), frame=((1, evil), (2, evil * 2)), scope=evil, statement=evil,
    )  # fmt: skip
    return Report([found], problems=[evil], files=1)


@pytest.mark.parametrize("evil", _EVIL, ids=ascii)
@pytest.mark.parametrize("name", [*FORMATS, "statistics"])
def test_every_format(name: str, evil: str) -> None:
    for path in (f"{evil}.py", f"::error::{evil}.py", f" ::error::{evil}.py", f"{os.getcwd()}/{evil}.py"):
        render = FORMATS.get(name, render_statistics)
        text = render(_report(evil, path.replace("\0", "")))
        _harmless(text)
        if name in ("json", "sarif", "gitlab"):
            assert visible(evil) in visible(str(json.loads(text)).replace("\\n", "\n")) or "\\" in ascii(evil)
        if name == "jsonl":
            assert len(text.splitlines()) == 1
            assert json.loads(text)["message"] == evil
        if name == "junit":
            ElementTree.fromstring(text)


def test_colours_stay_ours() -> None:
    text = render_full(_report("\x1b[2J\x9b", "\x1b[31m.py"), Look(colour=True))
    assert "\x1b[1;31m" in text
    _harmless(re.sub(r"\x1b\[[\d;]*m", "", text))


def test_json_says_the_same() -> None:
    for evil in _EVIL:
        assert json.loads(to_json({evil: [evil]})) == {evil: [evil]}


def test_what_is_harmless_stays() -> None:
    for text in ("x[::2]", "a: b\tc", "é \N{GREEK SMALL LETTER SIGMA} 日本 👩\u200d🔬", "# ## [x]", "#[x]", "std::min"):
        assert visible(text) == text == visible_line(text)


# The names of a file that a file system takes.
_NAMES = ["a\n::error file=z::INJ .py", "::error::INJ.py", "\x1b[31mred.py", "##[error]INJ.py", "\u202egnp.py", "\r.py"]


@pytest.mark.skipif(os.name == "nt", reason="such names are POSIX's")
@pytest.mark.parametrize("name", _NAMES, ids=ascii)
def test_the_whole_tool(name: str, fa_lint: Lint) -> None:
    """All that is printed, on both streams, for a file with such a name that has findings, a diff and trouble."""
    write(f"src/{name}", SAFE + f"s = '''\n::error::INJ\n'''  # {name!a}\n")
    write(f"src/broken {name}", f"x = (  # \x1b[2J {name}\n")
    write(name, SAFE.replace("F.cosine", "F.cosine") + "\n::error::INJ (\n")
    shown = fa_lint("--write-baseline", "b.json", "src")
    write(f"src/{name}", "x = 1\n")
    runs = [
        shown,
        fa_lint("src", "--baseline", "b.json"),
        fa_lint("src", "--show-files"),
        fa_lint("src", name, f"no {name}"),
    ]
    write(f"src/{name}", "'''\n::error::INJ\n'''\n" + SAFE)
    runs += [fa_lint("src", "--diff"), fa_lint("src", "--output-format", "concise"), fa_lint(name, "--statistics")]
    runs += [
        fa_lint("src", f"--{name}"),
        fa_lint("src", "--select", name),
        fa_lint("--config", name, "src"),
        fa_lint(name),
    ]
    runs += [
        fa_lint("src", "--with-runtime", name),
        fa_lint("src", "--baseline", name),
        fa_lint("src", "--diff-from", name),
    ]
    for options in (["--fix"], ["--add-ignore"], ["--output-file", f"gone/{name}"], ["--stdin-filename", name]):
        runs.append(fa_lint("src", *options))
    for done in runs:
        _harmless(done.stdout)
        _harmless(done.stderr)
    _harmless(Path("b.json").read_text())


def test_a_guard_log(fa_lint: Lint) -> None:
    write("a.py", "x = 1\ny = 2\n")
    for evil in _EVIL:
        event = {"code": f"G{evil}", "kind": evil, "file": "a.py", "line": 1, "message": evil, "count": 1}
        write("g.json", json.dumps({"format": "fa-guard", "version": 1, "events": [event, {**event, "file": evil}]}))
        for name in ("full", "concise", "github", "json"):
            result = fa_lint("a.py", "--with-runtime", "g.json", "--output-format", name)
            _harmless(result.stdout)
            _harmless(result.stderr)
        _harmless(fa_lint("a.py", "--with-runtime", "g.json", "--statistics").stdout)


def test_a_baseline(fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    for evil in _EVIL:
        entry = {"path": f"{evil}.py", "code": evil, "scope": evil, "statement": evil, "fingerprint": evil}
        write("b.json", json.dumps({"version": 1, "findings": [entry]}))
        result = fa_lint("a.py", "--baseline", "b.json")
        assert "no longer found" in result.stderr
        _harmless(result.stderr)


def test_a_diff_is_still_a_patch(fa_lint: Lint) -> None:
    """Lines end where git says they do; with line ends of Windows too."""
    for end in ("\n", "\r\n"):
        write("a.py", (SAFE + "\n" * 9 + "s = 'a\x0cb\x85c'\n").replace("\n", end))
        patch = fa_lint("a.py", "--diff").stdout_bytes
        assert patch.count(b"\\ No newline") == 0
        subprocess.run(["git", "apply", "-"], input=patch, check=True, timeout=60)
        assert "register_buffer" in Path("a.py").read_text()


def test_a_configuration(fa_lint: Lint) -> None:
    for evil in _EVIL:
        write("fa-lint.toml", f"{json.dumps(evil)} = 1\n")
        result = fa_lint("a.py")
        assert result.exit_code == 2
        _harmless(result.stderr)
    write("fa-lint.toml", 'feedback-names = ["\\u001b[2J", "##[error]INJ", "\\u202e"]\n')
    _harmless(fa_lint("a.py", "--show-settings").stdout)


def test_flake8() -> None:
    write("a.py", "x = 1\n")
    write("fa-lint.toml", '"\\u001b[2J\\n::error::INJ" = 1\n')
    done = subprocess.run(
        [sys.executable, "-m", "flake8", "--select", "FAL", "a.py"], capture_output=True, timeout=60, check=False
    )
    assert b"FAL900" in done.stdout
    _harmless(done.stdout.decode())
