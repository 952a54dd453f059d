#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Seeded random walks: the same calls to the simulated and to the real kernel, and the same replies.

    walk.py [--seed N] [--walks N] [--steps N]          both kernels, on a machine with device-mapper, as root
    walk.py --plan DIR [--seed N] ...                   the simulated kernel alone: writes what it answers
    walk.py --follow DIR                                the real kernel alone: must answer what is written there

The calls of a walk are made from its seed alone. The simulated kernel plays them first; a guard watches its answers
and leaves out what could hang or crash the real kernel (see Guard). What was sent and answered is the plan, which
the real kernel then follows: it gets the same bytes, and must answer the same bytes. That works because disks have
the same numbers and paths in both worlds, and minors are given out in the same way. Many steps go in one batch: in
the emulated machine it is round trips that take time.

After each step the device that was meant is looked at: if the step was done, all that table_status says of both its
tables, if it was refused, its device_status. After every twentieth step all that there is to know of all devices is
looked at. The first difference is reported with the calls that led to it, after as many of them as possible were
taken out.
"""

import argparse
import gzip
import json
import pathlib
import random
import sys
import tempfile
import time

import play

DISKS = [{"sectors": 2048}, {"sectors": 2048}, {"sectors": 1024, "block_size": 4096}, {"sectors": 999},
         {"sectors": 8192}, {"sectors": 4096}]
TARGETS = ("zero", "delay", "flakey", "crypt", "snapshot", "thin-pool")
NAMES = ["n0", "n1", "n2", "n3", "n4", "pool", "x" * 127]
UUIDS = ["U0", "U1", "U2", "u" * 128]
FULL_EVERY = 20
SETTLE_TRIES, SETTLE_SECONDS, GONE_SECONDS = 40, 0.05, 10
SHRINK_TRIES, SHRINK_SECONDS = 300, 120
SHOWN = 100  # calls of a report
STRIDE = 100  # ids of one step's requests
KEY = "000102030405060708090a0b0c0d0e0f"
CIPHER = "aes-cbc-plain"
MODPROBE = pathlib.Path("/proc/sys/kernel/modprobe")


# --- what is called -----------------------------------------------------------------------------------------------

class Maker:
    """Makes the calls of a walk."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.choices = [(self.create, 14), (self.load, 22), (self.resume, 20), (self.suspend, 8), (self.clear, 5),
                        (self.rename, 4), (self.set_uuid, 4), (self.remove, 5), (self.look, 6), (self.message, 9),
                        (self.hold, 4), (self.release, 4), (self.geometry, 1), (self.list, 1),
                        (self.remove_all, 0.15)]

    def calls(self, count):
        actions, weights = zip(*self.choices)
        return [self.random.choices(actions, weights)[0]() for _ in range(count)]

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, *things):
        return self.random.choice(things)

    def name(self):
        return self.random.choices(NAMES, (4, 4, 3, 3, 2, 4, 1))[0]

    def ref(self):
        """A device, in one of three ways; mostly by name."""
        way = self.random.random()
        if way < 0.8:
            return {"name": self.name()}
        if way < 0.9:
            return {"uuid": self.pick(*UUIDS)}
        return {"device": {"major": "$dm", "minor": self.random.randrange(8)}}

    def flags(self, *names, probability=0.25):
        chosen = [f"DM_{name}" for name in names if self.chance(probability)]
        return {"flags": chosen} if chosen else {}

    # calls

    def create(self):
        params = {"name": self.pick("a/b", "control", "") if self.chance(0.03) else self.name()}
        if self.chance(0.3):
            params["uuid"] = self.pick(*UUIDS)
        if self.chance(0.1):
            params["flags"], params["minor"] = ["DM_PERSISTENT_DEV"], self.random.randrange(8)
        return ["device_create", params]

    def resume(self):
        return ["device_resume", {**self.ref(), **self.flags("NOFLUSH", "SKIP_LOCKFS", probability=0.1)}]

    def suspend(self):
        flags = self.flags("NOFLUSH", "SKIP_LOCKFS").get("flags", [])
        return ["device_suspend", {**self.ref(), "flags": flags if self.chance(0.1) else ["DM_SUSPEND", *flags]}]

    def clear(self):
        return ["table_clear", self.ref()]

    def rename(self):
        return ["device_rename", {"name": self.name(), "new_name": "a/b" if self.chance(0.02) else self.name()}]

    def set_uuid(self):
        return ["device_set_uuid", {"name": self.name(), "uuid": self.pick(*UUIDS)}]

    def remove(self):
        return ["device_remove", {**self.ref(), **self.flags("DEFERRED_REMOVE")}]

    def remove_all(self):
        return ["remove_all", {"confirm": self.chance(0.7)}]

    def look(self):
        method = self.pick("device_status", "table_status", "table_deps")
        flags = self.flags("QUERY_INACTIVE_TABLE")
        if method == "table_status":
            flags = self.flags("QUERY_INACTIVE_TABLE", "STATUS_TABLE", "NOFLUSH")
        return [method, {**self.ref(), **flags}]

    def list(self):
        return ["list_devices", self.pick({}, {"name_prefix": "n"}, {"uuid_prefix": "U"},
                                          {"name_prefix": "p", "uuid_prefix": "U"})]

    def geometry(self):
        numbers = [self.random.randrange(9) for _ in range(4)]
        return ["device_set_geometry", {**self.ref(), **dict(zip(("cylinders", "heads", "sectors", "start"), numbers))}]

    def hold(self):
        return ["hold", {"name": self.name()}]

    def release(self):
        return ["release", {"which": self.random.randrange(4)}]

    def message(self):
        if self.chance(0.4):
            return ["target_msg", {"name": "pool", "message": self.pool_message()}]
        region = self.random.randrange(3)
        text = self.pick("@stats_create - /2", "@stats_create 0+64 16 prog aux", "@stats_list", "@stats_list prog",
                         f"@stats_delete {region}", f"@stats_print {region}", f"@stats_clear {region}",
                         f"@stats_set_aux {region} x", "@cancel_deferred_remove", "@nosuch", "nosuch", "key wipe",
                         f"key set {KEY}", f"key set {KEY}00")
        return ["target_msg", {**self.ref(), "message": text, "sector": self.pick(0, 0, 0, 8, 64, 100000)}]

    def pool_message(self):
        one, two = self.random.randrange(5), self.random.randrange(5)
        return self.random.choices(
            (f"create_thin {one}", f"create_snap {one} {two}", f"delete {one}", f"set_transaction_id {one} {two}",
             "reserve_metadata_snap x", "create_thin 16777216", "nosuch"), (8, 3, 3, 2, 1, 1, 1))[0]

    # tables

    def load(self):
        ref = self.ref()
        kind = self.random.random()
        if ref.get("name") == "pool" and kind < 0.6:
            table = self.pool_table()
        elif kind < 0.1:
            table = [f"0 {self.pick(64, 1024, 5000)} thin $dev:pool {self.random.randrange(6)}"]
        elif kind < 0.2:
            table = self.snapshot_table()
        else:
            table = self.table()
        if self.chance(0.1):
            table = self.spoil(table)
        return ["table_load", {**ref, "table": table, **self.flags("READONLY", "SECURE_DATA", probability=0.1)}]

    def pool_table(self):
        features = self.pick("", "", "", " 0", " 1 skip_block_zeroing", " 1 ignore_discard", " 1 read_only",
                             " 1 error_if_no_space", " 2 skip_block_zeroing no_discard_passdown", " 1 nosuch")
        meta, data = self.random.choices((("4", "5"), ("5", "4"), ("4", "0")), (20, 1, 1))[0]
        block = self.random.choices((128, 256), (20, 1))[0]
        return [f"0 {self.pick(1024, 1024, 2048, 4096, 100)} thin-pool $disk{meta} $disk{data} {block} "
                f"{self.random.randrange(9)}{features}"]

    def snapshot_table(self):
        if self.chance(0.4):
            return ["0 2048 snapshot-origin $disk0"]
        return [f"0 2048 snapshot $disk0 $disk1 {self.pick('N', 'P', 'PO')} {self.pick(8, 16)}"]

    def table(self):
        lines, start = [], 0
        for _ in range(self.random.choices((1, 2, 3, 40), (6, 3, 2, 0.3))[0]):
            length = 8 * self.pick(1, 1, 2, 4, 8, 8, 16) if self.chance(0.95) else self.random.randrange(1, 200)
            lines.append(f"{start} {length} {self.target(length)}")
            start += length
        return lines

    def under(self):
        """What a target stands on: a disk or another device."""
        if self.chance(0.5):
            return f"$disk{self.random.randrange(4)}"
        return f"$dev:{self.name()}"

    def offset(self):
        return self.pick(0, 0, 0, 8, 16, 64, 1000)

    def target(self, length):
        kind = self.random.choices(("linear", "zero", "error", "striped", "delay", "flakey", "crypt"),
                                   (9, 4, 3, 2, 1, 1, 1))[0]
        if kind in ("zero", "error"):
            return kind
        if kind == "striped":
            stripes = self.pick(1, 2)
            chunk = length // stripes if self.chance(0.8) else 8
            return f"striped {stripes} {chunk}" + f" {self.under()} {self.offset()}" * stripes
        words = {"linear": "{0} {1}", "delay": "{0} {1} 10", "flakey": "{0} {1} 5 5",
                 "crypt": f"{CIPHER} {KEY} 0 {{0}} {{1}}"}[kind]
        return f"{kind} {words.format(self.under(), self.offset())}"

    def spoil(self, table):
        """Something wrong in one line."""
        at = self.random.randrange(len(table))
        words = table[at].split(" ")
        what = self.random.randrange(7)
        if what == 0:
            words[0] = str(int(words[0]) + 1)
        elif what == 1:
            words[2] = "nosuch"
        elif what == 2:
            words.pop()
        elif what == 3:
            words.append("x")
        elif what == 4:
            words[-1] = self.pick("x", "-1", "99999999999999999999", "0")
        elif what == 5:
            words[1] = self.pick("18014398509481984", "100000", "1")
        else:
            return table[:at] + [" ".join(words[:3])] + table[at + 1:] if len(words) > 2 else table
        return table[:at] + [" ".join(words)] + table[at + 1:] if len(words) > 2 else table[:1]


