"""The one pipeline: discovered files → cache → analysis (in parallel where it pays) → link → sort."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace

from fa_lint.analysis import FileResult, analyse
from fa_lint.cache import Cache, digest
from fa_lint.config import Settings
from fa_lint.findings import Diagnostic, Level, Place, Trace
from fa_lint.modules import Modules, may_import
from fa_lint.project import link
from fa_lint.rules import ENGINE_CODES, ProjectRule, select
from fa_lint.semantics.roles import RoleNames

__all__ = ["Report", "lint", "lint_text"]

# Starting workers costs about as much as checking this many bytes.
_PARALLEL_BYTES = 4_000_000
_CHUNK_BYTES = 400_000

_Job = tuple[str, bytes, frozenset[str]]


@dataclass(slots=True)
class Report:
    """The outcome of a run. ``problems`` are internal errors and make the run fail, whatever was found."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: int = 0
    cached: int = 0
    parsed: int = 0
    seconds: float = 0.0


def lint_text(path: str, data: bytes, settings: Settings) -> Report:
    """Lint one file's bytes, without cache, disk or project: standard input, editors, flake8."""
    result = _guarded((path, data, settings.codes_for(path)), settings.role_names)
    return Report(_styled(result.diagnostics, settings), result.problems, 1, parsed=int(result.parsed))


def lint(
    files: list[str],
    settings: Settings,
    *,
    jobs: int = 0,
    use_cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
    context: Sequence[str] = (),
) -> Report:
    """Lint files. The result does not depend on ``jobs`` (0: one per core) nor on the cache.

    ``context`` are files of the same project that are read for the links across files and not reported on:
    ``lint(some, context=others)`` finds in ``some`` what ``lint(some + others)`` finds there. ``progress`` is told
    (files done, files in all).
    """
    began = time.perf_counter()
    report = Report(files=len(files))
    cache = Cache(settings) if use_cache else None
    results: dict[str, FileResult] = {}
    todo: list[_Job] = []
    keys: dict[str, str] = {}
    gc.freeze()
    rules = select(settings.codes)
    shown = set(files)
    for path in sorted({*files, *context}):
        data = _read(path, results, settings)
        if data is None:
            continue
        if path not in shown and not (may_import(data) or any(rule.may_match(data) for rule in rules)):
            continue
        codes = settings.codes_for(path)
        if cache is not None:
            keys[path] = digest(data, path, codes)
            hit = cache.get(keys[path], path)
            if hit is not None:
                results[path] = hit
                report.cached += 1
                continue
        todo.append((path, data, codes))
    _run(todo, settings.role_names, jobs, results, progress, len(todo) + report.cached)
    for path, _, _ in todo:
        if cache is not None and path in results:
            cache.put(keys[path], results[path])
    _collect(report, sorted({*files, *context}), shown, results, settings, cache)
    if cache is not None:
        cache.write()
    report.seconds = time.perf_counter() - began
    return report


def _collect(
    report: Report,
    files: list[str],
    shown: set[str],
    results: dict[str, FileResult],
    settings: Settings,
    cache: Cache | None,
) -> None:
    clues: dict[str, list[Trace]] = {}
    several = len(files) > 1
    left = {r.code for r in select(settings.codes) if several and isinstance(r, ProjectRule) and r.settles_all}
    for path in files:
        result = results.get(path)
        if result is None:
            continue
        for code, traces in result.clues.items():
            clues.setdefault(code, []).extend(traces)
        if path in shown:
            report.diagnostics += [d for d in result.diagnostics if d.code not in left]
            report.problems += result.problems
            report.parsed += result.parsed
    modules = Modules({path: result.imports for path, result in results.items()})
    linked = link(clues, files, _read_again, settings.role_names, modules, cache)
    report.problems += linked.problems
    for path, places in linked.silenced.items():
        if path not in shown:
            continue
        # Their suppressions looked unused while the file was judged alone.
        data = _read_again(path)
        if data is not None:
            again = analyse(path, data, settings.codes_for(path), settings.role_names, places)
            kept = [d for d in report.diagnostics if d.path != path or d.code != "FAL901"]
            report.diagnostics = kept + [d for d in again.diagnostics if d.code == "FAL901"]
    report.diagnostics += [d for d in linked.diagnostics if d.path in shown and d.code in settings.codes_for(d.path)]
    report.diagnostics = _styled(report.diagnostics, settings)
    report.diagnostics.sort(key=lambda d: d.sort_key)


