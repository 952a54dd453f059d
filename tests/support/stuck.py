# SPDX-License-Identifier: Apache-2.0
"""A daemon whose log nobody reads: its stderr is a pipe that is full."""

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import time

import dmrpc
from journal import within

PAGE = 4096


class Stuck:
    """It sees no journald, so that lines and records go the same way."""

    def __init__(self, folder):
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
        self.socket = folder / "dmrpcd.sock"
        program = dmrpc.build_dir() / "server" / "dmrpcd"
        empty = folder / "empty"
        empty.mkdir()
        self.process = subprocess.Popen([*within(empty), program, "--simulate", "--socket", self.socket],
                                        stderr=writing)
        self.text = b""  # all that was read
        while b"Serving" not in self.text or b'"started"' not in self.text:
            self.read()
        self.fill(writing)
        os.close(writing)

    @staticmethod
    def fill(writing):
        """Up to the last byte, by an open file of its own: the daemon's writes still block."""
        with open(f"/proc/self/fd/{writing}", "wb", buffering=0, opener=lambda path, flags: os.open(
                path, flags & ~(os.O_CREAT | os.O_TRUNC) | os.O_NONBLOCK)) as pipe:
            while pipe.write(b"x") == 1:
                pass

    def client(self):
        return dmrpc.Client(self.socket)

    def read(self):
        assert select.select([self.reading], [], [], dmrpc.TIMEOUT)[0], f"nothing more than {self.text}"
        self.text += os.read(self.reading, PAGE)

    def lines_until(self, what):
        """All lines so far, up to one that has this."""
        while not any(what in line for line in self.text.split(b"\n")[:-1]):
            self.read()
        return re.sub(rb"x{64,}", b"", self.text).decode().splitlines()

    def records_until(self, what):
        """Those of the lines that are the audit's."""
        return [json.loads(line) for line in self.lines_until(what) if line[:1] == "{"]

    def end(self):
        """Seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        return time.monotonic() - began

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.reading is not None:
            self.stop_reading()

    def stop_reading(self):
        os.close(self.reading)
        self.reading = None
