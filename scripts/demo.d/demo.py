# SPDX-License-Identifier: Apache-2.0
"""The demo itself, where device-mapper is: `demo.py DMRPCD`. scripts/demo runs it, in a virtual machine or on the host.

Every step is one or more calls over dmrpcd's socket, shown as they are, and every reply is checked. What device-mapper
does to data is checked too, on the disks below.
"""

import hashlib
import os
import platform
import random
import signal
import sys
import time

from client import Mismatch, paint, show
from stage import BUSY_SECONDS, Stage
from traffic import Traffic, read, write

SECTOR = 512
MIB = 2048  # sectors
PREFIX = "dmrpc-demo-"
DISK, META, DATA, POOL, THIN = (PREFIX + name for name in ("disk", "meta", "data", "pool", "thin"))
RENAMED, UUID = PREFIX + "renamed", "DMRPC-DEMO-1"


# ---- what replies must show ----------------------------------------------------------------------------------------

def is_live(flags):
    return "DM_ACTIVE_PRESENT" in flags and not {"DM_SUSPEND", "DM_INACTIVE_PRESENT"} & set(flags)


def has_waiting_table(flags):
    return "DM_INACTIVE_PRESENT" in flags


def is_node(path):
    return path.startswith("/dev/dm-")


def word_of_only_line(index, wanted):
    def check(targets):
        return len(targets) == 1 and targets[0]["params"].split()[index] == wanted
    check.__name__ = f"word {index} of the line is {wanted}"
    return check


# ---- params --------------------------------------------------------------------------------------------------------

def number(device):
    return f"{device['major']}:{device['minor']}"


def line(start, length, kind, params):
    """A line of a table, in sectors."""
    return {"start": start, "length": length, "type": kind, "params": params}


