"""The one pipeline: discovered files → cache → analysis (in parallel where it pays) → link → sort."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.context import BaseContext

from fa_lint.analysis.modules import Modules, may_import
from fa_lint.analysis.project import Project
from fa_lint.analysis.summaries import Noted
from fa_lint.findings import Diagnostic, Level, Place
from fa_lint.project.cache import Cache, digest
from fa_lint.project.check_file import FileResult, analyse
from fa_lint.project.config import Settings
from fa_lint.project.linking import link
from fa_lint.project.workers import Died, context, results_of
from fa_lint.rules import ENGINE_CODES, ProjectRule, registry, select
from fa_lint.semantics.roles import RoleNames
from fa_lint.source.reading import read_file

__all__ = ["MOST_FOLLOWED", "Report", "lint", "lint_text"]

# Starting workers costs about as much as checking this many bytes.
_PARALLEL_BYTES = 4_000_000
_CHUNK_BYTES = 400_000
_DEEP_BYTES = 8_000
_MOST_RELATED = 5
# In larger trees everything imports everything, and following it costs ten times the rest.
MOST_FOLLOWED = 500

_Job = tuple[str, bytes, frozenset[str]]
# The number of a chunk, and of a job in it, or None for all of them.
_Task = tuple[int, int | None]


@dataclass(slots=True)
class Report:
    """The outcome of a run. ``problems`` are internal errors and make the run fail, whatever was found.

    ``seen`` are the hashes of the contents that the findings are about, by path.
    """

    diagnostics: list[Diagnostic] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    files: int = 0
    cached: int = 0
    parsed: int = 0
    seconds: float = 0.0


class _Unread(FileResult):
    """Stands for a file that could not be checked: it is not cached and not read again."""

    __slots__ = ()


def lint_text(path: str, data: bytes, settings: Settings, *, apart: bool = False) -> Report:
    """Lint one file's bytes, without cache, disk or project: standard input, editors, flake8.

    ``apart``: code that may end a process is read in another one, as :func:`lint` does.
    """
    codes = settings.codes_for(path)
    if len(data) > settings.max_file_size:
        return Report(_unread(path, f"longer than {settings.max_file_size:_} bytes", codes).diagnostics, files=1)
    job = (path, data, codes)
    one = [path]
    names = settings.role_names
    results = _run([job], names, one, 1, lambda _: None) if apart else [_guarded(job, names, None)]
    (result,) = results
    return Report(_styled(result.diagnostics, settings), result.problems, files=1, parsed=int(result.parsed))


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
    ``lint(some, context=others)`` finds in ``some`` what ``lint(some + others)`` finds there. ``progress`` gets
    (bytes done, bytes in all).
    """
    began = time.perf_counter()
    report = Report(files=len(files))
    cache = Cache(settings) if use_cache else None
    results: dict[str, FileResult] = {}
    todo: list[_Job] = []
    keys: dict[str, str] = {}
    known = 0
    gc.freeze()
    paths = sorted({*files, *context})
    project = _project(paths, settings.role_names)
    rules = select(settings.codes)
    shown = set(files)
    for path in paths:
        data = _read(path, results, settings)
        if data is None:
            continue
        report.seen[path] = hash(data)
        if path not in shown and not (may_import(data) or any(rule.may_match(data) for rule in rules)):
            continue
        codes = settings.codes_for(path)
        if cache is not None:
            keys[path] = digest(data, path, codes)
            hit = cache.get(keys[path], path)
            if hit is not None and _still_holds(hit, project):
                results[path] = hit
                report.cached += 1
                known += len(data)
                continue
        todo.append((path, data, codes))
    total = known + sum(len(data) for _, data, _ in todo)

    def done(more: int) -> None:
        nonlocal known
        known += more
        if progress is not None:
            progress(known, total)

    for result in _run(todo, settings.role_names, paths, jobs, done):
        results[result.path] = result
        if cache is not None and not isinstance(result, _Unread):
            cache.put(keys[result.path], result)
    _collect(report, paths, shown, results, settings)
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
) -> None:
    facts: dict[str, list[Noted]] = {}
    for path in files:
        result = results.get(path)
        if result is None:
            continue
        for code, noted in result.facts.items():
            facts.setdefault(code, []).extend(noted)
        if path in shown:
            report.diagnostics += result.diagnostics
            report.problems += result.problems
            report.parsed += result.parsed
    known = sorted(results.items())
    linked = link(facts, Modules({p: r.imports for p, r in known}, {p: r.classes for p, r in known}))
    report.problems += linked.problems
    for result in results.values():
        for path, code, rows in result.silenced:
            linked.silenced.setdefault(path, []).append((code, rows))
    linked.diagnostics += [d for result in results.values() for d in result.elsewhere]
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
    report.diagnostics = list(_merged(report.diagnostics))
    report.diagnostics = _styled(report.diagnostics, settings)
    report.diagnostics.sort(key=lambda d: d.sort_key)


def _still_holds(hit: FileResult, project: Project | None) -> bool:
    """Return True where all that an earlier result rests on is as it was, and what it rests on is at hand."""
    if project is None:
        return not any(path for path, _ in hit.depends)
    return project.holds(hit.path, hit.imports, hit.depends)


