# SPDX-License-Identifier: Apache-2.0
"""Suspend, resume and the live swap of tables, with I/O running and with file systems on top."""

import contextlib
import os
import subprocess
import tempfile

import dm
import pytest
from calls import LIVE, SUSPENDED, fails, line, linear, state
from tasks import Task, Writer, opened, pattern, read, write

SKIP_LOCKFS, NOFLUSH = 1 << 10, 1 << 11
PRIMARY_SOURCE = 0x0040 << 16


# --- suspend and resume ---

def test_io_waits_while_suspended_and_goes_on_after_the_resume(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive)])
    suspended = client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    assert state(suspended) == SUSPENDED | LIVE
    dm.assert_same(suspended)
    assert dm.sysfs(info, "dm", "suspended") == "1"

    writer = Task(lambda: write(info["path"], 2, pattern(2)))
    writer.wait_stuck()
    assert drive.read(16, 8) == bytes(4096)
    resumed = client.device_resume(name=info["name"])
    assert state(resumed) == LIVE
    assert writer.end() == ""
    assert drive.read(16, 8) == pattern(2)
    dm.assert_same(client.device_status(name=info["name"]))


def test_suspending_is_not_counted(client, devices):
    info = devices.make([line(0, 8, "zero")])
    for _ in range(3):
        assert state(client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])) == SUSPENDED | LIVE
    assert state(client.device_resume(name=info["name"])) == LIVE
    assert not dm.suspended(info["device"])
    assert state(client.device_resume(name=info["name"])) == LIVE


def test_suspend_without_the_flag_activates(client, devices, uevents):
    info = devices.load([line(0, 8, "zero")])
    uevents.take(info)
    live = client.device_suspend(name=info["name"])
    assert state(live) == LIVE and "DM_UEVENT_GENERATED" in live["flags"]
    dm.assert_same(live)
    cookies = [properties.get("DM_COOKIE") for action, properties in uevents.take(info) if action == "change"]
    assert str(PRIMARY_SOURCE) in cookies

    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    assert state(client.device_suspend(name=info["name"])) == LIVE


def test_without_a_live_table_suspend_is_no_table(client, devices):
    for info in (devices.create(), devices.load([line(0, 8, "zero")])):
        before = client.device_status(name=info["name"])
        data = fails(lambda name=info["name"]: client.device_suspend(name=name, flags=["DM_SUSPEND"]), "no_table",
                     device=info["device"])
        assert "errno" not in data
        assert client.device_status(name=info["name"]) == before
        dm.assert_same(before)


def test_without_any_table_resume_is_no_table_also_where_somebody_suspended(client, devices):
    info = devices.create()
    fails(lambda: client.device_resume(name=info["name"]), "no_table", device=info["device"])
    fails(lambda: client.device_suspend(name=info["name"]), "no_table", device=info["device"])
    dm.dmsetup("suspend", info["name"])
    now = client.device_status(name=info["name"])
    assert state(now) == SUSPENDED
    dm.assert_same(now)
    fails(lambda: client.device_resume(name=info["name"]), "no_table", device=info["device"])
    # A table helps.
    client.table_load(name=info["name"], targets=[line(0, 8, "zero")])
    assert state(client.device_resume(name=info["name"])) == LIVE


def test_a_suspended_device_can_be_renamed_and_removed(client, devices):
    info = devices.make([line(0, 8, "zero")])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    renamed = client.device_rename(name=info["name"], new_name="kt-asleep")
    assert state(renamed) == SUSPENDED | LIVE
    client.device_remove(name="kt-asleep")
    assert b"kt-asleep" not in dm.listed().values()


def test_a_thin_device_below_a_suspended_pool_is_suspended_internally(client, pool):
    client.device_suspend(name=pool.info["name"], flags=["DM_SUSPEND"])
    below = client.device_status(name=pool.thin["name"])
    assert "DM_INTERNAL_SUSPEND" in below["flags"] and "DM_SUSPEND" not in below["flags"]
    assert "DM_INTERNAL_SUSPEND" not in client.device_status(name=pool.info["name"])["flags"]
    client.device_resume(name=pool.info["name"])
    assert "DM_INTERNAL_SUSPEND" not in client.device_status(name=pool.thin["name"])["flags"]


