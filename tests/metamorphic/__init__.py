"""Meaning-preserving rewrites of the rules' own examples: a finding must not depend on how code is written."""
