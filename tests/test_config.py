"""Configuration: which file counts, every key, and errors that name file, line and key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fa_lint.findings import Level
from fa_lint.project.config import DEFAULT_EXCLUDE, ConfigError, Settings, as_rows, expand_codes, find_config, load
from fa_lint.rules import ENGINE_CODES, registry
from fa_lint.semantics.roles import RoleNames
from tests.conftest import Lint, write


def _found(start: str) -> str | None:
    found = find_config(start)
    return None if found is None else os.path.relpath(found)


# -- which file ---------------------------------------------------------------------------------------------------


def test_the_nearest_file_counts() -> None:
    write("pyproject.toml", "[tool.fa-lint]\n")
    write("pkg/fa-lint.toml", "")
    write("pkg/sub/a.py", "")
    assert _found("pkg/sub/a.py") == "pkg/fa-lint.toml"
    assert _found("pkg/sub") == "pkg/fa-lint.toml"
    assert _found(".") == "pyproject.toml"
    assert _found("not/there/yet.py") == "pyproject.toml"


def test_fa_lint_toml_wins_over_pyproject_in_one_folder() -> None:
    write("pyproject.toml", "[tool.fa-lint]\n")
    write("fa-lint.toml", "")
    assert _found(".") == "fa-lint.toml"


@pytest.mark.parametrize(
    "text",
    ['[project]\nname = "fa-lint-user"\n', "[tool]\nblack = {}\n", "tool = 3 # fa-lint\n", ""],
)
def test_a_pyproject_without_our_table_is_passed_over(text: str) -> None:
    write("fa-lint.toml", "")
    write("pkg/pyproject.toml", text)
    assert _found("pkg") == "fa-lint.toml"


@pytest.mark.parametrize(
    "text",
    [
        '[tool.fa-lint]\nselect = ["FAL2"]\n',
        '[tool]\nfa-lint = {select = ["FAL2"]}\n',
        'tool.fa-lint.select = ["FAL2"]\n',
        '[tool."fa-lint"]\nselect = ["FAL2"]\n',
    ],
)
def test_every_way_to_write_our_table(text: str) -> None:
    write("pyproject.toml", text)
    found = find_config(".")
    assert found is not None
    assert load(found).select == ("FAL2",)


def test_no_file_gives_the_defaults_at_the_working_directory() -> None:
    assert load(None) == Settings(root=os.getcwd())


def test_links_and_unreadable_files(monkeypatch: pytest.MonkeyPatch) -> None:
    os.symlink("loop", "loop")
    write("fa-lint.toml", "")
    assert _found("loop") == "fa-lint.toml"
    write("pkg/pyproject.toml", "[tool.fa-lint]\n")

    def closed(path: Path, *_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fa_lint.project.config.read_file", closed)
    assert _found("pkg") == "fa-lint.toml"


# -- every key ----------------------------------------------------------------------------------------------------

_EVERYTHING = """\
select = ["FAL1", "FAL901"]
ignore = ["FAL102"]
extend-select = ["FAL205"]
exclude = ["old"]
max-file-size = 5_000
extend-exclude = ["/src/gen"]
force-exclude = true
respect-gitignore = false
fail-on = "hint"
fix-style = "torch"
feedback-names = ["B_fixed"]
credit-names = ["teaching"]
alignment-names = ["angle"]

