"""What is raised when an optional dependency is needed and not installed."""

from __future__ import annotations

__all__ = ["MissingDependencyError"]


class MissingDependencyError(ImportError):
    """An extra of this package is not installed; the message is the command that installs it.

    Args:
        library: what is missing.
        purpose: what needs it.
        extra: the extra of ``fa-lint`` that brings it.

    Example:
        >>> str(MissingDependencyError("scikit-learn", "the digits data", "reference"))
        'the digits data needs scikit-learn: pip install "fa-lint[reference]"'
    """

    def __init__(self, library: str, purpose: str, extra: str) -> None:
        self.library, self.purpose, self.extra = library, purpose, extra
        super().__init__(f'{purpose} needs {library}: pip install "fa-lint[{extra}]"')

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str, str]]:
        return type(self), (self.library, self.purpose, self.extra)
