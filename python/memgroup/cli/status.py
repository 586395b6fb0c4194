"""The exit statuses of the command.

| status | meaning |
| --- | --- |
| 0 | all files were gathered |
| 1 | some files could not be read, or memory ran out; `doctor` found a missing feature |
| 2 | no report: bad usage, a path that does not exist, or an output that cannot be written |
| 130 | ended by Ctrl-C |
| 141 | the reader of the output closed the pipe, as after `| head` (SIGPIPE) |
"""

import signal

COMPLETE = 0
INCOMPLETE = 1
UNUSABLE = 2
EXIT_SIGINT = 128 + signal.SIGINT
EXIT_SIGPIPE = 128 + signal.SIGPIPE