# --- what must not be called ----------------------------------------------------------------------------------------

class Guard:
    """Knows of each device what decides whether a call is safe, from the replies.

    Left out are: a rename or a uuid, once a device that was resumed or renamed before had its inactive table cleared
    and got no other since (Linux 6.1's dm-ima.c then shares one buffer between both tables, a rename frees it, and
    the next load or remove frees it again: rename, load, clear, rename, load); suspending or resuming a device that
    is suspended from inside (a volume of a suspended pool), which waits until somebody resumes the pool; marking a
    device for removal that stands on itself, and putting a marked one on itself: the call that takes it off is
    overtaken, or not, by its removal.
    """

    def __init__(self):
        self.flags = {}  # of a device, by number
        self.numbers = {}  # by name
        self.uuids = {}
        self.measured = set()  # numbers whose live table has a buffer in dm-ima.c
        self.shared = set()  # those whose inactive table has the same one

    def number(self, params):
        """The device that is meant, or None."""
        if "device" in params:
            return (params["device"]["major"], params["device"]["minor"])
        if "uuid" in params and "name" not in params:
            return self.uuids.get(params["uuid"])
        return self.numbers.get(params.get("name"))

    def learn_device(self, info):
        number = (info["device"]["major"], info["device"]["minor"])
        self.forget(number)
        self.numbers[info["name"]] = number
        self.uuids[info["uuid"]] = number
        self.flags[number] = set(info.get("flags", self.flags.get(number, ())))

    def forget_buffers(self, number):
        self.measured.discard(number)
        self.shared.discard(number)

    def forget(self, number):
        for table in (self.numbers, self.uuids):
            for key in [key for key, value in table.items() if value == number]:
                del table[key]

    def learn(self, method, params, result):
        if method == "device_create":
            self.forget_buffers((result["device"]["major"], result["device"]["minor"]))
        number = self.number(params)
        before = self.flags.get(number, set())
        if method in ("device_resume", "device_rename", "device_set_uuid"):
            self.measured.add(number)
        if method == "table_clear" and "DM_INACTIVE_PRESENT" in before and number in self.measured:
            self.shared.add(number)
        if method == "table_load":
            self.shared.discard(number)
        if method == "device_remove" and result["deferred"] and number in self.flags:
            self.flags[number].add("DM_DEFERRED_REMOVE")
        info = result.get("info", result)
        if isinstance(info, dict) and "device" in info:
            self.learn_device(info)

    def learn_list(self, devices):
        """A whole list. Returns the numbers of those that are gone."""
        there = {(each["device"]["major"], each["device"]["minor"]) for each in devices}
        gone = set(self.flags) - there
        for number in gone:
            self.forget(number)
            del self.flags[number]
            self.forget_buffers(number)
        for each in devices:
            number = (each["device"]["major"], each["device"]["minor"])
            flags = self.flags.get(number, set())
            self.learn_device(each)
            self.flags[number] = flags
        return gone

    def is_safe(self, method, params, flags, below):
        """`flags` are those of the device at this moment, `below` the devices that its tables have open."""
        number = self.number(params)
        if method == "device_remove" and "DM_DEFERRED_REMOVE" in params.get("flags", []):
            return number not in below
        if method == "table_load" and number and "DM_DEFERRED_REMOVE" in flags:
            return not any(f"{number[0]}:{number[1]} " in line["params"] for line in params["targets"])
        if method in ("device_rename", "device_set_uuid"):
            return self.number({"name": params["name"]}) not in self.shared
        if method in ("device_suspend", "device_resume"):
            return "DM_INTERNAL_SUSPEND" not in flags
        return True


