"""Claims on cells: who is alive, what is stale, how a claim is renewed."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fa_lint_runtime.audit import claims
from fa_lint_runtime.audit.claims import claimed, is_held, running


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def far(folder: Path, content: str = "another-machine 1") -> Path:
    path = folder / "cell+0.claim"
    path.write_text(content)
    return path


def age(path: Path) -> float:
    return claims._now(path.parent) - path.stat().st_mtime


def test_a_claim_is_renewed_while_it_is_held_and_not_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.6)
    with claimed(tmp_path, "cell") as ours:
        assert ours
        (path,) = tmp_path.glob("*.claim")
        os.utime(path, (1, 1))
        assert eventually(lambda: age(path) < 60)
        first = path.stat().st_mtime_ns
        assert eventually(lambda: path.stat().st_mtime_ns > first), "again and again"
        assert is_held(tmp_path, "cell")
        path.unlink()
        time.sleep(0.3)
        assert not path.exists(), "a claim that was taken over does not come back"
    assert not list(tmp_path.iterdir())


def test_a_holder_renews_several_times_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Done:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return len(waits) > 2

    path = far(tmp_path)
    path.unlink()
    claims._renew(path, Done())  # type: ignore[arg-type]
    assert max(waits) <= claims.LEASE / 3
    assert len(waits) == 3, "a file server that is away for a moment ends nothing"


def test_a_process_of_another_user_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(process: int, signal: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    far(tmp_path, f"{socket.gethostname()} 1")
    monkeypatch.setattr(os, "kill", forbidden)
    with claimed(tmp_path, "cell") as ours:
        assert not ours
    assert running(tmp_path) == 1


def test_a_process_that_is_gone_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(process: int, signal: int) -> None:
        raise ProcessLookupError

    far(tmp_path, f"{socket.gethostname()} 1")
    monkeypatch.setattr(os, "kill", gone)
    assert running(tmp_path) == 0


def test_windows_is_not_asked_for_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = far(tmp_path, f"{socket.gethostname()} 1")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it would end the process"))
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_held(tmp_path, "cell")
    os.utime(path, (1, 1))
    assert not is_held(tmp_path, "cell"), "the lease decides"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"another-machine", b"another-machine x", b"a b 1"])
def test_a_damaged_claim_is_stale(tmp_path: Path, content: bytes) -> None:
    far(tmp_path).write_bytes(content)
    assert not is_held(tmp_path, "cell")
    with claimed(tmp_path, "cell") as ours:
        assert ours
        assert (tmp_path / "cell+1.claim").exists()
    assert not list(tmp_path.iterdir())


def test_a_file_with_no_number_is_no_claim(tmp_path: Path) -> None:
    (tmp_path / "cell+x.claim").write_text("another-machine 1")
    (tmp_path / "cell.claim").write_text("another-machine 1")
    with claimed(tmp_path, "cell") as ours:
        assert ours
        assert running(tmp_path) == 1
