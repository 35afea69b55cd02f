#!/usr/bin/env bash
# Installs the checkout with its test dependencies into the active environment and runs every check.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pip install -q -c constraints.txt -e ".[runtime,report,notebook,test]"
ruff check .
ruff format --check fa_lint
mypy
python -m pytest tests/runtime -q
python -m pytest --doctest-modules fa_lint_runtime -q
python -m pytest tests --ignore tests/runtime -m slow -q
# Last, so that the count of the whole linter suite closes the log; slow tests would crawl under the tracer.
coverage erase
coverage run -m pytest tests --ignore tests/runtime -m "not slow" -q
coverage combine -q
coverage report --fail-under 95
