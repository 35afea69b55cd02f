"""fa-lint: a linter for the silent mistakes that make gradient-alignment numbers wrong."""

import sys

from fa_lint import installed

if installed.is_program():
    # Before anything else is imported: the working directory is what is linted.
    sys.path[:] = installed.trusted_path()

from fa_lint import rules
from fa_lint._version import __version__
from fa_lint.findings import Applicability, Diagnostic, Level
from fa_lint.rules import Rule, registry

# Whoever builds the registry: plug-ins come from what is installed.
rules.entry_points = installed.entry_points  # type: ignore[attr-defined, assignment]

__all__ = ["Applicability", "Diagnostic", "Level", "Rule", "__version__", "registry"]
