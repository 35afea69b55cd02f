"""The flags of ``fa-lint check``, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CheckOptions", "conflict"]

_Codes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The flags of ``fa-lint check``; None and () mean "as configured"."""

    select: _Codes | None = None
    ignore: _Codes | None = None
    extend_select: _Codes | None = None
    per_file_ignores: tuple[tuple[str, _Codes], ...] | None = None
    exclude: _Codes = ()
    extend_exclude: _Codes = ()
    force_exclude: bool = False
    fix: bool = False
    unsafe_fixes: bool = False
    diff: bool = False
    add_ignore: str | None = None
    baseline: str | None = None
    write_baseline: str | None = None
    prune_baseline: bool = False
    diff_from: str | None = None
    shard: tuple[int, int] | None = None
    watch: bool = False
    output_format: str = "full"
    output_file: tuple[str, ...] = ()
    statistics: bool = False
    max_findings: int | None = None
    quiet: bool = False
    verbose: bool = False
    fail_on: str | None = None
    max_file_size: int | None = None
    exit_zero: bool = False
    stdin_filename: str | None = None
    show_files: bool = False
    show_settings: bool = False
    isolated: bool = False
    config_file: str | None = None
    config_values: tuple[str, ...] = ()
    color: str = "auto"
    jobs: int = 0
    no_cache: bool = False
    with_runtime: str | None = None

    @property
    def narrows(self) -> bool:
        """Return True if only some findings are wanted; the others must not be changed either."""
        return self.baseline is not None or self.diff_from is not None


def conflict(options: CheckOptions, paths: tuple[str, ...]) -> str | None:
    """Why the flags cannot be used together, or None."""
    given = {
        "--fix": options.fix,
        "--diff": options.diff,
        "--add-ignore": options.add_ignore is not None,
        "--write-baseline": options.write_baseline is not None,
        "--baseline": options.baseline is not None,
        "--diff-from": options.diff_from is not None,
        "--shard": options.shard is not None,
        "--watch": options.watch,
        "--with-runtime": options.with_runtime is not None,
        "--quiet": options.quiet,
        "--verbose": options.verbose,
    }
    if options.prune_baseline and not given["--baseline"]:
        return "--prune-baseline needs --baseline FILE"
    for one, others in _APART.items():
        for other in others:
            if given[one] and given[other]:
                return f"{one} cannot be combined with {other}"
    if options.add_ignore is not None and ("\n" in options.add_ignore or "\r" in options.add_ignore):
        return "--add-ignore: the reason must be one line"
    if "-" in paths:
        alone = next((flag for flag in _NEED_FILES if given[flag]), None)
        return None if alone is None else f"{alone} cannot be used with standard input (`-`)"
    return None


_NEED_FILES = ("--write-baseline", "--diff-from", "--shard", "--watch", "--with-runtime")
_APART = {
    "--add-ignore": ("--fix", "--diff", "--write-baseline"),
    # A baseline of a part of the findings would drop the rest.
    "--write-baseline": ("--fix", "--diff", "--baseline", "--diff-from", "--shard", "--with-runtime"),
    "--quiet": ("--verbose",),
    "--watch": ("--diff", "--add-ignore", "--write-baseline"),
}
