"""Make a release in a clean checkout: ``python -m tools.release``.

The version is the one of pyproject.toml. The pages and the two constants say that the index holds the name, the wheel
is built and checked in a new venv, and the result is committed and tagged. Nothing is pushed: pushing the tag and
publishing the release on GitHub uploads it. Where a step fails, the checkout is as it was.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Refused", "flip", "main"]

CONSTANTS = ("fa_lint/installing.py", "fa_lint_runtime/dependencies.py")
_WHERE = r" @ git\+https://github\.com/fa-lint/fa-lint(?![\w./@-])"
_MISTAKE = "import torch\n\n\ndef unit(x):\n    return x / x.norm(-1)\n"


class Refused(Exception):
    """Why there can be no release of this checkout."""


def flip(text: str, version: str) -> str:
    """Return a file as it stands in the release: by name from the index, and by tag from the repository."""
    text = text.replace("_RELEASED = False", "_RELEASED = True")
    text = re.sub(rf'"fa-lint(\[[\w,]+\])?{_WHERE}"', r'"fa-lint\1"', text)
    text = re.sub(r"(rev: |fa-lint/fa-lint@)main +# a commit[^\n]*", rf"\1v{version}", text)
    text = text.replace("There is no release yet, so every script installs from the repository. ", "")
    return text.replace("There is no release yet. ", "").replace(" There is no release yet.", "")


def main(root: Path) -> None:
    """Release the checkout at ``root``."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if _git(root, "status", "--porcelain"):
        raise Refused("there are changes that are not committed")
    if _git(root, "tag", "--list", f"v{version}"):
        raise Refused(f"there is a tag v{version} already; raise the version in pyproject.toml")
    if "\n## Unreleased\n" not in (root / "CHANGELOG.md").read_text(encoding="utf-8"):
        raise Refused("CHANGELOG.md has no section Unreleased")
    try:
        _write(root, version)
        with tempfile.TemporaryDirectory() as folder:
            _check(_build(root, Path(folder)), Path(folder), version)
        _git(root, "commit", "-qam", f"Release {version}")
        _git(root, "tag", "-a", f"v{version}", "-m", f"fa-lint {version}")
    except BaseException:
        _git(root, "reset", "-q", "--hard")
        raise
    print(f"Tagged v{version}. To publish: git push origin HEAD v{version}, then a release of the tag on GitHub.")


def _write(root: Path, version: str) -> None:
    for path in [*root.glob("*.md"), *root.glob("docs/*.md"), *(root / name for name in CONSTANTS)]:
        text = flip(path.read_text(encoding="utf-8"), version)
        if path.name == "CHANGELOG.md":
            today = datetime.now(UTC).date().isoformat()
            text = text.replace("\n## Unreleased\n", f"\n## Unreleased\n\n## {version} - {today}\n", 1)
        path.write_text(text, encoding="utf-8")


def _build(root: Path, folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(root)], check=True)
    (wheel,) = folder.glob("fa_lint-*.whl")
    return wheel


def _check(wheel: Path, folder: Path, version: str) -> None:
    """Install the wheel in a new venv and look for one mistake with it, in a folder where nothing else is."""
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([scripts / "python", "-m", "pip", "install", "-q", str(wheel)], check=True)
    own = folder / "own"
    own.mkdir()
    (own / "train.py").write_text(_MISTAKE, encoding="utf-8")
    for arguments, code, said in ((["--version"], 0, version), ([], 1, "FAL101")):
        done = subprocess.run([scripts / "fa-lint", *arguments], cwd=own, capture_output=True, text=True, check=False)
        if done.returncode != code or said not in done.stdout:
            raise Refused(f"the installed wheel: fa-lint {' '.join(arguments)} gave {done.stdout + done.stderr}")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    try:
        main(Path(__file__).resolve().parent.parent)
    except Refused as refused:
        sys.exit(f"release: {refused}")
