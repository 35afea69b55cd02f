"""The GitHub action and workflows, and the snippets of the pages: valid by their schemas, their commands run for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from fa_lint.project.config import load
from tests.conftest import UNSAFE, write
from tests.integrations.repository import ROOT

_ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
_WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_PAGES = {path.stem: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def _valid(schema: str, *files: Path) -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    if schema in ("gitlab-ci", "azure-pipelines"):
        command += ["--data-transform", schema]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _blocks(page: str, language: str, marker: str = "") -> list[str]:
    """Return the fenced code of a page in a language that holds a marker."""
    found = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", _PAGES[page])
    return [block for block in found if marker in block]


def _uses(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("uses"), str):
            yield node["uses"]
        for value in node.values():
            yield from _uses(value)
    elif isinstance(node, list):
        for value in node:
            yield from _uses(value)


# -- files of GitHub ----------------------------------------------------------------------------------------------


def test_the_action_and_the_workflows_are_valid() -> None:
    _valid("github-actions", ROOT / "action.yml")
    _valid("github-workflows", *_WORKFLOWS)


@pytest.mark.parametrize("path", [ROOT / "action.yml", *_WORKFLOWS], ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_full_sha(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = list(_uses(yaml.safe_load(text)))
    assert used
    for name in used:
        assert name == "./" or _PINNED.fullmatch(name), name
        # The tag stands beside it, for people and for update bots.
        assert name == "./" or re.search(rf"{re.escape(name)} # v\d", text), name


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.name)
def test_workflows_ask_for_little(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job, name
    # What a stranger can write (a title, a branch) is never spliced into a script.
    for script in re.findall(r"(?m)run: (?:\|\n(?:\s{10}.*\n)+|.*)", path.read_text(encoding="utf-8")):
        assert "${{" not in script


def test_the_matrix_is_what_the_package_promises() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    tested = workflow["jobs"]["linter"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert tested == promised
    extras = {
        extra for listed in workflow["jobs"]["linter"]["strategy"]["matrix"]["extras"] for extra in listed.split(",")
    }
    assert extras <= set(project["optional-dependencies"])


# -- the action, step by step -------------------------------------------------------------------------------------


def _run_action(tmp: Path, skip_install: bool, **inputs: str) -> tuple[int, str, dict[str, str]]:
    """Do what the runner does with the composite action: its scripts in bash, in order; its `uses` steps are GitHub's."""
    given = {name: inputs.get(name, spec["default"]) for name, spec in _ACTION["inputs"].items()}
    outputs: dict[str, dict[str, str]] = {"python": {"python-path": sys.executable}}
    environment = {**os.environ, "RUNNER_TEMP": str(tmp)}
    if skip_install:
        tool = write(tmp / "fa-lint", f"#!{sys.executable}\nfrom fa_lint.cli import main\nmain()\n")
        tool.chmod(0o755)
        environment["FA_LINT"] = str(tool)
    log = ""

    def value(match: re.Match[str]) -> str:
        scope, _, name = match[1].partition(".")
        if scope == "inputs":
            return given[name]
        if match[1] == "github.action_path":
            return str(ROOT)
        step, _, name = name.partition(".outputs.")
        return outputs[step][name]

    for step in _ACTION["runs"]["steps"]:
        if "run" not in step or (skip_install and step["name"].startswith("Install")):
            continue
        assert "${{" not in step["run"]
        files = {name: tmp / name for name in ("GITHUB_ENV", "GITHUB_OUTPUT")}
        for file in files.values():
            file.write_text("")
        own = {key: re.sub(r"\$\{\{ (\S+) \}\}", value, text) for key, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env={**environment, **own, **{key: str(file) for key, file in files.items()}},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        log += done.stdout + done.stderr
        environment |= dict(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines())
        if "id" in step:
            outputs[step["id"]] = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        if done.returncode:
            return done.returncode, log, outputs.get("lint", {})
    return 0, log, outputs["lint"]


def test_the_action_annotates_and_writes_sarif(tmp_path: Path) -> None:
    write("src dir/a.py", UNSAFE)
    write("clean.py", "x = 1\n")
    code, log, outputs = _run_action(tmp_path / "t", True, paths="src dir\nclean.py\n", args="--fail-on error")
    assert code == 1
    assert "::error title=fa-lint (FAL101),file=src dir/a.py,line=4" in log
    assert outputs["exit-code"] == "1"
    assert len(json.loads(Path(outputs["sarif-file"]).read_text())["runs"][0]["results"]) == 1


@pytest.mark.parametrize(("inputs", "expected"), [({}, 0), ({"paths": "gone.py"}, 2), ({"args": "--exit-zero"}, 0)])
def test_the_exit_code_of_the_action(tmp_path: Path, inputs: dict[str, str], expected: int) -> None:
    write("clean.py", "x = 1\n")
    assert _run_action(tmp_path / "t", True, **inputs)[0] == expected


def test_inputs_are_no_commands(tmp_path: Path) -> None:
    write("clean.py", "x = 1\n")
    code, _, _ = _run_action(tmp_path / "t", True, paths='$(touch pwned)\n"; touch pwned; "', args="`touch pwned`")
    assert code == 2
    assert not list(Path().rglob("pwned"))


@pytest.mark.slow
def test_the_action_installs_itself(tmp_path: Path) -> None:
    write("a.py", UNSAFE)
    folder = tmp_path / "t"
    folder.mkdir()
    code, log, _ = _run_action(folder, False)
    assert code == 1, log
    assert "::error title=fa-lint (FAL101)" in log
    assert (folder / "fa-lint-venv").is_dir()


# -- snippets of the pages ---------------------------------------------------------------------------------------


def test_the_github_workflow_of_the_page() -> None:
    (text,) = _blocks("continuous-integration", "yaml", "runs-on:")
    write("workflow.yml", text)
    _valid("github-workflows", Path("workflow.yml"))
    (step,) = [s for s in yaml.safe_load(text)["jobs"]["fa-lint"]["steps"] if s["uses"].startswith("fa-lint/")]
    assert set(step["with"]) <= set(_ACTION["inputs"])


def test_the_gitlab_job_of_the_page(shell: Callable[[str], int]) -> None:
    (text,) = _blocks("continuous-integration", "yaml", "codequality:")
    write(".gitlab-ci.yml", text)
    _valid("gitlab-ci", Path(".gitlab-ci.yml"))
    job = yaml.safe_load(text)["fa-lint"]
    write("src/a.py", UNSAFE)
    assert [shell(line) for line in job["script"] if not line.startswith("pip ")] == [1]
    (issue,) = json.loads(Path(job["artifacts"]["reports"]["codequality"]).read_text())
    assert issue["location"] == {"lines": {"begin": 4, "end": 4}, "path": "src/a.py"}


def test_the_azure_steps_of_the_page(shell: Callable[[str], int]) -> None:
    from junitparser import JUnitXml

    (text,) = _blocks("continuous-integration", "yaml", "PublishTestResults")
    write("azure-pipelines.yml", text)
    _valid("azure-pipelines", Path("azure-pipelines.yml"))
    _, lint, publish = yaml.safe_load(text)["steps"]
    write("src/a.py", UNSAFE)
    assert [shell(line) for line in lint["script"].splitlines() if not line.startswith("pip ")] == [1]
    assert JUnitXml.fromfile(publish["inputs"]["testResultsFiles"]).failures == 1


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], int]:
    write("bin/fa-lint", f"#!{sys.executable}\nfrom fa_lint.cli import main\nmain()\n").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def run(line: str) -> int:
        return subprocess.run(
            ["bash", "-c", line], env={**os.environ, "PATH": path}, check=False, timeout=60
        ).returncode

    return run


