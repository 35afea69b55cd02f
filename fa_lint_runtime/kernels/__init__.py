"""Implementations of the cosine, one file per way of computing it. ``fa_lint_runtime.cosine`` chooses among them."""

__all__: list[str] = []
