"""Whose line is it: the first Python frame outside torch and this package."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

__all__ = ["Call", "Site", "backward_pass", "caller", "keywords_at", "site_of"]

_OWN = str(Path(__file__).resolve().parent.parent) + os.sep
# Frames of a compiled graph: generated text without a file of the user's.
_GENERATED = ("<eval_with_key>", "<frozen ", "<torch_package", "<__torch")
_PLUMBING = frozenset({"contextlib.py", "functools.py", "threading.py", "concurrent/futures/thread.py"})

# What the frame below the user's was called, in the words the user would use.
_NAMES = {
    "CosineSimilarity.forward": "nn.CosineSimilarity",
    "CosineEmbeddingLoss.forward": "nn.CosineEmbeddingLoss",
    "PairwiseDistance.forward": "nn.PairwiseDistance",
    "Tensor.norm": "Tensor.norm",
    "norm": "torch.norm",
    "normalize": "F.normalize",
    "cosine_embedding_loss": "F.cosine_embedding_loss",
    "Module.half": "Module.half",
}

# By identity: to hash a code object takes longer the longer its function is. Kept alive, so that no id comes back.
_internal: dict[int, tuple[CodeType, bool]] = {}
_torch_folder = ""


@dataclass(frozen=True, slots=True)
class Site:
    """A call in the user's code; columns from 1, 0 where the interpreter does not know."""

    file: str
    line: int
    end_line: int = 0
    column: int = 0
    end_column: int = 0


class Call(NamedTuple):
    """Where a watched call came from: its frame's code and instruction, and the torch frames in between."""

    code: CodeType
    instruction: int
    between: tuple[FrameType, ...]

    @property
    def key(self) -> tuple[int, int]:
        """The same for each call from one place, as long as the process lives."""
        return id(self.code), self.instruction

    @property
    def is_direct(self) -> bool:
        """Whether the user's own line made the call, and not torch on its behalf."""
        return all(frame.f_code.co_filename.startswith(_OWN) for frame in self.between)

    def function(self, default: str) -> str:
        """What the user called: the outermost torch frame that has a public name."""
        for frame in reversed(self.between):
            name = _NAMES.get(frame.f_code.co_qualname)
            if name is not None:
                return name
        return default

    def without_frames(self) -> Call:
        """The same place, to be kept: a frame holds every tensor that its function named."""
        return self._replace(between=())

    def frame_of(self, code: CodeType) -> FrameType | None:
        """The frame of a given torch function between the user and here."""
        for frame in self.between:
            if frame.f_code is code:
                return frame
        return None


def _is_internal(code: CodeType) -> bool:
    global _torch_folder
    if not _torch_folder:
        _torch_folder = os.path.dirname(os.path.abspath(sys.modules["torch"].__file__ or "")) + os.sep
    name = code.co_filename
    return name.startswith((_torch_folder, _OWN, *_GENERATED)) or (
        name.endswith(tuple(os.sep + part for part in _PLUMBING)) and os.sep + "lib" in name
    )


def caller(forward: Call | None = None) -> Call | None:
    """The user's call that led to the hook that asks.

    The backward threads of a device hold no frame of the user's, the hook is the whole stack: there it is ``forward``,
    else the call that started the backward pass, else None.
    """
    frame = sys._getframe(1).f_back
    between: list[FrameType] = []
    while frame is not None:
        code = frame.f_code
        known = _internal.get(id(code))
        if known is None:
            known = _internal[id(code)] = code, _is_internal(code)
        if not known[1]:
            return Call(code, frame.f_lasti, tuple(between))
        between.append(frame)
        frame = frame.f_back
    return forward or _only_backward_pass()


# The calls in whose ``backward`` or ``autograd.grad`` some thread is.
_backward_passes: list[Call] = []


@contextmanager
def backward_pass(call: Call | None) -> Iterator[None]:
    """Within, what a thread without frames does is taken to be done for ``call``."""
    if call is None:
        yield
        return
    kept = call.without_frames()
    _backward_passes.append(kept)
    try:
        yield
    finally:
        _backward_passes.remove(kept)


def _only_backward_pass() -> Call | None:
    """None where threads run backward passes from several lines: any of them would be a guess."""
    lines = {call.key: call for call in _backward_passes}
    return next(iter(lines.values())) if len(lines) == 1 else None


def site_of(call: Call | None) -> Site:
    """File, lines and columns of a call."""
    if call is None:
        return Site("<backward thread>", 0)
    try:
        place = next(islice(call.code.co_positions(), call.instruction // 2, None))
    except StopIteration:
        place = (None, None, None, None)
    line, end_line, start, end = place
    line = line or call.code.co_firstlineno
    file = call.code.co_filename
    return Site(file, line, end_line or line, _column(file, line, start), _column(file, end_line or line, end))


def _column(file: str, line: int, offset: int | None) -> int:
    """From the interpreter's UTF-8 byte offset to a character column from 1."""
    if offset is None:
        return 0
    text = linecache.getline(file, line)
    return len(text.encode()[:offset].decode("utf-8", "replace")) + 1 if text else offset + 1


def keywords_at(call: Call | None) -> frozenset[str]:
    """The keywords of the call as written in the source; empty where there is no source."""
    written = _expression_at(call)
    if not isinstance(written, ast.Call):
        return frozenset()
    return frozenset(keyword.arg for keyword in written.keywords if keyword.arg)


def _expression_at(call: Call | None) -> ast.expr | None:
    if call is None:
        return None
    site = site_of(call)
    if not site.column:
        return None
    lines = [linecache.getline(site.file, row) for row in range(site.line, site.end_line + 1)]
    if not all(lines):
        return None
    lines[-1] = lines[-1][: site.end_column - 1]
    lines[0] = lines[0][site.column - 1 :]
    try:
        return ast.parse(f"({''.join(lines)}\n)", mode="eval").body
    except SyntaxError:
        return None
