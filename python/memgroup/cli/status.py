"""What the command tells its caller by exit status.

| status | meaning |
| --- | --- |
| 0 | everything was gathered |
| 1 | some of it was: files could not be read, or the memory ended; `doctor` found something missing |
| 2 | nothing was reported: bad usage, a path that does not exist, or an output that cannot be written |
| 130 | ended by Ctrl-C |
| 141 | the reader of the output has gone, as after `| head` |
"""

import signal

COMPLETE = 0
INCOMPLETE = 1
UNUSABLE = 2
EXIT_SIGINT = 128 + signal.SIGINT
EXIT_SIGPIPE = 128 + signal.SIGPIPE
