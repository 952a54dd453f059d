# SPDX-License-Identifier: Apache-2.0
"""Data on block devices, past the page cache: what is read was on the disk."""

import mmap
import os
import random
import threading
import time

BLOCK = 4096


def open_direct(path, flags):
    return open(path, "r+b" if flags == os.O_RDWR else "rb", buffering=0,
                opener=lambda name, _: os.open(name, flags | os.O_DIRECT | os.O_CLOEXEC))


def read(path, start, length):
    """Bytes `start` to `start + length` of a device."""
    buffer = mmap.mmap(-1, length)  # aligned as O_DIRECT wants it
    with open_direct(path, os.O_RDONLY) as file:
        if os.preadv(file.fileno(), [buffer], start) != length:
            raise OSError(f"{path}: fewer than {length} bytes could be read at {start}")
    return buffer[:]


def write(path, start, data):
    buffer = mmap.mmap(-1, len(data))
    buffer[:] = data
    with open_direct(path, os.O_RDWR) as file:
        if os.pwritev(file.fileno(), [buffer], start) != len(data):
            raise OSError(f"{path}: fewer than {len(data)} bytes could be written at {start}")
        os.fsync(file.fileno())


class Traffic:
    """Reads and writes blocks of a device at random places, as a program would, while the table below it changes.

    A context manager. `contents`, a bytearray, is what the device holds; what is written goes there too.
    """

    def __init__(self, path, contents):
        self.path = path
        self.contents = contents
        self.count = 0
        self.longest = 0.0  # seconds
        self.failure = None
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(30)
        if self.thread.is_alive():
            self.failure = self.failure or OSError(f"{self.path}: a block has been on its way for 30 s")

    def run(self):
        try:
            with open_direct(self.path, os.O_RDWR) as file:
                buffer = mmap.mmap(-1, BLOCK)
                while not self.stopping:
                    before = time.perf_counter()
                    self.touch(file.fileno(), buffer)
                    self.longest = max(self.longest, time.perf_counter() - before)
                    self.count += 1
        except OSError as failure:
            self.failure = failure

    def touch(self, file, buffer):
        at = random.randrange(len(self.contents) // BLOCK) * BLOCK
        if self.count % 2:
            buffer[:] = random.randbytes(BLOCK)
            os.pwritev(file, [buffer], at)
            self.contents[at:at + BLOCK] = buffer[:]
        else:
            os.preadv(file, [buffer], at)
            if buffer[:] != self.contents[at:at + BLOCK]:
                raise OSError(f"{self.path}: the block at {at} is not what was written there")

    def pass_blocks(self, count, seconds=30):
        """Waits until so many more blocks went through."""
        goal = self.count + count
        deadline = time.monotonic() + seconds
        while self.count < goal and not self.failure:
            if time.monotonic() > deadline:
                raise OSError(f"{self.path}: fewer than {count} blocks went through in {seconds} s")
            time.sleep(0.002)
        self.check()

    def check(self):
        if self.failure:
            raise self.failure
