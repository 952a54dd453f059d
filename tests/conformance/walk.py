#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Seeded random walks: the same calls to the real and to the simulated kernel, compared after each.

    walk.py [--seed N] [--walks N] [--steps N] [--trace DIR]     on a machine with device-mapper, as root
    walk.py --replay FILE...                                     a trace, on the simulated kernel alone
    walk.py --alone [--seed N] ...                               on the simulated kernel alone, compared with nothing

A walk is made from its seed alone; it knows nothing of what is answered. Before a call is sent a guard looks whether
it could hang or crash the real kernel, and leaves it out then (see Guard). Both daemons get the same call, byte for
byte: disks have the same numbers and paths in both worlds and minors are given out the same way, so the replies must
be the same bytes too. After each step the state of the device that was meant is compared (all that device_status,
table_status and table_deps say of both its tables), every tenth step that of all devices.

The first difference is reported with the calls that led to it, after as many of them as possible were taken out. A
trace holds what the real kernel answered, so that the simulated one can be held against it anywhere.
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
FULL_EVERY = 10
SETTLE_TRIES, SETTLE_SECONDS = 40, 0.05
SHRINK_TRIES, SHRINK_SECONDS = 300, 120
KEY = "000102030405060708090a0b0c0d0e0f"


# --- what is called -----------------------------------------------------------------------------------------------

