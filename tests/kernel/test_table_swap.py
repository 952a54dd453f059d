# SPDX-License-Identifier: Apache-2.0
"""table_swap: a live table changes under I/O; where the kernel refuses, the old one runs again and no byte is lost."""

import os
import secrets
import subprocess

import dm
import pytest
from calls import INACTIVE, LIVE, SUSPENDED, fails, line, linear, on, state
from dmrpc import BUSY_MS, RpcError
from tasks import Task, Writer, opened, pattern, read, wait_until, write
from test_blocking import is_in_ioctl
from test_suspend import append, mounted

RUNS = "the old table is live and running"
SUSPENDED_STILL = "the device SUSPENDED: I/O to it waits"
NOFLUSH, SECURE_DATA = 1 << 11, 1 << 15
BLOCKS = 16
SECTORS = 8 * BLOCKS


def swap(client, info, targets, **params):
    return client.table_swap(name=info["name"], targets=targets, **params)


def refused(client, info, targets, error="table_rejected", timeout_ms=60000, **data):
    return fails(lambda: swap(client, info, targets, timeout_ms=timeout_ms), error, device=info["device"],
                 name=info["name"], **data)


def assert_live(client, info, targets, *flags):
    """The device runs on this table, and dmsetup says so."""
    found = client.device_status(name=info["name"])
    assert state(found) == LIVE
    dm.assert_same(found)
    assert not dm.suspended(info["device"])
    assert dm.lines("table", info["device"], "--showkeys", *flags) == targets
    assert dm.lines("table", info["device"], "--inactive") == []


def whole(salt):
    return b"".join(pattern(block, salt) for block in range(BLOCKS))


# --- it goes well ---

