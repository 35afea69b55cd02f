"""Checkpoints that keep their feedback: written whole or not at all, proven by reading back, refused when touched.

The file is what ``torch.save`` writes (any ``torch.load(..., weights_only=True)`` reads it), with the SHA-256 of all
bytes as the comment of the zip archive. The payload also lists shape, dtype and digest of every tensor.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from .digests import tensor_digest, tensors_in, tree_digest
from .errors import CheckpointError, MissingFeedbackError, first_line
from .feedback import Feedback
from .files import check_regular, remove_stale
from .state import load_state, state_of

__all__ = ["Checkpoint", "StoredFeedback", "load_checkpoint", "save_checkpoint"]

FORMAT = "fa-lint-checkpoint"
VERSION = 1

_END_RECORD = struct.Struct("<4s4H2LH")  # zip: end of central directory
_SEAL = b"fa-lint-sha256:"
_SEAL_LENGTH = len(_SEAL) + 64
_PROBES = 4

# Not ``str(value)``: an enumeration says its own name there.
_SCALARS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, bytes),
)

FeedbackSource = Feedback | Mapping[str, Tensor | nn.Module]


@dataclass(frozen=True)
class StoredFeedback:
    """The auxiliary of one site: a feedback matrix, or the tensors of a bridge or of any other network.

    Attributes:
        site: what it serves.
        type: ``"tensor"`` or ``"module"``.
        tensors: name to tensor; a matrix has the single name ``""``.
        digests: SHA-256 of each.

    Example:
        >>> StoredFeedback("blocks.0", "tensor", {"": torch.zeros(4, 3)}, {}).site
        'blocks.0'
    """

    site: str
    type: str
    tensors: dict[str, Tensor]
    digests: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`load_checkpoint` read and verified.

    Attributes:
        path: the file.
        model: ``state_dict`` of the model, on the CPU.
        optimizer: ``state_dict`` of the optimizer, or None.
        meta: what the caller added.
        kind, seed, derivative: of the feedback; None where unknown.
        digest: SHA-256 of all content.
        auxiliaries: site to :class:`StoredFeedback`; empty if the network has none.

    Example:
        >>> checkpoint = Checkpoint(Path("bp.pt"), {}, None, {}, None, None, "", {})
        >>> checkpoint.auxiliary("blocks.0")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        fa_lint_runtime.errors.MissingFeedbackError: feedback for site 'blocks.0' is missing in bp.pt: ...
    """

    path: Path
    model: dict[str, Any]
    optimizer: dict[str, Any] | None
    meta: dict[str, Any]
    kind: str | None
    seed: int | None
    digest: str
    auxiliaries: dict[str, StoredFeedback]
    derivative: bool = False

    @property
    def has_feedback(self) -> bool:
        """False: every alignment of this network is N/A."""
        return bool(self.auxiliaries)

    def load_into(self, model: nn.Module) -> None:
        """Load the weights strictly, into a model that may be wrapped (DistributedDataParallel, ``torch.compile``).

        Raises:
            RuntimeError: names or shapes that do not fit, as from ``load_state_dict``.
        """
        load_state(model, self.model)

    def auxiliary(self, site: str) -> StoredFeedback:
        """What serves a site.

        Raises:
            MissingFeedbackError: nothing was stored for it. Nothing is ever drawn, guessed or reused instead.
        """
        if site not in self.auxiliaries:
            raise MissingFeedbackError(f"feedback for site {site!r}", self.path)
        return self.auxiliaries[site]

    def feedback(self) -> Feedback:
        """The stored matrices as a :class:`Feedback` module.

        Raises:
            MissingFeedbackError: there are none, or they are networks (bridges), which :meth:`auxiliary` returns.
        """
        matrices = {site: item.tensors[""] for site, item in self.auxiliaries.items() if item.type == "tensor"}
        if not matrices or any(m.ndim != 2 for m in matrices.values()):
            raise MissingFeedbackError("feedback (as matrices)", self.path)
        kind: Any = self.kind if self.kind in ("dfa", "fa") else "custom"
        return Feedback(matrices, kind=kind, seed=self.seed, derivative=self.derivative)


