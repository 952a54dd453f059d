# SPDX-License-Identifier: Apache-2.0
"""Every device-mapper ioctl as the kernel takes it: number, flags and event_nr (the udev cookie).

A kernel probe on the handler reads the caller's buffer. It is what shows that a flag went in where its effect is
hidden by design (a wiped buffer) or hard to tell from another's.
"""

import os
import pathlib
import platform
import re
import subprocess

FOLDER = pathlib.Path("/sys/kernel/tracing")
# In struct dm_ioctl: flags at 28, event_nr at 32.
PROBE = "p:dmrpc/ioctl dm_ctl_ioctl command=%si:x32 flags=+u28(%dx):x32 event=+u32(%dx):u32"
EVENT = re.compile(r"ioctl: .*command=0x([0-9a-f]+) flags=0x([0-9a-f]+) event=(\d+)")


class Trace:
    def __init__(self):
        assert platform.machine() == "x86_64", "the probe names this machine's registers"
        if not (FOLDER / "kprobe_events").exists():
            subprocess.run(["mount", "-t", "tracefs", "tracefs", str(FOLDER)], timeout=30, check=True)
        # Names of programs, which are not wanted, come from probes of the scheduler: to patch those in and out while it
        # runs has hung an emulated machine.
        self.put("options/record-cmd", "0")
        self.put("kprobe_events", PROBE)
        self.put("events/dmrpc/ioctl/enable", "1")
        self.put("trace", "")

    @staticmethod
    def put(name, value):
        # Truncated at its opening, the list of probes would lose those of others.
        truncate = 0 if name == "kprobe_events" else os.O_TRUNC
        fd = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | truncate)
        try:
            os.write(fd, value.encode() + b"\n")
        finally:
            os.close(fd)

    def take(self, command):
        """(flags, event_nr) of each ioctl of this number since the last take."""
        events = EVENT.findall((FOLDER / "trace").read_text(encoding="utf-8"))
        self.put("trace", "")
        return [(int(flags, 16), int(event)) for number, flags, event in events if int(number, 16) & 0xFF == command]

    def close(self):
        self.put("events/dmrpc/ioctl/enable", "0")
        self.put("kprobe_events", "-:dmrpc/ioctl")
