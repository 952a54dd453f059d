# SPDX-License-Identifier: Apache-2.0
"""Calls that block, calls that collide, and what others notice of it."""

import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import dm
import pytest
from calls import INACTIVE, LIVE, SUSPENDED, Many, fails, line, linear, on, state
from dmrpc import BUSY_MS, Client, RpcError
from listener import Listener
from tasks import Task, opened, pattern, wait_stuck, wait_until, write

FIGHT_SECONDS = 4.0


# --- a call that blocks ---

def is_in_ioctl(daemon, command):
    """Is a thread of the daemon inside this ioctl?"""
    for thread in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir():
        words = (thread / "syscall").read_text(encoding="ascii").split()
        if len(words) > 3 and words[0] == "16" and int(words[2], 16) & 0xFF == command:
            return True
    return False


class Stuck:
    """A device whose suspend waits: a write below it waits, because the device there is suspended."""

    def __init__(self, daemon, client, devices, disk):
        self.daemon, self.client = daemon, client
        self.drive = disk()
        self.lower = devices.make([linear(self.drive, 1024)])
        self.upper = devices.make([on(self.lower, 1024)])
        dm.dmsetup("suspend", self.lower["name"])
        self.writer = Task(lambda: write(self.upper["path"], 1, pattern(1)))
        self.writer.wait_stuck()
        self.connection = Many(daemon.socket)
        self.call = self.connection.start("device_suspend", name=self.upper["name"], flags=["DM_SUSPEND"])
        wait_until(lambda: is_in_ioctl(daemon, dm.DEV_SUSPEND), "the suspend is in the kernel")

    def release(self):
        dm.dmsetup("resume", self.lower["name"])

    def end(self):
        """Lets it all go on, and tells that nothing was lost."""
        self.release()
        ident, result = self.connection.take()
        assert ident == self.call and state(result) == SUSPENDED | LIVE
        # The writer may be done, and have closed the device, by now.
        dm.assert_same(result, open_count=result["open_count"])
        assert state(self.client.device_resume(name=self.upper["name"])) == LIVE
        assert self.writer.end() == ""
        assert self.drive.read(8, 8) == pattern(1)
        self.connection.close()


@pytest.fixture
def listener(daemon):
    with Listener(daemon) as listener:
        yield listener


@pytest.fixture
def stuck(daemon, client, devices, disk):
    return Stuck(daemon, client, devices, disk)


def test_a_stuck_call_holds_up_nobody_elses(stuck, client, devices, other):
    assert client.version()["backend"] == "kernel"
    assert client.list_versions()["targets"]
    upper = client.device_status(name=stuck.upper["name"])
    assert upper["name"] == stuck.upper["name"]
    assert client.table_deps(name=stuck.upper["name"])["devices"] == [stuck.lower["device"]]

    # A whole life of another device.
    info = devices.make([line(0, 8, "zero")])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    client.table_load(name=info["name"], targets=[line(0, 16, "zero")])
    assert client.device_resume(name=info["name"])["target_count"] == 1
    client.device_rename(name=info["name"], new_name="kt-free")
    assert client.device_wait(name="kt-free", event_nr=info["event_nr"])["info"]["name"] == "kt-free"
    assert client.target_msg(name="kt-free", message="@stats_list")["output"] == ""
    assert other.table_status(name="kt-free")["targets"]
    assert {entry["name"] for entry in other.list_devices()["devices"]} >= {"kt-free", stuck.upper["name"]}
    assert other.device_remove(name="kt-free")["deferred"] is False

    assert not stuck.connection.has_reply() and not stuck.writer.has_ended()
    stuck.end()


def test_changes_of_a_stuck_device_wait_for_their_turn_in_order(stuck, daemon, client):
    with Many(daemon.socket) as second, Many(daemon.socket) as third:
        second.start("table_load", name=stuck.upper["name"], targets=[on(stuck.lower, 512)])
        # Known to have come before the third's.
        client.version()
        wait_until(lambda: client.device_status(name=stuck.upper["name"]), "the server has read on")
        third.start("table_clear", device=stuck.upper["device"])
        for _ in range(20):
            client.list_devices()
        assert not second.has_reply() and not third.has_reply() and not stuck.connection.has_reply()

        stuck.release()
        suspended = stuck.connection.take()[1]
        loaded, cleared = second.take()[1], third.take()[1]
        assert state(suspended) == SUSPENDED | LIVE
        assert state(loaded) == SUSPENDED | LIVE | INACTIVE
        assert state(cleared) == SUSPENDED | LIVE
    assert state(client.device_resume(name=stuck.upper["name"])) == LIVE
    assert stuck.writer.end() == ""
    stuck.connection.close()


# --- limits of time ---

def still_runs(client, method="device_suspend"):
    return [call for call in client.calls_list()["calls"] if call["method"] == method]


def assert_undone(stuck, client):
    """The device runs, and what waited for it goes on when the one below does."""
    assert not dm.suspended(stuck.upper["device"])
    assert not is_in_ioctl(stuck.daemon, dm.DEV_SUSPEND)
    stuck.release()
    assert stuck.writer.end() == ""
    assert stuck.drive.read(8, 8) == pattern(1)
    assert state(client.device_status(name=stuck.upper["name"])) == LIVE
    stuck.connection.close()


def test_a_suspend_that_drains_for_too_long_is_undone(stuck, client):
    (call,) = still_runs(client)
    client.call_cancel(call=call["call"])
    failure = stuck.connection.take()[1]
    assert failure.name == "cancelled"
    data = fails(lambda: client.device_suspend(name=stuck.upper["name"], flags=["DM_SUSPEND"], timeout_ms=BUSY_MS),
                 "timed_out", errno_name="EINTR", ioctl="DM_DEV_SUSPEND", name=stuck.upper["name"])
    assert data["state"].startswith("running; a live table")
    assert not still_runs(client)
    assert_undone(stuck, client)


@pytest.mark.parametrize("method", ["device_resume", "device_suspend"])  # the latter without DM_SUSPEND
def test_a_resume_ends_a_suspend_that_drains(stuck, client, method):
    """The kernel alone would answer the resume with success, and have the device suspended after all."""
    assert state(getattr(client, method)(name=stuck.upper["name"], timeout_ms=20000)) == LIVE
    failure = stuck.connection.take()[1]
    assert failure.name == "cancelled" and failure.data["errno_name"] == "EINTR"
    assert_undone(stuck, client)


def test_a_call_behind_a_stuck_one_is_not_begun_when_its_time_is_over(stuck, client):
    data = fails(lambda: client.table_load(name=stuck.upper["name"], targets=[on(stuck.lower, 512)], timeout_ms=200),
                 "timed_out", name=stuck.upper["name"])
    assert "not begun" in data["state"]
    assert state(client.device_status(name=stuck.upper["name"])) == LIVE
    stuck.end()


def test_a_freeze_goes_on_and_what_comes_of_it_is_undone(client, daemon, listener, devices, disk, tmp_path):
    """A file system on a suspended device cannot be frozen, nor can that be interrupted."""
    lower = devices.make([linear(disk(65536))])
    upper = devices.make([on(lower, 131072)])
    subprocess.run(["mkfs.ext4", "-q", "-F", upper["path"]], timeout=120, check=True)
    subprocess.run(["mount", upper["path"], tmp_path], timeout=60, check=True)
    try:
        (tmp_path / "file").write_bytes(bytes(1 << 20))  # dirty, to be written by the freeze
        client.table_load(name=upper["name"], targets=[on(lower, 65536)])  # which nothing may make live
        dm.dmsetup("suspend", lower["name"])
        listener.events_subscribe(name=upper["name"], kinds=["call_ended"])
        data = fails(lambda: client.device_suspend(name=upper["name"], flags=["DM_SUSPEND"], timeout_ms=BUSY_MS),
                     "timed_out", state="still running")
        (call,) = still_runs(client)
        assert call["call"] == data["call"] and call["given_up"] and call["name"] == upper["name"]
        assert is_in_ioctl(daemon, dm.DEV_SUSPEND)
        assert client.version()
        dm.dmsetup("resume", lower["name"])
        wait_until(lambda: not still_runs(client), "the suspend has come to its end")
        assert not dm.suspended(upper["device"])
        assert state(client.device_status(name=upper["name"])) == LIVE
        assert dm.lines("table", upper["device"]) == [on(lower, 131072)]
        assert daemon.said(f"Call {data['call']}, device_suspend")
        about = {"call": data["call"], "method": "device_suspend", "name": upper["name"], "device": upper["device"],
                 "error": "cancelled"}
        assert about.items() <= listener.next().items()
    finally:
        dm.dmsetup("resume", lower["name"])
        subprocess.run(["umount", tmp_path], timeout=60, check=True)


