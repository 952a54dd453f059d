# SPDX-License-Identifier: Apache-2.0
"""What the demo stands on: a folder, loop devices and a dmrpcd of its own; and that nothing of it stays behind."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from client import Client, Mismatch, paint, show

START_SECONDS = 20
STOP_SECONDS = 30
BUSY_SECONDS = 10


def run(*command):
    """Runs a command of the system, shown as one types it."""
    show(f"  {paint('$', 'arrow')} {' '.join(command)}")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Mismatch(f"{command[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    if done.stdout:
        show(f"  {done.stdout.strip()}")
    return done.stdout.strip()


class Loop:
    """A loop device on a sparse file."""

    def __init__(self, path, size):
        run("truncate", "--size", str(size), path)
        self.path = run("losetup", "--find", "--show", path)
        number = os.stat(self.path).st_rdev
        self.number = f"{os.major(number)}:{os.minor(number)}"

    def detach(self):
        subprocess.run(["losetup", "--detach", self.path], check=True)


def pass_on(lines):
    """What the daemon says to people; its audit would come between the steps."""
    for line in lines:
        if not line.startswith(b'{"audit":'):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


class Stage:
    """A context manager: what was made in it is removed at its end, however that comes."""

    def __init__(self, program):
        self.program = program
        self.folder = None
        self.loops = []
        self.devices = []  # names, lowest first
        self.daemon = None
        self.client = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="dmrpc-demo-")
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.remove_devices()
            while self.loops:
                self.loops.pop().detach()
        finally:
            if self.daemon:
                self.daemon.terminate()
                self.daemon.wait()
            shutil.rmtree(self.folder)

    def start(self):
        """Starts dmrpcd and connects to it."""
        path = os.path.join(self.folder, "dmrpcd.sock")
        show(f"  {paint('$', 'arrow')} dmrpcd --socket {path}")
        self.daemon = subprocess.Popen([self.program, "--socket", path], stdin=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE)
        threading.Thread(target=pass_on, args=(self.daemon.stderr,), daemon=True).start()
        self.client = None
        deadline = time.monotonic() + START_SECONDS
        while self.client is None:
            try:
                self.client = Client(path)
            except (FileNotFoundError, ConnectionRefusedError):
                if self.daemon.poll() is not None or time.monotonic() > deadline:
                    raise Mismatch("dmrpcd did not start: its message is above") from None
                time.sleep(0.01)

    def stop(self):
        """Asks dmrpcd to end; it must do so cleanly."""
        self.client.close()
        self.daemon.terminate()
        status = self.daemon.wait(STOP_SECONDS)
        self.daemon = None
        if status != 0:
            raise Mismatch(f"dmrpcd exited with status {status} upon SIGTERM")

    def add_loop(self, size):
        self.loops.append(Loop(os.path.join(self.folder, f"disk{len(self.loops)}"), size))

    def remove_devices(self):
        """For a demo that broke off; one that ran to its end has left nothing to do here."""
        if not self.devices:
            return
        # A fresh connection: the demo's own may be in the middle of a call. And a fresh daemon if that one is gone.
        self.client.close()
        if self.daemon.poll() is None:
            self.client = Client(os.path.join(self.folder, "dmrpcd.sock"))
        else:
            self.start()
        for name in reversed(self.devices):
            self.client.try_quietly("device_resume", {"name": name})
            deadline = time.monotonic() + BUSY_SECONDS
            while self.client.try_quietly("device_remove", {"name": name}) == "device_busy":
                if time.monotonic() > deadline:
                    show(f"  {paint('left behind:', 'bad')} the device {name} is in use")
                    break
                time.sleep(0.1)
