# SPDX-License-Identifier: Apache-2.0
"""Tables: load, clear, status, deps, with one target and with thousands."""

import hashlib
import os
import pathlib

import dm
import pytest
from calls import INACTIVE, LIVE, SUSPENDED, fails, line, linear, on, state
from tasks import BLOCK, opened, pattern, read, write

TABLE, NEXT, NOFLUSH = "DM_STATUS_TABLE", "DM_QUERY_INACTIVE_TABLE", "DM_NOFLUSH"
SECURE_DATA = 1 << 15
MANY = 5000


def table_of(client, info, *flags):
    return client.table_status(device=info["device"], flags=[TABLE, *flags], show_keys=True)["targets"]


# --- load ---

def test_a_loaded_table_is_inactive_until_the_resume(client, devices, disk):
    drive = disk()
    targets = [linear(drive, 1024), linear(drive, 1024, 2048, start=1024)]
    info = devices.create()
    loaded = client.table_load(name=info["name"], targets=targets)
    assert state(loaded) == INACTIVE and loaded["target_count"] == 0
    dm.assert_same(loaded)
    assert os.path.exists(loaded["path"])

    live = client.device_resume(name=info["name"])
    assert state(live) == LIVE and live["target_count"] == 2
    assert "DM_UEVENT_GENERATED" in live["flags"]
    dm.assert_same(live)
    assert table_of(client, info) == targets == dm.lines("table", info["device"])
    assert int(dm.sysfs(info, "size")) == 2048


def test_data_goes_where_the_table_says(devices, disk):
    one, two = disk(), disk()
    info = devices.make([linear(two, 8, 64), linear(one, 8, 16, start=8)])
    write(info["path"], 0, pattern(0))
    write(info["path"], 1, pattern(1))
    assert two.read(64, 8) == pattern(0)
    assert one.read(16, 8) == pattern(1)
    assert read(info["path"], 0, 2) == pattern(0) + pattern(1)


def test_another_load_replaces_the_inactive_table_only(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, 8)])
    client.table_load(name=info["name"], targets=[linear(drive, 16)])
    client.table_load(name=info["name"], targets=[linear(drive, 24), line(24, 8, "zero")])
    assert table_of(client, info) == [linear(drive, 8)]
    assert table_of(client, info, NEXT) == [linear(drive, 24), line(24, 8, "zero")]
    assert client.device_status(name=info["name"], flags=[NEXT])["target_count"] == 2
    dm.assert_same(client.device_status(name=info["name"]))


def test_a_readonly_table_makes_a_readonly_device(client, devices, disk):
    drive = disk()
    info = devices.create()
    client.table_load(name=info["name"], targets=[linear(drive, 64)], flags=["DM_READONLY"])
    assert "DM_READONLY" in client.device_status(name=info["name"], flags=[NEXT])["flags"]
    assert "DM_READONLY" not in client.device_status(name=info["name"])["flags"]
    live = client.device_resume(name=info["name"])
    assert "DM_READONLY" in live["flags"]
    dm.assert_same(live)
    assert dm.sysfs(info, "ro") == "1"
    with opened(info["path"], os.O_RDWR) as fd:  # root may open it, and write nothing
        with pytest.raises(PermissionError):
            os.write(fd, bytes(512))

    client.table_load(name=info["name"], targets=[linear(drive, 64)])
    assert "DM_READONLY" in client.device_status(name=info["name"])["flags"]
    assert "DM_READONLY" not in client.device_resume(name=info["name"])["flags"]
    assert dm.sysfs(info, "ro") == "0"


def test_a_readonly_table_maps_a_readonly_disk(client, devices, disk):
    drive = disk(read_only=True)
    info = devices.make([linear(drive, 64)], flags=["DM_READONLY"])
    assert "DM_READONLY" in info["flags"]
    dm.assert_same(info)
    assert read(info["path"], 0) == bytes(BLOCK)
    assert table_of(client, info) == [linear(drive, 64)]