def test_a_remove_is_tried_until_the_last_close(client, other, devices):
    info = devices.make([line(0, 64, "zero")])
    with opened(info["path"], os.O_RDONLY):
        data = fails(lambda: client.device_remove(name=info["name"], retry=True, timeout_ms=300), "device_busy")
        assert "tried" in data["state"]
        ident = other.start("device_remove", name=info["name"], retry=True, timeout_ms=60000)
        wait_until(lambda: still_runs(client, "device_remove"), "it is tried")
        time.sleep(0.3)
    removed = other.finish(ident)
    assert removed["tries"] > 1 and not removed["deferred"]
    assert info["name"] not in dm.listed()
    devices.gone(info)


STUCK = 100


def test_a_hundred_stuck_suspends_leave_the_rest_alone(daemon, client, devices, disk):
    drive = disk(4096)
    lower = devices.make([linear(drive)])
    uppers = [devices.make([on(lower, 64, 64 * index)]) for index in range(STUCK)]
    dm.dmsetup("suspend", lower["name"])
    writers = [Task(lambda path=upper["path"]: write(path, 1, pattern(1))) for upper in uppers]
    wait_stuck(writers)
    connections = [Many(daemon.socket) for _ in uppers]
    for connection, upper in zip(connections, uppers):
        connection.start("device_suspend", name=upper["name"], flags=["DM_SUSPEND"], timeout_ms=20000)
    wait_until(lambda: len(still_runs(client)) == STUCK, "all of them wait")

    began = time.monotonic()
    assert client.version() and len(client.list_devices()["devices"]) > STUCK
    info = devices.make([line(0, 8, "zero")])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"], timeout_ms=5000)
    assert state(client.device_resume(name=info["name"], timeout_ms=5000)) == LIVE
    assert time.monotonic() - began < 15
    assert len(still_runs(client)) == STUCK

    for connection in connections:
        assert connection.take()[1].name == "timed_out"
        connection.close()
    assert not still_runs(client)
    assert not any(dm.suspended(upper["device"]) for upper in uppers)
    dm.dmsetup("resume", lower["name"])
    assert [writer.end() for writer in writers] == [""] * STUCK


def test_a_client_that_leaves_does_not_end_its_call(stuck, client):
    stuck.connection.close()
    client.version()
    assert is_in_ioctl(stuck.daemon, dm.DEV_SUSPEND)
    stuck.release()
    wait_until(lambda: state(client.device_status(name=stuck.upper["name"])) == SUSPENDED | LIVE, "it is carried out")
    client.device_resume(name=stuck.upper["name"])
    assert stuck.writer.end() == ""


def waiting_calls(info):
    """Each method that runs on a worker, with good params."""
    ref = {"name": info["name"]}
    return (
        ("target_version", {"type": "linear"}),
        ("list_devices", {}),
        ("device_create", {"name": "kt-not-to-be"}),
        ("device_remove", ref),
        ("device_rename", {**ref, "new_name": "kt-not-to-be"}),
        ("device_set_uuid", {**ref, "uuid": "KT-not-to-be"}),
        ("remove_all", {"confirm": True}),
        ("device_suspend", {**ref, "flags": ["DM_SUSPEND"]}),
        ("device_resume", ref),
        ("device_set_geometry", {**ref, "cylinders": 1, "heads": 1, "sectors": 1, "start": 0}),
        ("table_load", {**ref, "targets": [line(0, 8, "zero")]}),
        ("table_swap", {**ref, "targets": [line(0, 8, "zero")]}),
        ("table_clear", ref),
        ("table_status", ref),
        ("target_msg", {**ref, "message": "@stats_list"}),
    )


def test_past_the_limit_of_waiting_calls_the_answer_is_overloaded_at_once(daemons, client, devices, disk):
    info = devices.make([line(0, 8, "zero")])
    with daemons("--queued-calls", 1) as served:
        stuck = Stuck(served, client, devices, disk)
        with served.client() as late:
            before = dm.listed()
            for method, params in waiting_calls(info):
                if method != "device_resume":  # what frees others has as much room again
                    fails(lambda call=method, more=params: late.call(call, **more), "overloaded", limit=1)
            assert late.device_resume(name=info["name"])
            assert late.version() and late.device_status(name=info["name"])
            assert dm.listed() == before
        stuck.end()


