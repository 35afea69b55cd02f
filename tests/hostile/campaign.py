"""A campaign of hypothesis over everything that fa-lint reads: ``python -m tests.hostile.campaign --minutes 60``.

Each surface gets its turn, again and again, until the time is over, in a process of its own that an input may kill. Of
every failure the smallest input is kept in ``build/campaign``, and the exit code is 1; so is the last input that took
over five seconds. Each input has twenty seconds, each process four gigabytes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from tests.hostile.surfaces import SURFACES, Surface

_SECONDS, _SLOW = 20, 5
_MEMORY = 4 << 30
_BATCH = 200
_FOLDER = Path("build/campaign").absolute()


class TooLong(BaseException):
    """Not an Exception, which a reader may catch."""


def _ring(*_: object) -> None:
    raise TooLong


def _attack(surface: Surface, number: int, examples: int) -> dict[str, Any]:
    """One batch; hypothesis makes the input small that breaks something. The last input lies in the folder."""
    found: dict[str, Any] = {"tried": 0, "slowest": 0.0, "error": ""}
    kept = _FOLDER / f"{surface.name.replace(' ', '-')}-{number}.txt"

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(surface.inputs)
    def check(value: Any) -> None:
        kept.write_text(repr(value), errors="backslashreplace")
        found["tried"] += 1
        began = time.perf_counter()
        signal.alarm(_SECONDS)
        try:
            surface.check(value)
        finally:
            signal.alarm(0)
            seconds = time.perf_counter() - began
            found["slowest"] = max(found["slowest"], seconds)
            if seconds > _SLOW:
                kept.with_suffix(".slow").write_text(f"{seconds:.1f} s: {value!r}", errors="backslashreplace")

    try:
        check()
        kept.unlink(missing_ok=True)
    except BaseException as error:
        found["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        with kept.open("a", errors="backslashreplace") as stream:
            stream.write("\n\n" + "".join(traceback.format_exception(error)))
    return found


def attack(surface: Surface, number: int, examples: int = _BATCH) -> dict[str, Any]:
    """One batch in a child; what kills the child is a failure like another."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ours)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            signal.signal(signal.SIGALRM, _ring)
            warnings.simplefilter("ignore")
            with os.fdopen(theirs, "w") as stream:
                json.dump(_attack(surface, number, examples), stream)
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    lost = {"tried": 1, "slowest": 0.0, "error": f"the process died: {os.waitstatus_to_exitcode(status)}"}
    return json.loads(text) if text else lost  # type: ignore[no-any-return]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--surface", action="append", choices=list(SURFACES))
    told = parser.parse_args()
    tried: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    end = time.monotonic() + 60 * told.minutes
    number = told.seed
    while time.monotonic() < end:
        for name in told.surface or SURFACES:
            found = attack(SURFACES[name], number)
            tried[name] += found["tried"]
            slowest[name] = max(slowest.get(name, 0.0), found["slowest"])
            if found["error"]:
                broken[name] += 1
                print(f"{name}, seed {number}: {found['error']}", flush=True)
            if time.monotonic() > end:
                break
        number += 1
        for name in tried:
            print(f"{name:16} {tried[name]:9,} inputs  {broken[name]:3} broken  slowest {slowest[name]:.2f} s")
        print(f"{'all':16} {tried.total():9,} inputs  {broken.total():3} broken", flush=True)
    return int(bool(broken.total()))


if __name__ == "__main__":
    sys.exit(main())
