#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plays conformance scenarios against a dmrpcd and tells what it answered, with holes for what may differ.

    play.py (--simulate | --kernel) [--record DIR] [FILE...]

A scenario is data (README.md has its form). The same player serves both kernels; what they do not have in common,
disks and programs that hold a device open, is in the two classes of worlds. An outcome is a reply in a normal
form: numbers that the kernel chose are replaced by what they stand for, everything else stays as it came.
Without --record the outcomes are compared with those in expected/ and the differences printed.
"""

import argparse
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import re
import struct
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

# pylint: disable=wrong-import-position
from dmrpc import Daemon, RpcError  # noqa: E402

SCENARIOS = HERE / "scenarios"
EXPECTED = HERE / "expected"
SETTLE_SECONDS = 10.0


# --- worlds -----------------------------------------------------------------------------------------------------

class SimulatedWorld:
    """Disks and holders on the simulated kernel."""

    kind = "simulated"

    def __init__(self, client):
        self.client = client
        self.names = itertools.count()

    def add_disk(self, sectors, **options):
        path = f"/dev/sim{next(self.names)}"
        number = self.client.simulate_disk_add(path=path, sectors=sectors, **options)["device"]
        return SimulatedDisk(self.client, path, number)

    def hold(self, number):
        """Opens a device; what undoes it, or None if there is nothing to open."""
        try:
            self.client.simulate_hold(device=number)
        except RpcError:
            return None
        return lambda: self.release(number)

    def release(self, number):
        try:
            self.client.simulate_release(device=number)
        except RpcError as error:
            if error.name != "device_not_found":  # it waited for this release, and is gone
                raise


class SimulatedDisk:
    def __init__(self, client, path, number):
        self.client, self.path, self.number = client, path, number

    def close(self):
        self.client.simulate_disk_remove(number=self.number)


class KernelWorld:
    """Disks and holders on a real kernel."""

    kind = "kernel"

    def __init__(self, client):
        self.client = client

    def add_disk(self, sectors, **options):
        return LoopDisk(sectors, **options)

    def hold(self, number):
        """Opens a device; what undoes it, or None if there is nothing to open."""
        try:
            fd = os.open(f"/dev/dm-{number['minor']}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        return lambda: os.close(fd)


class LoopDisk:
    """A loop device over a file in memory."""

    GET_FREE, CONFIGURE, CLEAR = 0x4C82, 0x4C0A, 0x4C01
    READ_ONLY = 1
    # struct loop_config up to lo_flags, and the rest of it.
    HEAD, TAIL = struct.Struct("=II5Q4I"), 304 - 64

    def __init__(self, sectors, block_size=512, read_only=False, claimed=False):
        self.file = tempfile.TemporaryFile(dir="/dev/shm")  # pylint: disable=consider-using-with
        self.file.truncate(sectors * 512)
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            free = fcntl.ioctl(control, self.GET_FREE)
        finally:
            os.close(control)
        self.path = f"/dev/loop{free}"
        flags = self.READ_ONLY if read_only else 0
        config = self.HEAD.pack(self.file.fileno(), block_size, 0, 0, 0, 0, 0, 0, 0, 0, flags) + bytes(self.TAIL)
        with self.opened(os.O_RDONLY if read_only else os.O_RDWR) as fd:
            fcntl.ioctl(fd, self.CONFIGURE, config)
        status = os.stat(self.path).st_rdev
        self.number = {"major": os.major(status), "minor": os.minor(status)}
        self.claim = os.open(self.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC) if claimed else None

    @contextlib.contextmanager
    def opened(self, mode):
        fd = os.open(self.path, mode | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def close(self):
        if self.claim is not None:
            os.close(self.claim)
        with self.opened(os.O_RDONLY) as fd:
            fcntl.ioctl(fd, self.CLEAR)
        self.file.close()


# --- what stands for what -----------------------------------------------------------------------------------------

LONG = 50  # items of a list that are written out


def text(number):
    return f"{number['major']}:{number['minor']}"


def shorten(items):
    """A long list by its length, its ends and a digest."""
    if len(items) <= LONG:
        return items
    digest = hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()
    return {"$count": len(items), "$first": items[:2], "$last": items[-1], "$sha256": digest[:16]}


# `call` counts the calls of all scenarios that were played before. `hint` and `holders` tell of the host around the
# kernel (nodes, mounts, who has what open), which is not simulated.
LEFT_OUT = {"call", "hint", "holders"}


class Names:
    """Which number stands for which disk or device: fills in requests, and takes out of replies."""

    WORD = re.compile(r"\$(disk\d+|path\d+|dm|i|dev:[\w.-]+|repeat\((.+?),(\d+)\))")
    NUMBER = re.compile(r"(?<![\d:.])\d{1,4}:\d{1,7}(?!\d|:\d)")
    NODE = re.compile(r"/dev/dm-(\d+)")

    def __init__(self, major, version, keep_minors=False):
        self.major = major
        self.version = version
        self.keep_minors = keep_minors
        self.holes = []
        self.disks = []
        self.numbers = {}  # the last device of a name
        self.words = {}  # what stands for a number
        self.counter = 0

    def add_disk(self, disk):
        self.words[text(disk.number)] = f"$disk{len(self.disks)}"
        self.disks.append(disk)

    def add_device(self, name, number, by_number=False):
        self.numbers[name] = number
        self.words[text(number)] = (
            f"$dm:{number['minor']}" if by_number or self.keep_minors else f"$dev:{name}")

    def number_of(self, word):
        """The number of `disk0` or `dev:NAME`."""
        if word.startswith("disk"):
            return self.disks[int(word[4:])].number
        return self.numbers[word.removeprefix("dev:")]

    def fill_word(self, match):
        word = match.group(1)
        if word.startswith("repeat"):
            return match.group(2) * int(match.group(3))
        if word.startswith("path"):
            return self.disks[int(word[4:])].path
        if word in ("dm", "i"):
            return str(self.major if word == "dm" else self.counter)
        return text(self.number_of(word))

    def fill(self, value, key=None):
        """A request's params with their words filled in."""
        if isinstance(value, dict):
            return {each: self.fill(inner, each) for each, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(each) for each in value]
        if not isinstance(value, str):
            return value
        if key == "device":
            return self.number_of(value[1:])
        if key == "major":
            return self.major
        if value == "$i":
            return self.counter
        return self.WORD.sub(self.fill_word, value)

    def word_for(self, number):
        word = self.words.get(number)
        major, _, minor = number.partition(":")
        return word or (f"$dm:{minor}" if int(major) == self.major else number)

    def blank_text(self, value):
        value = self.NODE.sub(lambda match: f"$node({self.word_for(f'{self.major}:{match.group(1)}')})", value)
        value = self.NUMBER.sub(lambda match: self.word_for(match.group()), value)
        for number, disk in enumerate(self.disks):
            value = re.sub(rf"(?<![/\w]){os.path.basename(disk.path)}\b", f"$name{number}", value)
        for hole in self.holes:
            value = re.sub(hole["pattern"], hole["becomes"], value)
        return value

    def blank(self, value):
        """A reply with words instead of what the kernel chose."""
        if isinstance(value, list):
            return shorten([self.blank(each) for each in value])
        if isinstance(value, str):
            return self.blank_text(value)
        if not isinstance(value, dict):
            return value
        if set(value) == {"major", "minor"}:
            return self.word_for(text(value))
        if value == self.version:
            return "$version"
        return {
            key: "$backend" if key == "backend" else self.blank(each)
            for key, each in value.items()
            if key not in LEFT_OUT
        }


