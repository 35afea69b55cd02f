"""What is raised when an optional dependency is needed and not installed."""

from __future__ import annotations

__all__ = ["MissingDependencyError", "install_command"]

# No index holds the name yet. A release flips this and its twin in fa_lint/installing.py; a test holds them equal.
_RELEASED = False
_REPOSITORY = "git+https://github.com/fa-lint/fa-lint"


def install_command(extra: str) -> str:
    """Return the command that installs this package with one of its extras.

    Example:
        >>> install_command("runtime")
        'pip install "fa-lint[runtime] @ git+https://github.com/fa-lint/fa-lint"'
    """
    return f'pip install "fa-lint[{extra}]{"" if _RELEASED else f" @ {_REPOSITORY}"}"'


class MissingDependencyError(ImportError):
    """An extra of this package is not installed; the message is the command that installs it.

    Args:
        library: what is missing.
        purpose: what needs it.
        extra: the extra of ``fa-lint`` that brings it.

    Example:
        >>> str(MissingDependencyError("scikit-learn", "the digits data", "reference"))
        'the digits data needs scikit-learn: pip install "fa-lint[reference] @ git+https://github.com/fa-lint/fa-lint"'
    """

    def __init__(self, library: str, purpose: str, extra: str) -> None:
        self.library, self.purpose, self.extra = library, purpose, extra
        super().__init__(f"{purpose} needs {library}: {install_command(extra)}")

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str, str]]:
        return type(self), (self.library, self.purpose, self.extra)
