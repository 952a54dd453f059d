# SPDX-License-Identifier: Apache-2.0
"""Events of a real kernel: what subscribers hear of targets, of other programs, and when they read too slowly."""

import os
import signal
import subprocess

import dm
import pytest
from calls import line, linear
from listener import Listener, drain, judge
from tasks import BLOCK, wait_until, write


@pytest.fixture
def listener(daemon, watch):  # pylint: disable=unused-argument
    with Listener(daemon) as connection:
        yield connection


def named(listener, count, *names):
    """So many events of these devices, as (kind, name)."""
    events = []
    while len(events) < count:
        event = listener.next()
        if event["name"] in names:
            events.append(event)
    return events


def kinds(events):
    return [(event["kind"], event["name"]) for event in events]


def resume(info):
    """By another program, as all that goes by dmsetup."""
    dm.dmsetup("suspend", *dm.by_number(info["device"]))
    dm.dmsetup("resume", *dm.by_number(info["device"]))


def swap(info, sectors):
    dm.dmsetup("load", *dm.by_number(info["device"]), "--table", f"0 {sectors} zero")
    dm.dmsetup("resume", *dm.by_number(info["device"]))


@pytest.fixture
def fence(devices, listener):
    """fence(): all events until now. What is held back for a list or a look is told in order: this comes last."""
    last = devices.make([line(0, 8, "zero")])

    def wait():
        resume(last)
        events = []
        while not events or events[-1]["name"] != last["name"]:
            events.append(listener.next())
        assert events[-1]["kind"] == "resumed" and events[-1]["foreign"]
        return events[:-1]

    return wait


def told(events):
    """Kinds, those of other programs' resumes marked."""
    return [event["kind"] + " foreign" * event.get("foreign", False) for event in events]


def test_the_snapshot_is_the_list(client, devices, listener):
    devices.make([line(0, 8, "zero")], uuid="KT-snapshot")
    devices.create()
    opened = listener.events_subscribe()
    by_number = sorted(client.list_devices()["devices"], key=lambda entry: entry["device"]["minor"])
    assert sorted(opened["devices"], key=lambda entry: entry["device"]["minor"]) == by_number


def test_what_other_programs_do(listener, devices):
    listener.events_subscribe(name="kt-ev-*")
    dm.dmsetup("create", "kt-ev-a", "-u", "KT-ev", "--table", "0 8 zero")
    try:
        added = named(listener, 1, "kt-ev-a")[0]
        assert added["kind"] == "added" and added["uuid"] == "KT-ev"
        assert told([listener.next()]) == ["resumed foreign"]
        dm.dmsetup("rename", "kt-ev-a", "kt-ev-b")
        renamed = named(listener, 1, "kt-ev-b")[0]
        assert (renamed["kind"], renamed["old_name"]) == ("renamed", "kt-ev-a")
        assert renamed["event_nr"] == added["event_nr"] + 1 and renamed["diskseq"] >= 1
    finally:
        dm.dmsetup("remove", "kt-ev-b")
    removed = named(listener, 1, "kt-ev-b")[0]
    assert removed["kind"] == "removed" and removed["device"] == added["device"]
    assert removed["diskseq"] == renamed["diskseq"]


def test_suspend_resume_and_swap(client, devices, listener):
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe(name=info["name"])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    client.device_resume(name=info["name"])
    client.table_load(name=info["name"], targets=[line(0, 16, "zero")])
    client.device_resume(name=info["name"])
    assert told(named(listener, 3, info["name"])) == ["suspended", "resumed", "resumed"]


def test_a_resume_by_another_program(devices, listener):
    info = devices.make([line(0, 8, "zero")], uuid="KT-foreign")
    listener.events_subscribe(name=info["name"])
    for _ in range(3):
        resume(info)
        event = listener.next()
        assert told([event]) == ["resumed foreign"]
        assert {key: event[key] for key in ("name", "uuid", "device", "event_nr")}.items() <= info.items()
        assert event["diskseq"] == int(dm.sysfs(info, "diskseq"))


def test_a_swap_by_another_program(devices, listener, fence):
    """One uevent whether the size is the same or not, and one more if the disk becomes read-only."""
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe()
    swap(info, 8)
    assert told(named(listener, 1, info["name"])) == ["resumed foreign"]
    swap(info, 16)
    assert told(named(listener, 1, info["name"])) == ["resumed foreign"]
    dm.dmsetup("load", *dm.by_number(info["device"]), "--readonly", "--table", "0 16 zero")
    dm.dmsetup("resume", *dm.by_number(info["device"]))
    assert told(fence()) == ["resumed foreign"]


