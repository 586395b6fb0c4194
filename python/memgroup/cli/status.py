"""The exit statuses of the command.

| status | meaning |
| --- | --- |
| 0 | all was done; `gather --find` found something |
| 1 | `gather --find` found nothing; `doctor` found a missing feature |
| 2 | bad usage, a file that cannot be read, or an output that cannot be written |
| 130 | ended by Ctrl-C |
| 141 | the reader of the output closed the pipe, as after `| head` (SIGPIPE) |
"""

import signal

COMPLETE = 0
FOUND = 0
NOT_FOUND = 1
INCOMPLETE = 1
UNUSABLE = 2
EXIT_SIGINT = 128 + signal.SIGINT
EXIT_SIGPIPE = 128 + signal.SIGPIPE
