"""Event loops, and tasks that are cancelled on them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import strategies as st

try:
    import uvloop
except ImportError:
    uvloop = None

LOOPS = {"asyncio": asyncio.new_event_loop} | ({"uvloop": uvloop.new_event_loop} if uvloop else {})
ANY_LOOP = st.sampled_from(sorted(LOOPS))
PATIENCE = st.lists(st.integers(0, 6), min_size=1, max_size=10)


def run_on(loop, coroutine):
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(coroutine, 60))


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine on each of the loops."""
    if request.param not in LOOPS:
        pytest.skip("uvloop is not installed")
    return lambda coroutine: run_on(request.param, coroutine)


async def message(reader):
    return await anext(reader)


async def once(awaitable):
    """Make a coroutine of an awaitable."""
    return await awaitable


async def with_cancellations(start, patience):
    """Await what `start` gives, cancelling it after so many turns of the loop, until one comes to an end.

    The last waits for as long as it takes: a peer in a thread may be slow.
    """
    for turns in patience:
        task = asyncio.ensure_future(start())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            return await task
    return await start()


async def all_messages(reader, patience):
    """Receive messages to the end, cancelling each as above."""
    found = []
    with suppress(StopAsyncIteration):
        while True:
            found.append(await with_cancellations(lambda: message(reader), patience))
    return found