def _styled(found: list[Diagnostic], settings: Settings) -> list[Diagnostic]:
    """The findings with the fixes of the configured style."""
    if settings.fix_style == "runtime":
        return found
    return [
        replace(d, fix=d.torch_fix) if d.torch_fix is not None or (d.fix and d.fix.uses_runtime) else d for d in found
    ]


def _read(path: str, results: dict[str, FileResult], settings: Settings) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        if "FAL900" in settings.codes_for(path):
            place = Place(1, 1)
            message = f"cannot be read: {error.strerror or error}; the file was not checked"
            found = Diagnostic(
                path, None, place, place, "FAL900", ENGINE_CODES["FAL900"], message, Level.ERROR, noqa_row=1
            )
            results[path] = FileResult(path, [found])
        return None


def _read_again(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _run(
    todo: list[_Job],
    declared: RoleNames,
    jobs: int,
    results: dict[str, FileResult],
    progress: Callable[[int, int], None] | None,
    total: int,
) -> None:
    workers = jobs or os.cpu_count() or 1
    size = sum(len(data) for _, data, _ in todo)
    done = total - len(todo)
    if workers < 2 or size < _PARALLEL_BYTES:
        # The collector would walk every tree several times while it is built: a third of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            for job in todo:
                results[job[0]] = _analyse_chunk([job], declared)[0]
                done += 1
                if progress is not None:
                    progress(done, total)
        finally:
            if collecting:
                gc.enable()
        return
    # What the workers are born with is not sent to them: a fork has the files already.
    chunks = list(_chunks(todo))
    with ProcessPoolExecutor(
        min(workers, len(todo)), mp_context=_context(), initializer=_be_worker, initargs=(chunks, declared)
    ) as pool:
        waiting = {pool.submit(_analyse_numbered, number): chunk for number, chunk in enumerate(chunks)}
        for future in as_completed(waiting):
            try:
                found = future.result()
            except BrokenExecutor:  # killed, or out of memory: what it was given is lost, what is done is not
                lost = "internal error: a worker process died; try `-j 1`"
                found = [FileResult(path, problems=[f"{path}: {lost}"]) for path, _, _ in waiting[future]]
            for result in found:
                results[result.path] = result
                done += 1
            if progress is not None:
                progress(done, total)


def _context() -> multiprocessing.context.BaseContext:
    # A fork is the cheapest start, and safe only while this process runs one thread.
    methods = multiprocessing.get_all_start_methods()
    method = "fork" if "fork" in methods and threading.active_count() == 1 else "spawn"
    return multiprocessing.get_context(method)


def _chunks(todo: list[_Job]) -> Iterable[list[_Job]]:
    """Batches of about equal bytes, the largest files first so that no worker ends alone."""
    chunk: list[_Job] = []
    size = 0
    for job in sorted(todo, key=lambda j: -len(j[1])):
        chunk.append(job)
        size += len(job[1])
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


_inherited: tuple[list[list[_Job]], RoleNames] = ([], RoleNames())


def _be_worker(chunks: list[list[_Job]], declared: RoleNames) -> None:
    global _inherited
    _inherited = (chunks, declared)
    gc.freeze()
    gc.disable()


def _analyse_numbered(number: int) -> list[FileResult]:
    chunks, declared = _inherited
    return _analyse_chunk(chunks[number], declared)


def _analyse_chunk(chunk: list[_Job], declared: RoleNames) -> list[FileResult]:
    found = [_guarded(job, declared) for job in chunk]
    # The collector is off here: whatever still holds itself goes now, after files that were lowered.
    if any(result.parsed for result in found):
        gc.collect(0)
    return found


def _guarded(job: _Job, declared: RoleNames) -> FileResult:
    path, data, codes = job
    try:
        return analyse(path, data, codes, declared)
    except Exception as error:  # the tool's fault: say so, and go on with the other files
        return FileResult(path, problems=[f"{path}: internal error: {type(error).__name__}: {error}"])
