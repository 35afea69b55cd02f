"""Messages of the language server protocol, and a server in this process that is sent others."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import sys
import threading
from typing import Any

from tests.conftest import SAFE, UNSAFE

_HERE = {"line": 3, "character": 4}
_URI = "file:///tmp/none/a.py"
_CELL = "vscode-notebook-cell:/tmp/none/n.ipynb#1"


def _note(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def _ask(method: str, **params: Any) -> dict[str, Any]:
    return {**_note(method, **params), "id": 7}


_document = {"uri": _URI, "languageId": "python", "version": 1, "text": UNSAFE}
_notebook = {"uri": "file:///tmp/none/n.ipynb", "notebookType": "jupyter-notebook", "version": 1,
             "cells": [{"kind": 2, "document": _CELL}]}  # fmt: skip
_change = {"range": {"start": _HERE, "end": {"line": 3, "character": 90}}, "text": "return 1"}
MESSAGES = [
    _note("textDocument/didOpen", textDocument=_document),
    _note("textDocument/didChange", textDocument={"uri": _URI, "version": 2}, contentChanges=[{"text": SAFE}]),
    _note("textDocument/didChange", textDocument={"uri": _URI, "version": 3}, contentChanges=[_change]),
    _note("textDocument/didSave", textDocument={"uri": _URI}),
    _note("textDocument/didClose", textDocument={"uri": _URI}),
    _note("notebookDocument/didOpen", notebookDocument=_notebook,
          cellTextDocuments=[{**_document, "uri": _CELL}]),
    _note("notebookDocument/didChange", notebookDocument={"uri": _notebook["uri"], "version": 2},
          change={"cells": {"textContent": [{"document": {"uri": _CELL, "version": 2}, "changes": [_change]}]}}),
    _note("notebookDocument/didClose", notebookDocument={"uri": _notebook["uri"]},
          cellTextDocuments=[{"uri": _CELL}]),
    _note("workspace/didChangeConfiguration", settings={}),
    _note("workspace/didChangeWatchedFiles", changes=[{"uri": _URI, "type": 1}]),
    _note("$/cancelRequest", id=7),
    _note("$/setTrace", value="verbose"),
    _ask("textDocument/hover", textDocument={"uri": _URI}, position=_HERE),
    _ask("textDocument/codeAction", textDocument={"uri": _URI}, range={"start": _HERE, "end": _HERE},
         context={"diagnostics": []}),
    {"jsonrpc": "2.0", "id": 1, "result": None},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "m"}},
    {"jsonrpc": "2.0", "method": "initialized", "params": {}},
]  # fmt: skip


class Client:
    """What the server writes, as messages."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        """Nothing to close."""

    def messages(self) -> list[dict[str, Any]]:
        found, rest = [], self.written
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            found.append(json.loads(rest[:length]))
            rest = rest[length:]
        return found


@functools.cache
def _quiet() -> None:
    # pygls logs every message that it cannot read, with its traceback.
    logging.disable(logging.CRITICAL)


def serve(bodies: list[bytes]) -> None:
    """A server that gets these bodies answers a hover over a new document afterwards, and writes whole messages."""
    _quiet()
    from fa_lint.integrations.lsp import server as module

    async def talk() -> Client:
        made = module.make_server()
        client = Client()
        made.protocol.set_writer(client)
        reader = asyncio.StreamReader(limit=2**26)
        from pygls.io_ import run_async

        start = _ask("initialize", processId=None, rootUri=None, capabilities={})
        fresh = {**_document, "uri": "file:///tmp/none/fresh.py"}
        last = [
            _note("textDocument/didOpen", textDocument=fresh),
            {**_ask("textDocument/hover", textDocument={"uri": fresh["uri"]}, position=_HERE), "id": "last"},
        ]
        for body in [json.dumps(start).encode(), *bodies, *(json.dumps(m).encode() for m in last)]:
            if body:
                reader.feed_data(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        reader.feed_eof()
        await run_async(threading.Event(), reader, made.protocol)
        await asyncio.sleep(0)
        return client

    pause, module._PAUSE = module._PAUSE, 0.0
    try:
        client = asyncio.run(talk())
    finally:
        module._PAUSE = pause
    answers = [message for message in client.messages() if message.get("id") == "last"]
    stopped = any(b"shutdown" in body or b"exit" in body for body in bodies)
    assert stopped or (len(answers) == 1 and "result" in answers[0]), answers
    assert not any("fa-lint: internal error" in json.dumps(message) for message in client.messages())


if __name__ == "__main__":  # one set of messages, each on a line
    serve([line.encode() for line in sys.stdin.read().splitlines()])