[per-file-ignores]
"tests/*" = ["FAL101"]
"""


def test_every_key() -> None:
    settings = load(str(write("fa-lint.toml", _EVERYTHING)))
    assert settings == Settings(
        root=os.path.realpath("."),
        config_file="fa-lint.toml",
        select=("FAL1", "FAL901"),
        ignore=("FAL102",),
        extend_select=("FAL205",),
        per_file_ignores=(("tests/*", ("FAL101",)),),
        exclude=("old",),
        extend_exclude=("/src/gen",),
        force_exclude=True,
        respect_gitignore=False,
        fail_on=Level.HINT,
        max_file_size=5_000,
        fix_style="torch",
        feedback_names=("B_fixed",),
        credit_names=("teaching",),
        alignment_names=("angle",),
    )
    assert settings.role_names == RoleNames(("B_fixed",), ("teaching",), ("angle",))
    assert len(as_rows(settings)) == 16
    assert dict(as_rows(settings))["fail-on"] == repr(Level.HINT)


def test_the_same_keys_in_pyproject() -> None:
    own = load(str(write("fa-lint.toml", _EVERYTHING)))
    text = "[tool.fa-lint]\n" + _EVERYTHING.replace("[per-file-ignores]", "[tool.fa-lint.per-file-ignores]")
    project = load(str(write("pyproject.toml", text)))
    assert [row for row in as_rows(own) if row[0] != "config-file"] == [
        row for row in as_rows(project) if row[0] != "config-file"
    ]


def test_a_declared_name_is_evidence(fa_lint: Lint) -> None:
    write(
        "a.py",
        "import torch.nn.functional as F\n\ndef f(p, q):\n    return F.cosine_similarity(p.teaching, q, dim=0)\n",
    )
    assert " FAL202 " in fa_lint("a.py", "--output-format", "concise").stdout
    write("fa-lint.toml", 'credit-names = ["teaching"]\n')
    assert " FAL201 " in fa_lint("a.py", "--output-format", "concise").stdout


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("fa-lint.toml", '\nselct = ["FAL"]\n', "fa-lint.toml:2: unknown key `selct`; did you mean `select`?"),
        ("fa-lint.toml", "zzz = 1\n", "fa-lint.toml:1: unknown key `zzz`; known keys: select, ignore,"),
        (
            "fa-lint.toml",
            'select = ["FAL106"]\n',
            "fa-lint.toml:1: `select`: unknown rule `FAL106`; did you mean `FAL1",
        ),
        ("fa-lint.toml", '# x\n"ignore" = [""]\n', "fa-lint.toml:2: `ignore`: unknown rule ``"),
        ("fa-lint.toml", "select = 'FAL'\n", "fa-lint.toml:1: `select`: must be a list of strings"),
        ("fa-lint.toml", "exclude = [1]\n", "fa-lint.toml:1: `exclude`: must be a list of strings"),
        ("fa-lint.toml", "exclude = ['!']\n", "fa-lint.toml:1: `exclude`: `!` is not a gitignore pattern"),
        ("fa-lint.toml", "force-exclude = 1\n", "fa-lint.toml:1: `force-exclude`: must be true or false"),
        ("fa-lint.toml", "fail-on = 'never'\n", "fa-lint.toml:1: `fail-on`: must be one of error, warning, hint"),
        ("fa-lint.toml", "per-file-ignores = []\n", "fa-lint.toml:1: `per-file-ignores`: must be a table"),
        (
            "fa-lint.toml",
            '\n\n[per-file-ignores]\n"a" = ["FAL9999"]\n',
            "fa-lint.toml:3: `per-file-ignores`: unknown rule `FAL9999`",
        ),
        ("fa-lint.toml", "select = [\n", "fa-lint.toml: not valid TOML: "),
        (
            "pyproject.toml",
            '[tool.ruff.lint]\nselect = ["E"]\n\n[tool.fa-lint]\nselect = ["E"]\n',
            "pyproject.toml:5: `select`: unknown rule `E`",
        ),
        ("pyproject.toml", "[tool.fa-lint.lint]\nselect = []\n", "pyproject.toml:1: unknown key `lint`"),
        ("pyproject.toml", "[tool]\nfa-lint = 3\n", "pyproject.toml:2: [tool.fa-lint] must be a table"),
        ("pyproject.toml", "[tool.fa-lint\n", "pyproject.toml: not valid TOML: "),
    ],
)
def test_errors_name_file_line_and_key(fa_lint: Lint, name: str, text: str, message: str) -> None:
    write(name, text)
    write("a.py", "x = 1\n")
    result = fa_lint("a.py")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr.replace(os.path.realpath(".") + os.sep, "")


def test_a_file_that_is_no_text_or_no_file(fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    write("fa-lint.toml", b"\xff\xfe")
    result = fa_lint("a.py")
    assert result.exit_code == 2
    assert "fa-lint.toml: cannot be read: 'utf-8' codec" in result.stderr
    write("pyproject.toml", "tool = 3\n")
    named = fa_lint("a.py", "--config", "pyproject.toml")
    assert (named.exit_code, named.stderr) == (2, "fa-lint: error: pyproject.toml:1: [tool.fa-lint] must be a table\n")


def test_an_error_carries_its_data() -> None:
    error = ConfigError("a.toml:3", "unknown key `x`")
    assert (error.where, error.reason, str(error)) == ("a.toml:3", "unknown key `x`", "a.toml:3: unknown key `x`")


# -- codes --------------------------------------------------------------------------------------------------------


def test_codes_are_prefixes_and_case_is_free() -> None:
    assert expand_codes(("ALL", "fal2", "FAL901")) == ("FAL", "FAL2", "FAL901")
    everything = {code for code, rule in registry().items() if rule.default} | set(ENGINE_CODES)
    assert Settings().codes == everything
    assert Settings(select=("FAL1",)).codes == {"FAL101", "FAL102", "FAL103", "FAL104"}
    assert Settings(select=("FAL1",), ignore=("FAL10",), extend_select=("FAL103",)).codes == {"FAL103"}
    assert Settings(ignore=("FAL",)).codes == frozenset()


def test_a_rule_that_is_off_by_default_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(registry()["FAL103"]), "default", False)
    assert "FAL103" not in Settings().codes
    assert "FAL103" not in Settings(select=("FAL1",)).codes
    assert "FAL103" in Settings(extend_select=("FAL103",)).codes


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("tests/*", "tests/a.py", True),
        ("tests/*", "tests/deep/a.py", True),
        ("tests/*", "pkg/tests/a.py", True),
        ("tests/*", "src/a.py", False),
        ("a.py", "src/a.py", True),
        ("src/a.py", "src/a.py", True),
        ("rc/a.py", "src/a.py", False),
        ("*.ipynb", "src/a.ipynb", True),
        ("/src/a.py", "src/a.py", True),
    ],
)
def test_per_file_ignores_patterns(pattern: str, path: str, ignored: bool) -> None:
    settings = Settings(root=os.getcwd(), per_file_ignores=((pattern, ("FAL1", "FAL201")),))
    off = settings.codes - settings.codes_for(path)
    assert off == ({"FAL101", "FAL102", "FAL103", "FAL104", "FAL201"} if ignored else set())
    assert settings.codes_for(os.path.abspath(path)) == settings.codes_for(path)


def test_defaults_leave_environments_and_builds_out() -> None:
    assert {".venv", "site-packages", "node_modules", "/build", "/dist"} <= set(DEFAULT_EXCLUDE)
