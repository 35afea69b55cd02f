"""Train what is needed, measure every claim, report all of them: a claim that fails to run is an outcome too."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..placement import HOST, factories_on
from .claim import LEVELS, Claim, Finding, Level, Outcome
from .claims import CLAIMS
from .lab import Lab
from .networks import CONFIGURATIONS, NetworkSpec, train_networks

__all__ = ["Verification", "chosen_claims", "verify"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Verification:
    """All outcomes of a run.

    Attributes:
        network_seconds: CPU seconds of training, each network.
        wall_seconds: of the whole run.
    """

    level: Level
    outcomes: tuple[Outcome, ...]
    network_seconds: dict[str, float]
    wall_seconds: float

    @property
    def complete(self) -> bool:
        """Every claim was measured, and every remedy of this package gave the right answer."""
        return all(o.finding.verdict != "not measured" and o.finding.remedy_works is not False for o in self.outcomes)

    @property
    def unreproduced(self) -> tuple[Outcome, ...]:
        """Claims that do not reproduce, or only in part."""
        return tuple(o for o in self.outcomes if o.finding.verdict in ("does not reproduce", "reproduces in part"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema": "fa-diagnose-verify",
            "version": 1,
            "level": self.level,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "wall_seconds": round(self.wall_seconds, 2),
            "complete": self.complete,
            "configurations": {
                name: f"{c.data().name}: {c.recipe.describe()}"
                for name, c in CONFIGURATIONS.items()
                if any(label.startswith(name + " ") for label in self.network_seconds)
            },
            "networks": {label: round(seconds, 2) for label, seconds in self.network_seconds.items()},
            "claims": [outcome.as_dict() for outcome in self.outcomes],
        }


def chosen_claims(level: Level) -> tuple[Claim, ...]:
    """What a level measures.

    Example:
        >>> [claim.key for claim in chosen_claims("instant")]
        ['1', '2', '3', 'costate']
    """
    return tuple(claim for claim in CLAIMS if LEVELS.index(claim.level) <= LEVELS.index(level))


@factories_on(HOST)
def verify(level: Level = "default", *, jobs: int = 2, on_progress: Progress | None = None) -> Verification:
    """Measure every claim of a level on the installed torch.

    Args:
        level: ``"instant"`` (no training), ``"quick"``, ``"default"`` or ``"full"``.
        jobs: processes that train, one torch thread each.
        on_progress: called with a text, how much is done and how much there is.

    Returns:
        Verification: with the torch thread count of this process as it was before.

    Example:
        >>> verify("instant").complete
        True
    """
    started = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    claims = chosen_claims(level)
    specs = {spec for claim in claims for spec in claim.needs(level)}
    done = 0

    def trained(spec: NetworkSpec) -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(spec.label, done, len(specs))

    try:
        with tempfile.TemporaryDirectory(prefix="fa-diagnose-") as folder:
            networks = train_networks(specs, folder, jobs, trained)
            lab = Lab(level, networks, Path(folder))
            outcomes = tuple(_measured(claim, lab) for claim in claims)
            seconds = {network.spec.label: network.seconds for network in networks.values()}
    finally:
        torch.set_num_threads(threads)
    return Verification(level, outcomes, seconds, time.perf_counter() - started)


def _measured(claim: Claim, lab: Lab) -> Outcome:
    started = time.perf_counter()
    try:
        finding = claim.measure(lab)
    except Exception as error:  # one claim that cannot run must not hide the others
        finding = Finding("not measured", (f"{type(error).__name__}: {error}",))
    labels = tuple(sorted(spec.label for spec in claim.needs(lab.level)))
    return Outcome(claim, finding, time.perf_counter() - started, labels)
