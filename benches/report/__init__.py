"""Makes BENCHMARKS.md and its plots from the measurements of a run."""
