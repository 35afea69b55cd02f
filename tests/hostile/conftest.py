"""A limit of time and one of memory for every test here: what hangs or swells fails, and nothing else with it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_SECONDS, _SLOW_SECONDS = 300, 1_800
_BYTES = 6 << 30


@pytest.fixture(autouse=True)
def _limits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Processes that a test starts inherit the limit of memory."""
    if sys.platform != "linux":
        yield
        return
    import resource

    seconds = _SECONDS if request.node.get_closest_marker("slow") is None else _SLOW_SECONDS

    def ring(*_: object) -> None:
        pytest.fail(f"took over {seconds} seconds")

    before = resource.getrlimit(resource.RLIMIT_AS)
    # Libraries of a test before this one may have mapped much that nobody uses.
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    old = signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _BYTES, before[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, before)
