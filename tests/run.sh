#!/usr/bin/env bash
# Installs the checkout with its test dependencies into the active environment and runs every check.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pip install -q -c constraints.txt -e ".[runtime,notebook,test]"
ruff check .
ruff format --check fa_lint
mypy
coverage erase
coverage run -m pytest --ignore tests/runtime -n 0
coverage combine -q
coverage report --fail-under 95
python -m pytest tests/runtime -n 0
python -m pytest --doctest-modules fa_lint_runtime -q
