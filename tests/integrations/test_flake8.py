"""The plug-in inside flake8 itself, alone and beside flake8-bugbear."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.conftest import CLAMPED, MIXED, UNSAFE, write
from tests.integrations.repository import ROOT

pytest.importorskip("flake8", reason="the extra `flake8` is not installed")

Codes = Callable[..., list[str]]


def _flake8(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flake8", "-j", "1", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _found(*arguments: str, stdin: str | None = None) -> list[str]:
    done = _flake8("--extend-ignore", "B,C,E,F4,F8,W", *arguments, stdin=stdin)
    assert done.stderr == ""
    return [
        f"{m[1].removeprefix('./')}:{m[2]} {m[3]}"
        for m in re.finditer(r"^(.*?):(\d+:\d+): (\w+) ", done.stdout, re.MULTILINE)
    ]


def test_the_entry_point_has_a_name_that_flake8_takes() -> None:
    (name,) = {e.name for e in entry_points(group="flake8.extension") if e.value.startswith("fa_lint.")}
    assert re.fullmatch(r"[A-Z]{1,3}[0-9]{0,3}", name)


def test_it_reports_what_fa_lint_reports(codes: Codes) -> None:
    shutil.copytree(ROOT / "fixtures", "fixtures", ignore=shutil.ignore_patterns("broken.py", "*.ipynb", "project"))
    write("latin.py", b"# coding: latin-1\ns = '\xe9'; " + b"import torch; n = torch.ones(3).norm(-1)\n")
    write("bom.py", "\ufeff" + UNSAFE)
    write("crlf.py", UNSAFE.replace("\n", "\r\n"))
    write("wide.py", "import torch\ns = '\N{GRINNING FACE}é'; n = torch.ones(3).norm(-1)\n")
    write("unused.py", "x = 1  # noqa: FAL101\n")
    whole = codes(".")
    assert {"latin.py", "bom.py", "crlf.py", "wide.py", "unused.py"} <= {place.partition(":")[0] for place in whole}
    expected = [place for place in whole if not place.startswith("unused.py")]
    # flake8 itself takes every finding off a line with its code in a `noqa`, and FAL901 is about such a line.
    assert sorted(_found(".")) == sorted([*expected, "unused.py:1:8 FAL901"])


def test_beside_bugbear() -> None:
    pytest.importorskip("bugbear")
    write("a.py", UNSAFE + "\n\ndef g(x=[]):\n    return x\n")
    done = _flake8("--select", "FAL,B", "a.py")
    assert [line.split(" ")[1] for line in done.stdout.splitlines()] == ["FAL101", "B006"]
    assert done.stderr == ""


def test_by_default_it_is_on() -> None:
    write("a.py", UNSAFE)
    assert " FAL101 " in _flake8("a.py").stdout
    assert _flake8("--extend-ignore", "FAL", "a.py").stdout.count("FAL") == 0


def test_worker_processes_know_the_options() -> None:
    for number in range(4):
        write(f"a{number}.py", "def f(a, b):\n    return a @ teaching\n")
        write(f"b{number}.py", CLAMPED)
    done = _flake8("-j", "2", "--select", "FAL", ".")
    assert done.stdout.count("FAL201") == 4


def test_suppressions_of_both_kinds() -> None:
    write("a.py", UNSAFE.replace("True)", "True)  # noqa: FAL101"))
    write("b.py", UNSAFE.replace("True)", "True)  # fa-lint: ignore[FAL101] meant"))
    assert _found(".") == []


def test_options_of_flake8s_own_configuration() -> None:
    source = (
        "import torch.nn.functional as F\ndef f(teaching_x, h):\n    return F.cosine_similarity(teaching_x, h, dim=0)\n"
    )
    write("a.py", source)
    assert _found("a.py") == []
    write(".flake8", "[flake8]\nfal-credit-names = teaching_*\n")
    assert _found("a.py") == ["a.py:3:12 FAL201"]
    assert _found("a.py", "--isolated") == []


def test_the_projects_configuration_holds() -> None:
    write("a.py", MIXED)
    write("fa-lint.toml", 'ignore = ["FAL101"]\n')
    assert _found("a.py") == ["a.py:7:12 FAL103"]
    write("other.toml", 'ignore = ["FAL103"]\n')
    write(".flake8", "[flake8]\nfal-config = other.toml\n")
    assert _found("a.py") == ["a.py:4:16 FAL101"]
    write(".flake8", "[flake8]\nfal-isolated = true\n")
    assert _found("a.py") == ["a.py:4:16 FAL101", "a.py:7:12 FAL103"]


def test_standard_input_is_not_the_file_on_disk() -> None:
    write("a.py", "x = 1\n")
    assert _found("-", "--stdin-display-name", "a.py", stdin=UNSAFE) == ["a.py:4:16 FAL101"]
    assert _found("-", stdin=UNSAFE) == ["stdin:4:16 FAL101"]


def test_a_broken_configuration_is_a_finding_not_an_exception() -> None:
    write("a.py", UNSAFE)
    write("b.py", "import os\n")
    write("fa-lint.toml", "selct = []\n")
    done = _flake8("--select", "FAL,F401", ".")
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split(" ")[1] for line in lines] == ["FAL900", "F401", "FAL900", "F401"]
    assert "unknown key `selct`; did you mean `select`?" in lines[0]


@pytest.fixture
def plugin_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that adds a rule to fa-lint, installed where flake8's process finds it."""
    folder = tmp_path_factory.mktemp("prefix") / "site-packages"
    write(folder / "extra.py", (ROOT / "tests" / "integrations" / "opt_in_rule.py").read_text())
    write(folder / "extra-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: extra\nVersion: 1\n")
    write(folder / "extra-1.dist-info/entry_points.txt", "[fa_lint.rules]\nextra = extra:OptIn\n")
    return folder


def test_opt_in_rules_and_rules_that_raise(plugin_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(plugin_in))
    write("src/a.py", "import os\ndef f(opt_in):\n    opt_in()\n")
    write("src/b.py", "import os\ndef f(opt_in):\n    opt_in(1)\n")
    assert _flake8("src").stdout.count("FAL") == 0
    done = _flake8("--extend-select", "FAL999", "src")
    assert [line.split(" ")[:2] for line in done.stdout.splitlines() if "FAL" in line] == [
        ["src/a.py:3:5:", "FAL999"],
        ["src/b.py:1:1:", "FAL999"],
    ]
    assert done.stdout.count("F401") == 2
    assert "ZeroDivisionError" in done.stdout
    # What the project has turned off stays off.
    write("fa-lint.toml", 'ignore = ["FAL999"]\n')
    assert "FAL999" not in _flake8("--extend-select", "FAL999", "src").stdout


def test_flake8_is_an_extra() -> None:
    """Nothing of fa-lint imports flake8 (nor any other tool's package) by itself."""
    program = (
        "import sys, fa_lint.cli, fa_lint.cli.commands, fa_lint.integrations, fa_lint.cli.watch, fa_lint.output.verify; "
        "print(sorted({'flake8', 'pygls', 'lsprotocol', 'watchfiles', 'torch', 'numpy', 'mkdocs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []
