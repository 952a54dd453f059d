# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment: what was acknowledged holds, and no device stays suspended.

First the daemon that is killed and cannot die, because a thread of it is stuck in the kernel: the next one takes its
path over. Then many rounds of kills under load, against a model of what must be so afterwards. The number of rounds is
$DMRPC_KILL_ROUNDS, and $DMRPC_KILL_SEED repeats the choices of an earlier run (not its timing).
"""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import threading
import time
from typing import NamedTuple

import dm
from calls import LIVE, SUSPENDED, line, linear, on, state
from dmrpc import Client, Daemon
from tasks import Task, wait_until
from test_blocking import is_in_ioctl
from test_leases import SUSPEND, Waiting, alive, client, mounted, served  # noqa: F401: two of them are fixtures

# pylint: disable=redefined-outer-name


def serving(daemon):
    """The path answers all the time; this is when the new one does."""
    wait_until(lambda: "Serving" in daemon.log(), "the next daemon serves")
    return daemon


def forget(devices, *infos):
    """Takes away devices whose daemon is gone."""
    for info in infos:
        dm.ioctl(dm.DEV_REMOVE, device=tuple(info["device"].values()))
    devices.made.clear()


# --- a daemon that cannot die ---

def test_the_path_is_taken_over_while_a_freeze_is_stuck(served, client, devices, disk):
    old, guardian = served.daemon, served.guardian
    drive = disk(16384)
    lower = devices.make([linear(drive)])
    upper = devices.make([on(lower, drive.sectors)])
    with mounted(upper["path"]) as folder:
        (folder / "file").write_bytes(b"before")
        dm.dmsetup("suspend", lower["name"])  # nobody's lease: it stays so
        with old.client() as own:
            own.start("device_suspend", name=upper["name"], flags=SUSPEND, resume_after_ms=3600000)
            wait_until(lambda: is_in_ioctl(old, dm.DEV_SUSPEND), "the suspend is in the kernel")
            time.sleep(0.2)
            old.process.kill()
        began = time.monotonic()
        new = serving(Daemon(old.folder, simulate=False))
        # A second for an answer, two for the old guardian.
        assert time.monotonic() - began < 15
        assert f"taken over from process {old.process.pid}," in new.log()
        assert "an earlier dmrpcd or its guardian still ends leases" in new.log()
        served.start(new)
        assert old.process.poll() is None and alive(guardian) and dm.suspended(lower["device"])

        with new.client() as own:
            assert state(own.device_status(name=lower["name"])) == SUSPENDED | LIVE
            assert own.lease_list() == {"leases": []}
            own.device_create(name="kt-other")
            own.table_load(name="kt-other", targets=[line(0, 8, "zero")])
            own.device_resume(name="kt-other")
            own.device_suspend(name="kt-other", flags=SUSPEND, resume_after_ms=300)
            wait_until(lambda: own.lease_list() == {"leases": []}, "a lease of the new one's ends")
            own.device_remove(name="kt-other")
            assert old.process.poll() is None and alive(guardian)

            dm.dmsetup("resume", lower["name"])
            old.process.wait(30)
            wait_until(lambda: not alive(guardian), "the old guardian has gone")
            assert state(own.device_status(name=upper["name"])) == LIVE
            assert not dm.suspended(upper["device"]) and own.version()
        task = Task(lambda: (folder / "file").write_bytes(b"after") and None or os.sync())
        assert task.end(30) in ("", "None")
        assert (folder / "file").read_bytes() == b"after"
        with new.client() as own:
            assert own.version()
    forget(devices, upper, lower)


def test_one_that_goes_on_after_all_does_no_harm(served, client, devices, disk):
    """It was only stopped. It keeps its leases and its guardian, and the next one has its own."""
    old, guardian = served.daemon, served.guardian
    drive = disk()
    info, other = devices.make([linear(drive)]), devices.make([line(0, 8, "zero")])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    writer = Waiting(info)
    old.process.send_signal(signal.SIGSTOP)
    try:
        new = serving(Daemon(old.folder, simulate=False))
        served.start(new)
        assert f"taken over from process {old.process.pid}," in new.log()
        with new.client() as own:
            assert own.lease_list() == {"leases": []}
            own.device_suspend(name=other["name"], flags=SUSPEND, resume_after_ms=3600000)
    finally:
        old.process.send_signal(signal.SIGCONT)
    (lease,) = client.lease_list()["leases"]
    assert lease["device"] == info["device"] and dm.suspended(info["device"])
    old.process.send_signal(signal.SIGTERM)
    writer.end(drive)
    assert old.process.wait(30) == 0
    wait_until(lambda: not alive(guardian), "the old guardian has gone")
    # Its end was the end of its own leases; and what is at the path is not its own.
    with new.client() as own:
        (lease,) = own.lease_list()["leases"]
        assert lease["device"] == other["device"] and dm.suspended(other["device"])
        own.device_resume(name=other["name"])
    # The table that has the name is the new one's: it is there when both are killed.
    with new.client() as own:
        own.device_suspend(name=other["name"], flags=SUSPEND, resume_on_disconnect=True)
        served.kill_both()
    with served.again().client() as own:
        wait_until(lambda: not dm.suspended(other["device"]), "the third one resumes")
        assert own.lease_list() == {"leases": []}
    assert "taken over" in served.daemon.log()
    forget(devices, info, other)


# --- the model ---

class State(NamedTuple):
    """What a slot's device is. Tables are told apart by their lengths."""

    name: str = ""  # none: there is no device
    live: int = 0
    inactive: int = 0
    suspended: str = ""  # "lease"; "free": by a suspend that was to last
    had_inactive: bool = False  # the inactive one is from before the suspend

    def seen(self):
        return (self.name, self.live, self.inactive, bool(self.suspended))