@pytest.mark.parametrize("page", ["README", "pre-commit"])
def test_the_pre_commit_configuration_of_the_pages(page: str) -> None:
    (text,) = _blocks(page, "yaml", "repos:")
    (repo,) = yaml.safe_load(text)["repos"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {hook["id"] for hook in repo["hooks"]} <= {hook["id"] for hook in hooks}


def test_the_flake8_options_of_the_page() -> None:
    pytest.importorskip("flake8")
    (text,) = _blocks("flake8", "ini", "[flake8]")
    parser = ConfigParser(inline_comment_prefixes=("#",))
    parser.read_string(text)
    helped = subprocess.run(
        [sys.executable, "-m", "flake8", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    for option in parser["flake8"]:
        assert f"--{option}" in helped.stdout


@pytest.mark.parametrize("page", ["README", "linting"])
def test_the_configurations_of_the_pages_are_read(page: str) -> None:
    (project,) = _blocks(page, "toml", "[tool.fa-lint]")
    write("pyproject.toml", project)
    assert load("pyproject.toml").credit_names == ("teaching_signal",)


def test_the_configurations_of_the_editors_agree() -> None:
    (helix,) = _blocks("editors", "toml", "language-server")
    server = tomllib.loads(helix)["language-server"]["fa-lint"]
    (code,) = _blocks("editors", "json", "glspc")
    settings = json.loads(code)
    assert [settings["glspc.server.command"], *settings["glspc.server.commandArguments"]] == [
        server["command"],
        *server["args"],
    ]


def test_the_pages_name_no_option_that_is_not_there() -> None:
    from fa_lint.cli import check

    known = {name for param in check.params for name in (*param.opts, *param.secondary_opts)}
    named = set(re.findall(r"\bfa-lint(?: check)? [^\n`|#;&]*?(--[\w-]+)", "\n".join(_PAGES.values())))
    assert named - known <= {"--verify", "--all-files", "--help", "--version"}