# --- playing ------------------------------------------------------------------------------------------------------

class Player:
    """One scenario in one world."""

    def __init__(self, scenario, world):
        self.scenario = scenario
        self.world = world
        self.client = world.client
        majors = self.client.dev_majors()["majors"]
        self.names = Names(majors[0], self.client.version()["version"], scenario.get("minors", False))
        self.names.holes = scenario.get("holes", [])
        self.holds = {}
        self.outcomes = []

    def set_up(self):
        for each in self.scenario.get("disks", []):
            options = dict(each) if isinstance(each, dict) else {"sectors": each}
            self.names.add_disk(self.world.add_disk(**options))
        for each in self.scenario.get("targets", []):
            self.client.target_version(type=each)

    def tear_down(self):
        for releases in self.holds.values():
            for release in releases:
                release()
        remove_all_devices(self.client)
        for disk in reversed(self.names.disks):
            disk.close()

    def play(self):
        try:
            self.set_up()
            self.run(self.scenario["steps"])
        finally:
            self.tear_down()
        return self.outcomes

    def run(self, steps):
        for step in steps:
            if "repeat" in step:
                for self.names.counter in range(step["repeat"]):
                    self.run(step["steps"])
                continue
            ((method, params),) = step.items()
            own = getattr(self, f"step_{method}", None)
            self.outcomes.append(own(**params) if own else self.call(method, params))

    def call(self, method, params):
        params = self.names.fill(expand(params))
        try:
            result = self.client.call(method, **params)
        except RpcError as error:
            return {"error": self.names.blank({"message": error.message, **error.data})}
        if method == "device_create":
            self.names.add_device(params["name"], result["device"], "minor" in params)
        if method == "list_versions":
            # Which other types are there depends on the modules that somebody loaded before.
            wanted = {"linear", "striped", "error", *self.scenario.get("targets", [])}
            targets = [each for each in result["targets"] if each["name"] in wanted]
            return {"targets": sorted(targets, key=lambda each: each["name"])}
        return self.names.blank(result)

    def step_hold(self, device):
        release = self.world.hold(self.names.number_of(device[1:]))
        if release:
            self.holds.setdefault(device, []).append(release)
        return {"held": bool(release)}

    def step_release(self, device):
        self.holds[device].pop()()
        return {"released": True}

    def step_gone(self, device):
        """Waits until a device is gone: the kernel removes a marked one a moment after its last close."""
        return {"gone": wait_gone(self.client, self.names.number_of(device[1:]))}


