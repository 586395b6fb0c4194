"""`group.array` while another thread frees the group by force."""

from __future__ import annotations

import pytest

pytest.importorskip("numpy")


@pytest.mark.parametrize("size", [3, 100_000])
def test_an_array_is_copied_whole_or_the_group_is_freed(child, size):
    assert child.output(f"""
        import threading, time
        import numpy as np
        until = time.monotonic() + 2
        groups = [MemGroup()]
        source = np.arange({size})

        def copy():
            while time.monotonic() < until:
                try:
                    groups[0].array(source)
                except ValueError as error:
                    assert "freed" in str(error)

        sys.setswitchinterval(1e-5)
        threads = [threading.Thread(target=copy) for _ in range(3)]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            time.sleep(0.001)
            old, groups[0] = groups[0], MemGroup()
            old.free(force=True)
        for thread in threads:
            thread.join()
        print("fine")
    """).split() == ["fine"]