def lapse(was):
    """Its lease has ended, if there was one."""
    if was.suspended != "lease":
        return was
    if was.had_inactive and was.inactive:
        return was._replace(live=was.inactive, inactive=0, suspended="")  # as any resume does
    return was._replace(inactive=0, suspended="")


def resumed(was):
    return was._replace(live=was.inactive or was.live, inactive=0, suspended="")


def suspended_as(was, kind):
    if was.suspended or not was.live:
        return was
    return was._replace(suspended=kind, had_inactive=bool(was.inactive))


EFFECTS = {
    "device_create": lambda was, new: State(name=new),
    "table_load": lambda was, new: was._replace(inactive=new, had_inactive=False),
    "device_resume": lambda was, new: resumed(was),
    "device_suspend": suspended_as,
    "table_swap": lambda was, new: was._replace(live=new, inactive=0),
    "device_rename": lambda was, new: was._replace(name=new),
    "device_remove": lambda was, new: State(),
}

# On the way to an effect there may be another, which a kill leaves.
HALF_WAY = {
    "table_load": lambda was, new: was._replace(had_inactive=False),  # said before the kernel is asked
    "table_swap": lambda was, new: was._replace(inactive=new),
}


def sometimes(states):
    """Leases end at any time."""
    return states | {lapse(each) for each in states}


