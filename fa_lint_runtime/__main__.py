"""``python -m fa_lint_runtime``: the console script ``fa-diagnose``, for ``torchrun -m``."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
