"""What an attacker writes and fa-lint reads: for each reader, inputs that hypothesis makes and what must hold then.

The tests draw a few of each; the campaign (``python -m tests.hostile.campaign``) goes on for as long as it is told.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesmith
from click.testing import CliRunner
from hypothesis import strategies as st

from fa_lint.cli import cli
from fa_lint.fixes.edits import FixError, fix_data
from fa_lint.fixes.ignores import add_ignores
from fa_lint.output import FORMATS
from fa_lint.project.cache import Cache
from fa_lint.project.config import ConfigError, Settings, as_rows, load, override
from fa_lint.project.config_keys import KEYS
from fa_lint.project.engine import lint, lint_text
from fa_lint.source.text import ParseFailure, Source
from tests.conftest import CLAMPED, MIXED, SAFE, UNSAFE, notebook
from tests.hostile.messages import MESSAGES, serve
from tests.hostile.strategies import Surface, dumped, file_bytes, junk, mutated, mutated_json, values

SETTINGS = Settings()
_FIXTURES = sorted((Path(__file__).parent.parent.parent / "fixtures").rglob("*.py"))
_CODE = [UNSAFE, CLAMPED, SAFE, MIXED, *(path.read_text(encoding="utf-8") for path in _FIXTURES)]


# -- the checks ---------------------------------------------------------------------------------------------------


def _lint_and_fix(path: str, data: bytes) -> None:
    """Nothing is an internal error, every place lies in the file, and a fix breaks nothing that was whole."""
    report = lint_text(path, data, SETTINGS)
    assert report.problems == []
    for form in FORMATS.values():
        form(report)
    try:
        fixed = fix_data(path, data, report.diagnostics, SETTINGS, unsafe=True).data
        silenced, _ = add_ignores(path, data, [d for d in report.diagnostics if not d.code.startswith("FAL9")], "why")
    except FixError:
        return
    for new in (fixed, silenced):
        if new != data:
            assert not isinstance(Source.read(path, new).parse(), ParseFailure) or _is_broken(path, data)
    assert lint_text(path, silenced, SETTINGS).problems == []


def _is_broken(path: str, data: bytes) -> bool:
    return isinstance(Source.read(path, data).parse(), ParseFailure)


def _suppressed(comment: str) -> None:
    """A comment may silence findings of its own line; it never makes one, and never ends the run."""
    code = UNSAFE.rstrip("\n") + f"  # {comment}\n" + UNSAFE
    _lint_and_fix("a.py", code.encode("utf-8", "surrogatepass"))


def _configured(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("fa-lint.toml", "pyproject.toml"):
            path = Path(folder, name)
            path.write_bytes(data)
            with suppress(ConfigError):
                settings = load(str(path))
                as_rows(settings)
                assert lint_text(str(Path(folder, "a.py")), UNSAFE.encode(), settings).problems == []
        _one_line(["init", folder])
    with suppress(ConfigError):
        override(SETTINGS, [data.decode("utf-8", "replace")])


def _one_line(arguments: list[str]) -> None:
    """The tool ends by itself; code 2 means a line on the error stream, and no traceback."""
    result = CliRunner().invoke(cli, arguments, prog_name="fa-lint")
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "internal error" not in result.output, result.output
    assert result.exit_code in (0, 1) or result.stderr.startswith(("fa-lint:", "Usage:")), result.output


def _beside(option: str, name: str, data: bytes) -> None:
    """A run with a file of this content named by an option."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "m.py").write_text(MIXED)
        Path(folder, name).write_bytes(data)
        before = os.getcwd()
        os.chdir(folder)
        try:
            for form in ("full", "github", "sarif"):
                _one_line(["m.py", "--no-cache", "--isolated", "--output-format", form, option, name])
        finally:
            os.chdir(before)


@functools.cache
def _cache_seed() -> tuple[str, Any]:
    """The name and content of a cache that holds what can be found in one file."""
    with _cached(None) as file:
        return file.name, json.loads(file.read_text())


_PLAIN = "def f(p):\n    return p.grad.half()\n"


