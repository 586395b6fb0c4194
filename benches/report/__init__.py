"""Makes BENCHMARKS.md and its plots out of what a run has measured."""
