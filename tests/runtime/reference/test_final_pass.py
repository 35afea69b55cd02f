"""The final pass of CHECKLIST.md: its commands, in order, on a small trained network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

TRAIN = """
import torch
import torch.nn.functional as F
from fa_lint_runtime.reference import Recipe, ResidualMLP, gaussian_mixture, train

def data():
    return gaussian_mixture(32, noise=0.3, train=512, test=512)

def factory():
    return ResidualMLP(32, 16, 10, 2)

def batches():
    return data().eval_batches(128)

def gamma(loss, hidden, credit):
    (g,) = torch.autograd.grad(loss, hidden)
    return F.cosine_similarity(credit, g, dim=-1)

if __name__ == "__main__":
    recipe = Recipe(optimizer="adam", lr=1e-2, weight_decay=0.0, cosine=False, epochs=3, batch_size=64)
    train(factory, "dfa", data(), recipe, 1).save("run.pt")
"""

TEST = """
import torch
from train import gamma

def test_gamma():
    hidden = torch.ones(2, 4, requires_grad=True)
    gamma((hidden * 1e-10).sum(), hidden, torch.ones(2, 4))
"""


def commands() -> list[str]:
    final = (ROOT / "CHECKLIST.md").read_text(encoding="utf-8").partition("## Final pass")[2]
    blocks = re.findall(r"(?ms)^ *```bash\n(.*?)^ *```$", final)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_the_commands_do_what_the_final_pass_says(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "test_train.py").write_text(TEST)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def shell(command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert shell("git init -q && python train.py && git add -A")[0] == 0
    lint, inspect, diagnose, places, guarded, confirmed, table = [shell(command) for command in commands()]
    assert lint[0] == 1
    assert "FAL201" in lint[1]
    assert inspect[0] == 0, inspect[1]
    assert diagnose[0] in (0, 1, 3), diagnose[1]
    assert places[0] == 0
    assert re.search(r"train\.py:\d+:.*F\.cosine_similarity", places[1])
    assert guarded[0] == 0, guarded[1]
    assert confirmed[0] == 1
    assert "confirmed at run time" in confirmed[1]
    assert table[0] == 0, table[1]
    (header,) = re.findall(r"(?m)^\| l \|.*$", table[1])
    columns = [cell.strip() for cell in header.split("|")]
    assert {"‖h‖", "‖g‖", "Γ"} <= set(columns)
