"""Forks while another thread is in a call: what the child inherits, and that it never hangs."""

from __future__ import annotations

PRELUDE = """
from pathlib import Path

warnings.simplefilter("ignore")
memgroup.set_warm_limit(0)
done = threading.Event()


def forked(look):
    # What `look` returns in a child that is forked now.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            os.write(writer, repr(look()).encode())
        except BaseException as error:
            os.write(writer, repr(f"{type(error).__name__}: {error}").encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0, "the child hung"
    return eval(said)


def descriptors(word):
    targets = []
    for number in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    return [target for target in targets if word in target]


def mappings(word):
    return sum(word in line for line in Path("/proc/self/maps").read_text().splitlines())


def until_done(work):
    def run():
        while not done.is_set():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
"""


def test_a_child_has_no_descriptor_of_a_slot_that_its_parent_was_opening(child, mirrored):
    assert (
        child.output(
            PRELUDE
            + """
def churn():
    with MemGroup(name="churn", backing=sys.argv[1]) as group:
        group.alloc(100)

directory = sys.argv[1] if sys.argv[1] != "memfd" else "memfd:churn"
threads = [until_done(churn) for _ in range(2)]
print(sum(bool(forked(lambda: descriptors(directory))) for _ in range(150)))
done.set()
""",
            mirrored,
        )
        == "0"
    )


def test_a_child_can_end_a_group_that_was_opening_freeing_or_resetting_slots(child):
    assert (
        child.output(
            PRELUDE
            + """
group = MemGroup(name="shared-group", base=4096)

def work():
    global group
    for size in (100, 10_000, 100_000, 1_000_000):
        group.alloc(size)
    group.reset()
    group.alloc(5000)
    group.free()
    group = MemGroup(name="shared-group", base=4096)

def look():
    group.free(force=True)
    return mappings("memfd:shared-group")

thread = until_done(work)
print(sum(forked(look) for _ in range(150)))
done.set()
"""
        )
        == "0"
    )


def test_a_child_has_no_descriptor_of_files_that_another_thread_was_reading(child, tmp_path):
    for number in range(200):
        (tmp_path / f"read-{number}").write_bytes(bytes(5000))
    assert (
        child.output(
            PRELUDE
            + """
paths = sorted(Path(sys.argv[1]).iterdir())

def read():
    with MemGroup() as group:
        assert not group.read_files(paths).errors
        assert not group.read_ranges(paths[0], [0, 1000], [100, 200]).errors

threads = [until_done(read) for _ in range(2)]
print(sum(len(forked(lambda: descriptors("/read-"))) for _ in range(100)))
done.set()
""",
            tmp_path,
        )
        == "0"
    )


def test_a_child_keeps_the_files_that_its_own_thread_was_reading(child, tmp_path):
    for number in range(300):
        (tmp_path / f"read-{number:03}").write_bytes(bytes(300_000))
    assert (
        child.output(
            PRELUDE
            + """
paths = sorted(Path(sys.argv[1]).iterdir()) * 12  # it takes longer than from one report to the next
children = []

def fork(done, total):
    if len(children) < 3 and 0 < done < total:
        children.append(os.fork())
        if children[-1] == 0:
            signal.alarm(20)

with MemGroup() as group:
    # Parent and child move through each open file together, so some are shorter for each; but none is closed.
    errors = group.read_files(paths, progress=fork).errors
if 0 in children:
    os._exit(len(errors))
print(errors, {os.waitpid(pid, 0)[1] for pid in children})
""",
            tmp_path,
        )
        == "{} {0}"
    )


def test_a_machine_in_use_during_a_fork_is_an_error_in_the_child(child):
    assert child.output(
        PRELUDE
        + """
import time
from memgroup import rmap

machine = rmap.Machine()
process = machine.spawn()
thread = threading.Thread(target=lambda: process.fork(1_000_000))
thread.start()
time.sleep(0.05)


def look():
    said = outcome(machine.processes), repr(machine)
    return *said, len(rmap.Machine().spawn().fork(3))


print(*forked(look), sep="\\n")
thread.join()
print(len(machine.processes()), forked(lambda: len(machine.processes())))
"""
    ).splitlines() == [
        "RuntimeError: another thread was changing this Machine when the process forked, so half of that is "
        "done in this child: make a new Machine here, or fork while no thread uses it",
        "<Machine policy='linux70', interrupted by a fork>",
        "3",
        "1000001 1000001",
    ]


def test_children_of_a_process_whose_threads_do_everything_at_once_never_hang(child, tmp_path):
    (tmp_path / "source").write_bytes(bytes(100_000))
    assert (
        child.output(
            PRELUDE
            + """
import pickle
from memgroup import rmap

memgroup.set_warm_limit(8 << 20)
source = sys.argv[1]
machine = rmap.Machine()

def everything():
    with MemGroup(base=4096) as group, MemGroup(secret=True) as secret:
        group.alloc_many(range(300))
        secret.copy(b"secret")
        group.read_files([source] * 3)
        pickle.loads(pickle.dumps(group.copy(b"x" * 1000)))
        group.alloc(3_000_000)
    memgroup.enable_fault_report()
    memgroup.set_warm_limit(4 << 20)
    memgroup.set_warm_limit(8 << 20)
    memgroup.warm_memory()
    memgroup.disable_fault_report()

def look():
    everything()
    outcome(lambda: machine.spawn().exit())
    return 1

threads = [until_done(everything) for _ in range(2)] + [until_done(lambda: machine.spawn().exit())]
print(sum(forked(look) for _ in range(60)))
done.set()
""",
            tmp_path / "source",
        )
        == "60"
    )