KEY = hashlib.sha256(b"the key of a test").hexdigest()


def test_secure_data_goes_to_the_kernel_with_a_key(client, devices, disk, trace):
    drive = disk()
    crypt = line(0, 1024, "crypt", f"aes-cbc-essiv:sha256 {KEY} 0 {drive.number} 0")
    info = devices.create()
    client.table_load(name=info["name"], targets=[crypt], flags=["DM_SECURE_DATA"])
    # So too where the caller forgot, since crypt can hold a key.
    client.table_load(name=info["name"], targets=[crypt])
    client.table_load(name=info["name"], targets=[line(0, 8, "zero")], flags=["DM_SECURE_DATA"])
    client.table_load(name=info["name"], targets=[line(0, 8, "zero")])
    flags = [bool(sent & SECURE_DATA) for sent, _ in trace.take(dm.TABLE_LOAD)]
    assert flags == [True, True, True, False]


def test_crypt_encrypts_what_goes_through_it(client, devices, disk):
    drive = disk()
    crypt = line(0, 1024, "crypt", f"aes-cbc-essiv:sha256 {KEY} 0 {drive.number} 0")
    info = devices.make([crypt], flags=["DM_SECURE_DATA"])
    write(info["path"], 0, pattern(3))
    assert read(info["path"], 0) == pattern(3)
    assert drive.read(0, 8) not in (pattern(3), bytes(BLOCK))
    assert table_of(client, info) == [crypt] == dm.lines("table", info["device"], "--showkeys")


def test_a_refused_table_tells_why_and_leaves_nothing_behind(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, 8)])
    cases = {
        "a gap": ([linear(drive, 8), linear(drive, 8, start=16)], "EINVAL"),
        "an overlap": ([linear(drive, 8), linear(drive, 8, start=0)], "EINVAL"),
        "no beginning": ([linear(drive, 8, start=8)], "EINVAL"),
        "no such type": ([line(0, 8, "nosuchtarget")], "EINVAL"),
        "too few words": ([line(0, 8, "linear", drive.number)], "EINVAL"),
        "no number": ([line(0, 8, "linear", f"{drive.number} here")], "EINVAL"),
        "no such disk": ([line(0, 8, "linear", "/dev/nobody 0")], None),
        "no such number": ([line(0, 8, "linear", "4000:7 0")], None),
        "the second line": ([linear(drive, 8), line(8, 8, "linear", "rubbish")], "EINVAL"),
    }
    for why, (targets, errno_name) in cases.items():
        print(why)
        data = fails(lambda table=targets: client.table_load(name=info["name"], targets=table), "table_rejected",
                     ioctl="DM_TABLE_LOAD", device=info["device"], name=info["name"])
        assert errno_name in (None, data["errno_name"]), (why, data)
        now = client.device_status(name=info["name"])
        assert state(now) == LIVE, why
    dm.assert_same(client.device_status(name=info["name"]))
    assert table_of(client, info) == [linear(drive, 8)]


def test_a_table_longer_than_its_disk_is_refused(client, devices, disk):
    drive = disk()
    info = devices.create()
    too_long = [linear(drive, drive.sectors + 8)]
    fails(lambda: client.table_load(name=info["name"], targets=too_long), "table_rejected", errno_name="EINVAL",
          ioctl="DM_TABLE_LOAD", device=info["device"])
    assert state(client.device_status(name=info["name"])) == set()

    # Once a device has had a table the kernel looks only when it swaps the next one in.
    client.table_load(name=info["name"], targets=[linear(drive, 8)])
    client.device_resume(name=info["name"])
    client.table_load(name=info["name"], targets=too_long)
    data = fails(lambda: client.device_resume(name=info["name"]), "table_rejected", errno_name="EINVAL",
                 ioctl="DM_DEV_SUSPEND", device=info["device"])
    assert data["state"] == "SUSPENDED; a live table, no inactive one"
    assert state(client.device_resume(name=info["name"])) == LIVE
    assert table_of(client, info) == [linear(drive, 8)]


