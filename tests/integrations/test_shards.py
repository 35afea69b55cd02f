"""``--shard``: the shards are disjoint, together they are everything, of as many bytes, and hardly a file moves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fa_lint.project.shards import in_shard
from tests.conftest import CLAMPED, UNSAFE, Lint, write
from tests.integrations.repository import ROOT

Codes = Callable[..., list[str]]


def _shards(paths: list[str], count: int) -> list[list[str]]:
    return [in_shard(paths, (index, count), ".") for index in range(1, count + 1)]


@given(st.sets(st.text("ab/.", min_size=1, max_size=8)), st.integers(1, 6))
def test_every_file_is_in_one_shard(paths: set[str], count: int) -> None:
    shards = _shards(sorted(paths), count)
    assert sorted(path for shard in shards for path in shard) == sorted(paths)
    assert all(shard == sorted(shard) for shard in shards)


@pytest.mark.parametrize("count", [2, 3, 16])
def test_shards_are_of_as_many_bytes_and_stay_where_they_are(count: int) -> None:
    paths = []
    for number in range(300):
        paths.append(f"module_{number}.py")
        Path(paths[-1]).write_bytes(b"#" * (number % 7) ** 4)
    shards = _shards(paths, count)
    sizes = [sum(Path(path).stat().st_size + 1000 for path in shard) for shard in shards]
    assert max(sizes) - min(sizes) < 2 * 6**4 + 2000
    Path("another.py").write_bytes(b"#" * 2000)
    moved = [set(old) - set(new) for old, new in zip(shards, _shards([*paths, "another.py"], count), strict=True)]
    assert all(len(gone) <= 4 for gone in moved)


def test_shards_do_not_depend_on_where_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path.cwd()
    here = in_shard(["src/a.py", "src/b.py", "src/c.py"], (1, 2), str(root))
    (root / "src").mkdir()
    monkeypatch.chdir("src")
    assert [f"src/{name}" for name in in_shard(["a.py", "b.py", "c.py"], (1, 2), str(root))] == here


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_shards_find_what_one_run_finds(codes: Codes, count: int) -> None:
    shutil.copytree(ROOT / "fixtures", "fixtures")
    for number in range(5):
        write(f"fixtures/more/a{number}.py", UNSAFE if number % 2 else CLAMPED)
    whole = codes("fixtures")
    parts = [codes("fixtures", "--shard", f"{index}/{count}") for index in range(1, count + 1)]
    assert sorted(place for part in parts for place in part) == sorted(whole)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_links_and_their_suppressions_between_shards(codes: Codes, count: int) -> None:
    helper = "def cosine(a, b, eps=1e-8):\n    return (a @ b) / (a.norm() * b.norm() + eps)\n"
    call = "from helper import cosine\ndef f(p, q):\n    return cosine(p.grad, q.grad)"
    write("helper.py", helper)
    for number in range(6):
        idle = "x = 1  # noqa: FAL101\n"
        write(f"caller{number}.py", call + ("  # fa-lint: ignore[FAL203] known\n" + idle if number % 2 else "\n"))
    whole = codes(".")
    # The helper, three callers, and of each of the others the suppression that is unused.
    assert [place.partition(" ")[2] for place in whole].count("FAL203") == 4
    assert [place.partition(" ")[2] for place in whole].count("FAL901") == 3
    parts = [codes(".", "--shard", f"{index}/{count}") for index in range(1, count + 1)]
    assert sorted(place for part in parts for place in part) == sorted(whole)


def test_shards_with_a_baseline(fa_lint: Lint) -> None:
    for number in range(6):
        write(f"a{number}.py", UNSAFE)
    fa_lint(".", "--write-baseline", "base.json")
    for index in (1, 2):
        result = fa_lint(".", "--shard", f"{index}/2", "--baseline", "base.json")
        assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_exit_2_and_a_reason(fa_lint: Lint, shard: str) -> None:
    write("a.py")
    result = fa_lint("a.py", "--shard", shard)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--shard takes i/n with 1 <= i <= n" in result.stderr
