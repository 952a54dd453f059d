# SPDX-License-Identifier: Apache-2.0
"""What the wire tests and the kernel tests share: a daemon under test and a client of it.

The client is as plain as can be (one line out, one line in), so that a test sees what is on the wire. Which
dmrpcd is run says the environment: DMRPC_BUILD names the build folder (default: build/dev of this tree).
"""

import fcntl
import json
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import journal

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 30.0  # seconds; no test waits longer for one reply unless it says so
BUSY_MS = 1000  # a call's time in which a busy machine, too, has begun it


def build_dir():
    return pathlib.Path(os.environ.get("DMRPC_BUILD", ROOT / "build" / "dev")).resolve()


def is_sanitized():
    """Built with a sanitizer, which makes all slower and larger."""
    return "-fsanitize" in (build_dir() / "build.ninja").read_text(encoding="utf-8")


class RpcError(Exception):
    """An error reply: `code`, `message` and `data` as they came."""

    def __init__(self, error):
        super().__init__(f"{error['code']} {error['message']} {error.get('data')}")
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data", {})
        self.name = self.data.get("error")


class Client:
    """One connection. Numbers its calls and checks that each reply is the one that was asked for."""

    recorded = None  # a list, if the test run collects what went over the wire

    def __init__(self, path, timeout=TIMEOUT):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.buffer = b""
        self.count = 0
        self.methods = {}  # of the calls that are not answered yet, by id

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def drained(self):
        """Waits until the server has read all that was sent (or has something to say instead)."""
        for _ in range(2000):
            (unread,) = struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0" * 4))
            if unread == 0 or select.select([self.socket], [], [], 0)[0]:
                return
            select.select([self.socket], [], [], 0.0005)

    def read_line(self):
        """The next reply as bytes, or b"" at the end."""
        while b"\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                line, self.buffer = self.buffer, b""
                return line
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def read_all(self):
        """Everything until the server closes."""
        pieces, self.buffer = [self.buffer], b""
        while more := self.socket.recv(65536):
            pieces.append(more)
        return b"".join(pieces)

    def request(self, method, params=None, ident=0):
        request = {"jsonrpc": "2.0", "id": ident, "method": method}
        if params is not None:
            request["params"] = params
        return request

    def start(self, method, /, **params):
        """Sends a call and returns its id."""
        self.count += 1
        self.methods[self.count] = method
        self.send(json.dumps(self.request(method, params, self.count)) + "\n")
        return self.count

    def finish(self, ident):
        """The reply to `ident`, which must be the next one."""
        line = self.read_line()
        assert line, "the server closed the connection instead of answering"
        reply = json.loads(line)
        assert reply["jsonrpc"] == "2.0" and reply["id"] == ident, reply
        if Client.recorded is not None:
            Client.recorded.append((self.methods.pop(ident), reply))
        if "error" in reply:
            raise RpcError(reply["error"])
        return reply["result"]

    def call(self, method, /, **params):
        return self.finish(self.start(method, **params))

    def __getattr__(self, method):
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda **params: self.call(method, **params)


class Daemon:
    """A dmrpcd of this build, on a socket of its own in `folder`."""

    recorded = None  # a list, if the test run collects the records of the audit

    def __init__(self, folder, *args, simulate=True, env=None, within=()):
        """`within` is a command that runs it, as the same process."""
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "dmrpcd.sock"
        # Another daemon of this folder may still write to it: each line goes to the end.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self.stderr = os.fdopen(os.open(self.folder / "dmrpcd.err", flags, 0o644), "r+b", buffering=0)
        command = [*(within or journal.hidden(folder)), str(build_dir() / "server" / "dmrpcd")]
        command += ["--socket", str(self.socket)]
        command += ["--simulate"] if simulate else []
        command += [str(arg) for arg in args]
        self.process = subprocess.Popen(
            command, stderr=self.stderr, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        self.wait_ready()

    def wait_ready(self):
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"dmrpcd exited with {self.process.returncode}: {self.log()}")
            try:
                Client(self.socket).close()
                return
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"dmrpcd did not listen within {TIMEOUT} s: {self.log()}")

    def client(self, timeout=TIMEOUT):
        return Client(self.socket, timeout)

    def log(self):
        fd = self.stderr.fileno()  # whose place is the daemon's, too: it stays where it is
        return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")

    def said(self, text, timeout=TIMEOUT):
        """Is it in the log, now or soon? The log has a thread of its own, and may be behind."""
        deadline = time.monotonic() + timeout
        while text not in self.log() and time.monotonic() < deadline:
            time.sleep(0.01)
        return text in self.log()

    def audit(self):
        """The records of the audit that are lines of the log by now."""
        return [json.loads(line) for line in self.log().splitlines(keepends=True) if re.match(r"\{.*\n", line)]

    def audited(self, count=1, **wanted):
        """The records that have all these members, when there are as many as there must be."""
        def found():
            return [each for each in self.audit() if wanted.items() <= each.items()]
        deadline = time.monotonic() + TIMEOUT
        while len(found()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        records = found()
        assert len(records) == count, f"{len(records)} records of {wanted}: {self.log()}"
        return records

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, signum=signal.SIGTERM):
        """Asks it to end, and insists on a clean exit."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert status == 0, f"dmrpcd exited with {status}: {self.log()}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()
        if Daemon.recorded is not None:
            Daemon.recorded += self.audit()
        self.stderr.close()
