"""Arrays are made and filled while another thread frees the group by force."""

from __future__ import annotations

import pytest

pytest.importorskip("numpy")


@pytest.mark.parametrize("size", [3, 100_000])
@pytest.mark.parametrize(
    "made",
    [
        "array(source)",
        "array(source[::2])",
        "array(source.reshape(1, -1).T[::-1], order='F')",
        "full(len(source), 7)",
        "full((3, len(source)), source)",
    ],
)
def test_an_array_is_filled_whole_or_the_group_is_freed(child, made, size):
    assert child.output(f"""
        import threading, time
        import numpy as np
        until = time.monotonic() + 1
        groups = [MemGroup()]
        source = np.arange({size})

        def copy():
            while time.monotonic() < until:
                try:
                    groups[0].{made}
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