class _cached:
    """A run over one file with a cache of this content; what it finds is what is found without it."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Path:
        folder = self._folder.name
        Path(folder, "m.py").write_text(_PLAIN)
        before = os.environ.get("FA_LINT_CACHE_DIR")
        os.environ["FA_LINT_CACHE_DIR"] = folder
        try:
            settings = Settings(root=folder)
            file = Cache(settings)._file
            assert file is not None
            if self._data is not None:
                file.write_bytes(self._data)
            path = str(Path(folder, "m.py"))
            report = lint([path], settings, jobs=1)
            assert report.problems == []
            assert report.diagnostics == lint([path], settings, jobs=1, use_cache=False).diagnostics
            return file
        finally:
            os.environ.pop("FA_LINT_CACHE_DIR")
            if before is not None:
                os.environ["FA_LINT_CACHE_DIR"] = before

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _cache_is_read(data: bytes) -> None:
    with _cached(data):
        pass


_MARKDOWN = [f"# Title\n\n```python\n{code}```\n\ntext\n\n~~~ {{.py}}\n{code}~~~\n" for code in _CODE[:12]]
_BASELINE = {
    "version": 1,
    "findings": [
        {"path": "m.py", "code": "FAL101", "scope": "f", "statement": "return x", "fingerprint": "0" * 16, "count": 1},
        {"path": "n.py", "code": "FAL601", "statement": "", "fingerprint": "1", "count": 2, "other_files": ["m.py"]},
    ],
}
_EVENT = {
    "code": "FAL101", "kind": "norm-order", "file": "m.py", "line": 4, "end_line": 4, "column": 1, "end_column": 9,
    "message": "m", "count": 1, "worst": 0.5,
}  # fmt: skip
_LOG = {"format": "fa-guard", "version": 1, "events": [_EVENT, _EVENT | {"code": "FAL999", "line": 1}]}
_KEYS = st.sampled_from([*KEYS, "tool", "x"])
_TOML = [
    'select = ["FAL1"]\nexclude = ["a/*"]\n[per-file-ignores]\n"t*" = ["FAL101"]\n',
    '[tool.fa-lint]\nfail-on = "error"\nmax-file-size = 100\n[tool.ruff.lint]\nexternal = ["A"]\n',
    '[tool.fa-lint]\nfeedback-names = ["B_*", "[a-"]\nfix-style = "torch"\n[tool]\nruff = 5\n',
]
_toml_values = st.one_of(values.map(lambda v: json.dumps(v)), junk, st.sampled_from(["1979-05-27", "nan", "0x_"]))
_rows = st.lists(st.builds(lambda key, value: f"{key} = {value}", _KEYS, _toml_values), max_size=4).map("\n".join)
_NOTEBOOKS = [notebook(*(_CODE[n : n + 3])) for n in range(0, 12, 3)] + [
    notebook("%time x\n!ls\n", ["x = 1\n", "y = 2"], metadata={"language_info": {"name": "python"}})
]

try:
    from tests.hostile.runtime_surfaces import RUNTIME_SURFACES
except ImportError:  # no torch
    RUNTIME_SURFACES = []

SURFACES = {
    surface.name: surface
    for surface in (
        *RUNTIME_SURFACES,
        Surface(
            "parser",
            file_bytes(st.one_of(mutated(_CODE), mutated(_CODE), hypothesmith.from_grammar())),
            lambda data: _lint_and_fix("a.py", data),
        ),
        Surface("suppressions", mutated(["fa-lint: ignore[FAL101] why", "noqa: FAL101", "x"]), _suppressed),
        Surface("notebook", dumped(mutated_json(_NOTEBOOKS)), lambda data: _lint_and_fix("a.ipynb", data)),
        Surface("Markdown", file_bytes(mutated(_MARKDOWN)), lambda data: _lint_and_fix("a.md", data)),
        Surface("configuration", file_bytes(st.one_of(mutated(_TOML), _rows)), _configured),
        Surface("baseline", dumped(mutated_json([_BASELINE])), lambda data: _beside("--baseline", "b.json", data)),
        Surface(
            "cache", st.deferred(lambda: dumped(mutated_json([_cache_seed()[1]]))), _cache_is_read,
        ),
        Surface("guard log", dumped(mutated_json([_LOG])), lambda data: _beside("--with-runtime", "g.json", data)),
        Surface("language server", st.lists(dumped(mutated_json(MESSAGES)), min_size=1, max_size=6), serve),
    )
}  # fmt: skip
