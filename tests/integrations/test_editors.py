"""The configuration of an editor from its page, in the editor itself, without a screen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import UNSAFE, UNSAFE_FIXED, write
from tests.integrations.repository import ROOT

pytest.importorskip("pygls", reason="the extra `lsp` is not installed")
_NVIM = shutil.which("nvim")
_SESSION = """
vim.cmd.edit('a.py')
vim.wait(30000, function() return #vim.diagnostic.get(0) > 0 end)
for _, found in ipairs(vim.diagnostic.get(0)) do
  io.stdout:write(found.code, ' ', found.lnum + 1, ':', found.col + 1, '\\n')
end
vim.api.nvim_win_set_cursor(0, { 4, 16 })
vim.lsp.buf.code_action({ filter = function(action) return action.title:find('Name it') end, apply = true })
vim.wait(30000, function() return vim.bo.modified end)
vim.cmd.write()
vim.cmd.quitall()
"""


def _snippet(language: str) -> str:
    page = (ROOT / "docs" / "editors.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page)
    return str(found)


def _has_lsp_config() -> bool:
    if _NVIM is None:
        return False
    version = subprocess.run([_NVIM, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"NVIM v(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= (0, 11)


@pytest.mark.skipif(not _has_lsp_config(), reason="Neovim 0.11 or newer is not installed")
def test_neovim_shows_and_fixes(tmp_path: Path) -> None:
    assert _NVIM is not None
    write("bin/fa-lint", f"#!{sys.executable}\nfrom fa_lint.cli import main\nmain()\n").chmod(0o755)
    write("project/a.py", UNSAFE)
    write("project/fa-lint.toml", "")
    write("init.lua", _snippet("lua") + _SESSION)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        **{name: str(tmp_path / "home") for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")},
    }
    # The session runs once the editor is up: `vim.lsp.enable` acts on files that are opened later.
    command = [_NVIM, "--headless", "--clean", "-c", f"luafile {tmp_path / 'init.lua'}"]
    done = subprocess.run(
        command, cwd=tmp_path / "project", env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "FAL101 4:16\n", done.stdout + done.stderr
    assert (tmp_path / "project" / "a.py").read_text() == UNSAFE_FIXED
