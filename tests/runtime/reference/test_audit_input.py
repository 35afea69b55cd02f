"""What a user may get wrong before or in an audit: one line that says what to do, never a traceback."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from strangers import TOML, written

from fa_lint_runtime.audit import ConfigError, cells_of, load_config, run_audit
from fa_lint_runtime.audit.executors import executor_named
from fa_lint_runtime.audit.tasks import make_model
from fa_lint_runtime.cli import main
from fa_lint_runtime.reference import gaussian_mixture
from fa_lint_runtime.targets import TargetError


def refused(path: Path, *arguments: str) -> str:
    """The one line of a usage error."""
    found = CliRunner().invoke(main, ["audit", str(path), *arguments])
    assert found.exit_code == 2, found.output
    assert found.stdout == ""
    assert len(found.stderr.splitlines()) == 1, found.stderr
    assert not (path.parent / "audit" / "cells").exists(), "nothing was begun"
    return found.stderr.removeprefix("fa-diagnose: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'methods = ["bp"]\n# caf\xe9\n', ":2: not UTF-8: "),
        (b"\xff\xfem\x00", ":1: not UTF-8: "),
        (b"a = " + b"[" * 5000, ": not TOML: "),
        (b'methods = ["bp"]\nout = 2020-01-01', ":2: out must be the name of a folder, in quotes; got 2020-01-01"),
        (
            b'methods = ["bp"]\n[data]\nname = "digits"\nsince = 2020-01-01',
            ":4: [data]: since is, or holds, a date or time of TOML: write it in quotes",
        ),
        (b'methods = ["bp"]\n[model]\nat = [1, {when = 07:32:00}]', ":3: [model]: at is, or holds, a date"),
        (b'methods = ["bp"]\n[recipe]\noptimizer = "sgd"\nlr = 1979-05-27', ":4: [recipe]: lr is, or holds, a date"),
        (b'methods = ["bp"]\n[data]\nname = ["digits"]', ":2: [data] needs a name"),
        (b'methods = ["bp"]\ndevice = "gpu"', ":2: device must be auto, cpu, cuda or cuda:0; got 'gpu'"),
        (b'methods = ["bp"]\ndevice = 3.5', ":2: device must be auto"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "audit.toml"
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.lr=abc", "'recipe.lr=abc': [recipe]: lr must be a positive number, got 'abc'"),
        ("recipe.lr=" + "[" * 5000, "'recipe.lr=[[["),
        ("seeds=1", "'seeds=1': seeds must be a list"),
        ("nul_draws=19", "'nul_draws=19': unknown key 'nul_draws'"),
        ("recipe.lr", "'recipe.lr' must have the form key=value"),
    ],
)
def test_an_override_that_cannot_be_used_is_named_and_not_a_line_of_the_file(
    tmp_path: Path, override: str, message: str
) -> None:
    assert refused(written(tmp_path), override).startswith(message)


@pytest.mark.parametrize("pair", [("a b", "a-b"), ("Mine", "mine")])
def test_cells_of_one_file_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    tables = "".join(f'[methods."{name}"]\ntrain = "theirs:train"\n' for name in pair)
    path = written(tmp_path, TOML.replace('[methods.mine]\ntrain = "theirs:train"\n', tables))
    first, second = (f"{name!r} on 'theirs:network'" for name in pair)
    assert refused(path).startswith(f"{first} and {second} would be one file, theirs-network-{pair[1]}-1.json: rename")
    with pytest.raises(ConfigError):
        run_audit(load_config(path))
    assert len({cell.name for cell in cells_of(load_config(written(tmp_path / "sound")))}) == 6


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        (
            "nowhere:train",
            "",
            "nowhere:train: importing nowhere failed: ModuleNotFoundError: No module named 'nowhere'; it",
        ),
        ("theirs:trian", "", "theirs:trian: theirs has no 'trian'; it has network, loaders, train"),
        ("theirs:answer", "answer = 42", "theirs:answer must name a function, not a int"),
        ("theirs:train", "1 / 0", "importing theirs failed: ZeroDivisionError: division by zero"),
        (
            "theirs:train",
            "def broken(:",
            "importing theirs failed: SyntaxError: invalid syntax (theirs.py",
        ),
        ("theirs:train", "import sys; sys.exit()", "importing theirs failed: SystemExit"),
    ],
)
@pytest.mark.parametrize("place", ['train = "{}"', 'frozen = "{}"', 'model = "{}"'])
def test_a_name_of_the_users_code_that_cannot_be_used(
    tmp_path: Path, target: str, code: str, message: str, place: str
) -> None:
    path = written(tmp_path)
    (tmp_path / "theirs.py").write_text((tmp_path / "theirs.py").read_text() + f"\n\n{code}\n")
    old = next(line for line in TOML.splitlines() if line.startswith(place.partition('"')[0]))
    path.write_text(TOML.replace(old, place.format(target)))
    for dry in ((), ("--dry-run",)):
        assert message in refused(path, *dry)
        sys.modules.pop("theirs", None)


def test_data_of_the_user_that_are_not_there(tmp_path: Path) -> None:
    path = written(tmp_path, TOML.replace("theirs:loaders", "theirs:laoders"))
    assert refused(path).startswith("theirs:laoders: theirs has no 'laoders'; it has network, loaders")


def test_a_model_that_is_no_function(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("model = 3")
    with pytest.raises(TargetError, match="must name a function, not a int"):
        make_model("theirs:model", gaussian_mixture(32, train=256, test=256), {}, tmp_path)


@pytest.mark.parametrize("executor", [None, "processes:1"])
@pytest.mark.parametrize(("code", "message"), [("sys.exit()", "SystemExit:"), ("sys.exit('done')", "SystemExit: done")])
def test_a_method_that_ends_the_process_is_one_failed_cell(
    tmp_path: Path, executor: str | None, code: str, message: str
) -> None:
    path = written(tmp_path)
    module = tmp_path / "theirs.py"
    module.write_text("import sys\n" + module.read_text().replace("return 3", code))
    path.write_text(TOML.replace("theirs:train", "theirs:nothing"))
    config = load_config(path, ["seeds=[1]"])
    if executor is None:
        results = run_audit(config)
    else:
        with executor_named(executor, config.out) as pool:
            results = run_audit(config, executor=pool)
    assert [result.error for result in results] == ["", "", message]


def test_a_future_whose_worker_left_by_sys_exit_is_a_failed_cell(tmp_path: Path) -> None:
    class Leaving:
        def submit(self, function: Any, /, *arguments: Any) -> Any:
            return self

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            raise SystemExit(3)

    results = run_audit(load_config(written(tmp_path), ["seeds=[1]"]), executor=Leaving())
    assert {result.error for result in results} == {"SystemExit: 3"}


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ("threads:2", "no executor 'threads'; known: processes, dask"),
        ("processes:0", "--executor 'processes:0': max_workers must be greater than 0"),
        ("processes:²", "--executor 'processes:²': write processes:2"),
        ("dask:", "--executor 'dask:': write dask:tcp://HOST:PORT"),
        ("dask:nonsense", "--executor 'dask:nonsense': missing port number in address"),
        ("dask:foo://x:1", "--executor 'dask:foo://x:1': unknown address scheme 'foo'"),
        ("dask:tcp://127.0.0.1:1", "--executor 'dask:tcp://127.0.0.1:1': Timed out trying to connect to tcp://127.0"),
        ("ray:foo:1", "--executor 'ray:foo:1': could not connect to foo:1"),
        ("submitit:partition", "--executor 'submitit:partition': write submitit:partition=gpu"),
        ("submitit:cluster=nonsense", "--executor 'submitit:cluster=nonsense': AutoExecutor doesn't know any executor"),
        ("submitit:partition=gpu", "--executor 'submitit:partition=gpu': there is no SLURM here; cluster=local runs"),
        ("submitit:cluster=local,nodes=abc", "--executor 'submitit:cluster=local,nodes=abc': "),
        ("submitit:cluster=local,frobnicate=3", "--executor 'submitit:cluster=local,frobnicate=3': Unknown argument"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # what dask leaves behind where nothing answers
def test_an_executor_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str, message: str
) -> None:
    if executor.startswith("dask:t"):
        distributed = pytest.importorskip("distributed")
        client = distributed.Client
        monkeypatch.setattr(distributed, "Client", lambda address: client(address, timeout="1s"))
    if executor.startswith(("dask:n", "dask:f")):
        pytest.importorskip("distributed")
    if executor.startswith("submitit:"):
        pytest.importorskip("submitit")
        monkeypatch.setenv("PATH", "")  # no srun
    if executor.startswith("ray"):
        ray = types.ModuleType("ray")

        def init(address: str | None) -> None:
            raise ConnectionError(f"could not connect to\n{address}")

        ray.init = init  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "ray", ray)
    path = written(tmp_path)
    assert refused(path, "--executor", executor).startswith(message)
