# SPDX-License-Identifier: Apache-2.0
"""Block devices to map: loop devices over files in memory."""

import fcntl
import os
import pathlib
import subprocess
import tempfile

SECTOR = 512
LOOP_SET_CAPACITY = 0x4C07


class Disk:
    def __init__(self, size_kib, read_only=False):
        self.file = tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="dmrpc-disk-")
        self.file.truncate(size_kib * 1024)
        options = ["--read-only"] if read_only else []
        self.path = subprocess.run(
            ["losetup", "--find", "--show", *options, self.file.name],
            stdout=subprocess.PIPE, timeout=30, check=True).stdout.decode().strip()
        number = os.stat(self.path).st_rdev
        self.device = {"major": os.major(number), "minor": os.minor(number)}
        self.number = f"{os.major(number)}:{os.minor(number)}"
        self.sectors = size_kib * 1024 // SECTOR

    def shrink(self, size_kib):
        self.file.truncate(size_kib * 1024)
        loop = os.open(self.path, os.O_RDWR)
        fcntl.ioctl(loop, LOOP_SET_CAPACITY)
        os.close(loop)

    def read(self, sector, count):
        """From the file below, past every cache of block devices."""
        return os.pread(self.file.fileno(), count * SECTOR, sector * SECTOR)

    def writes(self):
        """How many write requests were completed so far."""
        stat = pathlib.Path("/sys/block", os.path.basename(self.path), "stat").read_text(encoding="ascii")
        return int(stat.split()[4])

    def close(self):
        subprocess.run(["losetup", "--detach", self.path], timeout=30, check=True)
        self.file.close()