# --- a plan ---------------------------------------------------------------------------------------------------------

STATUS = [("device_status", [])]
STATUSES = [("table_status", []), ("table_status", ["DM_STATUS_TABLE"]),
            ("table_status", ["DM_QUERY_INACTIVE_TABLE"]),
            ("table_status", ["DM_STATUS_TABLE", "DM_QUERY_INACTIVE_TABLE"])]
EVERYTHING = [*STATUSES, *STATUS, ("device_status", ["DM_QUERY_INACTIVE_TABLE"]),
              ("table_deps", []), ("table_deps", ["DM_QUERY_INACTIVE_TABLE"])]
MAJOR = 254
DISK_NUMBERS = [{"major": 7, "minor": minor} for minor in range(len(DISKS))]


class Side:
    """A kernel that is walked on. Its disks have the numbers of the first loop devices."""

    def __init__(self, world):
        self.world = world
        self.client = world.client
        self.holds = []
        for target in TARGETS:
            self.client.target_version(type=target)
        if self.client.dev_majors()["majors"] != [MAJOR]:
            raise RuntimeError(f"walks need device-mapper's major to be {MAJOR}, as in the simulated kernel")
        self.disks = [self.add_disk(number, options) for number, options in zip(DISK_NUMBERS, DISKS)]
        self.load_cipher()
        self.modprobe = MODPROBE.read_text(encoding="ascii") if world.kind == "kernel" else ""
        self.set_modprobe("\n")

    def set_modprobe(self, path):
        """Without it no table with an unknown number or type starts a process that finds no module for it."""
        if self.modprobe:
            MODPROBE.write_text(path, encoding="ascii")

    def load_cipher(self):
        """Its modules come with the first table."""
        self.client.device_create(name="cipher")
        number = self.disks[0].number
        line = f"0 8 crypt {CIPHER} {KEY} 0 {number['major']}:{number['minor']} 0"
        self.client.table_load(**play.expand({"name": "cipher", "table": [line]}))
        self.client.device_remove(name="cipher")

    def add_disk(self, number, options):
        if self.world.kind == "simulated":
            path = f"/dev/loop{number['minor']}"
            self.client.simulate_disk_add(path=path, number=number, **options)
            return play.SimulatedDisk(self.client, path, number)
        disk = self.world.add_disk(**options)
        if disk.number != number:
            disk.close()
            raise RuntimeError("walks need the first loop devices for themselves")
        return disk

    def ask(self, line):
        """The replies, but for what play.py leaves out, and for the kernel's log, in which its threads speak too."""
        self.client.send(line + "\n")
        replies = json.loads(self.client.read_line())
        for reply in replies if isinstance(replies, list) else [replies]:
            data = reply.get("error", {}).get("data", {})
            for key in play.LEFT_OUT | {"kernel_log", "kernel_log_lost"}:
                data.pop(key, None)
        return json.dumps(replies, separators=(",", ":"), ensure_ascii=False)

    def hold(self, number):
        release = self.world.hold({"major": MAJOR, "minor": number})
        if release:
            self.holds.append(release)
        return "held" if release else "nothing there"

    def release(self, which):
        self.holds.pop(which)()
        return "released"

    def gone(self, minor):
        """Waits until the kernel has freed the minor of a device that it removed by itself, or another has it."""
        node = pathlib.Path(f"/sys/block/dm-{minor}")
        if self.world.kind == "kernel":
            deadline = time.monotonic() + GONE_SECONDS
            while node.exists() and time.monotonic() < deadline:
                time.sleep(SETTLE_SECONDS)
            time.sleep(SETTLE_SECONDS)
        return "gone"

    def answer(self, kind, what):
        """The answer to one exchange of a plan."""
        return {"calls": self.ask, "look": self.ask, "hold": self.hold, "release": self.release,
                "gone": self.gone}[kind](what)

    def close(self):
        self.set_modprobe(self.modprobe)
        while self.holds:
            self.holds.pop()()
        play.remove_all_devices(self.client)
        for disk in self.disks:
            disk.close()