def expand(params):
    """`table` is short for `targets`: lines as dmsetup takes them; "* 3 8 zero" stands for three lines of 8 sectors."""
    if not isinstance(params, dict) or "table" not in params:
        return params
    targets = []
    for line in params["table"]:
        start, length, kind, *rest = line.split(" ", 3)
        if start == "*":
            length, (kind, *rest) = kind, rest[0].split(" ", 1)
            count, start = int(line.split(" ")[1]), targets[-1]["start"] + targets[-1]["length"] if targets else 0
        else:
            count, start = 1, int(start)
        for each in range(count):
            targets.append({"start": start + each * int(length), "length": int(length), "type": kind,
                            "params": rest[0] if rest else ""})
    return {**{key: value for key, value in params.items() if key != "table"}, "targets": targets}


def wait_gone(client, number):
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        try:
            client.device_status(device=number)
        except RpcError as error:
            return error.name == "device_not_found"
        time.sleep(0.002)
    return False


def remove_all_devices(client):
    """Removes all devices, also such as hold each other or themselves."""
    def numbers():
        return [each["device"] for each in client.list_devices()["devices"]]

    def attempt(method, **params):
        with contextlib.suppress(RpcError):
            client.call(method, **params)

    for _ in range(8):
        there = numbers()
        if not there:
            return
        for number in reversed(there):
            attempt("device_remove", device=number)
    for number in numbers():
        info = client.device_status(device=number)
        zero = [{"start": 0, "length": 8, "type": "error", "params": ""}]
        attempt("table_clear", device=info["device"])
        attempt("table_load", device=info["device"], targets=zero)
        attempt("device_resume", device=info["device"], flags=["DM_NOFLUSH"])
    for _ in range(8):
        for number in numbers():
            attempt("device_remove", device=number)
    left = numbers()
    if left:
        raise RuntimeError(f"devices that cannot be removed: {left}")


# --- scenarios and what is expected of them -----------------------------------------------------------------------

def load(path):
    """{name: scenario} of one file."""
    scenarios = json.loads(path.read_text(encoding="utf-8"))
    found = {each["name"]: each for each in scenarios}
    if len(found) != len(scenarios):
        raise ValueError(f"{path}: a name is there twice")
    return found


