# SPDX-License-Identifier: Apache-2.0
"""A journald of the test's own, for a daemon that sees it at the usual place: in a mount namespace of its own."""

import os
import pathlib
import socket
import struct

USUAL = pathlib.Path("/run/systemd/journal/socket")


def is_mount_point(path):
    """As this process sees it: below a chroot the root is none."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return any(line.split()[4] == path for line in mounts)


def within(folder, over="/run/systemd"):
    """The command before a command, to which `folder` is what lies at `over`."""
    script = f'mkdir -p {over} && mount --bind "$0" {over} && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    alone = [] if is_mount_point("/") else ["--propagation", "unchanged"]
    return ["unshare", "--mount", *alone, *user, "sh", "-c", script, str(folder)]


def decode(data):
    """A message of the native protocol as (name, value) pairs, bytes. See systemd's docs/JOURNAL_NATIVE_PROTOCOL."""
    fields = []
    while data:
        name, separator, rest = data.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
            assert separator, "the last line has no end"
            data = rest
        else:
            (length,) = struct.unpack_from("<Q", rest)
            value, data = rest[8:8 + length], rest[8 + length:]
            assert len(value) == length and data[:1] == b"\n", "a value is cut"
            data = data[1:]
        assert name and name.isascii() and name.replace(b"_", b"").isalnum() and name.upper() == name, name
        fields.append((name.decode(), value))
    return fields


class Journal:
    """Listens where journald would, in `folder`, and reads when it is asked to."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "journal" / "socket"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(str(self.path))

    def close(self):
        """As a journald that stops."""
        self.path.unlink()
        self.socket.close()

    def read(self):
        """The next message: its fields by name, a list of values each."""
        data, ancillary, flags, _ = self.socket.recvmsg(1 << 20, 1 << 10)
        assert not ancillary and not flags & socket.MSG_TRUNC, "a record is no message of its own"
        fields = {}
        for name, value in decode(data):
            fields.setdefault(name, []).append(value.decode())
        return fields

    def read_until(self, **wanted):
        """All messages up to the one that has these fields, by their names without DMRPC_, in small letters."""
        messages = []
        while True:
            messages.append(self.read())
            if all(messages[-1].get("DMRPC_" + name.upper()) == [str(value)] for name, value in wanted.items()):
                return messages


def hidden(folder):
    """The command for a daemon that is not to write into this host's journal; nothing where it has none."""
    if not USUAL.exists():
        return []
    empty = pathlib.Path(folder) / "no-journal"
    empty.mkdir(exist_ok=True)
    return within(empty)
