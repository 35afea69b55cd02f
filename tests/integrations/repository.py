"""Git repositories in temporary folders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["ROOT", "Repository"]

ROOT = Path(__file__).parents[2]


class Repository:
    """A git repository with an identity of its own and no configuration of the machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        for key, value in (("user.name", "t"), ("user.email", "t@t"), ("commit.gpgsign", "false")):
            self.git("config", key, value)

    def git(self, *arguments: str) -> str:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        environment = {**plain, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        return subprocess.run(
            ["git", "-C", str(self.folder), *arguments], check=True, capture_output=True, text=True, env=environment
        ).stdout.strip()

    def commit(self, message: str = "c") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")
