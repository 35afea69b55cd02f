"""Draw the README's terminal: ``python -m tools.picture``.

The README is the source: fa-lint runs on the file that it shows, with colours.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

__all__ = ["PICTURE", "picture"]

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "assets" / "finding.svg"
_FILE = re.compile(r'(?ms)^```python title="(?P<name>[\w.]+)"\n(?P<code>.*?)^```$')
_COMMAND = "fa-lint gamma.py --color always --no-cache"
_WIDTH = 110


def picture() -> str:
    """Return the SVG of a terminal in which fa-lint checks the README's example."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for block in _FILE.finditer(readme):
            Path(folder, block["name"]).write_text(block["code"], encoding="utf-8")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "COLUMNS": str(_WIDTH)}
        environment.pop("NO_COLOR", None)
        done = subprocess.run(
            _COMMAND.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text.assemble(("$ ", "bold green"), "fa-lint gamma.py"))
    console.print(Text.from_ansi(done.stdout.rstrip()), highlight=False)
    drawn = console.export_svg(title="fa-lint", unique_id="fa-lint")
    # No request leaves for a font server: the fonts that the system has are good enough.
    return re.sub(r"(?s)@font-face \{.*?\}\s*", "", drawn)


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(), encoding="utf-8")