def test_the_flags_of_suspend_and_resume_reach_the_kernel(client, devices, trace):
    info = devices.make([line(0, 8, "zero")])
    trace.take(dm.DEV_SUSPEND)
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND", "DM_SKIP_LOCKFS"])
    client.device_resume(name=info["name"], flags=["DM_NOFLUSH"])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND", "DM_NOFLUSH"])
    client.device_resume(name=info["name"], flags=["DM_SKIP_LOCKFS"])
    sent = [(flags & 2, flags & (SKIP_LOCKFS | NOFLUSH)) for flags, _ in trace.take(dm.DEV_SUSPEND)]
    assert sent == [(2, SKIP_LOCKFS), (0, NOFLUSH), (2, NOFLUSH), (0, SKIP_LOCKFS)]


def test_noflush_suspends_a_multipath_device_whose_io_waits_for_a_path(client, devices):
    info = devices.make([line(0, 1024, "multipath", "1 queue_if_no_path 0 0 0")])
    writer = Task(lambda: write(info["path"], 0, pattern(0)))
    writer.wait_stuck()
    # Without the flag this would wait for the I/O, and that for a path.
    suspended = client.device_suspend(name=info["name"], flags=["DM_SUSPEND", "DM_NOFLUSH"])
    assert state(suspended) == SUSPENDED | LIVE
    assert not writer.has_ended()
    client.device_resume(name=info["name"])
    assert not writer.has_ended()
    client.target_msg(name=info["name"], message="fail_if_no_path")
    assert "OSError(5" in writer.end()


def test_a_flag_that_the_method_does_not_take_is_refused_by_name(client, devices):
    info = devices.make([line(0, 8, "zero")])
    for flag in ("DM_SKIP_BDGET", "DM_READONLY", "DM_NO_SUCH"):
        fails(lambda bad=flag: client.device_suspend(name=info["name"], flags=["DM_SUSPEND", bad]), "invalid_params",
              path="/flags/1")
    assert not dm.suspended(info["device"])


# --- file systems ---

@contextlib.contextmanager
def mounted(path):
    subprocess.run(["mkfs.ext4", "-q", "-F", path], timeout=120, check=True)
    folder = tempfile.mkdtemp(prefix="dmrpc-mount-", dir="/run")
    subprocess.run(["mount", path, folder], timeout=60, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], timeout=60, check=True)
        os.rmdir(folder)


def append(path):
    with open(path, "ab") as file:
        file.write(b"more")


@pytest.fixture
def fs(client, devices, disk):
    """A device with a mounted ext4 on it, and a file there that is in memory as a whole."""
    drive = disk(16384)
    info = devices.make([linear(drive)])
    with mounted(info["path"]) as folder:
        path = os.path.join(folder, "file")
        append(path)
        os.sync()
        yield info, path, drive
        if "DM_SUSPEND" in client.device_status(name=info["name"])["flags"]:
            client.device_resume(name=info["name"])


def test_suspend_freezes_the_file_system_and_resume_thaws_it(client, fs, disk):
    info, path, drive = fs
    append(path)  # dirty in memory: the freeze writes it out
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    task = Task(lambda: append(path))
    task.wait_stuck()
    # What is on the disk now is a clean file system with all that was written before.
    copy = disk(16384)
    os.pwrite(copy.file.fileno(), drive.read(0, drive.sectors), 0)
    subprocess.run(["fsck.ext4", "-f", "-n", copy.path], stdout=subprocess.DEVNULL, timeout=120, check=True)
    client.device_resume(name=info["name"])
    assert task.end() == ""
    assert os.path.getsize(path) == 12


def test_skip_lockfs_leaves_the_file_system_unfrozen(client, fs):
    info, path, _ = fs
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND", "DM_SKIP_LOCKFS"])
    # Into memory: a frozen file system would not let it.
    task = Task(lambda: append(path))
    assert task.end() == ""
    client.device_resume(name=info["name"])
    assert os.path.getsize(path) == 8


# --- swap ---

def copy_across(source, target, sectors):
    with open(source.path, "rb") as reader, open(target.path, "r+b") as writer:
        writer.write(reader.read(sectors * 512))
        writer.flush()
        os.fsync(writer.fileno())


def test_tables_are_swapped_under_running_io_and_no_byte_is_lost(client, devices, disk):
    drive, blocks = disk(), 24
    half = blocks * 4
    info = devices.make([linear(drive, 2 * half)])
    writer = Writer(info["path"], blocks)
    writer.wait_round()
    # All of these map the same sectors to the same place.
    whole = [linear(drive, 2 * half)]
    parts = [linear(drive, half), linear(drive, half, half, start=half)]
    sectors = [linear(drive, 8, 8 * block, start=8 * block) for block in range(blocks)]
    for targets in (parts, sectors, whole) * 3:
        client.table_load(name=info["name"], targets=targets)
        live = client.device_resume(name=info["name"])
        assert state(live) == LIVE and live["target_count"] == len(targets)
        assert client.table_status(name=info["name"], flags=["DM_STATUS_TABLE"])["targets"] == targets
        writer.wait_round()
    salt = writer.stop()
    expected = b"".join(pattern(block, salt) for block in range(blocks))
    assert read(info["path"], 0, blocks) == expected == drive.read(0, 8 * blocks)
    dm.assert_same(client.device_status(name=info["name"]))


