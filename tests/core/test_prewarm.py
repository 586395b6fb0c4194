"""Memory made warm before anybody needs it."""

from typing import cast

import memgroup
import pytest

MIB = 1 << 20


def test_the_next_group_finds_its_memory_there(child):
    said = child.output("""
        import resource
        memgroup.set_warm_limit(64 << 20)
        memgroup.prewarm(40 << 20)
        kept = memgroup.warm_memory().committed
        with MemGroup() as group:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for block in group.alloc_many(count=30, size=1 << 20):
                block[:] = bytes(1 << 20)
            print(kept >> 20, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """)
    kept, faults = map(int, said.split())
    assert kept == 40
    # One for each page, or each 2 MiB, would be thousands. Python's own objects have some.
    assert faults < 1000


@pytest.mark.parametrize("bytes_", [0, 1, 5000, 64 << 10, 100_000, 3 * MIB + 1, 64 * MIB])
def test_so_much_is_warm_as_was_asked_for(bytes_, child):
    said = child.output(f"""
        memgroup.set_warm_limit(64 << 20)
        memgroup.prewarm({bytes_})
        print(memgroup.warm_memory().committed)
    """)
    assert bytes_ <= int(said) <= bytes_ + 4095


def test_a_thread_does_it_in_the_background(child):
    child.output("""
        memgroup.set_warm_limit(64 << 20)
        import time
        memgroup.prewarm(32 << 20, background=True)
        with MemGroup() as group:  # meanwhile
            group.copy(b"abc")
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside a thread
        pid = os.fork()
        if pid == 0:
            os._exit(0 if MemGroup().copy(b"child") == b"child" else 1)
        assert os.waitpid(pid, 0)[1] == 0
        memgroup.prewarm(32 << 20, background=True)
        end = time.monotonic() + 60
        while memgroup.warm_memory().committed < 32 << 20:
            assert time.monotonic() < end, memgroup.warm_memory()
            time.sleep(0.01)
    """)


def test_more_than_is_kept_is_an_error_that_names_the_limit():
    limit = memgroup.warm_memory().limit
    with pytest.raises(
        ValueError, match=f"no more than {limit} bytes are kept warm; raise that by set_warm_limit"
    ):
        memgroup.prewarm(limit + 1)
    with pytest.raises(ValueError, match="not negative"):
        memgroup.prewarm(-1)
    with pytest.raises(TypeError, match="must be an integer"):
        memgroup.prewarm(cast("int", "1"))
    with pytest.raises(TypeError, match="background must be True or False"):
        memgroup.prewarm(1, background=cast("bool", 1))


def test_it_gives_way_to_requests(child):
    child.output("""
        memgroup.set_warm_limit(64 << 20)
        memgroup.prewarm(64 << 20)
        memgroup.set_warm_limit(1 << 20)
        assert memgroup.warm_memory().committed <= 1 << 20
        assert MemGroup().copy(b"x") == b"x"
    """)
