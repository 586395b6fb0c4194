"""Engines: workers of this machine or of a cluster, which search the batches of `memgroup gather --on`.

| module | content |
| --- | --- |
| `engine` | the protocol of an engine, and `spread`, which sends batches to its workers |
| `connect` | from an address, or a client, to an engine |
| `local`, `dask`, `ray` | the engines |
| `batches` | the files below some paths, in batches by size |
| `searching` | what a worker does with a batch of files for the command |
| `ranges` | the same with a range of a large file, and the joining of what ranges tell |
| `reading` | the same for `memgroup.gather` |
| `measuring` | the same for the command's report on sizes |
| `sums` | the figures of all batches, and of each worker |
"""
