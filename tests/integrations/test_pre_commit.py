"""The published hooks under pre-commit itself, installed from this checkout into a temporary repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import SAFE, SAFE_FIXED, UNSAFE, notebook, write
from tests.integrations.repository import ROOT, Repository

pytest.importorskip("pre_commit")

_MANIFEST = ROOT / ".pre-commit-hooks.yaml"


def _pre_commit(*arguments: str, home: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=cwd,
        env={**plain, "PRE_COMMIT_HOME": str(home), "PRE_COMMIT_COLOR": "never"},
    )


def test_the_manifest_is_valid() -> None:
    done = _pre_commit("validate-manifest", str(_MANIFEST), home=Path.cwd())
    assert (done.returncode, done.stderr) == (0, "")
    hooks = {hook["id"]: hook for hook in yaml.safe_load(_MANIFEST.read_text())}
    assert set(hooks) == {"fa-lint", "fa-lint-fix"}
    for hook in hooks.values():
        assert hook["types_or"] == ["python", "pyi", "jupyter"]
        assert hook["require_serial"] is True
        assert "--force-exclude" in hook["entry"]
        # torch belongs to an extra, and a hook installs none.
        assert "additional_dependencies" not in hook
    assert hooks["fa-lint-fix"]["entry"] == hooks["fa-lint"]["entry"] + " --fix"


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """This checkout as a repository that pre-commit can clone, uncommitted work and all."""
    repository = Repository(tmp_path_factory.mktemp("hooks"))
    for name in ("fa_lint", "fa_lint_runtime"):
        shutil.copytree(ROOT / name, repository.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(ROOT / name, repository.folder / name)
    repository.commit()
    return repository


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pre-commit-home")


@pytest.mark.slow
def test_the_hooks_in_a_repository(hooks: Repository, home: Path, tmp_path: Path) -> None:
    revision = hooks.git("rev-parse", "HEAD")
    user = Repository(tmp_path / "user")
    config = {"repos": [{"repo": hooks.folder.as_uri(), "rev": revision, "hooks": [{"id": "fa-lint"}]}]}
    write(user.folder / ".pre-commit-config.yaml", yaml.safe_dump(config))
    write(user.folder / "fa-lint.toml", 'extend-exclude = ["third_party/"]\n')
    write(user.folder / "third_party" / "a.py", UNSAFE)
    write(user.folder / "notes.txt", "x.norm(-1)")
    write(user.folder / "clean.py", "x = 1\n")
    user.git("add", "-A")
    first = _pre_commit("run", "--all-files", home=home, cwd=user.folder)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Passed" in first.stdout
    # The environment of the hook has the linter and its few dependencies, and no torch.
    packages = {path.name for path in home.glob("repo*/py_env*/lib/python*/site-packages/*")}
    assert {"fa_lint", "libcst"} <= packages
    assert not {"torch", "numpy", "flake8", "pygls"} & packages

    write(user.folder / "a.py", UNSAFE)
    write(user.folder / "stub.pyi", "import torch\nx = torch.ones(3).norm(-1)\n")
    write(user.folder / "n.ipynb", json.dumps(notebook(UNSAFE)))
    user.git("add", "-A")
    second = _pre_commit("run", home=home, cwd=user.folder)
    assert second.returncode == 1
    for place in ("a.py:4:16 FAL101", "stub.pyi:2:5 FAL101", "n.ipynb:cell 1:4:16 FAL101"):
        assert place in second.stdout
    assert "third_party" not in second.stdout
    # As a git hook: a commit with a finding does not come about.
    assert _pre_commit("install", home=home, cwd=user.folder).returncode == 0
    environment = {**os.environ, "PRE_COMMIT_HOME": str(home)}
    refused = subprocess.run(
        ["git", "commit", "-m", "x"], cwd=user.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "FAL101" in refused.stdout + refused.stderr


@pytest.mark.slow
def test_the_fixing_hook_changes_files(hooks: Repository, home: Path, tmp_path: Path) -> None:
    user = Repository(tmp_path / "user")
    write(user.folder / "a.py", SAFE)
    write(user.folder / "b.py", UNSAFE)
    user.git("add", "-A")
    done = _pre_commit("try-repo", str(hooks.folder), "fa-lint-fix", "--all-files", home=home, cwd=user.folder)
    assert done.returncode == 1
    assert "files were modified by this hook" in done.stdout
    assert (user.folder / "a.py").read_text() == SAFE_FIXED
    assert (user.folder / "b.py").read_text() == UNSAFE
