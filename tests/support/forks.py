"""Code of children that fork, in an order that a test sets."""

FORK = """
warnings.simplefilter("ignore")  # of forking where there are threads
signal.alarm(60)  # who waits for a child that died too soon dies of it
BACKING = sys.argv[1] if len(sys.argv) > 1 else "memfd"


def fork(work):
    \"\"\"Run work in a forked child; return the child's id.\"\"\"
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    signal.alarm(30)  # a child that hangs dies of it
    try:
        work()
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Gate:
    def __init__(self):
        self.reading, self.writing = os.pipe()

    def open(self):
        os.write(self.writing, b"x")

    def wait(self):
        os.read(self.reading, 1)


group = MemGroup(base=4096, backing=BACKING)
"""