def test_a_device_moves_to_another_disk_under_running_io(client, devices, disk):
    old, new, blocks = disk(), disk(), 16
    info = devices.make([linear(old, 8 * blocks)])
    writer = Writer(info["path"], blocks)
    writer.wait_round()
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    client.table_load(name=info["name"], targets=[linear(new, 8 * blocks)])
    copy_across(old, new, 8 * blocks)
    assert state(client.device_resume(name=info["name"])) == LIVE
    writer.wait_round()
    salt = writer.stop()
    assert new.read(0, 8 * blocks) == b"".join(pattern(block, salt) for block in range(blocks))
    assert client.table_deps(name=info["name"])["devices"] == [new.device]


def test_a_swap_to_another_size_changes_the_size(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, 1024)])
    with opened(info["path"], os.O_RDONLY) as fd:
        for length in (2048, 512, 1024):
            client.table_load(name=info["name"], targets=[linear(drive, length)])
            client.device_resume(name=info["name"])
            assert os.lseek(fd, 0, os.SEEK_END) == length * 512
            assert int(dm.sysfs(info, "size")) == length


def test_a_swap_that_the_kernel_refuses_leaves_the_old_table_and_a_second_resume_runs_it(client, devices, disk):
    drive, shrinking = disk(), disk()
    info = devices.make([linear(drive, 64)])
    client.table_load(name=info["name"], targets=[linear(shrinking)])
    # Between load and resume the disk loses the sectors that the table wants.
    shrinking.shrink(1024)
    data = fails(lambda: client.device_resume(name=info["name"]), "table_rejected", errno_name="EINVAL",
                 ioctl="DM_DEV_SUSPEND", device=info["device"], name=info["name"])
    found = client.device_status(name=info["name"])
    assert state(found) == SUSPENDED | LIVE
    dm.assert_same(found)
    assert data["state"] == "SUSPENDED; a live table, no inactive one"
    assert dm.lines("table", info["device"]) == [linear(drive, 64)]

    writer = Task(lambda: write(info["path"], 0, pattern(1)))
    writer.wait_stuck()
    assert state(client.device_resume(name=info["name"])) == LIVE
    assert writer.end() == ""
    assert drive.read(0, 8) == pattern(1)


def test_a_target_that_refuses_to_start_is_live_and_only_the_old_table_helps(client, pool):
    name = pool.info["name"]
    old = client.table_status(name=name, flags=["DM_STATUS_TABLE"])["targets"]
    write(pool.thin["path"], 0, pattern(5))
    # A pool shorter than its metadata says is refused only when it starts.
    client.table_load(name=name, targets=[pool.line(blocks=pool.blocks() // 2)])
    data = fails(lambda: client.device_resume(name=name), "table_rejected", errno_name="EINVAL",
                 ioctl="DM_DEV_SUSPEND", device=pool.info["device"])
    assert data["state"] == "SUSPENDED; a live table, no inactive one" and data["hint"]
    found = client.table_status(name=name, flags=["DM_STATUS_TABLE"])
    assert state(found["info"]) == SUSPENDED | LIVE
    assert found["targets"][0]["length"] == old[0]["length"] // 2
    assert found["targets"] == dm.lines("table", pool.info["device"])

    data = fails(lambda: client.device_resume(name=name), "table_rejected", errno_name="EINVAL")
    assert data["state"] == "SUSPENDED; a live table, no inactive one"
    client.table_load(name=name, targets=old)
    assert state(client.device_resume(name=name)) == LIVE
    assert client.table_status(name=name, flags=["DM_STATUS_TABLE"])["targets"] == old
    assert read(pool.thin["path"], 0) == pattern(5)


def test_after_a_failed_activation_of_a_first_table_the_error_says_what_is_left(client, devices, disk):
    shrinking = disk()
    info = devices.load([linear(shrinking)])
    shrinking.shrink(1024)
    data = fails(lambda: client.device_suspend(name=info["name"]), "table_rejected", errno_name="EINVAL",
                 device=info["device"])
    found = client.device_status(name=info["name"])
    suspended = "SUSPENDED" if "DM_SUSPEND" in found["flags"] else "running"
    assert data["state"] == f"{suspended}; no live table, no inactive one"
    dm.assert_same(found)
