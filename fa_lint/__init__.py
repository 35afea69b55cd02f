"""fa-lint: a linter for the silent mistakes that make gradient-alignment numbers wrong."""

import sys

from fa_lint import installed

if installed.is_program():
    # Before anything else is imported: the working directory is what is linted.
    sys.path[:] = installed.trusted_path()

from fa_lint._version import __version__
from fa_lint.findings import Applicability, Diagnostic, Level
from fa_lint.rules import Rule, registry

__all__ = ["Applicability", "Diagnostic", "Level", "Rule", "__version__", "registry"]