def test_a_disk_that_somebody_holds_is_refused(client, devices, disk):
    drive = disk()
    info = devices.create()
    with opened(drive.path, os.O_RDWR | os.O_EXCL):
        fails(lambda: client.table_load(name=info["name"], targets=[linear(drive, 8)]), "table_rejected",
              errno_name="EBUSY", ioctl="DM_TABLE_LOAD", device=info["device"])
    assert client.table_load(name=info["name"], targets=[linear(drive, 8)])


def test_a_refused_load_leaves_the_inactive_table_as_the_kernel_does(client, devices, disk):
    drive = disk()
    info = devices.load([linear(drive, 8)])
    fails(lambda: client.table_load(name=info["name"], targets=[line(0, 8, "nosuchtarget")]), "table_rejected")
    assert table_of(client, info, NEXT) == [linear(drive, 8)] == dm.lines("table", info["device"], "--inactive")


def test_a_first_load_that_is_refused_leaves_a_device_that_can_be_removed(client, devices):
    info = devices.create()
    fails(lambda: client.table_load(name=info["name"], targets=[line(0, 8, "linear", "rubbish")]), "table_rejected")
    assert state(client.device_status(name=info["name"])) == set()
    client.device_remove(name=info["name"])


# --- clear ---

def test_clear_drops_the_inactive_table_and_no_other(client, devices, disk):
    one, two = disk(), disk()
    info = devices.make([linear(one, 8)])
    client.table_load(name=info["name"], targets=[linear(two, 8)])
    cleared = client.table_clear(name=info["name"])
    assert state(cleared) == LIVE
    dm.assert_same(cleared)
    assert table_of(client, info) == [linear(one, 8)] and table_of(client, info, NEXT) == []
    with opened(two.path, os.O_RDWR | os.O_EXCL):
        pass  # nobody holds it any more


def test_clear_without_an_inactive_table_changes_nothing(client, devices):
    info = devices.create()
    assert client.table_clear(name=info["name"])["flags"] == []
    client.table_load(name=info["name"], targets=[line(0, 8, "zero")])
    client.device_resume(name=info["name"])
    assert state(client.table_clear(name=info["name"])) == LIVE


# --- status ---

def assert_status_same(client, info):
    """Both kinds of lines, of both tables, are dmsetup's."""
    device = info["device"]
    for flags, kind, options in (
            ([], "status", ()), ([NOFLUSH], "status", ("--noflush",)), ([NEXT], "status", ("--inactive",)),
            ([TABLE], "table", ("--showkeys",)), ([TABLE, NEXT], "table", ("--showkeys", "--inactive")),
    ):
        result = client.table_status(device=device, flags=flags)
        assert result["targets"] == dm.lines(kind, device, *options), flags
        assert set(result["info"]["flags"]) >= state(client.device_status(device=device))


def test_status_of_every_table_and_kind_is_what_dmsetup_shows(client, devices, disk):
    drive = disk()
    info = devices.make([line(0, 128, "striped", f"2 16 {drive.number} 0 {drive.number} 64"), line(128, 8, "error"),
                         line(136, 8, "zero")])
    assert_status_same(client, info)
    client.table_load(name=info["name"], targets=[linear(drive, 64)])
    assert_status_same(client, info)


def test_a_table_that_is_inactive_only_is_told_as_such(client, devices, disk):
    drive = disk()
    info = devices.load([linear(drive, 64)])
    assert client.table_status(name=info["name"])["targets"] == []
    assert table_of(client, info) == []
    assert table_of(client, info, NEXT) == [linear(drive, 64)]
    assert state(client.table_status(name=info["name"])["info"]) == INACTIVE
    assert_status_same(client, info)