def _plain(value: Any, name: str) -> Any:
    """A structure as it is stored: tensors detached, on the CPU, without the rest of a larger storage; numbers and
    strings of Python's own types, which NumPy and enumerations derive theirs from.

    Raises:
        TypeError: something else, with its name.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, Mapping):
        return {_scalar(key, f"a key of {name}"): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{name}.{index}") for index, item in enumerate(value)]
        return tuple(items) if type(value) is tuple else items
    return _scalar(value, name)


def _plain_parts(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(part, name) for name, part in content.items()}


def _scalar(value: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | torch.dtype | torch.device):
        return value
    for plain, as_plain in _SCALARS:
        if isinstance(value, plain):
            return value if type(value) is plain else as_plain(value)
    raise TypeError(
        f"cannot store a {type(value).__qualname__} as {name}: only tensors, numbers, strings, lists, tuples and dicts"
    )


def _auxiliaries(feedback: FeedbackSource | None) -> dict[str, Any]:
    if feedback is None:
        return {"kind": None, "seed": None, "sites": {}}
    pairs: Iterable[tuple[str, Tensor | nn.Module]] = feedback.items()
    sites: dict[str, Any] = {}
    for site, item in pairs:
        if isinstance(item, Tensor):
            sites[site] = {"type": "tensor", "tensors": {"": item}}
        elif isinstance(item, nn.Module):
            sites[site] = {"type": "module", "tensors": state_of(item)}
        else:
            raise TypeError(f"feedback for {site!r} must be a tensor or a module, got {type(item).__name__}")
    if isinstance(feedback, Feedback):
        return {"kind": feedback.kind, "seed": feedback.seed, "derivative": feedback.derivative, "sites": sites}
    return {"kind": "custom", "seed": None, "sites": sites}


def _manifest(payload: Mapping[str, Any]) -> dict[str, Any]:
    parts = {key: payload[key] for key in ("model", "optimizer", "feedback")}
    return {
        name: {"shape": list(x.shape), "dtype": str(x.dtype), "digest": tensor_digest(x)}
        for name, x in tensors_in(parts)
    }


def _projections(feedback: Mapping[str, Any]) -> list[Tensor]:
    """Fixed random errors sent through every auxiliary tensor: what a credit signal is made of."""
    generator = torch.Generator().manual_seed(0x0FA1)
    results = []
    for _, x in tensors_in(feedback["sites"]):
        if not x.is_floating_point():
            continue
        matrix = x.detach().cpu().to(torch.float64)
        matrix = matrix.reshape(matrix.shape[0], -1) if matrix.ndim > 1 else matrix.reshape(1, -1)
        probe = torch.randn(_PROBES, matrix.shape[1], generator=generator, dtype=torch.float64, device="cpu")
        results.append(probe @ matrix.mT)
    return results


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    *,
    feedback: FeedbackSource | None,
    optimizer: torch.optim.Optimizer | None = None,
    meta: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint that holds everything the credit signal needs; the old file stays until the new one is proven.

    Temporary file in the same folder, flushed to disk, read back with ``weights_only=True``, compared (content
    digests, and
    random errors projected through every auxiliary), then renamed over ``path``. Killed at any moment, the process
    leaves the old file or the new one (and perhaps a ``.tmp-`` file).

    Args:
        path: where; its folder must exist. A symbolic link is followed.
        model: its ``state_dict`` is stored, under the names of the module inside ``torch.compile``, DataParallel and
            DistributedDataParallel.
        feedback: a :class:`Feedback`, or site name to matrix or network (bridges, EP feedback). None says *on
            purpose* that there is none; it has no default (FAL401).
        optimizer: its ``state_dict`` is stored.
        meta: plain values (NumPy's scalars become Python's), lists, dicts, tensors.

    Returns:
        str: SHA-256 of the content, as ``Checkpoint.digest``.

    Raises:
        CheckpointError: content that cannot be stored safely, a full disk, a read-back that differs, a name that
            ``torch.load`` takes for another format (``.safetensors``).
        TypeError: an auxiliary that is neither tensor nor module.

    Source:
        https://docs.pytorch.org/docs/stable/notes/serialization.html (``weights_only``).

    Example:
        >>> import tempfile
        >>> model, feedback = nn.Linear(4, 3), Feedback.dfa([4], classes=3, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     digest = save_checkpoint(Path(folder) / "run.pt", model, feedback=feedback, meta={"epoch": 3})
        ...     checkpoint = load_checkpoint(Path(folder) / "run.pt")
        >>> checkpoint.feedback().digest == feedback.digest, checkpoint.meta["epoch"], checkpoint.digest == digest
        (True, 3, True)
    """
    target = Path(os.path.realpath(path))
    for name in (Path(path), target):
        if name.suffix.lower() == ".safetensors":
            raise CheckpointError(path, "torch.load reads a file of this name as safetensors: call it .pt")
    content = {
        "model": state_of(model),
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        "feedback": _auxiliaries(feedback),
        "meta": dict(meta or {}),
    }
    try:
        payload: dict[str, Any] = {"format": FORMAT, "version": VERSION, **_plain_parts(content)}
    except TypeError as error:
        raise CheckpointError(path, str(error)) from None
    payload["manifest"] = _manifest(payload)
    digest = payload["digest"] = tree_digest(payload)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    remove_stale(target)
    try:
        _write(temporary, payload)
        _prove(temporary, digest, feedback)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise CheckpointError(path, f"could not be written: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(path, f"was not written: {error.reason}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def _write(path: Path, payload: dict[str, Any]) -> None:
    with open(path, "xb") as file:
        torch.save(payload, file)
    with open(path, "r+b") as file:
        _seal(file)
        file.flush()
        os.fsync(file.fileno())


def _seal(file: BinaryIO) -> None:
    """Add the SHA-256 of everything before it as the comment of the zip archive."""
    file.seek(-_END_RECORD.size, os.SEEK_END)
    fields = _END_RECORD.unpack(file.read(_END_RECORD.size))
    if fields[0] != b"PK\x05\x06" or fields[-1] != 0:
        raise CheckpointError("checkpoint", "torch.save wrote no plain zip archive")
    file.seek(-_END_RECORD.size, os.SEEK_END)
    file.write(_END_RECORD.pack(*fields[:-1], _SEAL_LENGTH))
    length = file.tell()
    file.seek(0)
    digest = _file_digest(file, length)
    file.seek(length)
    file.write(_SEAL + digest.encode())


def _file_digest(file: BinaryIO, length: int) -> str:
    state = hashlib.sha256()
    while length > 0:
        chunk = file.read(min(length, 1 << 20))
        if not chunk:
            break
        state.update(chunk)
        length -= len(chunk)
    return state.hexdigest()


def _check_seal(path: str | Path) -> None:
    check_regular(path)
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        if size == 0:
            raise CheckpointError(path, "the file is empty")
        file.seek(max(0, size - _SEAL_LENGTH))
        seal = file.read()
        if not seal.startswith(_SEAL):
            file.seek(0)
            if file.read(4) == b"PK\x03\x04":
                raise CheckpointError(
                    path,
                    "no seal at its end: truncated, or not from save_checkpoint (inspect_checkpoint shows what it is)",
                )
            raise CheckpointError(path, "not a checkpoint of save_checkpoint (inspect_checkpoint shows what it is)")
        file.seek(0)
        digest = _file_digest(file, size - _SEAL_LENGTH)
    if digest.encode() != seal[len(_SEAL) :]:
        raise CheckpointError(path, "its bytes are not those that were written: damaged or tampered with")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prove(path: Path, digest: str, feedback: FeedbackSource | None) -> None:
    """Read the file back and compare it with what is in memory now, through what a credit signal would see."""
    stored = _read(path)
    if stored["digest"] != digest:
        raise CheckpointError(path, "read back, the content differs")
    before, after = _projections(_auxiliaries(feedback)), _projections(stored["feedback"])
    same = len(before) == len(after) and all(
        torch.equal(x.view(torch.int64), y.view(torch.int64)) for x, y in zip(before, after, strict=True)
    )
    if not same:
        raise CheckpointError(path, "read back, the feedback projects errors differently")


def _read(path: str | Path) -> dict[str, Any]:
    """The verified payload.

    Raises:
        CheckpointError: whatever is wrong with the file.
        FileNotFoundError: there is none.
    """
    try:
        _check_seal(path)
        with open(path, "rb") as file:  # given a path, torch chooses the format by its name
            payload = torch.load(file, map_location="cpu", weights_only=True)
    except (CheckpointError, FileNotFoundError):
        raise
    except Exception as error:  # torch.load raises nearly anything on a malformed file
        raise CheckpointError(path, f"unreadable: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise CheckpointError(path, "the archive holds something else than a checkpoint of save_checkpoint")
    if payload.get("version") != VERSION:
        raise CheckpointError(path, f"version {payload.get('version')!r}; this release reads version {VERSION}")
    try:
        claimed = payload.pop("digest")
        found = tree_digest(payload)
        same = claimed == found and payload["manifest"] == _manifest(payload)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, f"malformed: {error!r}") from error
    if not same:
        raise CheckpointError(path, "its content does not match its digests: tampered with")
    payload["digest"] = found
    return payload


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of :func:`save_checkpoint` and verify every byte; runs no code from the file.

    Args:
        path: the file.

    Returns:
        Checkpoint: on the CPU. Without feedback it loads too; asking it for feedback raises
        :class:`MissingFeedbackError`. Nothing ever falls back to a number.

    Raises:
        CheckpointError: truncated, foreign, damaged or tampered with, with the reason. (The digests guard against
            accidents and careless edits; whoever can rewrite the file can rewrite them too.)
        FileNotFoundError: no such file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save_checkpoint(f"{folder}/bp.pt", nn.Linear(2, 2), feedback=None)
        ...     load_checkpoint(f"{folder}/bp.pt").has_feedback
        False
    """
    payload = _read(path)
    stored, manifest = payload["feedback"], payload["manifest"]
    auxiliaries = {
        site: StoredFeedback(
            site,
            item["type"],
            item["tensors"],
            {name: manifest[f"feedback.sites.{site}.tensors.{name}"]["digest"] for name in item["tensors"]},
        )
        for site, item in stored["sites"].items()
    }
    return Checkpoint(
        path=Path(path),
        model=payload["model"],
        optimizer=payload["optimizer"],
        meta=payload["meta"],
        kind=stored["kind"],
        seed=stored["seed"],
        derivative=stored.get("derivative", False),
        digest=payload["digest"],
        auxiliaries=auxiliaries,
    )
