"""Edits of source files: fixes to a fixpoint, suppressions, written whole or not at all."""