def test_status_of_a_device_without_any_table_is_empty(client, devices):
    info = devices.create()
    for flags in ([], [TABLE], [NEXT], [TABLE, NEXT, NOFLUSH]):
        result = client.table_status(name=info["name"], flags=flags)
        assert result["targets"] == [] and result["info"]["flags"] == []
    assert_status_same(client, info)


def test_all_queries_are_answered_while_suspended(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, 64)])
    client.table_load(name=info["name"], targets=[linear(drive, 32)])
    suspended = client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    assert state(suspended) == SUSPENDED | LIVE | INACTIVE
    dm.assert_same(suspended)
    assert_status_same(client, info)
    assert state(client.device_status(name=info["name"])) == SUSPENDED | LIVE | INACTIVE
    assert client.table_deps(name=info["name"])["devices"] == [drive.device]
    client.table_clear(name=info["name"])
    client.device_resume(name=info["name"])


def test_noflush_answers_without_a_commit_and_no_flag_commits(client, pool, disk):
    del disk
    block = iter(range(1, 40))

    def commits(*flags):
        before = pool.meta.writes()
        client.table_status(name=pool.info["name"], flags=list(flags))
        return pool.meta.writes() > before

    # The pool commits by itself about once a second: then this round tells nothing.
    for _ in range(10):
        write(pool.thin["path"], next(block) * pool.blocks_of_4k, pattern(1))
        quiet = not commits(NOFLUSH)
        if quiet and commits():
            return
    raise AssertionError("the flag makes no difference")


# --- many targets ---

def test_thousands_of_targets_go_in_and_come_out_whole(client, devices, disk):
    drive = disk()
    targets = [linear(drive, 1, MANY - 1 - number, start=number) if number % 3 else line(number, 1, "zero")
               for number in range(MANY)]
    info = devices.load(targets)
    assert table_of(client, info, NEXT) == targets
    live = client.device_resume(name=info["name"])
    assert live["target_count"] == MANY
    dm.assert_same(live)
    # The kernel's first buffer is far too small for these: DM_BUFFER_FULL, again with a larger one.
    assert table_of(client, info) == targets == dm.lines("table", info["device"])
    status = client.table_status(name=info["name"])
    assert status["targets"] == dm.lines("status", info["device"])
    assert len(status["targets"]) == MANY and status["info"]["target_count"] == MANY


def test_one_line_as_long_as_the_kernel_takes_comes_back_whole(client, devices, disk):
    drive = disk()
    legs = 500
    striped = line(0, 8 * legs, "striped", f"{legs} 8 " + " ".join(f"{drive.number} {8 * leg}" for leg in range(legs)))
    info = devices.make([striped])
    assert table_of(client, info) == [striped] == dm.lines("table", info["device"])


# --- deps ---

def test_deps_are_the_devices_of_the_table_each_once(client, devices, disk):
    one, two, three = disk(), disk(), disk()
    lower = devices.make([linear(three, 64)])
    info = devices.make([linear(one, 8), linear(two, 8, start=8), linear(one, 8, 8, start=16)])
    client.table_load(name=info["name"], targets=[on(lower, 8)])

    def deps(*flags):
        return {(each["major"], each["minor"]) for each in
                client.table_deps(name=info["name"], flags=list(flags))["devices"]}

    assert deps() == dm.deps(info["device"]) == {tuple(drive.device.values()) for drive in (one, two)}
    assert deps(NEXT) == dm.deps(info["device"], "--inactive") == {tuple(lower["device"].values())}
    assert len(client.table_deps(name=info["name"])["devices"]) == 2
    assert pathlib.Path("/sys/block", f"dm-{info['device']['minor']}", "slaves", os.path.basename(one.path)).exists()


def test_deps_without_a_table_are_empty(client, devices):
    info = devices.create()
    result = client.table_deps(name=info["name"])
    assert result["devices"] == [] and dm.deps(info["device"]) == set()
    dm.assert_same(result["info"])
    info = devices.load([line(0, 8, "zero")])
    assert client.table_deps(name=info["name"])["devices"] == []
