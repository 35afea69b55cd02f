#!/usr/bin/env bash
# The first minutes of a user, as a transcript: a folder of one's own with one mistake, its fix, what git and Ruff say
# of it, and the program before and after. In a clone whose README commands have run: `bash tools/first_run.sh`.
set -uo pipefail
cd "$(mktemp -d)" || exit 2
run() {
  echo "\$ $*"
  "$@" 2>&1
  echo "[exit code $?]"
}
cat > train.py << 'EOF'
import torch


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(-1)


torch.manual_seed(0)
print(unit(torch.randn(4, 4)).norm(dim=-1))
EOF
git init -q . && git add . && git -c user.name=user -c user.email=user@example.org commit -qm "one mistake"
run python train.py
run fa-lint --no-cache
run fa-lint --no-cache --fix --unsafe-fixes
run git --no-pager diff
run ruff check --no-cache --select F,I
run python train.py
