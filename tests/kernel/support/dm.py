# SPDX-License-Identifier: Apache-2.0
"""The second opinion: device-mapper as dmsetup sees it, and as a raw ioctl does. Nothing here goes by dmrpcd."""

import contextlib
import fcntl
import os
import pathlib
import re
import struct
import subprocess

# As in linux/dm-ioctl.h.
LIST_DEVICES, DEV_CREATE, DEV_REMOVE, DEV_SUSPEND = 2, 3, 4, 6
TABLE_LOAD, TABLE_CLEAR, TABLE_STATUS, TARGET_MSG = 9, 10, 12, 14
BUFFER_FULL = 1 << 8
HEADER = struct.Struct("=3I7IQ128s129s7x")


def dmsetup(*arguments, check=True, stdin=None):
    """Standard output of dmsetup, as bytes."""
    command = ["dmsetup", *arguments, "--noudevsync", "--manglename", "none"]
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def text(*arguments):
    return dmsetup(*arguments).decode()


def by_number(device):
    return ("-j", str(device["major"]), "-m", str(device["minor"]))


def listed_by_dmsetup():
    """{(major, minor): name as bytes} of all devices."""
    found = re.findall(rb"^(.*?)\t\((\d+):(\d+)\)$", dmsetup("ls"), re.MULTILINE | re.DOTALL)
    return {(int(major), int(minor)): name for name, major, minor in found}


def field(device, name):
    """One column of `dmsetup info -c`, as text without its newline."""
    output = text("info", "-c", "--noheadings", "-o", name, *by_number(device))
    return output.removesuffix("\n")


COLUMNS = ("major", "minor", "open", "segments", "events", "tables_loaded", "suspended", "readonly", "name", "uuid")
SEPARATOR = "\x1f"


def info(*which):
    return text("info", "-c", "--noheadings", "--separator", SEPARATOR, "-o", ",".join(COLUMNS), *which)


def describe(device):
    """What dmsetup says of a device, in the words of a DeviceInfo (as far as both say it)."""
    return in_our_words(info(*by_number(device)).removesuffix("\n"))


def described():
    """The same of all devices, by name; of such as have plain names."""
    rows = [in_our_words(row) for row in info().splitlines() if SEPARATOR in row]
    return {row["name"]: row for row in rows}


def in_our_words(output):
    row = dict(zip(COLUMNS, output.split(SEPARATOR)))
    flags = set()
    if row["readonly"] == "Read-only":
        flags.add("DM_READONLY")
    if row["suspended"] == "Suspended":
        flags.add("DM_SUSPEND")
    if row["tables_loaded"] in ("Live", "Both"):
        flags.add("DM_ACTIVE_PRESENT")
    if row["tables_loaded"] in ("Inactive", "Both"):
        flags.add("DM_INACTIVE_PRESENT")
    return {
        "name": row["name"],
        "uuid": row["uuid"] or None,
        "device": {"major": int(row["major"]), "minor": int(row["minor"])},
        "open_count": int(row["open"]),
        "target_count": int(row["segments"]),
        "event_nr": int(row["events"]),
        "flags": flags,
    }


SEEN_BY_DMSETUP = {"DM_READONLY", "DM_SUSPEND", "DM_ACTIVE_PRESENT", "DM_INACTIVE_PRESENT"}


def assert_same(info, **differing):
    """A DeviceInfo says what dmsetup says of that device now."""
    seen = {**describe(info["device"]), **differing}
    assert {**{key: info[key] for key in seen}, "flags": set(info["flags"]) & SEEN_BY_DMSETUP} == seen
    assert info["path"] == f"/dev/dm-{info['device']['minor']}"


LINE = re.compile(r"^(\d+) (\d+) (\S+) ?(.*)$")


def lines(kind, device, *options):
    """`dmsetup table` or `dmsetup status` as TargetLines."""
    found = []
    for each in text(kind, *options, *by_number(device)).splitlines():
        if each:
            start, length, target, params = LINE.match(each).groups()
            found.append({"start": int(start), "length": int(length), "type": target, "params": params})
    return found


