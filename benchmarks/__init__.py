"""Benchmarks of fa-lint; each is a module to run."""