def is_for(scenario, world):
    return scenario.get("only", world) == world


def lacks(scenario, client):
    """The target types of a scenario that this kernel does not have."""
    def lacking(kind):
        try:
            client.target_version(type=kind)
        except RpcError:
            return True
        return False
    return [each for each in scenario.get("targets", []) if lacking(each)]


def dump(outcomes):
    """Expected replies, one a line, so that a change shows as what it is."""
    parts = []
    for name, replies in outcomes.items():
        lines = ",\n    ".join(json.dumps(each, ensure_ascii=False) for each in replies)
        parts.append(f"  {json.dumps(name)}: [\n    {lines}\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def flatten(steps):
    """The steps as they are played, for reports."""
    for step in steps:
        if "repeat" in step:
            for each in range(step["repeat"]):
                for inner in flatten(step["steps"]):
                    yield {"$i": each, **inner}
        else:
            yield step


def differences(scenario, expected, outcomes):
    """What differs, in lines for people; empty if nothing does."""
    if outcomes == expected:
        return []
    steps = list(flatten(scenario["steps"]))
    for number, step in enumerate(steps):
        want = expected[number] if number < len(expected) else None
        got = outcomes[number] if number < len(outcomes) else None
        if want != got:
            before = [f"  {number - 3 + index:3}: {json.dumps(each)}"
                      for index, each in enumerate(steps[max(0, number - 3):number], max(0, 3 - number))]
            return [f"{scenario['name']}: step {number} differs", *before, f"  {number:3}: {json.dumps(step)}",
                    f"  expected: {json.dumps(want, ensure_ascii=False)}",
                    f"  answered: {json.dumps(got, ensure_ascii=False)}"]
    return [f"{scenario['name']}: {len(expected)} replies are expected, {len(outcomes)} came"]


@contextlib.contextmanager
def world_of(kind, folder):
    """A daemon, and the world that it serves."""
    with Daemon(folder, simulate=kind == "simulated") as daemon, daemon.client(timeout=120) as client:
        yield (SimulatedWorld if kind == "simulated" else KernelWorld)(client)


def merge(path, recorded):
    """Writes what was recorded over what the file has of other scenarios (those of the other kernel)."""
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    order = load(SCENARIOS / path.name)
    there.update(recorded)
    path.write_text(dump({name: there[name] for name in order if name in there}), encoding="utf-8")


def play_file(path, world, record, tell):
    """Number of scenarios played, and of those that differ; `tell` says each one's name before it begins."""
    expected = {} if record else json.loads((EXPECTED / path.name).read_text(encoding="utf-8"))
    outcomes, wrong = {}, 0
    for name, scenario in load(path).items():
        if not is_for(scenario, world.kind) or (record and "only" not in scenario and world.kind != "kernel"):
            continue
        lacking = lacks(scenario, world.client)
        if lacking:
            print(f"{path.stem}: {name}: left out, no target type {', '.join(lacking)}")
            continue
        tell(f"{path.stem}: {name}")
        outcomes[name] = Player(scenario, world).play()
        if not record:
            report = differences(scenario, expected.get(name, []), outcomes[name])
            wrong += bool(report)
            print("\n".join(report), end="\n" if report else "")
    if record:
        merge(record / path.name, outcomes)
    return len(outcomes), wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--simulate", dest="kind", action="store_const", const="simulated")
    kind.add_argument("--kernel", dest="kind", action="store_const", const="kernel")
    parser.add_argument("--record", type=pathlib.Path, metavar="DIR", help="write the outcomes there")
    parser.add_argument("--verbose", action="store_true", help="say which scenario is played")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    played = wrong = 0

    def tell(what):
        if options.verbose:
            print(what, flush=True)

    with tempfile.TemporaryDirectory() as folder, world_of(options.kind, folder) as world:
        for path in options.files or sorted(SCENARIOS.glob("*.json")):
            counts = play_file(path, world, options.record, tell)
            played, wrong = played + counts[0], wrong + counts[1]
    print(f"{played} scenarios played, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
