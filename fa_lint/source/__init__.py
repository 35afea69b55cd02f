"""One file: bytes, text, cells, comments, imports; nothing of a rule."""
