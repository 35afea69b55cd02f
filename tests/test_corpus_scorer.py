"""The corpus scorer counts hits, misses and false alarms as its page says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.corpus import evaluate, main, table

BAD = "import torch\n\n\ndef f(x):\n    return x / x.norm(-1, keepdim=True)\n"
GOOD = "import torch\n\n\ndef f(x):\n    return x / x.norm(dim=-1, keepdim=True)\n"


def label(**fields: object) -> dict[str, object]:
    return {"pitfall": "P1", "verdict": "defect", "trap": False, "why": "because", **fields}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "1.py").write_text(BAD)
    (tmp_path / "files" / "2.py").write_text(GOOD)
    (tmp_path / "files" / "3.txt").write_text("x.norm(-1)")
    repository = tmp_path / "owner" / "name"
    repository.mkdir(parents=True)
    (repository / "a.py").write_text(BAD)
    return tmp_path


def test_labels_with_and_without_lines(corpus: Path) -> None:
    scores = evaluate(
        corpus,
        [
            label(file_id="1"),
            label(file_id="2"),
            label(file_id="3"),
            label(repo="owner/name", path="a.py", line=5),
            label(repo="owner/name", path="a.py", line=1, verdict="ok"),
            label(repo="owner/name", path="b.py", line=1),
        ],
    )
    score = scores["P1"]
    assert (score.hits, len(score.misses), len(score.false_alarms), score.silent_ok) == (2, 1, 0, 1)
    assert len(score.absent) == 2
    assert score.recall == pytest.approx(2 / 3)
    assert score.precision == 1.0
    assert "P1 miss: 2.py" in table(scores)


def test_a_finding_on_an_ok_line_is_a_false_alarm(corpus: Path) -> None:
    labels = [label(repo="owner/name", path="a.py", line=5, verdict="ok"), label(file_id="1", verdict="ok")]
    score = evaluate(corpus, labels)["P1"]
    assert len(score.false_alarms) == 2
    assert score.precision == 0.0


def test_debatable_counts_neither_way(corpus: Path) -> None:
    score = evaluate(corpus, [label(file_id="1", verdict="debatable")])["P1"]
    assert (score.hits, len(score.misses), len(score.false_alarms)) == (0, 0, 0)
    assert (score.debatable, score.debatable_hit) == (1, 1)


def test_git_directories_are_read_at_the_labelled_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work"
    work.mkdir()

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        command = ["git", "-C", str(work), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (work / "a.py").write_text(BAD)
    git("add", ".")
    git("commit", "-qm", "bad")
    commit = git("rev-parse", "HEAD")
    (work / "a.py").write_text(GOOD)
    git("commit", "-qam", "good")
    mirror = tmp_path / "mirror" / "owner+name"
    mirror.mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(mirror / "repo")], check=True)
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps(label(repo="owner/name", path="a.py", line=5, commit=commit)) + "\n")
    assert main([str(tmp_path / "mirror"), "--labels", str(labels)]) == 0
    assert "1.000   1.000" in capsys.readouterr().out
