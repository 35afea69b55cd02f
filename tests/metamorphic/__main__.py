"""``python -m tests.metamorphic [--rule FAL203]… [--failures FOLDER] [--programs]``: the table of all siblings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .excluded import EXCLUDED
from .measured import below
from .runner import run
from .seeds import RULES
from .table import lines, smallest_failures, write_failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.metamorphic")
    parser.add_argument("--rule", action="append", choices=RULES, help="only this rule")
    parser.add_argument("--failures", type=Path, help="write the smallest program of each cell below 1 here")
    parser.add_argument("--programs", action="store_true", help="print these programs")
    options = parser.parse_args()
    outcomes = run(options.rule or RULES)
    print(*lines(outcomes), sep="\n")
    print("\nexcluded:")
    for (rule, seed, change), why in EXCLUDED.items():
        print(f"  {rule} {seed or 'all'}, {change}: {why}")
    if options.failures is not None:
        write_failures(outcomes, options.failures)
    if options.programs:
        for (rule, name, alike), outcome in smallest_failures(outcomes).items():
            print(f"\n--- {rule}, {name}{', look-alike' if alike else ''}, from {outcome.seed.name}")
            print(outcome.program.text())
    faults = below(outcomes, options.rule or RULES)
    print(*faults, sep="\n")
    return int(bool(faults))


sys.exit(main())
