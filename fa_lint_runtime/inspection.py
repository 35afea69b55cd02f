"""Say what any ``.pt`` or ``.safetensors`` file holds, which tensors look like feedback, and what is lacking."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import FORMAT, load_checkpoint
from .digests import tensors_in
from .errors import CheckpointError, first_line
from .escaping import to_json, visible, visible_lines
from .files import check_regular

__all__ = ["Inspection", "TensorEntry", "inspect_checkpoint", "looks_like_feedback"]

# Names that feedback has in published repositories.
_FEEDBACK_NAME = re.compile(
    r"feedback|(^|[._])(weight_fa|fa_weight|fb_weights?|weights?_fb|weights?_backward|backward_weights?|random_matri(x|ces)|"
    r"b_matri(x|ces)|fixed_fb_weights?|bridges?|B_syn|Bs?(_?\d+)?)([._]|$)"
)
_MAX_HEADER = 100 << 20


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: name, shape, dtype, and whether its name and rank look like feedback.

    Example:
        >>> TensorEntry("weight_fa", (4, 3), "F32", looks_like_feedback=True).name
        'weight_fa'
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    looks_like_feedback: bool


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect_checkpoint` found.

    Attributes:
        path: the file.
        format: what kind of file it is, in words.
        tensors: every tensor.
        lacking: what an evaluation would miss, in words; empty if nothing.
        notes: further findings, for example objects that were not loaded because loading them runs code.

    Example:
        >>> print(Inspection("x.pt", "torch archive", (), ("feedback",), ()).to_text())
        x.pt: torch archive, 0 tensors
        looks like feedback (*): 0
        lacking: feedback
    """

    path: str
    format: str
    tensors: tuple[TensorEntry, ...]
    lacking: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def feedback_like(self) -> tuple[TensorEntry, ...]:
        """The tensors that look like feedback."""
        return tuple(entry for entry in self.tensors if entry.looks_like_feedback)

    def to_json(self) -> str:
        """The same as JSON."""
        return to_json(asdict(self))

    def to_text(self) -> str:
        """The same for people."""
        lines = [f"{self.path}: {self.format}, {len(self.tensors)} tensors"]
        lines += [
            f"  {' *'[entry.looks_like_feedback]} {entry.name or '(root)'}  {list(entry.shape)}  {entry.dtype}"
            for entry in self.tensors
        ]
        lines.append(f"looks like feedback (*): {len(self.feedback_like)}")
        lines += [f"lacking: {item}" for item in self.lacking]
        lines += [f"note: {item}" for item in self.notes]
        return visible_lines("\n".join(map(visible, lines)))


def _entry(name: str, shape: tuple[int, ...], dtype: str, known: bool = False) -> TensorEntry:
    return TensorEntry(name, shape, dtype, known or looks_like_feedback(name, shape))