def test_no_call_waits_longer_for_a_worker_than_it_is_told(daemons, client, devices, disk):
    """There is one, and a suspend that drains has it: what waits is ended by its time, or by somebody."""
    info = devices.make([line(0, 8, "zero")])
    with daemons("--workers", 1) as served:
        stuck = Stuck(served, client, devices, disk)
        before = dm.listed(), dm.describe(info["device"])
        with served.client() as late, served.client() as other:
            for method, params in [*waiting_calls(info), ("lease_list", {})]:
                if method == "device_resume":
                    continue  # what frees others has workers of its own
                if method not in ("list_devices", "lease_list"):  # these are short, and take no time
                    fails(lambda call=method, more=params: late.call(call, **more, timeout_ms=50), "timed_out")
                ident = late.start(method, **params)
                numbers = wait_until(lambda call=method: [
                    each["call"] for each in other.calls_list()["calls"]
                    if each["method"] == call and each.get("name") != stuck.upper["name"]], "it waits")
                assert other.call_cancel(call=numbers[0])["outcome"] == "ended"
                fails(lambda number=ident: late.finish(number), "cancelled")
        assert (dm.listed(), dm.describe(info["device"])) == before
        stuck.end()


def test_a_resume_that_drains_for_too_long_is_undone(daemon, client, devices, disk):
    """With a new table it suspends the device first. The table is in its place again, and may be tried anew."""
    drive = disk()
    lower = devices.make([linear(drive, 1024)])
    upper = devices.make([on(lower, 1024)])
    dm.dmsetup("suspend", lower["name"])
    writer = Task(lambda: write(upper["path"], 1, pattern(1)))
    writer.wait_stuck()
    client.table_load(name=upper["name"], targets=[on(lower, 1024)])
    fails(lambda: client.device_resume(name=upper["name"], timeout_ms=BUSY_MS), "timed_out", errno_name="EINTR",
          ioctl="DM_DEV_SUSPEND")
    assert state(client.device_status(name=upper["name"])) == LIVE | INACTIVE
    with daemon.client() as waiter:
        ident = waiter.start("device_resume", name=upper["name"])
        wait_until(lambda: is_in_ioctl(daemon, dm.DEV_SUSPEND), "the resume is in the kernel")
        (call,) = [each for each in client.calls_list()["calls"] if each["method"] == "device_resume"]
        assert client.call_cancel(call=call["call"])["outcome"] == "interrupted"
        fails(lambda: waiter.finish(ident), "cancelled", errno_name="EINTR")
    assert state(client.device_status(name=upper["name"])) == LIVE | INACTIVE
    dm.dmsetup("resume", lower["name"])
    assert writer.end() == ""
    assert state(client.device_resume(name=upper["name"])) == LIVE
    assert drive.read(8, 8) == pattern(1)


def test_a_server_that_ends_finishes_what_runs_and_begins_nothing_new(daemons, client, devices, disk):
    info = devices.make([line(0, 8, "zero")])
    served = daemons()
    stuck = Stuck(served, client, devices, disk)
    stuck.connection.start("table_clear", name=info["name"])  # read, but not begun
    with Many(served.socket) as waiter, Many(served.socket) as batch:
        wait = waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
        waiter.start("version")
        waiter.take()
        # The batch's first waits for the stuck device; those behind it have not begun.
        first = {"name": stuck.upper["name"], "targets": [on(stuck.lower, 512)]}
        calls = [("table_load", first), *waiting_calls(info)]
        batch.send(json.dumps([batch.request(method, params, number) for number, (method, params)
                               in enumerate(calls)]) + "\n")
        before = dm.listed(), dm.describe(info["device"])
        served.process.send_signal(signal.SIGTERM)
        # What waits for an event does not wait any longer; a call in the kernel has to.
        ident, failure = waiter.take()
        assert ident == wait and failure.name == "shutting_down"
        assert waiter.read_line() == b""
        assert served.process.poll() is None and not stuck.connection.has_reply()

        stuck.release()
        assert state(stuck.connection.take()[1]) == SUSPENDED | LIVE
        assert stuck.connection.take()[1].name == "shutting_down"
        assert stuck.connection.read_line() == b"" and not stuck.connection.methods
        replies = json.loads(batch.read_line())
        Client.recorded.extend((calls[reply["id"]][0], reply) for reply in replies)
        assert state(replies[0]["result"]) == SUSPENDED | LIVE | {"DM_INACTIVE_PRESENT"}
        assert [reply["error"]["data"]["error"] for reply in replies[1:]] == ["shutting_down"] * (len(calls) - 1)
        assert batch.read_line() == b""
    stuck.connection.close()
    assert served.process.wait(30) == 0, served.log()
    served.stderr.close()
    assert (dm.listed(), dm.describe(info["device"])) == before
    client.table_clear(name=stuck.upper["name"])
    client.device_resume(name=stuck.upper["name"])
    assert stuck.writer.end() == ""


