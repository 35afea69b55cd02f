"""A report as text, JSON, Markdown, LaTeX or HTML: one format, one file, one function."""
