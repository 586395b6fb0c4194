"""`memgroup gather`: find files, read them into one group, inspect them, free them in one shot.

`command` is what it takes, `job` the work: `find` walks the paths and `inspect` looks at what was read. What
comes of it is told by `report` to people and by `json` to programs, and by `shortage` where memory ended.
"""