def _merged(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Return what several files find at one place once: with the highest level, and up to five of the calls."""
    places: dict[tuple[str, int | None, Place, Place, str], list[Diagnostic]] = {}
    for item in found:
        places.setdefault((item.path, item.cell, item.start, item.end, item.code), []).append(item)
    for items in places.values():
        if len(items) == 1:
            yield items[0]
            continue
        best = max(items, key=lambda d: d.level.rank)
        calls = sorted({r for d in items for r in d.related}, key=lambda r: (r.path, r.cell or 0, r.start))
        yield replace(best, related=tuple(calls[:_MOST_RELATED]))


def _styled(found: list[Diagnostic], settings: Settings) -> list[Diagnostic]:
    """The findings with the fixes of the configured style."""
    if settings.fix_style == "runtime":
        return found
    return [
        replace(d, fix=d.torch_fix) if d.torch_fix is not None or (d.fix and d.fix.uses_runtime) else d for d in found
    ]


def _read(path: str, results: dict[str, FileResult], settings: Settings) -> bytes | None:
    try:
        return read_file(path, settings.max_file_size)
    except OSError as error:
        results[path] = _unread(path, error.strerror or str(error), settings.codes_for(path))
        return None


def _unread(path: str, reason: str, codes: frozenset[str]) -> FileResult:
    """Return the finding for a file that could not be checked."""
    if "FAL900" not in codes:
        return _Unread(path)
    place = Place(1, 1)
    limit = " (the setting `max-file-size`)" if reason.startswith("longer") else ""
    message = f"cannot be read: {reason}{limit}; the file was not checked"
    return _Unread(
        path,
        [Diagnostic(path, None, place, place, "FAL900", ENGINE_CODES["FAL900"], message, Level.ERROR, noqa_row=1)],
    )


def _read_again(path: str) -> bytes | None:
    try:
        return read_file(path)
    except OSError:
        return None


def _workers(todo: list[_Job], jobs: int, made: BaseContext) -> int:
    """How many processes to start; none where this one does as well.

    Code that is deep enough to end a process is long, and a fork costs little: it is not read in this process.
    """
    if multiprocessing.current_process().daemon:  # it may start none
        return 0
    workers = jobs or os.cpu_count() or 1
    if workers > 1 and sum(len(data) for _, data, _ in todo) >= _PARALLEL_BYTES:
        return workers
    deep = made.get_start_method() == "fork" and any(len(data) >= _DEEP_BYTES for _, data, _ in todo)
    return int(deep)


def _run(
    todo: list[_Job], declared: RoleNames, paths: list[str], jobs: int, done: Callable[[int], None]
) -> Iterator[FileResult]:
    """The results of the files, as they come; ``done`` gets how many bytes more were read."""
    made = context()
    workers = _workers(todo, jobs, made)
    left = {job[0]: job for job in todo}
    try:
        for result in _elsewhere(todo, declared, paths, workers, made, done) if workers else ():
            del left[result.path]
            yield result
    except OSError:  # no process can be started
        pass
    # The collector would walk every tree several times while it is built: a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    project = _project(paths, declared)
    try:
        for job in left.values():
            yield from _analyse_chunk([job], declared, project)
            done(len(job[1]))
    finally:
        if collecting:
            gc.enable()


def _elsewhere(
    todo: list[_Job],
    declared: RoleNames,
    paths: list[str],
    workers: int,
    made: BaseContext,
    done: Callable[[int], None],
) -> Iterator[FileResult]:
    # What the workers are born with is not sent to them: a fork has the files already.
    chunks = list(_chunks(todo))
    tasks: deque[_Task] = deque((number, None) for number in range(len(chunks)))
    prepare = partial(_be_worker, chunks, declared, paths)
    for (number, place), found in results_of(tasks, _analyse_numbered, prepare, min(workers, len(todo)), made):
        chunk = chunks[number]
        if isinstance(found, Died) and place is None and len(chunk) > 1:
            # One of them killed it: each by itself, so that only that one is lost.
            tasks.extend((number, one) for one in range(len(chunk)))
            continue
        if isinstance(found, Died):
            path, _, codes = chunk[place or 0]
            found = [_unread(path, f"the process that checked it died ({found.reason})", codes)]
        yield from found
        done(sum(len(data) for _, data, _ in (chunk if place is None else [chunk[place]])))


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


def _project(paths: list[str], declared: RoleNames) -> Project | None:
    """Return what values are followed through from file to file; in a very large run each file stands alone."""
    if not 1 < len(paths) <= MOST_FOLLOWED:
        return None
    rules = (rule for rule in registry().values() if isinstance(rule, ProjectRule))
    return Project(paths, declared, (rule.subject for rule in rules if rule.subject is not None))


_inherited: tuple[list[list[_Job]], RoleNames, Project | None] = ([], RoleNames(), None)


def _be_worker(chunks: list[list[_Job]], declared: RoleNames, paths: list[str]) -> None:
    global _inherited
    _inherited = (chunks, declared, _project(paths, declared))
    gc.freeze()
    gc.disable()


def _analyse_numbered(task: _Task) -> list[FileResult]:
    chunks, declared, project = _inherited
    number, place = task
    return _analyse_chunk(chunks[number] if place is None else [chunks[number][place]], declared, project)


def _analyse_chunk(chunk: list[_Job], declared: RoleNames, project: Project | None) -> list[FileResult]:
    found = [_guarded(job, declared, project) for job in chunk]
    # The collector is off here: whatever still holds itself goes now, after files that were lowered.
    if any(result.parsed for result in found):
        gc.collect(0)
    return found


def _guarded(job: _Job, declared: RoleNames, project: Project | None) -> FileResult:
    path, data, codes = job
    try:
        return analyse(path, data, codes, declared, project=project)
    except Exception as error:  # the tool's fault: say so, and go on with the other files
        return FileResult(path, problems=[f"{path}: internal error: {type(error).__name__}: {error}"])
