"""Sums of measurements for one call site and kind: at once where values are at hand, else on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .callsite import Site
from .events import GuardEvent
from .measurement import Measurement

__all__ = ["Tally"]

_FIELDS = ("worst", "was", "should", "magnitude")


@dataclass(slots=True)
class Tally:
    """One call site and kind. ``total`` counts what was looked at there, whether or not it was wrong."""

    kind: str
    code: str
    function: str
    site: Site
    backward: bool
    told: bool = False
    calls: int = 0
    count: int = 0
    total: int = 0
    values: dict[str, float | None] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[str, ...] = ()
    detail: str = ""
    pending: dict[torch.device, Tensor] = field(default_factory=dict)

    def add(self, found: Measurement, operands: tuple[Tensor, ...]) -> None:
        """Take a measurement whose numbers may be looked at now."""
        self.calls += 1
        self.count += int(found.count)
        if self._is_worse(_number(found.worst)):
            self.values = {name: _number(getattr(found, name)) for name in _FIELDS}
            if found.examine is not None:
                self.values["was"], self.values["should"] = found.examine()
            self._describe(found, operands)

    def defer(self, found: Measurement, operands: tuple[Tensor, ...]) -> None:
        """Take a measurement without looking at it: everything stays on its device until :meth:`settle`."""
        count = found.count
        if not isinstance(count, Tensor):
            raise TypeError("a deferred measurement counts on its device")
        dtype = torch.float32 if count.device.type == "mps" else torch.float64

        def on_device(value: Tensor | float | None) -> Tensor:
            if isinstance(value, Tensor):
                return value.detach().to(dtype)
            # Filled there: to bring a number there, the host would wait.
            return torch.full((), math.nan if value is None else value, dtype=dtype, device=count.device)

        fresh = torch.stack([on_device(x) for x in (count > 0, count, *(getattr(found, name) for name in _FIELDS))])
        old = self.pending.get(count.device)
        if old is None:
            self.pending[count.device] = fresh
            self._describe(found, operands)
            return
        worse = (fresh[1] > 0) & ((old[1] == 0) | (fresh[2] < old[2]))
        sums = old[:2] + fresh[:2]
        self.pending[count.device] = torch.cat([sums, torch.where(worse, fresh[2:], old[2:])])

    def settle(self) -> None:
        """Bring deferred sums to the host: the one point that waits."""
        for state in self.pending.values():
            calls, count, *row = state.tolist()
            numbers = {
                name: None if math.isnan(v) and name != "should" else v for name, v in zip(_FIELDS, row, strict=True)
            }
            if numbers["was"] is None:
                numbers["should"] = None
            if count and self._is_worse(numbers["worst"]):
                self.values = numbers
            self.calls += int(calls)
            self.count += int(count)
        self.pending.clear()

    def event(self) -> GuardEvent:
        """The event as it stands."""
        site = self.site
        return GuardEvent(
            self.code, self.kind, self.function, site.file, site.line, site.end_line, site.column, site.end_column,
            self.calls, self.count, max(self.total, self.count), shapes=self.shapes, dtypes=self.dtypes,
            detail=self.detail, backward=self.backward, **self.values,
        )  # fmt: skip

    def _is_worse(self, worst: float | None) -> bool:
        if not self.values:
            return True
        known = self.values["worst"]
        return worst is not None and (known is None or worst < known)

    def _describe(self, found: Measurement, operands: tuple[Tensor, ...]) -> None:
        self.shapes = tuple(tuple(x.shape) for x in operands)
        self.dtypes = tuple(str(x.dtype).removeprefix("torch.") for x in operands)
        self.detail = found.detail


def _number(value: Tensor | float | None) -> float | None:
    return None if value is None else float(value)
