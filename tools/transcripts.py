"""Run what the pages show and write the output below it: ``python -m tools.transcripts [PAGE...]``.

In a page, a Python block with ``title="a.py"`` is that file; a Python block without a title is run, and a ``text``
block right after it is its output; in a ``console`` block every line that starts with ``$`` is a command. All of it
runs in one empty folder a page, so that later blocks see the files of earlier ones.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["NEEDS_TORCH", "PAGES", "Failed", "updated"]

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_TORCH = re.compile(r"(?m)^(\$ (pytest|python|fa-diagnose)|\$ .*--verify|import torch|from fa_lint_runtime)")
_BLOCK = re.compile(r"(?ms)^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$\n?")
_TITLE = re.compile(r'python title="(?P<name>[\w./-]+)"')


class Failed(Exception):
    """A program of a page does not run."""


def updated(page: str) -> str:
    """Return a page with every output as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        parts, end = [], 0
        printed: str | None = None
        for block in _BLOCK.finditer(page):
            between = page[end : block.start()]
            info, code = block["info"], block["code"]
            if info == "text" and printed is not None and not between.strip():
                code = printed
            printed = None
            if title := _TITLE.fullmatch(info):
                target = Path(folder, title["name"])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(code, encoding="utf-8")
            elif info == "python":
                printed = _program(code, folder)
            elif info == "console":
                commands = [line for line in code.splitlines() if line.startswith("$ ")]
                code = "".join(f"{line}\n{_command(line[2:], folder)}" for line in commands)
            parts += [between, f"```{info}\n{code}```\n"]
            end = block.end()
        return "".join([*parts, page[end:]])


def _environment() -> dict[str, str]:
    foreign = ("PYTEST_", "COV_", "GIT_", "GITHUB_")
    # Programs print something else where these say that they run in a CI job.
    plain = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and k not in ("CI", "BUILD_NUMBER")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{plain['PATH']}"
    quiet = {"NO_COLOR": "1", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    return plain | quiet | {"PATH": path, "COLUMNS": "100", "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}


def _run(command: list[str], folder: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # How long a test took and where the folder is are no part of what a page says.
    output = re.sub(r" in \d+\.\d+s\b", "", done.stdout.replace(f"{folder}{os.sep}", ""))
    return done.returncode, "".join(f"{line.rstrip()}\n" for line in output.splitlines())


def _program(code: str, folder: str) -> str:
    status, output = _run([sys.executable, "-c", code], folder)
    if status:
        raise Failed(f"{code}\n{output}")
    return output


def _command(command: str, folder: str) -> str:
    status, output = _run(["bash", "-c", command], folder)
    # 1 is an answer of all tools here: findings, a failing test, a verdict.
    if status not in (0, 1, 3):
        raise Failed(f"{command}: exit code {status}\n{output}")
    return output


def main() -> None:
    """Rewrite the pages that are named, or all."""
    for path in [Path(name) for name in sys.argv[1:]] or PAGES:
        text = path.read_text(encoding="utf-8")
        if (new := updated(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
