"""The flake8 plug-in: ``FAL`` in flake8's own output, options in flake8's own configuration.

It reports what ``fa-lint FILE`` reports with the project's configuration; flake8's own selection and ``# noqa`` come on
top. It never raises: an exception in a plug-in ends the user's whole flake8 run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from fa_lint._version import __version__
from fa_lint.integrations.texts import encoded
from fa_lint.project.config import ConfigError, Settings, find_config, load
from fa_lint.project.engine import Report, lint_text
from fa_lint.rules import RuleError, registry
from fa_lint.source.escaping import visible

if TYPE_CHECKING:
    from argparse import Namespace

    from flake8.options.manager import OptionManager

__all__ = ["Plugin"]

# Row, 0-based column, text, type: what flake8 takes.
Reported = tuple[int, int, str, type]

_NAMES = ("feedback_names", "credit_names", "alignment_names")


class Plugin:
    """One file, as flake8 hands it over: its tree (unused: fa-lint reads more than that), its name and lines."""

    name = "fa-lint"
    version = __version__
    config: ClassVar[str] = ""
    isolated: ClassVar[bool] = False
    names: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, tree: ast.AST, filename: str, lines: Sequence[str]) -> None:
        self._filename = filename
        self._lines = lines

    @classmethod
    def add_options(cls, options: OptionManager) -> None:
        """Declare the options, and leave the opt-in rules off until flake8 is told to select them."""
        add = options.add_option
        add("--fal-config", default="", metavar="PATH", parse_from_config=True, normalize_paths=True,
            help="fa-lint's configuration file (default: the one fa-lint itself would find)")  # fmt: skip
        add("--fal-isolated", action="store_true", default=False, parse_from_config=True,
            help="Ignore fa-lint's own configuration files")  # fmt: skip
        for option in _NAMES:
            what = option.partition("_")[0]
            add(f"--fal-{what}-names", default="", metavar="NAMES", comma_separated_list=True, parse_from_config=True,
                help=f"What this project calls its {what} values, as patterns")  # fmt: skip
        options.extend_default_ignore(sorted(_opt_in()))

    @classmethod
    def parse_options(cls, options: Namespace) -> None:
        """Keep what the files' checks need; flake8 calls this in every worker."""
        cls.config = options.fal_config
        cls.isolated = options.fal_isolated
        cls.names = {option: tuple(getattr(options, f"fal_{option}")) for option in _NAMES}
        _settings.cache_clear()

    def run(self) -> Iterator[Reported]:
        """The findings; trouble is a finding too."""
        try:
            yield from self._findings()
        except Exception as error:  # flake8 would stop the whole run
            yield self._trouble(f"internal error: {type(error).__name__}: {error}")

    def _findings(self) -> Iterator[Reported]:
        try:
            settings = _settings(_config_for(self._filename, self.config, self.isolated), tuple(self.names.items()))
        except (ConfigError, RuleError) as error:
            yield self._trouble(str(error))
            return
        data = encoded("".join(self._lines))
        yield from self._reported(lint_text(self._filename, data, settings), "FAL900")
        # What fa-lint leaves off is offered: flake8 shows it where its own selection says so.
        for code in sorted(_opt_in() - settings.codes_for(self._filename)):
            if not code.startswith(settings.ignore or ("\0",)):
                alone = replace(settings, select=(code,), extend_select=())
                yield from self._reported(lint_text(self._filename, data, alone), code)

    def _reported(self, report: Report, trouble: str) -> Iterator[Reported]:
        for found in report.diagnostics:
            yield found.start.row, found.start.column - 1, f"{found.code} {visible(found.message)}", type(self)
        for problem in report.problems:
            yield self._trouble(f"internal error: {problem}", trouble)

    def _trouble(self, reason: str, code: str = "FAL900") -> Reported:
        return 1, 0, f"{code} not checked by fa-lint: {visible(reason)}", type(self)


def _opt_in() -> frozenset[str]:
    return frozenset(code for code, rule in registry().items() if not rule.default)


def _config_for(filename: str, config: str, isolated: bool) -> str | None:
    if config:
        return config
    return None if isolated else find_config("." if filename in ("-", "stdin") else filename)


@cache
def _settings(path: str | None, names: tuple[tuple[str, tuple[str, ...]], ...]) -> Settings:
    settings = load(path)
    return replace(settings, **_joined(settings, names))


def _joined(settings: Settings, names: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, Any]:
    return {option: (*getattr(settings, option), *given) for option, given in names}
