"""The transcript of the first minutes of a user is made by a command, and ends well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / "tools" / "first_run.sh"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_transcript() -> None:
    pytest.importorskip("torch", reason="the extra `runtime` is not installed")
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        ["bash", str(_SCRIPT)], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("[exit")] == [
        f"[exit code {code}]" for code in (0, 1, 0, 0, 0, 0)
    ], done.stdout
    assert "FAL101" in done.stdout
    assert "+    return x / x.norm(dim=-1, keepdim=True)" in done.stdout
    assert done.stdout.count("tensor([1.0000, 1.0000, 1.0000, 1.0000])") == 1, "only after the fix"
