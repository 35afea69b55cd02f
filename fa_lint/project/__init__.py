"""A run over many files: settings, which files and lines count, results by content, what spans files."""
