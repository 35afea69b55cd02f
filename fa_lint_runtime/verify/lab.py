"""Where claims find their networks and measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .claim import Level
from .measurements import Measurements
from .networks import NetworkSpec, TrainedNetwork

__all__ = ["Lab"]


@dataclass
class Lab:
    """Everything a claim may use.

    Attributes:
        level: how much is measured.
        networks: trained before the claims are measured.
        folder: for files that claims write.
    """

    level: Level
    networks: dict[NetworkSpec, TrainedNetwork]
    folder: Path
    _measured: dict[NetworkSpec, Measurements] = field(default_factory=dict)

    def measured(self, spec: NetworkSpec) -> Measurements:
        """The measurements of a network; taken once, shared by all claims."""
        if spec not in self._measured:
            self._measured[spec] = Measurements(self.networks[spec])
        return self._measured[spec]

    def all_measured(self, specs: tuple[NetworkSpec, ...]) -> list[Measurements]:
        """One for each network, in order."""
        return [self.measured(spec) for spec in specs]