class Planner:
    """Plays calls on the simulated kernel; what went over the wire is the plan.

    A plan is a list of exchanges (kind, what was asked, what was answered). `calls` is a batch of steps and looks,
    `look` a batch that changes nothing and may be asked again until the kernel has done what it does later,
    `hold` and `release` open and close a device; `gone` waits for what follows a removal.
    """

    def __init__(self, side):
        self.side = side
        self.guard = Guard()
        self.names = play.Names(MAJOR, None)
        for disk in side.disks:
            self.names.add_disk(disk)
        self.exchanges = []
        self.lines, self.answers = [], []
        self.step = 0
        self.held = []  # the numbers of the devices that the side's holds are of
        self.touched = None  # the device that the step meant
        self.looks = ()  # at it, after the step
        self.marked = False  # some device is to be removed as soon as nobody has it open
        self.seen = {}  # how often what was answered

    def run(self, calls):
        for self.step, (method, params) in enumerate(calls):
            self.count = 0
            self.touched = None
            self.take(method, params)
            if self.touched in self.guard.flags and not self.marked:
                self.look_at(self.touched, self.looks)
            if self.marked or self.step % FULL_EVERY == FULL_EVERY - 1:
                self.look_around()
        self.flush()
        return self.exchanges

    # exchanges

    def send(self, method, params):
        """One request of the batch; returns its reply."""
        request = {"jsonrpc": "2.0", "id": self.step * STRIDE + self.count, "method": method, "params": params}
        self.count += 1
        line = json.dumps(request)
        answer = self.side.ask(line)
        self.lines.append(line)
        self.answers.append(answer)
        return json.loads(answer)

    def flush(self, kind="calls"):
        if self.lines:
            self.exchanges.append((kind, f"[{','.join(self.lines)}]", f"[{','.join(self.answers)}]"))
            self.lines, self.answers = [], []

    def exchange(self, kind, what):
        self.flush()
        answer = self.side.answer(kind, what)
        self.exchanges.append((kind, what, answer))
        return answer

    # steps

    def fill(self, params):
        for name in NAMES:
            major, minor = self.guard.numbers.get(name, (MAJOR, 999))
            self.names.numbers[name] = {"major": major, "minor": minor}
        filled = self.names.fill(play.expand({key: value for key, value in params.items() if key != "device"}))
        if "device" in params:
            filled["device"] = {"major": MAJOR, "minor": params["device"]["minor"]}
        return filled

    def take(self, method, params):
        filled = self.fill(params)
        number = self.guard.number(filled)
        if method == "release":
            if self.held:
                which = params["which"] % len(self.held)
                self.touched, self.looks = self.held.pop(which), STATUS
                self.exchange("release", which)
            return
        if method == "hold":
            if number:
                self.touched, self.looks = number, STATUS
                if self.exchange("hold", number[1]) == "held":
                    self.held.append(number)
            return
        if not self.guard.is_safe(method, filled, self.flags_now(number), self.below(number)):
            self.note("left out")
            return
        reply = self.send(method, filled)
        self.note(reply["error"]["data"]["error"] if "error" in reply else "done")
        if "result" in reply:
            self.guard.learn(method, filled, reply["result"])
            self.marked |= "DM_DEFERRED_REMOVE" in filled.get("flags", [])
        self.touched = self.guard.number(filled) or number
        self.looks = STATUSES if "result" in reply else STATUS

    def note(self, what):
        self.seen[what] = self.seen.get(what, 0) + 1

    def flags_now(self, number):
        """Of a device; asked outside the plan."""
        if number is None:
            return set()
        try:
            return set(self.side.client.device_status(device={"major": number[0], "minor": number[1]})["flags"])
        except play.RpcError:
            return set()

    def below(self, number):
        """What both tables of a device have open; asked outside the plan."""
        found = set()
        for flags in ([], ["DM_QUERY_INACTIVE_TABLE"]) if number in self.guard.flags else ():
            try:
                deps = self.side.client.table_deps(device={"major": number[0], "minor": number[1]}, flags=flags)
            except play.RpcError:
                return found
            found |= {(each["major"], each["minor"]) for each in deps["devices"]}
        return found

    def look_at(self, number, looks):
        for method, flags in looks:
            more = {"show_keys": True} if method == "table_status" else {}
            reply = self.send(method, {"device": {"major": number[0], "minor": number[1]}, "flags": flags, **more})
            if method == "device_status" and not flags and "result" in reply:
                self.guard.learn_device(reply["result"])

    def look_around(self):
        """At all there is, now and then; until then at which devices there are, and at the one that was meant."""
        if self.marked:
            self.flush()
        devices = self.send("list_devices", {})["result"]["devices"]
        gone = self.guard.learn_list(devices)
        if self.step % FULL_EVERY == FULL_EVERY - 1:
            for each in devices:
                self.look_at((each["device"]["major"], each["device"]["minor"]), EVERYTHING)
        elif self.touched in self.guard.flags:
            self.look_at(self.touched, self.looks)
        self.flush("look" if self.marked else "calls")
        if self.marked:
            for _, minor in sorted(gone):
                self.exchange("gone", minor)
        self.marked = any("DM_DEFERRED_REMOVE" in flags for flags in self.guard.flags.values())