def test_tables_are_swapped_under_running_io_and_no_byte_is_lost(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, SECTORS)])
    writer = Writer(info["path"], BLOCKS)
    writer.wait_round()
    # All of these map the same sectors to the same place.
    tables = ([linear(drive, SECTORS // 2), linear(drive, SECTORS // 2, SECTORS // 2, start=SECTORS // 2)],
              [linear(drive, 8, 8 * block, start=8 * block) for block in range(BLOCKS)],
              [linear(drive, SECTORS)])
    for targets in tables * 4:
        swapped = swap(client, info, targets)
        assert state(swapped) == LIVE and swapped["target_count"] == len(targets)
        assert_live(client, info, targets)
        writer.wait_round()
    salt = writer.stop()
    assert read(info["path"], 0, BLOCKS) == whole(salt) == drive.read(0, SECTORS)


def test_the_result_is_the_device_as_it_is_afterwards(client, devices, disk, uevents):
    info = devices.make([linear(disk(), 64)], uuid="KT-swapped")
    uevents.take(info)
    for ref in ("name", "uuid", "device"):
        swapped = client.table_swap(**{ref: info[ref]}, targets=[line(0, 64, "zero"), line(64, 64, "error")])
        dm.assert_same(swapped)
        assert set(swapped["flags"]) == LIVE | {"DM_UEVENT_GENERATED"}
        assert {**swapped, "flags": []} == {**client.device_status(name=info["name"]), "flags": []}
        assert [action for action, _ in uevents.take(info)] == ["change"]


@pytest.mark.parametrize("lengths", [(2048, 4096, 8192), (4096, 1024, 8)])
def test_a_device_grows_and_shrinks_while_it_is_open(client, devices, disk, lengths):
    drive = disk()
    info = devices.make([linear(drive, lengths[0])])
    write(info["path"], 0, pattern(3))
    with opened(info["path"], os.O_RDONLY) as fd:
        for length in lengths:
            assert swap(client, info, [linear(drive, length)])["open_count"] == 1
            assert os.lseek(fd, 0, os.SEEK_END) == length * 512
            assert int(dm.sysfs(info, "size")) == length
            assert read(info["path"], 0) == pattern(3)
    assert_live(client, info, [linear(drive, lengths[-1])])


def test_a_mounted_file_system_grows_with_its_device(client, devices, disk):
    drive = disk(32768)
    info = devices.make([linear(drive, 32768)])
    with mounted(info["path"]) as folder:
        path = os.path.join(folder, "file")
        append(path)
        swap(client, info, [linear(drive)])
        subprocess.run(["resize2fs", info["path"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=120, check=True)
        append(path)
        assert os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize > 20 << 20
    subprocess.run(["fsck.ext4", "-f", "-n", info["path"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=120, check=True)


def test_read_only_comes_and_goes_with_the_table(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, SECTORS)])
    assert "DM_READONLY" in swap(client, info, [linear(drive, SECTORS)], flags=["DM_READONLY"])["flags"]
    assert dm.sysfs(info, "ro") == "1"
    assert "DM_READONLY" not in swap(client, info, [linear(drive, SECTORS)])["flags"]
    write(info["path"], 0, pattern(1))


def test_a_suspended_device_is_resumed_by_the_swap(client, devices, disk):
    old, new = disk(), disk()
    info = devices.make([linear(old, SECTORS)])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    writer = Task(lambda: write(info["path"], 0, pattern(7)))
    writer.wait_stuck()
    assert state(swap(client, info, [linear(new, SECTORS)])) == LIVE
    assert writer.end() == ""
    assert new.read(0, 8) == pattern(7) and old.read(0, 8) == bytes(4096)
    assert_live(client, info, [linear(new, SECTORS)])


def test_a_pool_grows_under_its_thin_devices(client, devices, disk):
    meta, data = disk(), disk(8192)

    def pool(length):
        return [line(0, length, "thin-pool", f"{meta.number} {data.number} 128 4 0")]

    info = devices.make(pool(8192))
    client.target_msg(name=info["name"], message="create_thin 0")
    number = f"{info['device']['major']}:{info['device']['minor']}"
    thin = devices.make([line(0, 8192, "thin", f"{number} 0")])
    writer = Writer(thin["path"], BLOCKS)
    writer.wait_round()
    assert swap(client, info, pool(16384))["target_count"] == 1
    writer.wait_round()
    salt = writer.stop()
    assert read(thin["path"], 0, BLOCKS) == whole(salt)
    assert client.table_status(name=info["name"])["targets"][0]["params"].split()[2].endswith("/128")


def test_lines_with_a_key_are_wiped_by_the_kernel(client, devices, disk, trace):
    drive = disk()
    info = devices.make([linear(drive, SECTORS)])
    crypt = [line(0, SECTORS, "crypt", f"aes-xts-plain64 {secrets.token_hex(32)} 0 {drive.number} 0")]
    trace.take(dm.TABLE_LOAD)
    for targets, secret in ((crypt, True), ([linear(drive, SECTORS)], False)):
        swap(client, info, targets)
        assert [bool(flags & SECURE_DATA) for flags, _ in trace.take(dm.TABLE_LOAD)] == [secret]
    # What the old lines hold is not known before they are read.
    swap(client, info, crypt)
    assert [flags & (NOFLUSH | SECURE_DATA) for flags, _ in trace.take(dm.TABLE_STATUS)] == [NOFLUSH | SECURE_DATA]


# --- refused before anything is done ---

def test_without_a_live_table_there_is_nothing_to_swap(client, devices):
    bare, loaded = devices.create(), devices.load([line(0, 8, "zero")])
    for info in (bare, loaded):
        before = dm.describe(info["device"])
        assert "errno" not in refused(client, info, [line(0, 16, "zero")], "no_table")
        assert dm.describe(info["device"]) == before
    assert dm.lines("table", loaded["device"], "--inactive") == [line(0, 8, "zero")]


def test_an_inactive_table_of_somebody_stays(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, SECTORS)])
    dm.dmsetup("load", info["name"], stdin=b"0 8 zero\n")
    data = refused(client, info, [linear(drive, 8)], "device_busy")
    assert "errno" not in data and "table_clear" in data["hint"]
    assert state(client.device_status(name=info["name"])) == LIVE | INACTIVE
    assert dm.lines("table", info["device"], "--inactive") == [line(0, 8, "zero")]
    client.table_clear(name=info["name"])
    swap(client, info, [linear(drive, 8)])


# --- the load is refused: nothing has changed ---

@pytest.mark.parametrize("bad", ["no such type", "no such device", "a wrong line", "a gap", "held"])
def test_a_refused_load_is_not_noticed_by_io(client, devices, disk, bad):
    drive, held = disk(), disk()
    info = devices.make([linear(drive, SECTORS)])
    targets, errno = {
        "no such type": ([line(0, 8, "kt-no-such")], "EINVAL"),
        "no such device": ([line(0, 8, "linear", "/dev/kt-no-such 0")], "ENODEV"),
        "a wrong line": ([line(0, 8, "linear", "1 2 3 4")], "EINVAL"),
        "a gap": ([linear(drive, 8), linear(drive, 8, start=16)], "EINVAL"),
        "held": ([linear(held, 8)], "EBUSY"),
    }[bad]
    holding = os.open(held.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    writer = Writer(info["path"], BLOCKS)
    writer.wait_round()
    data = refused(client, info, targets, ioctl="DM_TABLE_LOAD", errno_name=errno)
    assert data["state"] == f"{RUNS}; nothing has changed"
    os.close(holding)
    writer.wait_round()
    assert_live(client, info, [linear(drive, SECTORS)])
    salt = writer.stop()
    assert drive.read(0, SECTORS) == whole(salt)


def test_a_refused_load_leaves_a_suspended_device_suspended(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive, SECTORS)])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    data = refused(client, info, [line(0, 8, "kt-no-such")], errno_name="EINVAL")
    assert data["state"] == f"the old table is live and {SUSPENDED_STILL}, as before the call; nothing has changed"
    assert state(client.device_status(name=info["name"])) == LIVE | SUSPENDED
    client.device_resume(name=info["name"])


# --- the swap is refused: the old table runs again ---

def assert_back(data):
    assert data["state"] == RUNS and data["ioctl"] == "DM_DEV_SUSPEND" and data["errno_name"] == "EINVAL", data


def test_a_table_past_its_disks_end_is_rolled_back_under_io(client, devices, disk):
    drive, small = disk(), disk(64)
    info = devices.make([linear(drive, SECTORS)])
    writer = Writer(info["path"], BLOCKS)
    for _ in range(5):
        writer.wait_round()
        assert_back(refused(client, info, [line(0, SECTORS * 2, "linear", f"{small.number} 0")]))
        assert_live(client, info, [linear(drive, SECTORS)])
        writer.wait_round()
    salt = writer.stop()
    assert drive.read(0, SECTORS) == whole(salt) == read(info["path"], 0, BLOCKS)


def test_a_disk_that_shrank_is_rolled_back_from(client, devices, disk):
    drive, shrinking = disk(), disk()
    info = devices.make([linear(drive, SECTORS)])
    shrinking.shrink(32)
    assert_back(refused(client, info, [line(0, SECTORS, "linear", f"{shrinking.number} 0")]))
    write(info["path"], 1, pattern(2))
    assert drive.read(8, 8) == pattern(2)
    assert_live(client, info, [linear(drive, SECTORS)])


def test_an_old_table_whose_own_disk_shrank_comes_back_too(client, devices, disk):
    """Its lines would be refused now; it is still live, and a resume is enough."""
    shrinking, small = disk(), disk(64)
    info = devices.make([linear(shrinking)])
    shrinking.shrink(1024)
    assert_back(refused(client, info, [line(0, 8192, "linear", f"{small.number} 0")]))
    write(info["path"], 1, pattern(2))
    assert shrinking.read(8, 8) == pattern(2)
    assert state(client.device_status(name=info["name"])) == LIVE


def test_a_mounted_file_system_does_not_notice(client, devices, disk):
    drive, small = disk(16384), disk(64)
    info = devices.make([linear(drive)])
    with mounted(info["path"]) as folder:
        path = os.path.join(folder, "file")
        append(path)
        assert_back(refused(client, info, [line(0, drive.sectors, "linear", f"{small.number} 0")]))
        append(path)
        os.sync()
        assert os.path.getsize(path) == 8
    assert_live(client, info, [linear(drive)])
    subprocess.run(["fsck.ext4", "-f", "-n", info["path"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=120, check=True)


def test_a_pool_that_does_not_start_is_replaced_by_the_old_one(client, pool):
    old = client.table_status(name=pool.info["name"], flags=["DM_STATUS_TABLE"])["targets"]
    writer = Writer(pool.thin["path"], BLOCKS)
    for _ in range(3):
        writer.wait_round()
        assert_back(refused(client, pool.info, [pool.line(blocks=pool.blocks() // 2)]))
        assert_live(client, pool.info, old)
        writer.wait_round()
    salt = writer.stop()
    assert read(pool.thin["path"], 0, BLOCKS) == whole(salt)
    assert "DM_INTERNAL_SUSPEND" not in client.device_status(name=pool.thin["name"])["flags"]


def test_what_was_suspended_before_runs_after_the_roll_back(client, pool, devices, disk):
    drive, small = disk(), disk(64)
    plain = devices.make([linear(drive, SECTORS)])
    half = [pool.line(blocks=pool.blocks() // 2)]
    for info, bad in ((plain, [line(0, SECTORS * 2, "linear", f"{small.number} 0")]), (pool.info, half)):
        old = dm.lines("table", info["device"])
        client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
        assert refused(client, info, bad)["state"] == f"{RUNS}; before the call it was suspended"
        assert_live(client, info, old)
    write(pool.thin["path"], 0, pattern(1))
    write(plain["path"], 0, pattern(1))


def test_a_read_only_table_comes_back_read_only(client, devices, disk):
    drive, small = disk(), disk(64)
    info = devices.make([linear(drive, SECTORS)], flags=["DM_READONLY"])
    assert_back(refused(client, info, [line(0, SECTORS * 2, "linear", f"{small.number} 0")]))
    assert dm.sysfs(info, "ro") == "1"
    assert_live(client, info, [linear(drive, SECTORS)])


def test_what_stands_on_the_device_goes_on(client, devices, disk):
    drive, small = disk(), disk(64)
    lower = devices.make([linear(drive, SECTORS)])
    upper = devices.make([on(lower, SECTORS)])
    writer = Writer(upper["path"], BLOCKS)
    writer.wait_round()
    assert_back(refused(client, lower, [line(0, SECTORS * 2, "linear", f"{small.number} 0")]))
    writer.wait_round()
    swap(client, lower, [linear(drive, 8, 8 * block, start=8 * block) for block in range(BLOCKS)])
    writer.wait_round()
    salt = writer.stop()
    assert drive.read(0, SECTORS) == whole(salt)


def test_encrypted_data_is_readable_with_the_old_key_afterwards(client, devices, disk):
    drive, small = disk(), disk(64)
    old = [line(0, SECTORS, "crypt", f"aes-xts-plain64 {secrets.token_hex(32)} 0 {drive.number} 0")]
    info = devices.make(old)
    write(info["path"], 0, pattern(9))
    key = secrets.token_hex(32)
    bad = [line(0, SECTORS, "crypt", f"aes-xts-plain64 {key} 0 {small.number} 64")]
    with pytest.raises(RpcError) as caught:
        swap(client, info, bad)
    assert_back(caught.value.data)
    assert key not in str(caught.value) and old[0]["params"] not in str(caught.value)
    assert_live(client, info, old)
    assert read(info["path"], 0) == pattern(9)


def test_a_wiped_key_is_not_made_one_of_zeros(client, devices, disk):
    """A suspended crypt target without a key shows zeros, and with those it would run and damage the data."""
    drive, small, key = disk(), disk(64), secrets.token_hex(32)
    info = devices.make([line(0, SECTORS, "crypt", f"aes-xts-plain64 {key} 0 {drive.number} 0")])
    write(info["path"], 0, pattern(1))
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    client.target_msg(name=info["name"], message="key wipe")
    with pytest.raises(RpcError) as caught:
        swap(client, info, [line(0, SECTORS, "linear", f"{small.number} 64")])
    data = caught.value.data
    assert data["errno_name"] == "EINVAL" and data["ioctl"] == "DM_DEV_SUSPEND"
    assert " To put the old table back failed as well: DM_DEV_SUSPEND on device" in caught.value.message
    assert "EAGAIN" in caught.value.message
    assert data["state"] == f"the old table is live and {SUSPENDED_STILL}, as before the call"
    assert state(client.device_status(name=info["name"])) == LIVE | SUSPENDED
    assert "0" * 64 in dm.lines("table", info["device"], "--showkeys")[0]["params"]
    client.target_msg(name=info["name"], message=f"key set {key}")
    client.device_resume(name=info["name"])
    assert read(info["path"], 0) == pattern(1)


# --- beside others ---

def test_a_swap_that_waits_for_stuck_io_is_undone(daemon, client, other, devices, disk):
    drive = disk()
    lower = devices.make([linear(drive, SECTORS)])
    upper = devices.make([on(lower, SECTORS)])
    dm.dmsetup("suspend", lower["name"])
    writer = Task(lambda: write(upper["path"], 1, pattern(4)))
    writer.wait_stuck()
    data = refused(client, upper, [line(0, 8, "zero")], "timed_out", timeout_ms=BUSY_MS, errno_name="EINTR")
    assert data["state"] == RUNS
    assert_live(client, upper, [on(lower, SECTORS)])

    ident = other.start("table_swap", name=upper["name"], targets=[line(0, 8, "zero")])
    wait_until(lambda: is_in_ioctl(daemon, dm.DEV_SUSPEND), "it waits for the I/O")
    (call,) = [call for call in client.calls_list()["calls"] if call["method"] == "table_swap"]
    client.call_cancel(call=call["call"])
    with pytest.raises(RpcError) as caught:
        other.finish(ident)
    assert caught.value.name == "cancelled" and caught.value.data["state"] == RUNS
    assert_live(client, upper, [on(lower, SECTORS)])
    dm.dmsetup("resume", lower["name"])
    assert writer.end() == ""
    assert drive.read(8, 8) == pattern(4)


def test_swaps_of_one_device_from_many_connections_all_end_well(daemon, client, devices, disk):
    drive, small = disk(), disk(64)
    info = devices.make([linear(drive, SECTORS)])
    writer = Writer(info["path"], BLOCKS)
    good = [linear(drive, 8, 8 * block, start=8 * block) for block in range(BLOCKS)]
    bad = [line(0, SECTORS * 2, "linear", f"{small.number} 0")]
    connections = [daemon.client() for _ in range(6)]
    for number in range(10):
        idents = [connection.start("table_swap", name=info["name"], targets=(good, bad)[(number + place) % 2])
                  for place, connection in enumerate(connections)]
        for place, connection in enumerate(connections):
            try:
                assert connection.finish(idents[place])["target_count"] == BLOCKS
            except RpcError as error:
                assert (number + place) % 2 and error.data["state"] == RUNS, error
    for connection in connections:
        connection.close()
    writer.wait_round()
    salt = writer.stop()
    assert drive.read(0, SECTORS) == whole(salt)
    assert_live(client, info, good)
