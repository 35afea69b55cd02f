"""Speed as a ratio in one run: ``python -m benchmarks.linter [PATH] [--torchfix PYTHON] [--sample N]``.

Lints PATH (default: the installed torch) cold, cold with one process, and cached, beside Ruff (``--select F
--no-cache``) and ``ast.parse`` of every file. TorchFix is timed where it is installed: it pins an old libcst, so it
usually lives in a venv of its own (``--torchfix path/to/python``), and on a sample of the files, whose time is scaled
by bytes.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path


def timed(command: list[str], folder: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command (children included); its findings and exit code do not matter here."""
    before = os.times()
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall = time.perf_counter() - began
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, cpu


def parse_all(files: list[Path]) -> float:
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            try:
                ast.parse(file.read_bytes())
            except (SyntaxError, ValueError):
                continue
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linter", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--torchfix", help="a Python that has TorchFix")
    parser.add_argument("--sample", type=int, default=150, help="files for TorchFix")
    options = parser.parse_args()
    path = options.path
    if path is None:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            sys.exit("torch is not installed; give a path")
        path = Path(spec.origin).parent
    files = sorted(p for p in path.rglob("*.py") if "__pycache__" not in p.parts)
    size = sum(p.stat().st_size for p in files)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}")
    print(f"{path}: {len(files)} files, {size / 1e6:.1f} MB\n")
    print(f"{'what':<44} {'wall s':>8} {'CPU s':>8} {'/ ruff':>8}")
    lint = [sys.executable, "-m", "fa_lint", "--isolated", "--exit-zero", "--output-format", "concise", str(path)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [("fa-lint, cold", timed([*lint, "--no-cache"], folder))]
        rows.append(("fa-lint, cold, -j 1", timed([*lint, "--no-cache", "-j", "1"], folder)))
        timed(lint, folder)
        rows.append(("fa-lint, cached", timed(lint, folder)))
        places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        ruff = shutil.which("ruff", path=os.pathsep.join(places))
        base = None
        if ruff is not None:
            base, cpu = timed([ruff, "check", "--isolated", "--select", "F", "--no-cache", str(path)], folder)
            rows.append(("ruff --select F --no-cache", (base, cpu)))
        seconds = parse_all(files)
        rows.append(("ast.parse of every file (one process)", (seconds, seconds)))
        if options.torchfix:
            sample = files[:: max(len(files) // options.sample, 1)]
            share = sum(p.stat().st_size for p in sample) / size
            command = [options.torchfix, "-m", "torchfix", "--select", "ALL", *map(str, sample)]
            wall, cpu = timed(command, folder)
            rows.append((f"TorchFix, {len(sample)} files, scaled by bytes", (wall / share, cpu / share)))
        else:
            print("TorchFix: not installed here (give --torchfix PYTHON)", file=sys.stderr)
    for name, (wall, cpu) in rows:
        ratio = f"{wall / base:8.2f}" if base else f"{'–':>8}"
        print(f"{name:<44} {wall:>8.2f} {cpu:>8.2f} {ratio}")


if __name__ == "__main__":
    main()
