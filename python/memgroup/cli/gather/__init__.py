"""`memgroup gather`: find files, read them into one group, inspect them, free them in one shot.

`command` has the arguments, `job` the work: `find` walks the paths and `inspect` inspects the files. `report`
shows the outcome to people, `json` to programs, and `shortage` explains it if memory ran out.
"""