# --- calls that collide ---

class Fighter(threading.Thread):
    """Makes its calls round and round; `allowed` names the errors that are no surprise."""

    def __init__(self, daemon, calls, allowed=()):
        super().__init__()
        self.connection = daemon.client()
        self.calls, self.allowed = calls, set(allowed)
        self.counts, self.surprises = {}, []
        self.stopping = threading.Event()

    def run(self):
        number = 0
        while not self.stopping.is_set():
            for method, params in self.calls(number):
                try:
                    self.connection.call(method, **params)
                    outcome = "ok"
                except RpcError as error:
                    outcome = error.name
                    if outcome not in self.allowed:
                        self.surprises.append(f"{method}: {error}")
                        return
                self.counts[method, outcome] = self.counts.get((method, outcome), 0) + 1
            number += 1

    def end(self):
        self.stopping.set()
        self.join(30)
        assert not self.is_alive(), "a call was never answered"
        assert not self.surprises, self.surprises
        assert any(outcome == "ok" for _, outcome in self.counts), self.counts
        self.connection.close()


def fight(*fighters):
    for each in fighters:
        each.start()
    # They stop by the clock: the point is how many calls collide in it.
    time.sleep(FIGHT_SECONDS)
    for each in fighters:
        each.end()


# Together in one fight, clear and rename between loads would run into a fault of Linux 6.1 itself (a double free in
# dm-ima after load, resume, load, clear, rename, load), whichever program makes those calls.

def reload(device, drive):
    def calls(number):
        yield "table_load", {"device": device, "targets": [linear(drive, 8 + 8 * (number % 4))]}
        yield "device_resume", {"device": device}
    return calls


def settle(client, device, drive):
    """The device is whole: one of the tables that were loaded is live."""
    client.table_clear(device=device)
    info = client.device_resume(device=device)
    assert state(info) == LIVE
    dm.assert_same(info)
    assert client.table_status(device=device, flags=["DM_STATUS_TABLE"])["targets"] in [
        [linear(drive, 8 + 8 * number)] for number in range(4)]


def test_loads_resumes_and_clears_of_one_device_do_not_hurt_it(daemon, client, devices, disk):
    drive = disk()
    device = devices.make([linear(drive, 8)])["device"]

    def clear(_):
        yield "table_clear", {"device": device}
        yield "table_status", {"device": device, "flags": ["DM_STATUS_TABLE", "DM_QUERY_INACTIVE_TABLE"]}

    fight(Fighter(daemon, reload(device, drive)), Fighter(daemon, reload(device, drive)), Fighter(daemon, clear))
    settle(client, device, drive)


def test_loads_resumes_and_renames_of_one_device_do_not_hurt_it(daemon, client, devices, disk):
    drive = disk()
    device = devices.make([linear(drive, 8)], "kt-red")["device"]

    def rename(number):
        names = ["kt-red", "kt-blue"]
        yield "device_rename", {"name": names[number % 2], "new_name": names[(number + 1) % 2]}
        yield "device_suspend", {"device": device, "flags": ["DM_SUSPEND"]}
        yield "device_status", {"device": device}
        yield "device_resume", {"device": device}

    fight(Fighter(daemon, reload(device, drive)), Fighter(daemon, rename))
    assert client.device_status(device=device)["name"] in ("kt-red", "kt-blue")
    assert state(client.device_resume(device=device)) == LIVE


def test_makers_and_removers_of_one_name_get_an_answer_each_and_leave_nothing(daemon, client):
    def life(_):
        yield "device_create", {"name": "kt-fought-over"}
        yield "table_load", {"name": "kt-fought-over", "targets": [line(0, 8, "zero")]}
        yield "device_resume", {"name": "kt-fought-over"}
        yield "device_remove", {"name": "kt-fought-over"}

    allowed = ("device_exists", "device_not_found", "no_table")
    fight(Fighter(daemon, life, allowed), Fighter(daemon, life, allowed))
    left = client.list_devices(name_prefix="kt-fought-over")["devices"]
    for entry in left:
        client.device_remove(device=entry["device"])
    assert len(left) <= 1
