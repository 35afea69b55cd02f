"""The language server under what no editor sends: broken messages, huge documents, a key every millisecond."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("pygls", reason="the extra `lsp` is not installed")

from tests.conftest import UNSAFE, write
from tests.hostile.messages import _ask, _note

_START = _ask("initialize", processId=None, rootUri=None, capabilities={})
_PLACE = {"line": 3, "character": 16}


class Server:
    """``fa-lint server`` as a process; what it writes is read on a thread."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "fa_lint", "server"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.found: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.send(_START)

    def _read(self) -> None:
        assert self.process.stdout is not None
        while head := self.process.stdout.readline():
            if head.lower().startswith(b"content-length:"):
                length = int(head.split(b":")[1])
                while self.process.stdout.readline().strip():
                    pass
                self.found.append(json.loads(self.process.stdout.read(length)))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        self.process.stdout.close()
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self.raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def open(self, uri: str, text: str) -> None:
        document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.send(_note("textDocument/didOpen", textDocument=document))

    def change(self, uri: str, version: int, text: str) -> None:
        document = {"uri": uri, "version": version}
        self.send(_note("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}]))

    def published(self, uri: str) -> list[dict[str, Any]]:
        return [m["params"] for m in list(self.found) if m.get("params", {}).get("uri") == uri]

    def until(self, codes: list[str], uri: str, version: int, seconds: float = 100) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for params in self.published(uri):
                if params.get("version") == version and [d["code"] for d in params["diagnostics"]] == codes:
                    return
            time.sleep(0.05)
        raise AssertionError((self.process.poll(), str(self.found)[-2_000:]))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


_BODIES = [
    b"",
    b"x",
    b"{}",
    b"[]",
    b"null",
    b"[1, [2]]",
    b"\xff\xfe",
    b'{"jsonrpc": "2.0"}',
    b'{"jsonrpc": "2.0", "method": 5}',
    b'{"jsonrpc": "2.0", "id": {}, "method": "textDocument/hover", "params": []}',
    b'{"jsonrpc": "1.0", "id": 1, "method": "textDocument/hover"}',
    b'{"jsonrpc": "2.0", "id": 3, "method": "textDocument/hover", "params": {"textDocument": {"uri": 5}}}',
    b'{"jsonrpc": "2.0", "id": 3, "method": "textDocument/codeAction", "params": null}',
    b'{"jsonrpc": "2.0", "method": "textDocument/didChange", "params": {"textDocument": {"uri": "file:///no.py",'
    b' "version": 1}, "contentChanges": [{"range": {"start": {"line": -1, "character": 99999999999}}, "text": ""}]}}',
    b'{"jsonrpc": "2.0", "method": "' + b"[" * 50_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b"9" * 5_000,
    b'{"jsonrpc": "2.0", "id": 8, "result": {"a": 1}}',
    b'{"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": "none"}}',
    b'{"jsonrpc": "2.0", "id": 9, "method": "workspace/executeCommand", "params": {"command": "rm", "arguments": [1]}}',
]


@pytest.mark.parametrize("number", range(len(_BODIES)))
def test_a_broken_message_costs_no_other(number: int, server: Server) -> None:
    body = _BODIES[number]
    server.open("file:///tmp/none/a.py", UNSAFE)
    if body:
        server.raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    server.raw(b"Nonsense: 1\r\nContent-Type: x\r\n\r\n")
    server.open("file:///tmp/none/b.py", UNSAFE)
    server.until(["FAL101"], "file:///tmp/none/b.py", 1)


@pytest.mark.parametrize(
    "uri",
    ["file:///a%00b.py", "untitled:Untitled-1", "file://host/share/a.py", "http://[::1", "", "file:", "x" * 70_000,
     "file:///tmp/%ff%fe.py", "file:///tmp/none/" + "d/" * 3_000 + "a.py"],
    ids=lambda uri: uri[:12],
)  # fmt: skip
def test_odd_addresses(uri: str, server: Server) -> None:
    server.open(uri, UNSAFE)
    server.send({**_ask("textDocument/hover", textDocument={"uri": uri}, position=_PLACE), "id": "h"})
    server.open("file:///tmp/none/b.py", UNSAFE)
    server.until(["FAL101"], "file:///tmp/none/b.py", 1)


def test_a_document_of_many_megabytes(server: Server) -> None:
    """Longer than `max-file-size` it is a finding; just below, it is read in the end."""
    server.open("file:///tmp/none/long.py", UNSAFE + "#" * 20_000_000)
    server.until(["FAL900"], "file:///tmp/none/long.py", 1)
    server.open("file:///tmp/none/lines.py", UNSAFE + "x = 1\n" * 60_000)
    server.until(["FAL101"], "file:///tmp/none/lines.py", 1, 250)


def test_a_burst_of_changes_is_read_once(server: Server) -> None:
    uri = "file:///tmp/none/a.py"
    server.open(uri, "")
    for version in range(2, 2_002):
        server.change(uri, version, UNSAFE if version % 2 else UNSAFE + "(" * version)
    server.until(["FAL101"], uri, 2_001)
    assert len(server.published(uri)) < 200


def test_a_client_that_goes_away(server: Server) -> None:
    """The client closes the pipe in the middle of a message."""
    server.raw(b"Content-Length: 1000\r\n\r\n{")
    assert server.process.stdin is not None
    server.process.stdin.close()
    server.process.wait(60)


def test_a_configuration_that_breaks_and_heals(server: Server) -> None:
    path = write("a.py", UNSAFE).absolute()
    server.open(path.as_uri(), UNSAFE)
    server.until(["FAL101"], path.as_uri(), 1)
    for version, text in enumerate(
        ("select = 5", f"max-file-size = {'9' * 5_000}", "[" * 3_000, "\0", 'ignore=["FAL1"]')
    ):
        write("fa-lint.toml", text)
        server.change(path.as_uri(), version + 2, UNSAFE)
    server.until([], path.as_uri(), 6)
