# SPDX-License-Identifier: Apache-2.0
"""Block devices to map: loop devices over files in memory."""

import errno
import fcntl
import os
import pathlib
import tempfile

from tasks import opened

SECTOR = 512
LOOP_SET_FD, LOOP_CLR_FD, LOOP_SET_CAPACITY, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C07, 0x4C82  # linux/loop.h


def attach(path, read_only):
    """The path of a loop device over a file."""
    flags = os.O_RDONLY if read_only else os.O_RDWR
    with opened("/dev/loop-control") as control, opened(path, flags) as file:
        for _ in range(100):
            loop = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            try:
                with opened(loop, flags) as fd:
                    fcntl.ioctl(fd, LOOP_SET_FD, file)
                return loop
            except OSError as error:
                if error.errno != errno.EBUSY:  # somebody else was quicker
                    raise
    raise AssertionError("each loop device that was free is somebody else's")


class Disk:
    def __init__(self, size_kib, read_only=False):
        self.file = tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="dmrpc-disk-")
        self.file.truncate(size_kib * 1024)
        self.path = attach(self.file.name, read_only)
        number = os.stat(self.path).st_rdev
        self.device = {"major": os.major(number), "minor": os.minor(number)}
        self.number = f"{os.major(number)}:{os.minor(number)}"
        self.sectors = size_kib * 1024 // SECTOR

    def shrink(self, size_kib):
        self.file.truncate(size_kib * 1024)
        with opened(self.path) as loop:
            fcntl.ioctl(loop, LOOP_SET_CAPACITY)

    def read(self, sector, count):
        """From the file below, past every cache of block devices."""
        return os.pread(self.file.fileno(), count * SECTOR, sector * SECTOR)

    def writes(self):
        """How many write requests were completed so far."""
        stat = pathlib.Path("/sys/block", os.path.basename(self.path), "stat").read_text(encoding="ascii")
        return int(stat.split()[4])

    def close(self):
        with opened(self.path, os.O_RDONLY) as loop:
            fcntl.ioctl(loop, LOOP_CLR_FD)
        self.file.close()
