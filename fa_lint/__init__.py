"""fa-lint: a linter for the silent mistakes that make gradient-alignment numbers wrong."""

from fa_lint._version import __version__
from fa_lint.findings import Applicability, Diagnostic, Level
from fa_lint.rules import Rule, registry

__all__ = ["Applicability", "Diagnostic", "Level", "Rule", "__version__", "registry"]