class Demo:
    """The steps, in the order of run(), and what one learns that another needs."""

    def __init__(self, stage):
        self.stage = stage
        self.client = stage.client
        self.steps = 0
        self.version = None
        self.others = False  # there were other devices before
        self.disks = []      # the loop devices' numbers
        self.path = None     # of the device DISK, and
        self.lines = []      # its table, and
        self.contents = bytearray()

    def step(self, text):
        self.steps += 1
        show(f"\n{paint(f'{self.steps}. {text}', 'heading')}")

    @staticmethod
    def good(text):
        show(f"  {paint('ok', 'good')}  {text}")

    # ---- what more than one step does ----

    def create(self, name):
        self.stage.devices.append(name)
        self.client.call("device_create", {"name": name}, {"name": name, "uuid": None, "flags": [], "path": is_node})

    def load(self, name, lines):
        self.client.call("table_load", {"name": name, "targets": lines}, {"name": name, "flags": has_waiting_table})

    def resume(self, name, count):
        return self.client.call("device_resume", {"name": name}, {"flags": is_live, "target_count": count})

    def extend(self, size):
        """Writes a pattern to the device's last `size` bytes."""
        at = len(self.contents)
        pattern = random.Random(at).randbytes(size)
        self.contents += pattern
        write(self.path, at, pattern)

    def compare(self, what):
        """What the disks hold, at the places that the table names, with what was written through the device."""
        paths = {loop.number: loop.path for loop in self.stage.loops}
        on_disks = hashlib.sha256()
        for each in self.lines:
            disk, start = each["params"].split()
            on_disks.update(read(paths[disk], int(start) * SECTOR, each["length"] * SECTOR))
        written = hashlib.sha256(self.contents)
        if on_disks.digest() != written.digest():
            raise Mismatch(f"{what}: {written.hexdigest()} was written, {on_disks.hexdigest()} is on the disks")
        self.good(f"{what} written through {self.path}, sha256 {written.hexdigest()[:16]}; "
                  f"read from the loop devices, {on_disks.hexdigest()[:16]}")

    # ---- the steps ----

    def ask_version(self):
        self.step("Which interface has the kernel, and are there devices already?")
        wanted = {"version": {"major": 4, "minor": int, "patch": int}, "backend": "kernel"}
        self.version = self.client.call("version", None, wanted)["version"]
        names = [each["name"] for each in self.client.call("list_devices", None, {"devices": list})["devices"]]
        # What bears one of our names is ours from here on, and will be removed.
        if any(name.startswith(PREFIX) for name in names):
            raise Mismatch(f"there are devices named {PREFIX}* already: remove them first")
        self.others = bool(names)

    def make_disks(self):
        self.step("Two loop devices to map")
        for _ in range(2):
            self.stage.add_loop(32 * MIB * SECTOR)
        self.disks = [loop.number for loop in self.stage.loops]

    def make_device(self):
        self.step("A device without a table")
        self.create(DISK)
        self.step("A table of two linear targets, one on each disk: it waits in the inactive slot")
        self.lines = [line(0, 4 * MIB, "linear", f"{self.disks[0]} {MIB}"),
                      line(4 * MIB, 4 * MIB, "linear", f"{self.disks[1]} {2 * MIB}")]
        self.load(DISK, self.lines)
        self.step("device_suspend without DM_SUSPEND activates it")
        wanted = {"flags": is_live, "target_count": 2, "path": is_node}
        self.path = self.client.call("device_suspend", {"name": DISK}, wanted)["path"]

    def look_at_device(self):
        self.step("What the kernel says of it: its state, its lines, the devices below")
        self.client.call("device_status", {"name": DISK}, {"name": DISK, "target_count": 2, "flags": is_live})
        self.client.call("table_status", {"name": DISK, "flags": ["DM_STATUS_TABLE"]},
                         {"info": {"name": DISK}, "targets": self.lines})

        def are_the_loop_devices(devices):
            return sorted(map(number, devices)) == sorted(self.disks)

        self.client.call("table_deps", {"name": DISK}, {"devices": are_the_loop_devices})

    def write_data(self):
        self.step("Data lands where the table says")
        self.extend(8 * MIB * SECTOR)
        self.compare("8 MiB")

    def swap_table(self):
        self.step("A live table swap under running I/O: the device grows by a third target")
        self.lines = [*self.lines, line(8 * MIB, 2 * MIB, "linear", f"{self.disks[0]} {16 * MIB}")]
        with Traffic(self.path, self.contents) as traffic:
            traffic.pass_blocks(50)
            before = traffic.count
            self.load(DISK, self.lines)
            self.resume(DISK, 3)
            after = traffic.count
            traffic.pass_blocks(50)
        traffic.check()
        self.good(f"{traffic.count} blocks of 4 KiB were read or written meanwhile, {before} before the two calls, "
                  f"{after - before} during, {traffic.count - after} after; none failed, "
                  f"the slowest took {traffic.longest * 1000:.0f} ms")
        self.extend(2 * MIB * SECTOR)
        self.compare("10 MiB")

    def make_pool(self):
        self.step("Two devices to build a thin-pool on, in one batch")
        calls = []
        for name, disk, start, length in ((META, 0, 20, 2), (DATA, 1, 8, 16)):
            self.stage.devices.append(name)
            table = [line(0, length * MIB, "linear", f"{self.disks[disk]} {start * MIB}")]
            calls += [("device_create", {"name": name}, {"name": name}),
                      ("table_load", {"name": name, "targets": table}, {"flags": has_waiting_table}),
                      ("device_resume", {"name": name}, {"flags": is_live, "target_count": 1})]
        results = self.client.batch(calls)
        meta, data = number(results[2]["device"]), number(results[5]["device"])

        self.step("The thin-pool, 16 MiB in blocks of 64 KiB, and a message to it: make the volume 0")
        self.create(POOL)
        self.load(POOL, [line(0, 16 * MIB, "thin-pool", f"{meta} {data} 128 0")])
        pool = self.resume(POOL, 1)
        self.client.call("target_msg", {"name": POOL, "message": "create_thin 0"}, {"output": None})

        self.step("A thin device of 1 GiB on it")
        self.create(THIN)
        self.load(THIN, [line(0, 1024 * MIB, "thin", f"{number(pool['device'])} 0")])
        return self.resume(THIN, 1)["path"]

    def use_pool(self, path):
        self.step("It takes from the pool what is written to it: 1 MiB, 16 blocks")
        pattern = random.Random(1).randbytes(MIB * SECTOR)
        write(path, 512 * MIB * SECTOR, pattern)
        if read(path, 512 * MIB * SECTOR, len(pattern)) != pattern:
            raise Mismatch(f"{path}: what was read is not what was written")
        self.good(f"1 MiB written to {path} at 512 MiB, and read back")
        self.client.call("table_status", {"name": THIN}, {"targets": word_of_only_line(0, str(MIB))})
        self.client.call("table_status", {"name": POOL}, {"targets": word_of_only_line(2, "16/256")})

    def rename(self):
        self.step("Another name, and a uuid")
        self.client.call("device_rename", {"name": DISK, "new_name": RENAMED}, {"name": RENAMED, "path": self.path})
        self.stage.devices[self.stage.devices.index(DISK)] = RENAMED
        self.client.call("device_set_uuid", {"name": RENAMED, "uuid": UUID}, {"name": RENAMED, "uuid": UUID})

    def meet_error(self):
        self.step("An error: a table on a disk that does not exist")
        wrong = [line(0, 4 * MIB, "linear", f"/dev/{PREFIX}missing 0")]
        data = {"error": "table_rejected", "errno": int, "errno_name": str, "ioctl": "DM_TABLE_LOAD", "hint": str,
                "name": RENAMED}
        self.client.call("table_load", {"name": RENAMED, "targets": wrong},
                         {"error": {"code": 4, "message": str, "data": data}})
        self.client.call("device_status", {"uuid": UUID}, {"name": RENAMED, "target_count": 3, "flags": is_live})
        self.compare("Nothing has changed: 10 MiB")

    def remove(self, name):
        """Asks again while the device is in use: udev looks into devices of its own accord."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            request = self.client.request("device_remove", {"name": name})
            reply = self.client.exchange(request, "device_remove")
            busy = reply.get("error", {}).get("data", {}).get("error") == "device_busy"
            if not busy or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        self.client.judge(request, reply, {"name": name, "deferred": False})
        self.stage.devices.remove(name)

    def remove_everything(self):
        self.step("Everything is removed, and the list is empty")
        for name in reversed(self.stage.devices[:]):
            self.remove(name)
        self.client.call("list_devices", {"name_prefix": PREFIX} if self.others else None, {"devices": []})

    def run(self):
        self.ask_version()
        self.make_disks()
        self.make_device()
        self.look_at_device()
        self.write_data()
        self.swap_table()
        self.use_pool(self.make_pool())
        self.rename()
        self.meet_error()
        self.remove_everything()


# ---- the end -------------------------------------------------------------------------------------------------------

def show_times(times):
    methods = list(dict.fromkeys(method for method, _ in times))
    width = max(map(len, methods))
    show(f"\n{paint('Milliseconds from request to reply, call by call', 'heading')}")
    for method in methods:
        each = " ".join(f"{seconds * 1000:.1f}" for name, seconds in times if name == method)
        show(f"  {method:{width}}  {each}")


def summary(demo, place):
    times = sorted(seconds * 1000 for _, seconds in demo.client.times)
    version = ".".join(str(demo.version[part]) for part in ("major", "minor", "patch"))
    return (f"{demo.steps} steps, {demo.client.count} calls on Linux {platform.release()} {place}, device-mapper "
            f"interface {version}: all as it should be, nothing left behind; a request took {times[0]:.1f} to "
            f"{times[-1]:.1f} ms, {times[len(times) // 2]:.1f} ms at the median, {sum(times):.0f} ms in all")


def leave(signum, _frame):
    raise SystemExit(128 + signum)


def main():
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, leave)
    place = os.environ.get("DMRPC_DEMO_PLACE", "on this host")
    show(paint(f"dmrpcd on Linux {platform.release()} {place}", "heading"))
    try:
        with Stage(sys.argv[1]) as stage:
            demo = Demo(stage)
            demo.run()
            stage.stop()
    except (Mismatch, OSError, ValueError) as failure:
        show(f"\n{paint('demo: FAILED:', 'bad')} {failure}")
        return 1
    show_times(demo.client.times)
    show(f"\n{paint('demo:', 'good')} {summary(demo, place)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