class Slot:
    """A place for one device, and all that it may be now, as far as its only user knows."""

    def __init__(self, number):
        self.prefix = f"kt-kill{number}-"
        self.count = 0
        self.states = {State()}
        self.cleared = False  # a roll-back may have cleared a table of it
        self.under_way = None
        self.leased = False

    def fresh(self):
        self.count += 1
        return self.count

    def any(self, what):
        return any(what(each) for each in sometimes(self.states))

    def choose(self, rng):
        """(method, what it makes new)."""
        (name,) = {each.name for each in self.states}
        if not name:
            return "device_create", f"{self.prefix}{self.fresh()}"
        choices = ["table_load"]
        if not self.any(lambda each: not each.live and not each.inactive):
            choices += ["device_resume"] * 2
        if not self.any(lambda each: not each.live or each.suspended):
            choices += ["device_suspend"] * 4
            if not self.any(lambda each: each.inactive):
                choices += ["table_swap"] * 2
        # After a clear, a rename and another load crash Linux 6.1.
        if not self.cleared:
            choices.append("device_rename")
        if rng.random() < 0.2:
            choices.append("device_remove")
        method = rng.choice(choices)
        if method == "device_rename":
            return method, f"{self.prefix}{self.fresh()}"
        if method == "device_suspend":
            return method, "free" if rng.random() < 0.1 else "lease"
        return method, 8 * self.fresh() if method in ("table_load", "table_swap") else None

    def params(self, method, new, rng):
        (name,) = {each.name for each in self.states}
        if method == "device_create":
            return {"name": new}
        params = {"name": name}
        if method in ("table_load", "table_swap"):
            params["targets"] = [line(0, new, "zero")]
        elif method == "device_rename":
            params["new_name"] = new
        elif method == "device_suspend":
            params["flags"] = SUSPEND
            if new == "lease":
                params |= rng.choice([
                    {"resume_after_ms": rng.randrange(20, 300)}, {"resume_after_ms": 3600000},
                    {"resume_on_disconnect": True}, {"resume_after_ms": 100, "resume_on_disconnect": True}])
        return params

    def begin(self, method, new):
        self.under_way = (method, new)
        if method == "table_load" and self.any(lambda each: each.suspended == "lease"):
            self.cleared = True

    def end(self, info):
        """It was acknowledged, and this was said of the device then."""
        method, new = self.under_way
        self.under_way = None
        self.states = {EFFECTS[method](each, new) for each in sometimes(self.states)}
        if method == "device_remove":
            self.cleared = False
        elif "flags" in info:
            told = (self.flag(info, "ACTIVE_PRESENT"), self.flag(info, "INACTIVE_PRESENT"), self.flag(info, "SUSPEND"))
            fitting = {each for each in self.states if tuple(map(bool, each[1:4])) == told}
            assert fitting, f"{method} {new}: {info['flags']} fits none of {self.states}"
            self.states = fitting

    def refused(self):
        """A suspend that was not done, or will be undone: by then it is as one whose lease ends."""
        self.under_way = None
        self.states = sometimes(self.states) | {suspended_as(each, "lease") for each in sometimes(self.states)}

    @staticmethod
    def flag(info, name):
        return f"DM_{name}" in info["flags"]

    def after_kill(self):
        """All that it may be when the leases have ended; what was under way may have happened, or half of it."""
        states = sometimes(self.states)
        if self.under_way:
            method, new = self.under_way
            for effect in (EFFECTS[method], HALF_WAY.get(method)):
                states = states | ({effect(each, new) for each in sometimes(self.states)} if effect else set())
        self.leased = any(each.suspended == "lease" for each in states)
        return {lapse(each) for each in states}

    def is_now(self, found):
        """What was found is what there is."""
        self.under_way = None
        self.states = {found}
        if not found.name:
            self.cleared = False


# --- who changes and who looks ---

class Gone(Exception):
    """The daemon was killed before it answered."""


def ask(connection, method, params):
    try:
        connection.start(method, **params)
        reply = json.loads(connection.read_line())
    except (OSError, ValueError) as error:
        raise Gone from error
    return reply


class Agent(threading.Thread):
    """A connection that changes the devices of its slots until the daemon is gone."""

    # A lease may end between the look and the suspend, or while the suspend is under way: then that is undone.
    PERMITTED = ("device_busy", "cancelled", "timed_out")

    def __init__(self, path, slots, seed):
        super().__init__()
        self.slots, self.rng = slots, random.Random(seed)
        self.connection = Client(path)
        self.acknowledged = 0
        self.fault = None

    def run(self):
        try:
            while True:
                self.change(self.rng.choice(self.slots))
        except Gone:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.fault = error

    def change(self, slot):
        method, new = slot.choose(self.rng)
        params = slot.params(method, new, self.rng)
        slot.begin(method, new)
        reply = ask(self.connection, method, params)
        if "error" in reply:
            assert method == "device_suspend" and reply["error"]["data"]["error"] in self.PERMITTED, (params, reply)
            slot.refused()
        else:
            slot.end(reply["result"])
            self.acknowledged += 1


class Reader(threading.Thread):
    """Looks at everything meanwhile."""

    def __init__(self, path):
        super().__init__()
        self.connection = Client(path)

    def run(self):
        with contextlib.suppress(Gone):
            while True:
                for device in ask(self.connection, "list_devices", {})["result"]["devices"]:
                    ask(self.connection, "table_status", {"device": device["device"]})
                ask(self.connection, "lease_list", {})
                time.sleep(0.05)


# --- the rounds ---

AGENTS, SLOTS_EACH = 4, 2
GRACE = 5.0  # seconds from a kill until what was leased runs


def is_suspended(_, minor):
    """By sysfs, which knows a device from its first table on."""
    with contextlib.suppress(FileNotFoundError):
        return dm.suspended({"minor": minor})
    return False


