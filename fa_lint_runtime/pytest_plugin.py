"""pytest plug-in ``fa_lint``: every test under a guard, with ``--fa-guard=warn`` or ``--fa-guard=error``.

Off (the default) it does nothing. On, it imports neither torch nor numpy itself: the hooks go in when the tests import
torch. The hooks stay for the whole session; only the log is exchanged from test to test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .guard import CODES, GuardEvent, GuardLog, GuardWarning
from .guard.after_import import after_torch
from .guard.summary import lines_of_summary, section
from .guard.table import selected
from .guard.warning import warn

__all__ = ["fa_guard"]

MODES = ("off", "warn", "error")
_PROPERTY = "fa_guard"
_STASH = pytest.StashKey["Plugin"]()
_LOG = pytest.StashKey[GuardLog]()
_WISH = pytest.StashKey["Wish"]()


@dataclass(frozen=True, slots=True)
class Wish:
    """What the marker, the option or the ini file asks for."""

    mode: str
    allow: tuple[str, ...] = ()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option, its ini twin, and where to write JSON."""
    group = parser.getgroup("fa-guard", "fa-lint guard: silent numerical mistakes, seen while tests run")
    group.addoption("--fa-guard", choices=MODES, default=None, help="watch every test: off (default), warn or error")
    group.addoption(
        "--fa-guard-json", metavar="FILE", default=None, help="write all events (for fa-lint --with-runtime)"
    )
    parser.addini("fa_guard", "default of --fa-guard: off, warn or error", default="off")
    parser.addini("fa_guard_allow", "codes or prefixes that are never reported", type="args", default=[])


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before conftest files are imported: what they run is watched too."""
    plugin = Plugin(early_config)
    early_config.stash[_STASH] = plugin
    plugin.start()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, start if conftests were not waited for, and hook the session."""
    config.addinivalue_line(
        "markers",
        'fa_guard(mode="off|warn|error", allow=["FAL202"], reason="..."): how the guard of fa-lint treats this test',
    )
    plugin = config.stash.get(_STASH, None)
    if plugin is None:
        plugin = config.stash[_STASH] = Plugin(config)
        plugin.start()
    plugin.validate()
    config.pluginmanager.register(plugin, "fa_guard_session")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the hooks out."""
    plugin = config.stash.get(_STASH, None)
    if plugin is not None:
        plugin.stop()


@pytest.fixture
def fa_guard(request: pytest.FixtureRequest) -> GuardLog:
    """The log of the guard around this test, as far as it has come; empty where the guard is off."""
    log: GuardLog | None = request.node.stash.get(_LOG, None)
    return GuardLog() if log is None else log


class Plugin:
    """The guard of one pytest process."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.mode = self._mode()
        self.target = config.known_args_namespace.fa_guard_json if hasattr(config, "known_args_namespace") else None
        self.allow = tuple(config.getini("fa_guard_allow"))
        self.early = GuardLog()
        self.total = GuardLog()
        self.tests: dict[tuple[str, str, int], set[str]] = {}
        self._stop_waiting: Callable[[], None] = lambda: None
        self._release: Callable[[], None] | None = None
        self._collecting: Any = None
        self._begun = False

    def _mode(self) -> str:
        given = getattr(self.config.known_args_namespace, "fa_guard", None)
        return str(given or self.config.getini("fa_guard") or "off").strip()

    @property
    def is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    def validate(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            pytest.UsageError: one line.
        """
        if self.mode not in MODES:
            raise pytest.UsageError(f"fa_guard must be one of {', '.join(MODES)}, got {self.mode!r}")
        for code in self.allow:
            _check_code(code, "fa_guard_allow")
        if self.target and not Path(self.target).absolute().parent.is_dir():
            raise pytest.UsageError(f"--fa-guard-json: no such folder: {Path(self.target).absolute().parent}")

    # -- hooks of torch ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """With the guard on, hook torch now or as soon as it is imported; what import and collection do is logged."""
        if self.mode in ("warn", "error") and not self._begun:
            self._begun = True
            self._stop_waiting = after_torch(self._torch_is_here)

    def _torch_is_here(self) -> None:
        from .guard import install

        if self._release is None:
            install.acquire()
            self._release = install.release
            self._open_early()

    def _open_early(self) -> None:
        from .guard import session

        self._collecting = session.Session("record", ("FAL",), self.allow, 1.0)
        session.enter(self._collecting)

    def _close_early(self) -> list[GuardEvent]:
        """The events since the last time, outside any test."""
        if self._collecting is None:
            return []
        from .guard import session

        old = self._collecting
        session.leave(old)
        old.finish()
        self._open_early()
        return list(old.log)

    def stop(self) -> None:
        """Undo everything."""
        self._stop_waiting()
        if self._collecting is not None:
            from .guard import session

            session.leave(self._collecting)
            self._collecting = None
        if self._release is not None:
            self._release()
            self._release = None

    @contextmanager
    def watching(self, item: pytest.Item, wish: Wish, found: list[GuardEvent]) -> Iterator[None]:
        """One phase of one test; ``found`` fills when it ends."""
        if "torch" not in sys.modules:
            # Where a test is the first to import torch, it goes to the session's own log.
            try:
                yield
            finally:
                found += [event for event in self._close_early() if not selected(event.code, wish.allow)]
            return
        if self._release is None:
            self._torch_is_here()
        from .guard import session

        running = session.Session("record", ("FAL",), (*self.allow, *wish.allow), 1.0, opaque=True)
        log = item.stash[_LOG]
        earlier = log.events
        log.source = lambda: earlier + running.events()
        session.enter(running)
        try:
            yield
        finally:
            session.leave(running)
            log.settle()
            log.unchecked.update(running.log.unchecked)
            found += log.events[len(earlier) :]

    # -- collection --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, pytest.CollectReport, Any]:
        """Events while a module is imported: an error of collection in mode error."""
        report = yield
        events = self._close_early()
        if events:
            self.early.merge(events)
            if self.mode == "error" and report.passed:
                report.outcome = "failed"
                report.longrepr = f"fa-guard, while importing: {section(events)}"
        return report

    def pytest_collection_finish(self) -> None:
        """In mode warn, say what import and collection showed (once)."""
        self.early.merge(self._close_early())
        if self.mode == "warn" and not self.is_worker:
            for event in self.early:
                try:
                    warn(event)
                except GuardWarning as error:  # a filter makes errors of warnings, and no test is there to fail
                    pytest.exit(f"fa-guard: {event.place}: {error}", returncode=pytest.ExitCode.TESTS_FAILED)

    # -- tests -------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        item.stash[_LOG] = GuardLog()
        wish = item.stash[_WISH] = self._wish(item)
        return (yield from self._phase(item, wish, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._phase(item, item.stash[_WISH], "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._phase(item, item.stash.get(_WISH, Wish("off")), "teardown"))

    def _phase(self, item: pytest.Item, wish: Wish, when: str) -> Generator[None, Any, Any]:
        if wish.mode == "off":
            return (yield)
        found: list[GuardEvent] = []
        try:
            with self.watching(item, wish, found):
                result = yield
        except BaseException:
            self._report(item, wish, when, found, failed=True)
            raise
        self._report(item, wish, when, found, failed=False)
        return result

    def _report(self, item: pytest.Item, wish: Wish, when: str, found: list[GuardEvent], *, failed: bool) -> None:
        """Attach the events to the test; warn, or fail it, unless it fails anyway."""
        if not found:
            return
        for event in found:
            item.user_properties.append((_PROPERTY, json.dumps(event.as_dict(), ensure_ascii=False)))
        if wish.mode == "error" and not failed:
            pytest.fail(f"fa-guard: {section(found)}", pytrace=False)
        item.add_report_section(when, "fa-guard", section(found))
        if not failed:
            for event in found:
                warn(event)

    def _wish(self, item: pytest.Item) -> Wish:
        wish: dict[str, Any] = {}
        for marker in item.iter_markers("fa_guard"):
            unknown = sorted(set(marker.kwargs) - {"mode", "allow", "reason"})
            if marker.args or unknown:
                pytest.fail(f"fa_guard takes mode=, allow=, reason=; got {unknown or list(marker.args)}", pytrace=False)
            wish = {**marker.kwargs, **wish}  # the closest one says more
        mode, allow = wish.get("mode", self.mode), wish.get("allow", ())
        if mode not in MODES:
            pytest.fail(f"fa_guard: mode must be one of {', '.join(MODES)}, got {mode!r}", pytrace=False)
        codes = (allow,) if isinstance(allow, str) else tuple(allow)
        for code in codes:
            try:
                _check_code(code, "fa_guard(allow=…)")
            except pytest.UsageError as error:
                pytest.fail(str(error), pytrace=False)
        return Wish(mode, codes)

    # -- the end -----------------------------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Where reports come together (the controller under xdist): add up what the tests carried."""
        if report.when != "teardown":
            return
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, str):
                event = GuardEvent.from_json(json.loads(value))
                self.total.merge([event])
                self.tests.setdefault((event.file, event.kind, event.line), set()).add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """A worker hands over what it saw outside tests; whoever prints writes the JSON."""
        self.early.merge(self._close_early())
        if self.is_worker:
            self.config.workeroutput["fa_guard"] = self.early.as_dict()["events"]  # type: ignore[attr-defined]
        elif self.target:
            everything = GuardLog(self.total)
            everything.merge(self.early)
            try:
                everything.write(Path(self.target))
            except OSError as error:
                raise pytest.UsageError(f"--fa-guard-json: cannot write {self.target}: {error.strerror}") from None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """xdist: every worker imported the same modules, so the same event of two workers is one."""
        known = {(e.file, e.line, e.kind) for e in self.early}
        for data in getattr(node, "workeroutput", {}).get("fa_guard", ()):
            event = GuardEvent.from_json(data)
            if (event.file, event.line, event.kind) not in known:
                self.early.merge([event])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table."""
        lines = lines_of_summary(self.total, self.early, self.tests)
        if lines:
            terminalreporter.section("fa-guard")
            for line in lines:
                terminalreporter.line(line)


def _check_code(code: str, where: str) -> None:
    if not any(known.startswith(str(code).upper()) for known in CODES):
        raise pytest.UsageError(f"{where}: no event has code {code!r}; known: {', '.join(sorted(CODES))}")