def looks_like_feedback(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a name that published repositories give to feedback, and the rank of a matrix.

    Example:
        >>> looks_like_feedback("blocks.0.weight_fa", (4, 3)), looks_like_feedback("B", (3,))
        (True, False)
    """
    return len(shape) >= 2 and _FEEDBACK_NAME.search(name) is not None


def _lacking(entries: list[TensorEntry], names: str) -> list[str]:
    lacking = []
    if not any(entry.looks_like_feedback for entry in entries):
        lacking.append("feedback: the credit signal cannot be rebuilt, alignment is N/A (FAL401)")
    if "optim" not in names:
        lacking.append("optimizer state: training cannot be resumed as it was")
    return lacking


def inspect_checkpoint(path: str | Path) -> Inspection:
    """List what a ``.pt``, ``.pth``, ``.ckpt``, ``.bin`` or ``.safetensors`` file holds, without running code from it.

    Args:
        path: the file; its content decides, not its name.

    Returns:
        Inspection: format, tensors, which look like feedback (by the names published repositories use), what is
            lacking.

    Raises:
        CheckpointError: unreadable, or neither format.
        FileNotFoundError: no such file.

    Source:
        https://docs.pytorch.org/docs/stable/notes/serialization.html, https://huggingface.co/docs/safetensors/index.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"net": {"fc.weight": torch.zeros(2, 2)}}, f"{folder}/old.pt")
        ...     found = inspect_checkpoint(f"{folder}/old.pt")
        >>> found.feedback_like, found.lacking[0]
        ((), 'feedback: the credit signal cannot be rebuilt, alignment is N/A (FAL401)')
    """
    try:
        check_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(path, error.strerror or str(error)) from None
    with open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise CheckpointError(path, "the file is empty")
    if head[:2] == b"PK" or head[:1] == b"\x80":
        return _inspect_torch(path, "torch archive" if head[:2] == b"PK" else "legacy torch pickle")
    if head[8:9] == b"{":
        return _inspect_safetensors(path)
    raise CheckpointError(path, "neither a torch file nor safetensors")


def _inspect_torch(path: str | Path, kind: str) -> Inspection:
    try:
        with open(path, "rb") as file:  # given a path, torch chooses the format by its name
            payload: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a malformed file
        return _inspect_unsafe(path, kind, error)
    if isinstance(payload, dict) and payload.get("format") == FORMAT:
        return _inspect_own(path)
    entries = [_entry(name, tuple(x.shape), str(x.dtype)) for name, x in tensors_in(payload)]
    names = " ".join(str(key) for key in payload) if isinstance(payload, dict) else ""
    notes = ["not written by save_checkpoint: sites, seed and digests of feedback are unknown"]
    return Inspection(str(path), kind, tuple(entries), tuple(_lacking(entries, names)), tuple(notes))


def _inspect_own(path: str | Path) -> Inspection:
    checkpoint = load_checkpoint(path)
    parts = {"model": checkpoint.model, "optimizer": checkpoint.optimizer}
    entries = [_entry(name, tuple(x.shape), str(x.dtype)) for name, x in tensors_in(parts)]
    notes = [
        f"verified, content sha256 {checkpoint.digest}",
        f"feedback kind {checkpoint.kind}, seed {checkpoint.seed}",
    ]
    for item in checkpoint.auxiliaries.values():
        for name, x in item.tensors.items():
            label = f"feedback[{item.site}]" + (f".{name}" if name else "")
            entries.append(_entry(label, tuple(x.shape), str(x.dtype), known=True))
            notes.append(f"{label} serves {item.site}, sha256 {item.digests[name]}")
    names = "optim" if checkpoint.optimizer is not None else ""
    lacking = _lacking(entries, names)
    if not checkpoint.has_feedback and not any("feedback" in item for item in lacking):
        lacking.insert(0, "feedback: none was given to save_checkpoint; alignment is N/A unless the model holds it")
    return Inspection(str(path), f"{FORMAT} version 1", tuple(entries), tuple(lacking), tuple(notes))


def _inspect_unsafe(path: str | Path, kind: str, error: Exception) -> Inspection:
    """A file that only runs as code: name its globals, load nothing."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not even the pickle can be walked
        names = []
    if not names:
        reason = f"unreadable: {type(error).__name__}: {first_line(error)}"
        raise CheckpointError(path, reason) from error
    notes = [
        "it holds pickled objects; loading them runs their code, so nothing was loaded: " + ", ".join(sorted(names)),
        "save state_dicts and feedback with save_checkpoint instead",
    ]
    return Inspection(
        str(path),
        f"{kind} with pickled objects",
        (),
        ("everything: its content cannot be listed safely",),
        tuple(notes),
    )


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError(f"no list of integers: {str(values)[:60]}")
    return tuple(values)


def _inspect_safetensors(path: str | Path) -> Inspection:
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(_MAX_HEADER, size - 8):
            raise CheckpointError(
                path, f"safetensors header of {length} bytes in a file of {size}: truncated or foreign"
            )
        try:
            header = json.loads(file.read(length))
            extra = header.pop("__metadata__", {})
            entries = [_entry(name, _integers(item["shape"]), str(item["dtype"])) for name, item in header.items()]
            end = max((_integers(item["data_offsets"])[1] for item in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise CheckpointError(path, f"malformed safetensors header: {error!r}") from error
    if size != 8 + length + end:
        raise CheckpointError(
            path, f"safetensors data should end at byte {8 + length + end}, the file has {size}: truncated"
        )
    notes = [f"metadata: {json.dumps(extra)}"] if extra else []
    return Inspection(
        str(path), "safetensors", tuple(entries), tuple(_lacking(entries, " ".join(header))), tuple(notes)
    )