class Rounds:
    def __init__(self, served, seed):
        self.served, self.seed = served, seed
        self.rng = random.Random(seed)
        self.slots = [Slot(number) for number in range(AGENTS * SLOTS_EACH)]
        self.acknowledged = self.cut = self.leased = self.at_once = 0
        self.slowest = 0.0

    def run(self, number):
        path = self.served.daemon.socket
        agents = [Agent(path, self.slots[at::AGENTS], f"{self.seed}-{number}-{at}") for at in range(AGENTS)]
        threads = [*agents, Reader(path)]
        for thread in threads:
            thread.start()
        time.sleep(self.rng.uniform(0, 1))
        killed = time.monotonic()
        self.served.kill()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
            thread.connection.close()
        for agent in agents:
            if agent.fault:
                raise agent.fault
            self.acknowledged += agent.acknowledged
        self.start_again(killed)
        with self.served.daemon.client() as client:
            found = dm.described(), dm.tables(), dm.tables("--inactive")
            self.compare_with_model(*found)
            self.compare_with_daemon(client, *found)

    def start_again(self, killed):
        allowed = [slot.after_kill() for slot in self.slots]
        self.cut += sum(bool(slot.under_way) for slot in self.slots)
        self.leased += sum(slot.leased for slot in self.slots)
        if self.rng.random() < 0.5:
            self.at_once += 1
            # Beside the wait: a start lasts, and the leases' end must not wait for it.
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                start = pool.submit(self.served.again)
                self.wait_for_leases(allowed, killed)
                start.result()
        else:
            self.wait_for_leases(allowed, killed)
            time.sleep(self.rng.uniform(0, 0.3))
            self.served.again()

    def wait_for_leases(self, allowed, killed):
        """No device is suspended any more that might not stay so."""
        may_stay = {each.name.encode() for states in allowed for each in states if each.suspended}

        def over():
            return not any(is_suspended(*number) for number, name in dm.listed().items() if name not in may_stay)
        wait_until(over, f"what was leased runs {GRACE} s after the kill", killed + GRACE - time.monotonic())
        self.slowest = max(self.slowest, time.monotonic() - killed)

    def compare_with_model(self, rows, live, inactive):
        """All that was acknowledged holds, and nothing else has come."""
        def length(tables, name):
            return sum(each["length"] for each in tables.get(name, []))
        for slot in self.slots:
            allowed = {each.seen(): each for each in slot.after_kill()}
            names = [name for name in rows if name.startswith(slot.prefix)] or [""]
            assert len(names) == 1, names
            (name,) = names
            flags = rows[name]["flags"] if name else ()
            found = (name, length(live, name), length(inactive, name), "DM_SUSPEND" in flags)
            assert found in allowed, f"{found} is none of {allowed}; under way was {slot.under_way}"
            slot.is_now(allowed[found])

    @staticmethod
    def compare_with_daemon(client, rows, live, inactive):
        """The new daemon sees what dmsetup saw."""
        assert {each["name"] for each in client.list_devices()["devices"]} == set(rows)
        for name, row in rows.items():
            info = client.device_status(name=name)
            assert {**{key: info[key] for key in row}, "flags": set(info["flags"]) & dm.SEEN_BY_DMSETUP} == row
            for tables, flags in ((live, []), (inactive, ["DM_QUERY_INACTIVE_TABLE"])):
                shown = client.table_status(name=name, flags=["DM_STATUS_TABLE", *flags])
                assert shown["targets"] == tables.get(name, [])
        assert client.lease_list() == {"leases": []}

    def remove_all(self):
        with self.served.daemon.client() as client:
            for name in dm.described():
                client.device_remove(name=name)

    def report(self, count, seconds):
        return (f"{count} kills in {seconds:.0f} s, seed {self.seed}: {self.acknowledged} changes acknowledged, "
                f"{self.cut} under way at a kill, {self.leased} devices perhaps leased then, "
                f"{self.at_once} starts at once; all ran again within {self.slowest:.1f} s")


def test_kills_at_random_moments(served, alone):  # pylint: disable=unused-argument
    count = int(os.environ.get("DMRPC_KILL_ROUNDS", "10"))
    seed = os.environ.get("DMRPC_KILL_SEED", str(random.SystemRandom().randrange(1 << 32)))
    print(f"DMRPC_KILL_SEED={seed}")
    rounds = Rounds(served, seed)
    began = time.monotonic()
    for number in range(count):
        rounds.run(number)
    rounds.remove_all()
    print(rounds.report(count, time.monotonic() - began))
    assert rounds.acknowledged > 5 * count and rounds.cut > 0 and rounds.leased > 0
