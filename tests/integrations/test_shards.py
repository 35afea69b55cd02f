"""``--shard``: the shards are disjoint, together they are everything, and no file moves because of another."""

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


@given(st.sets(st.text("ab/.", min_size=1, max_size=8)), st.integers(1, 6), st.text("abc", min_size=1, max_size=3))
def test_every_file_is_in_one_shard_and_stays_there(paths: set[str], count: int, another: str) -> None:
    shards = [in_shard(sorted(paths), (index, count), ".") for index in range(1, count + 1)]
    assert sorted(path for shard in shards for path in shard) == sorted(paths)
    grown = [in_shard(sorted({*paths, another}), (index, count), ".") for index in range(1, count + 1)]
    for before, after in zip(shards, grown, strict=True):
        assert set(before) <= set(after)


def test_shards_are_about_even() -> None:
    paths = [f"src/module_{number}.py" for number in range(1000)]
    assert all(200 < len(in_shard(paths, (index, 4), ".")) < 300 for index in range(1, 5))


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