class Difference(Exception):
    """What was asked, and the two answers."""

    def __init__(self, kind, asked, planned, answered):
        super().__init__("the real kernel answers otherwise")
        self.asked, self.planned, self.answered = asked, planned, answered
        self.step = 0
        if kind in ("calls", "look"):
            requests, *sides = (json.loads(each) for each in (asked, planned, answered))
            for request, self.planned, self.answered in zip(requests, *sides):
                if self.planned != self.answered:
                    self.asked, self.step = request, request["id"] // STRIDE
                    return


def follow(exchanges, side):
    """Plays a plan on the real kernel. Raises Difference."""
    for kind, asked, planned in exchanges:
        answered = side.answer(kind, asked)
        tries = SETTLE_TRIES if kind == "look" else 0
        while answered != planned and tries:
            time.sleep(SETTLE_SECONDS)
            answered = side.answer(kind, asked)
            tries -= 1
        if answered != planned:
            raise Difference(kind, asked, planned, answered)


# --- both together ----------------------------------------------------------------------------------------------------

def plan(calls, world):
    """The plan of calls, and a count of what was answered."""
    side = Side(world)
    try:
        planner = Planner(side)
        return planner.run(calls), planner.seen
    finally:
        side.close()


def try_plan(exchanges, world):
    """The difference that a plan leads to on the real kernel, or None."""
    side = Side(world)
    try:
        follow(exchanges, side)
    except Difference as difference:
        return difference
    finally:
        side.close()
    return None


