"""What a contributor relies on: extras, the test script, the hooks and forms of this repository, the changelog."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from fa_lint.rules import ENGINE_CODES, registry
from tests.conftest import UNSAFE, write
from tests.integrations.repository import ROOT, Repository

_EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
_CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
# Installed by name, where no address follows.
_BY_NAME = re.compile(
    r"""(pip3? install|uvx?|pipx)\b[^\n#|&]*?[\s"']fa-lint(\[[^\]]*\])?(?![\w-]|\[| @ git\+)|fa-lint=="""
)
_HAVE_A_RELEASE_SWITCH = {"fa_lint/installing.py", "fa_lint_runtime/dependencies.py"}
_PRE_COMMIT_CONFIG = ROOT / ".pre-commit-config.yaml"


# -- extras -------------------------------------------------------------------------------------------------------


def _installed_with(extra: str) -> set[str]:
    """The names of all packages that an extra installs, as far as they are installed here."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in _EXTRAS[extra]]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        found.add(wanted.name.lower())
        for name in wanted.extras or {""}:
            waiting += [r for r in _needs(wanted.name, name) if r.marker is None or r.marker.evaluate({"extra": name})]
    return found


def _needs(package: str, extra: str) -> list[Requirement]:
    if package == "fa-lint":
        return [Requirement(text) for text in _EXTRAS[extra]]
    try:
        return [Requirement(text) for text in requires(package) or []]
    except PackageNotFoundError:
        return []


@pytest.mark.parametrize("extra", ["test", "test-integrations"])
def test_the_tests_of_the_linter_install_without_torch(extra: str) -> None:
    assert not {"torch", "numba", "lightning"} & _installed_with(extra)


def test_the_tests_of_the_runtime_bring_what_they_need() -> None:
    assert {"torch", "numba", "scikit-learn", "lightning", "transformers", "jinja2"} <= _installed_with("test-runtime")


def test_every_installation_of_a_checkout_is_constrained() -> None:
    places = [ROOT / "tests" / "run.sh", ROOT / "CONTRIBUTING.md", *(ROOT / ".github" / "workflows").glob("*.yml")]
    commands = [line for path in places for line in path.read_text(encoding="utf-8").splitlines() if ' -e ".[' in line]
    assert len(commands) >= 4
    assert [line for line in commands if "pip install" not in line or "-c constraints.txt" not in line] == []


# -- tests/run.sh -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True])
def test_run_sh_calls_apt_only_when_asked(tmp_path: Path, asked: bool) -> None:
    for name in ("apt-get", "python", "ruff", "mypy", "coverage", "fa-lint"):
        write(tmp_path / "bin" / name, f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/log"\n').chmod(0o755)
    for name in ("bash", "dirname"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    environment = {"PATH": str(tmp_path / "bin")} | ({"FA_LINT_APT_INSTALL": "1"} if asked else {})
    subprocess.run(["bash", str(ROOT / "tests" / "run.sh")], env=environment, check=True, timeout=60)
    called = (tmp_path / "log").read_text()
    assert "python -m pytest" in called
    assert ("apt-get install" in called) == asked


def test_ci_asks_for_it_and_runs_the_command_of_the_readme() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-2:] == ["export FA_LINT_APT_INSTALL=1", "bash tests/run.sh"]
    assert "&& bash tests/run.sh\n" in (ROOT / "README.md").read_text(encoding="utf-8")


# -- the name on the index ----------------------------------------------------------------------------------------


def test_nothing_names_a_package_that_the_index_does_not_hold() -> None:
    folders = ("docs", "fa_lint", "fa_lint_runtime", "tools", "benchmarks", ".github", ".ci")
    shown = [path for path in ROOT.iterdir() if path.suffix in (".md", ".yml", ".cff")]
    shown += [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".yml", ".py", "")
    ]
    named = {
        str(path.relative_to(ROOT)) for path in shown if path.is_file() and _BY_NAME.search(path.read_text("utf-8"))
    }
    assert named <= _HAVE_A_RELEASE_SWITCH


@pytest.mark.parametrize(
    "text", ["pip install fa-lint\n", "pip install -q 'fa-lint[lsp]'", "uvx fa-lint .", "fa-lint==0.1"]
)
def test_the_search_finds_installations_by_name(text: str) -> None:
    assert _BY_NAME.search(text)


def test_the_command_of_both_packages_is_one() -> None:
    from fa_lint.installing import install_command
    from fa_lint_runtime.dependencies import install_command as of_the_runtime

    assert install_command("lsp") == of_the_runtime("lsp")
    assert install_command("lsp") == 'pip install "fa-lint[lsp] @ git+https://github.com/fa-lint/fa-lint"'


# -- hooks and forms ----------------------------------------------------------------------------------------------


def test_the_hooks_of_this_repository_find_what_they_are_for(tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    user = Repository(tmp_path / "clone")
    shutil.copy(_PRE_COMMIT_CONFIG, user.folder)
    write(user.folder / "CHECKLIST.md", "text\n<<<<<<< HEAD\nmore\n")
    write(user.folder / "fa_lint" / "a.py", UNSAFE)
    write(user.folder / "fa_lint" / "b.py", "x  =  1\nimport os\n")
    user.git("add", "-A")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(tmp_path / "home"),
        "SKIP": "mypy",
    }
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never"]
    done = subprocess.run(
        command, cwd=user.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    results = dict(re.findall(r"(?m)^([\w -]+?)\.{3,}.*?(Passed|Failed|Skipped)$", done.stdout))
    assert results == {
        "no merge conflict left over": "Failed",
        "ruff check": "Failed",
        "ruff format": "Failed",
        "mypy": "Skipped",
        "fa-lint": "Failed",
    }, done.stdout + done.stderr
    assert "CHECKLIST.md:2:<<<<<<< HEAD" in done.stdout
    assert "a.py:4:16 FAL101" in done.stdout


def test_the_issue_forms_are_valid() -> None:
    pytest.importorskip("check_jsonschema")
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) > 1
    for form in forms:
        schema = "github-issue-config" if form.name == "config.yml" else "github-issue-forms"
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(form)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_form_asks_for_code_and_versions() -> None:
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        asked = {part["id"] for part in yaml.safe_load(form.read_text(encoding="utf-8"))["body"]}
        assert {"code", "version"} <= asked, form.name


# -- changelog ----------------------------------------------------------------------------------------------------


def test_the_changelog_names_every_rule_once() -> None:
    listed = re.findall(r"FAL\d{3}", _CHANGELOG.partition("### Rules")[2].partition("\n#")[0])
    assert sorted(listed) == sorted([*registry(), *ENGINE_CODES])


@pytest.mark.parametrize("part", ["`guard`", "`--fa-guard`", "`diagnose`", "`Monitor`", "`fa-diagnose audit`"])
def test_the_changelog_names_every_part_of_the_runtime(part: str) -> None:
    assert part in _CHANGELOG