class Maker:
    """Makes the calls of a walk."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.choices = [(self.create, 14), (self.load, 22), (self.resume, 20), (self.suspend, 8), (self.clear, 5),
                        (self.rename, 4), (self.set_uuid, 4), (self.remove, 5), (self.look, 6), (self.message, 9),
                        (self.hold, 4), (self.release, 4), (self.geometry, 1), (self.list, 1), (self.wait, 1),
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
        return ["remove_all", {"confirm": self.chance(0.7), **self.flags("DEFERRED_REMOVE")}]

    def look(self):
        method = self.pick("device_status", "table_status", "table_deps")
        flags = self.flags("QUERY_INACTIVE_TABLE")
        if method == "table_status":
            flags = self.flags("QUERY_INACTIVE_TABLE", "STATUS_TABLE", "NOFLUSH")
        return [method, {**self.ref(), **flags}]

    def list(self):
        return ["list_devices", self.pick({}, {"name_prefix": "n"}, {"uuid_prefix": "U"},
                                          {"name_prefix": "p", "uuid_prefix": "U"})]

    def wait(self):
        return ["device_wait", {**self.ref(), "event_nr": self.random.randrange(3), "timeout_ms": 0}]

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
                 "crypt": f"aes-cbc-plain {KEY} 0 {{0}} {{1}}"}[kind]
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


# --- one kernel -----------------------------------------------------------------------------------------------------

LOOKS = [("device_status", []), ("device_status", ["DM_QUERY_INACTIVE_TABLE"]),
         ("table_status", []), ("table_status", ["DM_STATUS_TABLE"]),
         ("table_status", ["DM_QUERY_INACTIVE_TABLE"]),
         ("table_status", ["DM_STATUS_TABLE", "DM_QUERY_INACTIVE_TABLE"]),
         ("table_deps", []), ("table_deps", ["DM_QUERY_INACTIVE_TABLE"])]


class Side:
    """A kernel that is walked on."""

    def __init__(self, world, disks):
        self.world = world
        self.client = world.client
        self.disks = disks
        self.holds = []

    def ask(self, line):
        self.client.send(line)
        return self.client.read_line()

    def hold(self, number):
        release = self.world.hold(number)
        if release:
            self.holds.append(release)
        return b"held" if release else b"nothing to hold"

    def release(self, which):
        if not self.holds:
            return b"nothing to release"
        self.holds.pop(which % len(self.holds))()
        return b"released"

    def close(self):
        while self.holds:
            self.holds.pop()()
        play.remove_all_devices(self.client)
        for disk in self.disks:
            disk.close()


def simulated_side(world, disks):
    """The simulated kernel with the disks of another: `disks` say number and path."""
    made = []
    for options, disk in zip(DISKS, disks):
        number = world.client.simulate_disk_add(path=disk["path"], number=disk["number"], **options)["device"]
        made.append(play.SimulatedDisk(world.client, disk["path"], number))
    return Side(world, made)


def kernel_side(world):
    return Side(world, [world.add_disk(**options) for options in DISKS])


def describe(side):
    return [{"path": disk.path, "number": disk.number} for disk in side.disks]


# --- what must not be called ----------------------------------------------------------------------------------------

class Guard:
    """Knows of each device what decides whether a call is safe, from the replies.

    Left out are: a rename or a uuid, once a device that had a live and an inactive table was cleared and not loaded
    since (Linux 6.1's dm-ima.c then shares one buffer between both tables, a rename frees it, and the next load or
    remove frees it again: load, resume, load, clear, rename, load); suspending or resuming a device that is suspended
    from inside (a volume of a suspended pool), which waits until somebody resumes the pool.
    """

    def __init__(self):
        self.flags = {}  # of a device, by number
        self.numbers = {}  # by name
        self.uuids = {}
        self.shared = set()  # numbers

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

    def forget(self, number):
        for table in (self.numbers, self.uuids):
            for key in [key for key, value in table.items() if value == number]:
                del table[key]

    def learn(self, method, params, result):
        if method == "device_create":
            self.shared.discard((result["device"]["major"], result["device"]["minor"]))
        number = self.number(params)
        before = self.flags.get(number, set())
        if method == "table_clear" and {"DM_ACTIVE_PRESENT", "DM_INACTIVE_PRESENT"} <= before:
            self.shared.add(number)
        if method == "table_load":
            self.shared.discard(number)
        info = result.get("info", result)
        if isinstance(info, dict) and "device" in info:
            self.learn_device(info)

    def learn_list(self, devices):
        """A whole list: those that are not in it are gone."""
        there = {(each["device"]["major"], each["device"]["minor"]) for each in devices}
        for number in set(self.flags) - there:
            self.forget(number)
            del self.flags[number]
            self.shared.discard(number)
        for each in devices:
            number = (each["device"]["major"], each["device"]["minor"])
            flags = self.flags.get(number, set())
            self.learn_device(each)
            self.flags[number] = flags

    def is_safe(self, method, params, flags):
        """`flags` are those of the device at this moment."""
        if method in ("device_rename", "device_set_uuid"):
            return self.number({"name": params["name"]}) not in self.shared
        if method in ("device_suspend", "device_resume"):
            return "DM_INTERNAL_SUSPEND" not in flags
        return True


# --- walking --------------------------------------------------------------------------------------------------------

class Difference(Exception):
    def __init__(self, step, what, replies):
        super().__init__(f"step {step}: {what} differs")
        self.step, self.what, self.replies = step, what, replies


class Walk:
    """Calls, made on one kernel (which alone is believed by the guard) and compared with others or a trace."""

    def __init__(self, calls, sides, major, trace=None, expected=None):
        self.calls = calls
        self.sides = sides
        self.trace, self.expected = trace, expected
        self.guard = Guard()
        self.names = play.Names(major, None)
        for disk in sides[0].disks:
            self.names.add_disk(disk)
        self.step = 0
        self.marked = False
        self.sent = 0

    def fill(self, params):
        for name in NAMES:
            major, minor = self.guard.numbers.get(name, (self.names.major, 999))
            self.names.numbers[name] = {"major": major, "minor": minor}
        filled = self.names.fill(play.expand({key: value for key, value in params.items() if key != "device"}))
        if "device" in params:
            filled["device"] = {"major": self.names.major, "minor": params["device"]["minor"]}
        return filled

    def compare(self, what, ask):
        """What all sides answer; `ask` gets a side. Waits a little for the kernel where it may be behind."""
        first = ask(self.sides[0])
        for other in self.sides[1:]:
            answer = ask(other)
            for _ in range(SETTLE_TRIES if what != "reply" else 0):
                if answer == first:
                    break
                time.sleep(SETTLE_SECONDS)
                first = ask(self.sides[0])
            if answer != first:
                raise Difference(self.step, what, (first, answer))
        if self.expected is not None:
            recorded = self.expected()
            if recorded != first:
                raise Difference(self.step, what, (recorded, first))
        if self.trace is not None:
            self.trace(first)
        return first

    def request(self, method, params, ident=0):
        return json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params})

    def make(self, method, params):
        """One call, compared. Returns the number of the device that was meant."""
        if method == "release":
            self.compare("reply", lambda side: side.release(params["which"]))
            return None
        filled = self.fill(params)
        number = self.guard.number(filled)
        if method == "hold":
            if number:
                device = {"major": number[0], "minor": number[1]}
                self.compare("reply", lambda side: side.hold(device))
            return number
        if not self.guard.is_safe(method, filled, self.guard.flags.get(number, set())):
            return None
        line = self.request(method, filled) + "\n"
        reply = json.loads(self.compare("reply", lambda side: side.ask(line)))
        self.sent += 1
        if "result" in reply:
            self.guard.learn(method, filled, reply["result"])
            self.marked |= bool(reply["result"].get("deferred")) or "DM_DEFERRED_REMOVE" in filled.get("flags", [])
        return number or self.guard.number(filled)

    def look_at(self, numbers):
        requests = [self.request(method, {"device": {"major": major, "minor": minor}, "flags": flags})
                    for major, minor in numbers for method, flags in LOOKS]
        if requests:
            line = "[" + ",".join(requests) + "]\n"
            self.learn_state(self.compare("state", lambda side: side.ask(line)))

    def learn_state(self, text):
        for reply in json.loads(text)[::len(LOOKS)]:
            if "result" in reply:
                self.guard.learn_device(reply["result"])

    def look_at_all(self):
        line = self.request("list_devices", {}) + "\n"
        devices = json.loads(self.compare("list", lambda side: side.ask(line)))["result"]["devices"]
        self.guard.learn_list(devices)
        self.look_at([(each["device"]["major"], each["device"]["minor"]) for each in devices])
        if self.marked:
            self.marked = any("DM_DEFERRED_REMOVE" in flags for flags in self.guard.flags.values())

    def run(self):
        for self.step, (method, params) in enumerate(self.calls):
            number = self.make(method, params)
            # What changes more than the device that was meant: volumes below a pool, devices that go later.
            wide = (self.marked or method in ("device_remove", "remove_all", "release")
                    or (method in ("device_suspend", "device_resume") and params.get("name") == "pool"))
            if wide or self.step % FULL_EVERY == FULL_EVERY - 1:
                self.look_at_all()
            elif number:
                self.look_at([number])


# --- reports ----------------------------------------------------------------------------------------------------------

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


def show(difference, calls):
    lines = [str(difference), "calls that lead there:"]
    lines += [f"  {method} {json.dumps(params)}" for method, params in calls[:difference.step + 1]]
    try:
        sides = [json.loads(each) for each in difference.replies]
    except ValueError:
        sides = list(difference.replies)
    for path, real, simulated in list(pairs(*sides))[:12]:
        lines += [f"  at {path or '/'}:", f"    real:      {json.dumps(real, default=str)[:600]}",
                  f"    simulated: {json.dumps(simulated, default=str)[:600]}"]
    return "\n".join(lines)


def attempt(calls, make_sides, major):
    """The difference that a list of calls leads to, or None."""
    sides = make_sides()
    try:
        Walk(calls, sides, major).run()
    except Difference as difference:
        return difference
    finally:
        for side in sides:
            side.close()
    return None


def shrink(calls, difference, make_sides, major):
    """Fewer calls that lead to a difference, and that difference."""
    calls = calls[:difference.step + 1]
    deadline, tries, size = time.monotonic() + SHRINK_SECONDS, 0, max(1, len(calls) // 2)
    while size and tries < SHRINK_TRIES and time.monotonic() < deadline:
        start, removed = 0, False
        while start < len(calls) - 1 and tries < SHRINK_TRIES and time.monotonic() < deadline:
            fewer = calls[:start] + calls[min(start + size, len(calls) - 1):]
            found = attempt(fewer, make_sides, major)
            tries += 1
            if found:
                calls, difference, removed = fewer[:found.step + 1], found, True
            else:
                start += size
        size = size // 2 if size > 1 or not removed else 1
    return calls, difference


# --- from outside -----------------------------------------------------------------------------------------------------

def prepare(client):
    for target in TARGETS:
        client.target_version(type=target)
    return client.dev_majors()["majors"][0]


def walk_both(seed, steps, real, simulated, trace=None):
    """A walk on both kernels. Returns how many calls were made, and the report of the first difference or None."""
    calls = Maker(seed).calls(steps)
    major = prepare(real.client)
    if prepare(simulated.client) != major:
        raise RuntimeError(f"device-mapper has another major ({major}) here than in the simulated kernel")

    def make_sides():
        one = kernel_side(real)
        return [one, simulated_side(simulated, describe(one))]

    sides = make_sides()
    walk = Walk(calls, sides, major)
    try:
        if trace:
            with gzip.open(trace, "wb", compresslevel=4) as file:
                head = {"seed": seed, "steps": steps, "major": major, "disks": describe(sides[0])}
                file.write(json.dumps(head).encode() + b"\n")
                walk.trace = lambda text: file.write(text.rstrip(b"\n") + b"\n")
                walk.run()
        else:
            walk.run()
        return walk.sent, None
    except Difference as caught:
        found = caught
    finally:
        for side in sides:
            side.close()
    walk_calls, found = shrink(calls, found, make_sides, major)
    return walk.sent, f"seed {seed}: " + show(found, walk_calls)


def replay(path, simulated):
    """Holds the simulated kernel against a trace. Returns a report, or None if they agree."""
    prepare(simulated.client)
    with gzip.open(path, "rb") as file:
        head = json.loads(file.readline())
        side = simulated_side(simulated, head["disks"])
        calls = Maker(head["seed"]).calls(head["steps"])
        walk = Walk(calls, [side], head["major"], expected=lambda: file.readline())
        walk.compare, compare = None, walk.compare

        def compare_lines(what, ask):
            return compare(what, lambda each: ask(each).rstrip(b"\n") + b"\n")

        walk.compare = compare_lines
        try:
            walk.run()
        except Difference as difference:
            return f"{path.name}: " + show(difference, calls[max(0, difference.step - 40):])
        finally:
            side.close()
    return None


def walk_alone(seed, steps, simulated):
    """A walk on the simulated kernel: that it holds together, and how often calls succeed."""
    major = prepare(simulated.client)
    side = simulated_side(simulated, [{"path": f"/dev/sim{i}", "number": {"major": 7, "minor": i}}
                                      for i in range(len(DISKS))])
    counts = {}

    def count(text):
        if text.startswith(b"{"):
            reply = json.loads(text)
            key = reply["error"]["data"]["error"] if "error" in reply else "done"
            counts[key] = counts.get(key, 0) + 1

    walk = Walk(Maker(seed).calls(steps), [side], major, trace=count)
    try:
        walk.run()
    finally:
        side.close()
    return walk.sent, counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first walk; the next ones follow")
    parser.add_argument("--walks", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--trace", type=pathlib.Path, metavar="DIR", help="write what the real kernel answered")
    parser.add_argument("--replay", type=pathlib.Path, nargs="+", metavar="FILE")
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two, \
            play.world_of("simulated", one) as simulated:
        if options.replay:
            for path in options.replay:
                report = replay(path, simulated)
                wrong += bool(report)
                print(report or f"{path.name}: agrees")
            return 1 if wrong else 0
        seeds = range(options.seed, options.seed + options.walks)
        if options.alone:
            for seed in seeds:
                print(seed, *walk_alone(seed, options.steps, simulated))
            return 0
        with play.world_of("kernel", two) as real:
            for seed in seeds:
                began = time.monotonic()
                trace = options.trace / f"walk-{seed}.jsonl.gz" if options.trace else None
                sent, report = walk_both(seed, options.steps, real, simulated, trace)
                wrong += bool(report)
                print(f"seed {seed}: {sent} calls, {time.monotonic() - began:.1f} s\n{report or 'agrees'}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
