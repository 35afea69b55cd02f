"""``--diff-from`` against git itself: what counts as changed, in files and notebooks, and what cannot be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import UNSAFE, UNSAFE_FIXED, Lint, notebook, write
from tests.integrations.repository import Repository

Codes = Callable[..., list[str]]

_TWO = UNSAFE + "\n\ndef g(x):\n    return x / x.norm(-1, keepdim=True)\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_only_changed_lines_are_reported(repository: Repository, codes: Codes) -> None:
    write("a.py", UNSAFE)
    repository.commit()
    assert codes(".", "--diff-from", "HEAD") == []
    write("a.py", _TWO)
    assert codes(".") == ["a.py:4:16 FAL101", "a.py:8:16 FAL101"]
    assert codes(".", "--diff-from", "HEAD") == ["a.py:8:16 FAL101"]
    repository.commit()
    assert codes(".", "--diff-from", "HEAD") == []
    assert codes(".", "--diff-from", "HEAD~1") == ["a.py:8:16 FAL101"]


def test_staged_and_untracked_files_count(repository: Repository, codes: Codes) -> None:
    write("a.py", "x = 1\n")
    repository.commit()
    write("staged.py", UNSAFE)
    repository.git("add", "staged.py")
    write("untracked.py", UNSAFE)
    write(".gitignore", "ignored.py\n")
    write("ignored.py", UNSAFE)
    assert codes(".", "--diff-from", "HEAD") == ["staged.py:4:16 FAL101", "untracked.py:4:16 FAL101"]
    assert codes("ignored.py", "--diff-from", "HEAD") == ["ignored.py:4:16 FAL101"]


def test_a_statement_counts_with_any_of_its_lines(repository: Repository, codes: Codes) -> None:
    write("a.py", "import torch\nn = torch.norm(\n    torch.ones(3),\n    -1,\n)\n")
    repository.commit()
    write("a.py", "import torch\nn = torch.norm(\n    torch.ones(4),\n    -1,\n)\n")
    assert codes(".", "--diff-from", "HEAD") == ["a.py:2:5 FAL101"]


def test_a_renamed_file_is_not_new(repository: Repository, codes: Codes) -> None:
    write("a.py", _TWO + "# padding\n" * 20)
    repository.commit()
    repository.git("mv", "a.py", "b.py")
    write(
        "b.py",
        Path("b.py")
        .read_text()
        .replace("def g(x)", "def g(y, x)")
        .replace("x)\n    return x / x.norm(-1, keepdim=True)\n# ", "x):\n    return x\n# "),
    )
    assert codes(".", "--diff-from", "HEAD") == []


def test_what_the_other_branch_did_is_not_ours(repository: Repository, codes: Codes) -> None:
    write("a.py", UNSAFE)
    write("b.py", "x = 1\n")
    repository.commit()
    repository.git("checkout", "-q", "-b", "topic")
    write("b.py", UNSAFE)
    repository.commit()
    repository.git("checkout", "-q", "main")
    write("a.py", UNSAFE_FIXED)
    repository.commit()
    repository.git("checkout", "-q", "topic")
    assert codes(".", "--diff-from", "main") == ["b.py:4:16 FAL101"]


def test_names_that_git_would_quote(repository: Repository, codes: Codes) -> None:
    names = ["sub dir/ä b.py", 'quo"te.py', "back\\slash.py", "tab\there.py", "+++.py"]
    for name in names:
        write(name, UNSAFE)
    repository.commit()
    for name in names:
        write(name, _TWO)
    assert codes(".", "--diff-from", "HEAD") == [f"{name}:8:16 FAL101" for name in sorted(names)]


def test_lines_that_look_like_a_patch(repository: Repository, codes: Codes) -> None:
    write("a.py", UNSAFE + 's = """\n-- a/b.py\n"""\n')
    repository.commit()
    write("a.py", UNSAFE + 's = """\n++ b/c.py\n@@ -1 +4 @@\ndiff --git a/x b/x\n"""\nn = 1\n')
    assert codes(".", "--diff-from", "HEAD") == []
    write("c.py", UNSAFE)
    repository.git("add", "c.py")
    assert codes(".", "--diff-from", "HEAD") == ["c.py:4:16 FAL101"]


def test_settings_of_the_user_change_nothing(repository: Repository, codes: Codes) -> None:
    write("a.py", UNSAFE)
    write(".gitattributes", "*.py -diff\n")
    repository.commit()
    options = {
        "diff.noprefix": "true",
        "color.ui": "always",
        "diff.context": "10",
        "diff.interHunkContext": "10",
        "diff.external": "false",
        "diff.relative": "true",
    }
    for key, value in options.items():
        repository.git("config", key, value)
    write("a.py", _TWO)
    assert codes(".", "--diff-from", "HEAD") == ["a.py:8:16 FAL101"]


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_line_ends(repository: Repository, codes: Codes, newline: str) -> None:
    write("a.py", UNSAFE.replace("\n", newline))
    repository.commit()
    write("a.py", _TWO.replace("\n", newline))
    assert codes(".", "--diff-from", "HEAD") == ["a.py:8:16 FAL101"]


def test_rows_of_a_notebook_are_those_of_its_cells(repository: Repository, codes: Codes) -> None:
    write("n.ipynb", json.dumps(notebook("import torch", "torch.ones(3).norm(-1)", "x = 1\ny = 2")))
    repository.commit()
    # Another cell above, outputs, and one new line.
    document = notebook("# a title", "import torch", "torch.ones(3).norm(-1)", "x = 1\ntorch.ones(2).norm(-1)\ny = 2")
    document["cells"][2]["execution_count"] = 7
    write("n.ipynb", json.dumps(document, indent=1))
    assert codes(".") == ["n.ipynb:cell 3:1:1 FAL101", "n.ipynb:cell 4:2:1 FAL101"]
    assert codes(".", "--diff-from", "HEAD") == ["n.ipynb:cell 4:2:1 FAL101"]


def test_a_new_notebook_is_new(repository: Repository, codes: Codes) -> None:
    repository.commit()
    write("n.ipynb", json.dumps(notebook("import torch\ntorch.ones(3).norm(-1)")))
    repository.git("add", ".")
    assert codes(".", "--diff-from", "HEAD") == ["n.ipynb:cell 1:2:1 FAL101"]


def test_a_changed_file_that_is_no_python_is_told(repository: Repository, codes: Codes) -> None:
    write("a.py", "x = (\n")
    write("b.py", "x = (\n")
    repository.commit()
    write("b.py", "x = (\n\n\n# changed\n")
    assert codes(".", "--diff-from", "HEAD") == ["b.py:1:5 FAL900"]


def test_callers_in_unchanged_files_are_still_read(repository: Repository, codes: Codes) -> None:
    helper = "def cosine(a, b, eps=1e-8):\n    return (a @ b) / (a.norm() * b.norm() + eps)\n"
    write("helper.py", "x = 1\n")
    write("caller.py", "from helper import cosine\ndef f(p, q):\n    return cosine(p.grad, q.grad)\n")
    repository.commit()
    write("helper.py", helper)
    whole = codes(".")
    assert [place for place in whole if place.startswith("helper.py")]
    assert codes(".", "--diff-from", "HEAD") == [place for place in whole if place.startswith("helper.py")]


def test_fixes_stay_on_the_changed_lines(repository: Repository, fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    repository.commit()
    write("a.py", _TWO)
    result = fa_lint(".", "--diff-from", "HEAD", "--fix", "--unsafe-fixes")
    assert result.exit_code == 0
    assert Path("a.py").read_text() == UNSAFE + UNSAFE_FIXED.partition("\n")[2].replace("f(x)", "g(x)").replace(
        "\ndef", "\n\ndef", 1
    )


def test_a_subfolder_and_an_absolute_path(
    repository: Repository, codes: Codes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("src/a.py", UNSAFE)
    repository.commit()
    write("src/a.py", _TWO)
    monkeypatch.chdir("src")
    assert codes(".", "--diff-from", "HEAD") == ["a.py:8:16 FAL101"]
    assert codes(str(repository.folder / "src"), "--diff-from", "HEAD") == ["a.py:8:16 FAL101"]


def test_a_hook_environment_of_another_repository(
    repository: Repository, codes: Codes, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write("a.py", UNSAFE)
    repository.commit()
    write("a.py", _TWO)
    monkeypatch.setenv("GIT_DIR", str(Repository(tmp_path_factory.mktemp("other")).folder / ".git"))
    assert codes(".", "--diff-from", "HEAD") == ["a.py:8:16 FAL101"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--diff-from", "gone"], "--diff-from gone: no such revision in "),
        (["--diff-from", "--output=x"], "--diff-from --output=x: no such revision in "),
        (["--diff-from", "HEAD", "--write-baseline", "b.json"], "cannot be combined"),
    ],
)
def test_exit_2_and_a_reason(repository: Repository, fa_lint: Lint, arguments: list[str], complaint: str) -> None:
    write("a.py")
    repository.commit()
    result = fa_lint(".", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


def test_no_repository(fa_lint: Lint) -> None:
    write("a.py")
    result = fa_lint("a.py", "--diff-from", "HEAD")
    assert (result.exit_code, result.stderr) == (2, "fa-lint: error: --diff-from HEAD: a.py is in no git repository\n")


def test_no_git(repository: Repository, fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py")
    repository.commit()
    monkeypatch.setenv("PATH", "")
    result = fa_lint("a.py", "--diff-from", "HEAD")
    assert result.exit_code == 2
    assert "git cannot be run" in result.stderr