def shrink(calls, difference, real, simulated, seconds):
    """Fewer calls that still lead to a difference, and that difference."""
    deadline, tries, size = time.monotonic() + seconds, 0, max(1, len(calls) // 2)
    while size and time.monotonic() < deadline:
        start, removed = 0, False
        while start < len(calls) and tries < SHRINK_TRIES and time.monotonic() < deadline:
            fewer = calls[:start] + calls[start + size:]
            found = try_plan(plan(fewer, simulated)[0], real)
            tries += 1
            if found:
                calls, difference, removed = fewer, found, True
            else:
                start += size
        size = size // 2 if size > 1 or not removed else 1
    return calls, difference


def pairs(one, other, path=""):
    """The places where two replies differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from pairs(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other)):
            yield from pairs(left, right, f"{path}/{index}")
    elif one != other:
        yield path, one, other


def show(calls, difference):
    lines = [f"  {method} {json.dumps(params)}" for method, params in calls[-SHOWN:]]
    lines.append(f"  then to {json.dumps(difference.asked)}")
    for path, simulated, real in list(pairs(difference.planned, difference.answered))[:12]:
        lines += [f"  at {path or '/'}:", f"    real:      {json.dumps(real)[:600]}",
                  f"    simulated: {json.dumps(simulated)[:600]}"]
    return "\n".join(lines)


def report(seed, steps, difference, real, simulated, seconds=SHRINK_SECONDS):
    """The difference that a walk led to, with as few calls as can be found in so many seconds."""
    print(f"seed {seed}, step {difference.step}:\n{show([], difference)}", flush=True)
    calls = Maker(seed).calls(steps)
    if difference.step:
        calls = calls[:difference.step + 1]
    calls, difference = shrink(calls, difference, real, simulated, seconds)
    return show(calls, difference)


def walk(seed, steps, real, simulated):
    """Returns a report of the first difference, or None."""
    exchanges, _ = plan(Maker(seed).calls(steps), simulated)
    difference = try_plan(exchanges, real)
    return report(seed, steps, difference, real, simulated) if difference else None


# --- plans as files ------------------------------------------------------------------------------------------------

def write_plan(folder, seed, steps, world):
    """Returns the count of what was answered."""
    exchanges, seen = plan(Maker(seed).calls(steps), world)
    with gzip.open(folder / f"{seed}.plan.gz", "wt", encoding="utf-8", compresslevel=4) as file:
        file.write(json.dumps({"seed": seed, "steps": steps}) + "\n")
        for each in exchanges:
            file.write(json.dumps(each, ensure_ascii=False) + "\n")
    return seen


def read_plan(path):
    """Its head, and its exchanges one by one."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield json.loads(file.readline())
        for line in file:
            yield json.loads(line)


def follow_plan(path, real, simulated, seconds=SHRINK_SECONDS):
    """Returns a report of the first difference, for which it takes so many seconds, or None."""
    lines = read_plan(path)
    head = next(lines)
    difference = try_plan(lines, real)
    return report(head["seed"], head["steps"], difference, real, simulated, seconds) if difference else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first walk; the next ones follow")
    parser.add_argument("--walks", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--plan", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--follow", type=pathlib.Path, metavar="DIR")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.walks)
    wrong = 0

    def tell(what, began, found):
        print(f"{what}: {time.monotonic() - began:.1f} s, {'differs' if found else 'agrees'}", flush=True)
        if found:
            print(found, flush=True)
        return bool(found)

    with tempfile.TemporaryDirectory() as one, play.world_of("simulated", one) as simulated:
        if options.plan:
            for seed in seeds:
                print(f"seed {seed}: {write_plan(options.plan, seed, options.steps, simulated)}")
            return 0
        with tempfile.TemporaryDirectory() as two, play.world_of("kernel", two) as real:
            if options.follow:
                for path in sorted(options.follow.glob("*.plan.gz")):
                    began = time.monotonic()
                    wrong += tell(path.name, began, follow_plan(path, real, simulated))
            else:
                for seed in seeds:
                    began = time.monotonic()
                    wrong += tell(f"seed {seed}", began, walk(seed, options.steps, real, simulated))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
