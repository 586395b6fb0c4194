"""The end of a worker that is no longer needed."""

from __future__ import annotations

import os
import select
import socket
import threading
from multiprocessing import util

# How long a worker has to end by itself, in seconds.
GRACE = 1.0


class Activity:
    """Whether this process does anything for the pool, and what ends it when the pool is gone."""

    def __init__(self, theirs: socket.socket) -> None:
        self.theirs = theirs
        # Until the initializer is done.
        self.is_busy = True
        self.is_leaving = threading.Event()

    def end_with_pool(self) -> None:
        """End this process when no end of the pool's socket is open in its parent.

        A parent that was killed sends no message, and a worker that was killed may have had the lock of the
        queue of tasks: without this the others would wait for ever, and keep the memory of their results.
        """
        util.Finalize(None, self.is_leaving.set, exitpriority=100)
        threading.Thread(target=self.watch, name="memgroup end", daemon=True).start()

    def watch(self) -> None:
        """Wait for the end."""
        hang_up = select.poll()
        # That is told without being asked for.
        hang_up.register(self.theirs, 0)
        hang_up.poll()
        while not self.is_leaving.wait(GRACE):
            if not self.is_busy:
                os._exit(0)