def test_what_is_no_resume(devices, listener, fence):
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe()
    dm.dmsetup("resume", info["name"])
    dm.dmsetup("suspend", info["name"])
    dm.dmsetup("load", info["name"], "--table", "0 16 zero")
    dm.dmsetup("clear", info["name"])
    for action in ("change", "change 7a1f2c1e-5f0f-4cb5-9c58-0f4f0c3d2b11 A=1", "add"):
        with open(f"/sys/block/dm-{info['device']['minor']}/uevent", "w", encoding="ascii") as file:
            file.write(action)
    assert told(fence()) == []
    dm.dmsetup("resume", info["name"])
    assert told(fence()) == ["resumed foreign"]


def test_one_that_is_suspended_again_is_not_told(daemon, devices, listener, fence):
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        resume(info)
        dm.dmsetup("suspend", info["name"])
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    assert told(fence()) == []
    dm.dmsetup("resume", info["name"])
    assert told(fence()) == ["resumed foreign"]


def test_names_by_another_program(devices, listener, fence):
    """A rename, or a new uuid, makes the same uevent as a resume."""
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe()
    dm.dmsetup("rename", info["name"], "kt-renamed-0")
    assert told([listener.next()]) == ["renamed"]
    for number in range(1, 10):
        dm.dmsetup("rename", f"kt-renamed-{number - 1}", f"kt-renamed-{number}")
        assert told([listener.next()]) == ["renamed"]
    dm.dmsetup("rename", "kt-renamed-9", "--setuuid", "KT-late")
    assert told([listener.next()]) == ["changed"]
    assert told(fence()) == []
    dm.dmsetup("rename", "kt-renamed-9", "kt-renamed-10")
    resume(info)
    assert told(fence()) == ["renamed", "resumed foreign"]


def test_names_by_us_are_no_resume(client, devices, listener, fence):
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe()
    client.device_rename(name=info["name"], new_name="kt-ours")
    client.device_set_uuid(name="kt-ours", uuid="KT-ours")
    assert set(told(fence())) <= {"renamed", "changed"}


def test_ours_beside_those_of_others(client, other, devices, listener, fence):
    """Each is told once, as what it was; of the many, no call waits for the one before."""
    ours, theirs = (devices.make([line(0, 8, "zero")]) for _ in range(2))
    listener.events_subscribe()
    for number in range(10):
        for device in (client, other):
            device.table_load(name=ours["name"], targets=[line(0, 8 + 8 * (number % 2), "zero")])
            call = device.start("device_resume", name=ours["name"])
            swap(theirs, 8 + 8 * (number % 2))
            device.finish(call)
        resume(ours)
        events = fence()
        assert told(event for event in events if event["name"] == ours["name"]) == ["resumed"] * 2 + ["resumed foreign"]
        assert set(told(event for event in events if event["name"] == theirs["name"])) == {"resumed foreign"}


def test_the_end_of_a_lease_is_no_resume_by_others(client, daemon, devices, listener, fence):
    """Neither when the daemon resumes, nor when its guardian does because the daemon is stopped."""
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe()
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"], resume_after_ms=1)
    assert told(named(listener, 2, info["name"])) == ["suspended", "lease_ended"]
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"], resume_after_ms=200)
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: "DM_SUSPEND" not in dm.describe(info["device"])["flags"], "the guardian resumes")
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    assert told(named(listener, 2, info["name"])) == ["suspended", "lease_ended"]
    assert told(fence()) == []
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"], resume_after_ms=60000)
    dm.dmsetup("resume", info["name"])
    assert told(fence()) == ["suspended", "resumed foreign"]
    assert client.lease_list()["leases"] == []


def test_in_a_network_namespace_of_its_own(daemons, devices):
    """There, too, the kernel tells of disks; what it tells of interfaces elsewhere leaves gaps, which are no losses."""
    info = devices.make([line(0, 8, "zero")])
    with daemons(within=("unshare", "--net")) as apart, Listener(apart) as listener, apart.client() as calls:
        listener.events_subscribe()
        for _ in range(10):
            subprocess.run(["unshare", "--net", "true"], timeout=30, check=True)
            resume(info)
            assert told([listener.next()]) == ["resumed foreign"]
        assert calls.server_stats()["uevents_lost"] == 0


