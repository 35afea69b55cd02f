"""Precision and recall on the labelled lines: ``python -m tests.corpus PATH_TO_REPOS [--labels FILE] [--pitfall P1]``.

``PATH_TO_REPOS`` holds what the labels point to, in any of these layouts: a checkout or git directory at
``owner/name``, ``owner+name``, ``owner+name/repo``, ``owner__name`` or ``name``; single files by index id as
``files/ID.*`` or ``ID.*``. A git directory is read at the labelled commit.

A label with a line counts as found where a finding of its pitfall touches that line (±1). A label without a line (a file
id alone) is judged by file: as many findings as there are defects are hits, and a file of ``ok`` labels alone must be
silent. ``debatable`` counts neither way; an unlabelled finding is unknown and only counted. Files that are neither Python
nor Markdown are listed as not linted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fa_lint.findings import Diagnostic
from fa_lint.project.config import Settings
from fa_lint.project.discovery import SUFFIXES, discover
from fa_lint.project.engine import lint
from fa_lint.source import markdown

DEFAULT_LABELS = Path(__file__).parent.parent.parent / "shared" / "corpus" / "labels.jsonl"
# FAL1xx belongs to P1, FAL2xx to P2, and so on; further rules declare their pitfall in the registry.
_EXTRA = {"FAL900": None, "FAL901": None}


@dataclass
class Score:
    """Counts for one pitfall, with a line of text for every miss and false alarm."""

    hits: int = 0
    misses: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    silent_ok: int = 0
    debatable: int = 0
    debatable_hit: int = 0
    unlabelled: int = 0
    absent: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        found = self.hits + len(self.false_alarms)
        return self.hits / found if found else 1.0

    @property
    def recall(self) -> float:
        wanted = self.hits + len(self.misses)
        return self.hits / wanted if wanted else 1.0


def pitfall_of(code: str) -> str | None:
    from fa_lint.rules import registry

    if code in _EXTRA:
        return _EXTRA[code]
    return registry()[code].pitfall


def locate_repository(root: Path, name: str) -> Path | None:
    owner, _, short = name.partition("/")
    for candidate in (f"{owner}/{short}", f"{owner}+{short}", f"{owner}__{short}", f"{owner}_{short}", short):
        for inner in ("", "repo"):
            path = root / candidate / inner
            if path.is_dir() and (inner or not (path / "repo").is_dir()):
                return path
    return None


def checked_out(path: Path, commit: str | None, scratch: Path) -> Path:
    """A folder with the repository's Python files, at the labelled commit where git knows it."""
    git = next((g for g in (path / ".git", path) if (g / "objects").is_dir()), None)
    if git is None:
        return path
    target = scratch / path.parent.name / path.name
    target.mkdir(parents=True, exist_ok=True)
    for revision in (commit, "HEAD"):
        if revision is None:
            continue
        # Only what is linted: a mirror may lack its largest files.
        done = False
        for wanted in ("*.py", "*.pyi", "*.md"):
            command = ["git", f"--git-dir={git}", "archive", revision, "--", wanted]
            archive = subprocess.run(command, capture_output=True, check=False)
            if archive.returncode == 0:
                subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)
                done = True
        if done:
            return target
    return path


def findings(files: list[str], settings: Settings) -> dict[str, list[Diagnostic]]:
    found: dict[str, list[Diagnostic]] = defaultdict(list)
    for diagnostic in lint(files, settings, use_cache=False).diagnostics:
        found[diagnostic.path].append(diagnostic)
    return found


def touches(diagnostic: Diagnostic, line: int) -> bool:
    return diagnostic.start.row - 1 <= line <= diagnostic.end.row + 1


def score_file(where: str, labels: list[dict[str, Any]], found: list[Diagnostic], scores: dict[str, Score]) -> None:
    """Score the labels of one file against its findings."""
    for pitfall in {label["pitfall"] for label in labels}:
        mine = [label for label in labels if label["pitfall"] == pitfall]
        hits = [d for d in found if pitfall_of(d.code) == pitfall]
        score = scores[pitfall]
        lined = [label for label in mine if label.get("line")]
        claimed: set[int] = set()
        for label in lined:
            touched = [d for d in hits if touches(d, label["line"])]
            claimed |= {id(d) for d in touched}
            text = f"{where}:{label['line']} {[d.code for d in touched]} {label['why']}"
            count(score, label["verdict"], bool(touched), text)
        loose = [label for label in mine if not label.get("line")]
        free = [d for d in hits if id(d) not in claimed]
        left = len(free)
        for verdict in ("defect", "debatable", "ok"):
            for label in loose:
                if label["verdict"] == verdict:
                    hit = left > 0
                    left -= hit
                    codes = sorted({f"{d.code}@{d.start.row}" for d in free})
                    # With a defect in the file, what is left over is unknown, not a false alarm on the ok label.
                    if verdict == "ok" and any(other["verdict"] != "ok" for other in mine):
                        hit = False
                    count(score, verdict, hit, f"{where} {codes} {label['why']}")
        score.unlabelled += max(left, 0)


