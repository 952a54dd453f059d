# SPDX-License-Identifier: Apache-2.0
"""Programs that use a device while a test changes it, and how to wait for what they do."""

import contextlib
import fcntl
import mmap
import os
import pathlib
import select
import socket
import time

TIMEOUT = 60.0
BLOCK = 4096
BLKFLSBUF = 0x1261
HDIO_GETGEO = 0x0301


def wait_until(holds, what, timeout=TIMEOUT):
    """For what raises no event: looks again until `holds()` is true, and returns that."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"within {timeout:g} s not: {what}")


def pattern(block, salt=0):
    """The bytes of one block; every block's are different."""
    return bytes([block * 7 + salt & 0xFF, block >> 8 & 0xFF]) * (BLOCK // 2)


class Aligned:
    """Memory for O_DIRECT."""

    def __init__(self, data=b"", size=BLOCK):
        self.map = mmap.mmap(-1, max(size, len(data)))
        self.map[:len(data)] = data


@contextlib.contextmanager
def opened(path, flags=os.O_RDWR):
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def write(path, block, data):
    """Past the page cache: it is done when the device has it."""
    with opened(path, os.O_WRONLY | os.O_DIRECT) as fd:
        assert os.pwritev(fd, [Aligned(data).map], block * BLOCK) == len(data)


def read(path, block, count=1):
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        memory = Aligned(size=count * BLOCK)
        assert os.preadv(fd, [memory.map], block * BLOCK) == count * BLOCK
        return memory.map[:]


class Task:
    """A child process that does work(); its exception, if there is one, is told by end()."""

    def __init__(self, work):
        self.reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            # Nothing of the parent's may run in here: neither its handlers nor its clean-up.
            try:
                result = work() or ""
            except BaseException as error:  # pylint: disable=broad-except
                result = repr(error)
            os.write(writing, str(result).encode())
            os._exit(0)
        os.close(writing)

    def is_stuck(self):
        """Sleeping in the kernel where no signal reaches it."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0] == "D"

    def wait_stuck(self):
        wait_stuck([self])

    def has_ended(self):
        return bool(select.select([self.reading], [], [], 0)[0])

    def end(self, timeout=TIMEOUT):
        """Waits for its end and returns what it said: "" for success, or the exception."""
        assert select.select([self.reading], [], [], timeout)[0], "the process did not end"
        said = os.read(self.reading, 65536).decode()
        os.close(self.reading)
        os.waitpid(self.pid, 0)
        return said


def wait_stuck(tasks):
    """Until each waits for its I/O for good."""
    def lasts():
        # A disk's ordinary wait passes; the wait for a resume does not.
        for _ in range(5):
            if not all(task.is_stuck() for task in tasks):
                return False
            time.sleep(0.01)
        return True
    wait_until(lasts, "each process waits for its I/O")


class Writer(Task):
    """Writes blocks of a device round and round, reads each back, and compares, until stop() or a fault."""

    def __init__(self, path, blocks):
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(TIMEOUT)
        super().__init__(lambda: self.work(path, blocks, theirs))
        theirs.close()

    def work(self, path, blocks, control):
        self.ours.close()
        rounds = 0
        with opened(path, os.O_RDWR | os.O_DIRECT) as fd:
            while not select.select([control], [], [], 0)[0]:
                for block in range(blocks):
                    data = pattern(block, rounds)
                    os.pwritev(fd, [Aligned(data).map], block * BLOCK)
                    back = Aligned()
                    os.preadv(fd, [back.map], block * BLOCK)
                    if back.map[:] != data:
                        return f"block {block} of round {rounds} came back wrong"
                rounds += 1
                control.send(b".")
        control.sendall(b"%d" % (rounds - 1))
        return ""

    def wait_round(self):
        """Until a whole round, begun after this call, is over."""
        self.ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.ours.recv(4096):
                pass
        self.ours.settimeout(TIMEOUT)
        for _ in range(2):
            assert self.ours.recv(1), "the writer ended"

    def stop(self):
        """Returns the salt of the last round; what the blocks now hold."""
        self.ours.shutdown(socket.SHUT_WR)
        said = self.end()
        assert said == "", said
        told = b""
        while more := self.ours.recv(4096):
            told += more
        self.ours.close()
        return int(told.strip(b"."))


def geometry(path):
    """(heads, sectors, cylinders, start), as HDIO_GETGEO answers."""
    with opened(path, os.O_RDONLY) as fd:
        data = fcntl.ioctl(fd, HDIO_GETGEO, bytes(16))
    return data[0], data[1], int.from_bytes(data[2:4], "little"), int.from_bytes(data[8:16], "little")


class Uevents:
    """The kernel's own uevents, from netlink, since the object was made."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)  # NETLINK_KOBJECT_UEVENT
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((0, 1))
        self.socket.setblocking(False)

    def take(self, info):
        """Actions and properties of the events of one device so far: they are sent before the ioctl returns."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                head, *rest = self.socket.recv(65536).split(b"\0")
                properties = dict(each.decode().split("=", 1) for each in rest if b"=" in each)
                if properties.get("DEVNAME") == f"dm-{info['device']['minor']}":
                    found.append((head.partition(b"@")[0].decode(), properties))
        return found

    def close(self):
        self.socket.close()