def test_uevents_that_the_kernel_drops(daemon, client, devices, listener):
    """More than the socket holds, while the daemon is stopped: that some are lost is told, and all else is, too."""
    info, noisy = (devices.make([line(0, 8, "zero")]) for _ in range(2))
    listener.events_subscribe(name=f"{info['name']}*")
    before = client.server_stats()["uevents_lost"]
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        with open(f"/sys/block/dm-{noisy['device']['minor']}/uevent", "wb", buffering=0) as file:
            for _ in range(20000):
                file.write(b"change")
        resume(info)
        dm.dmsetup("rename", info["name"], f"{info['name']}-new")
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    events = [listener.next(), listener.next()]
    lost = next(event for event in events if event["kind"] == "uevents_lost")
    assert {event["kind"] for event in events} == {"uevents_lost", "renamed"}
    assert 1000 < lost["count"] < 20000
    assert client.server_stats()["uevents_lost"] == before + lost["count"]
    resume(info)
    assert told([listener.next()]) == ["resumed foreign"]


def test_a_pool_that_crosses_its_low_water_mark(pool, listener):
    listener.events_subscribe(name=pool.info["name"])
    for block in range(pool.blocks() - pool.low_water + 1):
        write(pool.thin["path"], block * pool.blocks_of_4k, bytes(BLOCK))
    event = named(listener, 1, pool.info["name"])[0]
    assert event["kind"] == "changed"
    assert event["event_nr"] == int(dm.field(pool.info["device"], "events"))


def test_a_snapshot_that_overflows(client, devices, disk, listener):
    origin, cow = disk(), disk(64)
    base = devices.make([linear(origin, 1024)])
    client.table_load(name=base["name"], targets=[line(0, 1024, "snapshot-origin", origin.number)])
    client.device_resume(name=base["name"])
    snapshot = devices.make([line(0, 1024, "snapshot", f"{origin.number} {cow.number} P 8")])
    listener.events_subscribe(name=snapshot["name"])
    for block in range(32):
        write(base["path"], block, bytes([1]) * BLOCK)
    event = named(listener, 1, snapshot["name"])[0]
    assert event["kind"] == "changed" and event["event_nr"] == snapshot["event_nr"] + 1


def test_a_removed_device_is_told_to_waiter_and_subscriber(client, other, devices, listener):
    info = devices.make([line(0, 8, "zero")])
    listener.events_subscribe(name=info["name"])
    wait = other.start("device_wait", name=info["name"], event_nr=info["event_nr"])
    other.drained()
    dm.dmsetup("remove", info["name"])
    assert kinds(named(listener, 1, info["name"])) == [("removed", info["name"])]
    with pytest.raises(Exception, match="was removed while it was waited for"):
        other.finish(wait)


def test_a_device_made_anew_is_another(client, other, devices, listener):
    """Many times, as fast as it goes: whether a list falls in between or not, waiter and subscriber notice."""
    name = devices.name()
    minor = devices.make([line(0, 8, "zero")], name=name)["device"]["minor"]
    seen = listener.events_subscribe(kinds=["added", "removed"], name=name)["seq"]
    for _ in range(30):
        wait = other.start("device_wait", name=name, event_nr=0)
        other.drained()
        client.device_remove(name=name)
        info = client.device_create(name=name, minor=minor, flags=["DM_PERSISTENT_DEV"])
        client.table_load(name=name, targets=[line(0, 8, "zero")])
        client.device_resume(name=name)
        assert info["device"]["minor"] == minor and info["event_nr"] == 0
        removed, added = listener.next(), listener.next()
        assert [removed["kind"], added["kind"]] == ["removed", "added"]
        assert seen < removed["seq"] < added["seq"]
        seen = added["seq"]
        with pytest.raises(Exception, match="was removed while it was waited for"):
            other.finish(wait)
        if "diskseq" not in added:
            # Listed before it had a disk: only a list with its disk tells it from the next one. This makes one.
            number = client.events_subscribe(kinds=["call_ended"])["subscription"]
            client.events_unsubscribe(subscription=number)


def test_events_that_come_faster_than_they_are_read(daemons, client, devices):
    info = devices.make([line(0, 8, "zero")])
    with daemons("--event-bytes", 4096) as small, Listener(small) as listener, small.client() as calls:
        first = listener.events_subscribe(name=info["name"])["seq"]
        for _ in range(300):
            calls.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
            calls.device_resume(name=info["name"])
        events = drain(listener.next, first + 600)
        assert judge(events, first, first + 600) > 0
        assert client.device_status(name=info["name"])["event_nr"] == info["event_nr"]
