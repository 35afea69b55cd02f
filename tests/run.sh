#!/usr/bin/env bash
# Installs the checkout with its test dependencies into the active environment and runs every check.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pip install -q -c constraints.txt -e ".[test-integrations,test-runtime]"
# The documentation is looked at in a browser; where there is none, that test skips and says so. With
# FA_LINT_APT_INSTALL=1 (set by .ci/run, for a machine that is thrown away) the browser is installed.
if [ "${FA_LINT_APT_INSTALL:-}" = 1 ] && ! command -v chromium > /dev/null; then
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } > /dev/null 2>&1 ||
    echo "chromium cannot be installed here: the site is not looked at"
fi
# One thread a process, as two torch thread pools would fight for two cores.
export OMP_NUM_THREADS=1
ruff check .
ruff format --check fa_lint fa_lint_runtime tools benchmarks tests
# Each of these needs one core: types on one, this repository's own findings and the examples in docstrings on the other.
mypy &
types=$!
fa-lint --quiet .
python -m pytest --doctest-modules fa_lint fa_lint_runtime tools -q
wait "$types"
# By file, on two cores.
# With its profile "ci", hypothesis draws the same examples on every machine; a bare pytest draws new ones.
python -m pytest tests/runtime -q --hypothesis-profile ci -n 2 --dist loadfile
# On the GPU where there is one, else on two devices in the memory of the host, which must be there before torch is.
python -m pytest -p tests.device_double tests/runtime/device -q --hypothesis-profile ci
python -m pytest tests --ignore tests/runtime -m slow -q --hypothesis-profile ci -n 2
# Last, so that the count of the whole linter suite closes the log; slow tests would crawl under the tracer.
coverage erase
coverage run -m pytest tests --ignore tests/runtime -m "not slow" -q --hypothesis-profile ci -n 2 --dist loadfile
coverage combine -q
coverage report --fail-under 95