def count(score: Score, verdict: str, hit: bool, text: str) -> None:
    if verdict == "debatable":
        score.debatable += 1
        score.debatable_hit += hit
    elif verdict == "ok":
        if hit:
            score.false_alarms.append(text)
        else:
            score.silent_ok += 1
    elif hit:
        score.hits += 1
    else:
        score.misses.append(text)


def evaluate(root: Path, labels: list[dict[str, Any]]) -> dict[str, Score]:
    """Score all labels whose files are under ``root``."""
    scores: dict[str, Score] = defaultdict(Score)
    settings = Settings(root=str(root))
    with tempfile.TemporaryDirectory() as scratch:
        for where, folder, file, group in places(root, labels, Path(scratch)):
            if file is None:
                for label in group:
                    scores[label["pitfall"]].absent.append(f"{where} {label['verdict']}")
                continue
            files = discover([str(folder)], settings) if folder is not None else [str(file)]
            found = findings(files, settings)
            score_file(where, group, found.get(str(file), []), scores)
    return scores


def places(
    root: Path, labels: list[dict[str, Any]], scratch: Path
) -> Iterator[tuple[str, Path | None, Path | None, list[dict[str, Any]]]]:
    """(name, project folder, file, its labels) for every labelled file; a file of None is not there or not Python."""
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    by_path: dict[tuple[str, str, str | None], list[dict[str, Any]]] = defaultdict(list)
    for label in labels:
        if "repo" in label:
            by_path[label["repo"], label["path"], label.get("commit")].append(label)
        else:
            by_id[str(label["file_id"])].append(label)
    for identifier, group in by_id.items():
        matches = [p for folder in (root, root / "files") for p in folder.glob(f"{identifier}.*")]
        python = next((p for p in matches if p.suffix in SUFFIXES + markdown.SUFFIXES), None)
        name = matches[0].name if matches else identifier
        yield (name, None, python, group)
    folders: dict[tuple[str, str | None], Path | None] = {}
    for (repository, path, commit), group in by_path.items():
        if (repository, commit) not in folders:
            found = locate_repository(root, repository)
            folders[repository, commit] = checked_out(found, commit, scratch) if found else None
        folder = folders[repository, commit]
        file = folder / path if folder is not None else None
        yield (f"{repository}/{path}", folder, file if file is not None and file.is_file() else None, group)


def table(scores: dict[str, Score]) -> str:
    rows = ["pitfall  defects  hits  misses  ok  false alarms  precision  recall  debatable (hit)  unlabelled  absent"]
    for pitfall, s in sorted(scores.items()):
        rows.append(
            f"{pitfall:<8} {s.hits + len(s.misses):>7} {s.hits:>5} {len(s.misses):>7} "
            f"{s.silent_ok + len(s.false_alarms):>3} {len(s.false_alarms):>13} {s.precision:>10.3f} {s.recall:>7.3f} "
            f"{f'{s.debatable} ({s.debatable_hit})':>16} {s.unlabelled:>11} {len(s.absent):>7}"
        )
    for pitfall, s in sorted(scores.items()):
        rows += [f"{pitfall} miss: {text}" for text in s.misses]
        rows += [f"{pitfall} FALSE ALARM: {text}" for text in s.false_alarms]
        rows += [f"{pitfall} not linted (absent or not Python): {text}" for text in s.absent]
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--labels", type=Path, action="append", help="label files [default: ../shared/corpus]")
    parser.add_argument("--pitfall", action="append", help="only these pitfalls, e.g. P1")
    options = parser.parse_args(argv)
    labels = []
    for file in options.labels or [DEFAULT_LABELS]:
        labels += [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if options.pitfall:
        labels = [label for label in labels if label["pitfall"] in options.pitfall]
    print(table(evaluate(options.root, labels)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