def tables(*options):
    """`dmsetup table` of all devices as TargetLines, by name; of such as have plain names."""
    found = {}
    for each in text("table", *options).splitlines():
        name, colon, rest = each.partition(":")
        if colon:
            found.setdefault(name, [])
            if rest.strip():
                start, length, target, params = LINE.match(rest.strip()).groups()
                found[name].append({"start": int(start), "length": int(length), "type": target, "params": params})
    return found


def deps(device, *options):
    """`dmsetup deps` as a set of (major, minor)."""
    output = text("deps", "-o", "devno", *options, *by_number(device))
    return {(int(major), int(minor)) for major, minor in re.findall(r"\((\d+), (\d+)\)", output)}


def ioctl(command, name=b"", uuid=b"", device=(0, 0), room=0):
    """One ioctl without a payload, by hand: (header, payload). The version is 4.0.0, which every kernel takes."""
    buffer = bytearray(HEADER.size + room)
    HEADER.pack_into(buffer, 0, 4, 0, 0, len(buffer), HEADER.size, 0, 0, 0, 0, 0, join(*device), name, uuid)
    control = os.open("/dev/mapper/control", os.O_RDWR | os.O_CLOEXEC)
    try:
        # _IOWR(0xfd, command, struct dm_ioctl)
        fcntl.ioctl(control, 3 << 30 | HEADER.size << 16 | 0xFD << 8 | command, buffer)
    finally:
        os.close(control)
    return HEADER.unpack_from(buffer), bytes(buffer[HEADER.size:])


def join(major, minor):
    """The kernel's huge_encode_dev."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def split(number):
    """The same undone."""
    return number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00


def create_raw(name, uuid=b""):
    """A device whose name and uuid are any bytes; dmsetup, too, takes less."""
    header, _ = ioctl(DEV_CREATE, name, uuid)
    major, minor = split(header[10])
    return {"major": major, "minor": minor}


def listed():
    """{(major, minor): name as bytes} of all devices, quicker than dmsetup tells."""
    room, flags = 1 << 11, BUFFER_FULL
    while flags & BUFFER_FULL:
        room *= 8
        header, payload = ioctl(LIST_DEVICES, room=room)
        flags = header[7]
    found, at = {}, 0
    while True:
        number, following = struct.unpack_from("=QI", payload, at)
        if number == 0:
            return found
        found[split(number)] = payload[at + 12:payload.index(b"\0", at + 12)]
        at += following
        if following == 0:
            return found


def majors():
    """Block majors of device-mapper, from /proc/devices."""
    _, _, blocks = pathlib.Path("/proc/devices").read_text(encoding="ascii").partition("Block devices:")
    return [int(major) for major in re.findall(r"^ *(\d+) device-mapper$", blocks, re.MULTILINE)]


def sysfs(info, *names):
    """An attribute of the device's block device in sysfs, without its newline."""
    path = pathlib.Path("/sys/block", f"dm-{info['device']['minor']}", *names)
    return path.read_text(encoding="utf-8").removesuffix("\n")


def suspended(device):
    return sysfs({"device": device}, "dm", "suspended") == "1"


def clean(keep):
    """Removes every device but those in `keep`, whatever state it is in; returns what was there."""
    left = {number: name for number, name in listed().items() if number not in keep}
    for _ in range(8):  # layers
        there = [number for number in listed() if number not in keep]
        for number in there:
            for command in (TABLE_CLEAR, DEV_SUSPEND, DEV_REMOVE):  # without a flag, DEV_SUSPEND resumes
                with contextlib.suppress(OSError):
                    ioctl(command, device=number)
        if not there:
            break
    for major, minor in (number for number in listed() if number not in keep):
        # I/O to it fails from here on, so that whoever waits for it lets go.
        dmsetup("remove", "--force", *by_number({"major": major, "minor": minor}), check=False)
    return left
