# SPDX-License-Identifier: Apache-2.0
"""Errors that explain: what the kernel said, who holds the device, what to do; each in the situation itself."""

import contextlib
import errno
import os
import pathlib
import re
import struct
import subprocess
import threading
import time

import pytest
from calls import fails, line, linear, on
from dmrpc import TIMEOUT, RpcError, build_dir
from tasks import opened, wait_until
from test_blocking import Stuck

PARALLEL, ROUNDS = 32, 15
ADDING = "device-mapper: ioctl: error adding target to table"


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=TIMEOUT, check=True).stdout.decode().strip()


def number(info):
    return f"{info['device']['major']}:{info['device']['minor']}"


def said(info, words):
    return f"device-mapper: table: {number(info)}: {words}"


def load_fails(client, info, *targets, flags=(), **data):
    return fails(lambda: client.table_load(name=info["name"], targets=list(targets), flags=list(flags)),
                 "table_rejected", **data)


def remove_fails(client, info, **params):
    return fails(lambda: client.device_remove(name=info["name"], **params), "device_busy", errno_name="EBUSY")


@pytest.fixture
def mount():
    """Mounts a new file system: mount(device, place)."""
    places = []

    def make(path, place):
        place.mkdir(exist_ok=True)
        if not places:
            run("mkfs.ext2", "-q", path)
        run("mount", path, place)
        places.append(place)

    yield make
    for place in reversed(places):
        run("umount", place)


# --- tables ---

def test_a_target_type_that_does_not_exist(client, devices):
    info = devices.create()
    data = load_fails(client, info, line(0, 8, "zero"), line(8, 8, "nosuchtarget"))
    assert data["kernel_log"] == [said(info, "nosuchtarget: unknown target type"), ADDING]
    assert data["hint"].startswith("line 2: ") and "modprobe dm-nosuchtarget" in data["hint"]
    assert "holders" not in data


@pytest.mark.parametrize("targets,hint", [
    ([(8, 8)], "line 1 must start at sector 0, and not at 8"),
    ([(0, 8), (16, 8)], "line 2 must start at sector 8, where line 1 ends, and not at 16"),
    ([(0, 8), (8, 8), (12, 8)], "line 3 must start at sector 16, where line 2 ends, and not at 12"),
], ids=["start", "gap", "overlap"])
def test_lines_that_do_not_follow_one_another(client, devices, targets, hint):
    info = devices.create()
    data = load_fails(client, info, *[line(start, length, "zero") for start, length in targets])
    assert data["hint"] == hint
    assert data["kernel_log"] == [said(info, "zero: Gap in table (-EINVAL)"), ADDING]


def test_the_kernels_reason_goes_before_a_gap_further_down(client, devices):
    info = devices.create()
    data = load_fails(client, info, line(0, 8, "linear", "nothing"), line(16, 8, "zero"))
    assert data["kernel_log"][0] == said(info, "linear: Invalid argument count (-EINVAL)")
    assert "kernel_log" in data["hint"] and "sector" not in data["hint"]


def test_a_device_that_is_too_small(client, devices, disk):
    drive, info = disk(64), devices.create()
    data = load_fails(client, info, line(0, 200, "linear", f"{drive.path} 8"), errno_name="EINVAL")
    assert data["hint"].startswith(f"{os.path.basename(drive.path)} has 128 sectors, and the table wants 8 to 207 ")
    assert data["kernel_log"][0] == said(
        info, f"{os.path.basename(drive.path)} too small for target: start=8, len=200, dev_size=128")


def test_a_table_that_takes_more_memory_than_there_is(client, devices, disk):
    """A word for each sector of a petabyte: the kernel sees at once that it has not so many."""
    drive, info = disk(), devices.create()
    data = fails(lambda: client.table_load(name=info["name"], targets=[
        line(0, 1 << 50, "switch", f"1 1 0 {drive.number} 0")]), "kernel_error", errno_name="ENOMEM")
    assert data["hint"].startswith("free memory, or load fewer or smaller targets")
    assert said(info, "switch: Cannot allocate region table (-ENOMEM)") in data["kernel_log"]


@pytest.mark.parametrize("name", ["/dev/nosuch", "4000:77"])
def test_a_device_that_is_missing(client, devices, name):
    info = devices.create()
    data = load_fails(client, info, line(0, 8, "zero"), line(8, 8, "linear", f"{name} 0"))
    assert data["hint"] == f"line 2: there is no block device {name}"
    assert "Device lookup failed" in data["kernel_log"][0]


def test_a_disk_that_is_mounted(client, devices, disk, mount, tmp_path):
    drive, info = disk(), devices.create()
    mount(drive.path, tmp_path)
    data = load_fails(client, info, linear(drive), errno_name="EBUSY")
    assert data["holders"] == [{"kind": "mount", "path": str(tmp_path)}]
    assert data["hint"] == f"line 1: {drive.number} is in use; it is mounted: umount {tmp_path}"
    assert data["kernel_log"] == [said(info, "linear: Device lookup failed (-EBUSY)"), ADDING]


@pytest.fixture
def partitioned(disk):
    """A disk with one partition, and the partition's path."""
    drive = disk()
    entry = struct.pack("<8x2I", 8, drive.sectors - 8)  # the first of four, of a table as old as PCs
    entry = entry[:4] + b"\x83" + entry[5:]
    os.pwrite(drive.file.fileno(), entry.ljust(64, b"\0") + b"\x55\xaa", 446)
    run("losetup", "--detach", drive.path)
    run("losetup", "--partscan", drive.path, drive.file.name)
    path = f"{drive.path}p1"
    wait_until(lambda: os.path.exists(path), "the partition is there")
    yield drive, path


def test_a_disk_with_a_partition_that_is_mounted(client, devices, partitioned, mount, tmp_path):
    (drive, part), info = partitioned, devices.create()
    mount(part, tmp_path)
    for path in (drive.path, part):
        data = load_fails(client, info, line(0, 8, "linear", f"{path} 0"), errno_name="EBUSY")
        assert data["holders"] == [{"kind": "mount", "path": str(tmp_path)}]
        assert data["hint"] == f"line 1: {path} is in use; it is mounted: umount {tmp_path}"


def test_a_partition_of_a_disk_that_is_mounted(client, devices, partitioned, mount, tmp_path):
    (drive, part), info = partitioned, devices.create()
    mount(drive.path, tmp_path)
    data = load_fails(client, info, line(0, 8, "linear", f"{part} 0"), errno_name="EBUSY")
    assert data["holders"] == [{"kind": "mount", "path": str(tmp_path)}]


def test_a_disk_with_a_partition_under_a_device(client, devices, partitioned):
    (drive, part), info = partitioned, devices.create()
    upper = devices.make([line(0, 8, "linear", f"{part} 0")])
    data = load_fails(client, info, line(0, 8, "linear", f"{drive.path} 0"))
    assert [(each["kind"], each["name"]) for each in data["holders"]] == [("holder", upper["name"])]


def test_a_disk_that_is_held_by_a_process(client, devices, disk):
    drive, info = disk(), devices.create()
    with opened(drive.path, os.O_RDWR | os.O_EXCL):
        data = load_fails(client, info, linear(drive), errno_name="EBUSY")
    assert "holders" not in data and data["hint"].startswith("look for a mount") and "fuser -v" in data["hint"]
    assert data["kernel_log"] == [said(info, "linear: Device lookup failed (-EBUSY)"), ADDING]


@pytest.fixture
def protected(watch):  # pylint: disable=unused-argument
    """The path of a disk with a write protection; a loop device lets itself be opened nevertheless."""
    before = set(os.listdir("/sys/block"))
    run("modprobe", "sd_mod")
    run("modprobe", "scsi_debug", "dev_size_mb=8", "wp=1")
    wait_until(lambda: set(os.listdir("/sys/block")) - before, "the disk is there")
    name = (set(os.listdir("/sys/block")) - before).pop()
    wait_until(lambda: os.path.exists(f"/dev/{name}"), "its node is there")
    wait_until(lambda: pathlib.Path("/sys/block", name, "ro").read_text() == "1\n", "it is protected")
    yield f"/dev/{name}"
    run("modprobe", "-r", "scsi_debug")


def test_a_disk_that_is_read_only(client, devices, protected):
    info = devices.create()
    data = load_fails(client, info, line(0, 8, "linear", f"{protected} 0"))
    assert data["errno_name"] in ("EROFS", "EACCES")
    assert data["hint"].startswith(f"line 1: {protected} is read-only: pass DM_READONLY")
    client.table_load(name=info["name"], targets=[line(0, 8, "linear", f"{protected} 0")], flags=["DM_READONLY"])
    client.table_clear(name=info["name"])


def test_a_swap_that_is_refused_says_why(client, devices, disk):
    drive = disk(64)
    info = devices.make([linear(drive, 64)])
    data = fails(lambda: client.table_swap(name=info["name"], targets=[linear(drive, 1000)]), "table_rejected")
    assert data["state"] == "the old table is live and running"
    assert "too small for target" in data["kernel_log"][0] and number(info) in data["kernel_log"][0]
    assert "has 128 sectors" in data["hint"]


# --- a device that is in use ---

def test_a_device_under_others(client, devices, disk):
    lower = devices.make([linear(disk())])
    upper, next_ = devices.make([on(lower, 8)]), devices.load([on(lower, 16)])
    data = remove_fails(client, lower)
    assert sorted(data["holders"], key=lambda each: each["name"]) == [
        {"kind": "holder", "path": each["path"], "name": each["name"], "device": each["device"]}
        for each in sorted((upper, next_), key=lambda each: each["name"])]
    assert "is stacked on it: remove that first" in data["hint"] and "DM_DEFERRED_REMOVE" in data["hint"]


def test_a_device_that_is_mounted(client, devices, disk, mount, tmp_path):
    info = devices.make([linear(disk())])
    places = [tmp_path / "one", tmp_path / "with blank"]
    for place in places:
        mount(info["path"], place)
    data = remove_fails(client, info)
    assert data["holders"] == [{"kind": "mount", "path": str(place)} for place in places]
    assert data["hint"].startswith(f"it is mounted: umount {places[0]}; ")


def test_a_device_that_is_a_swap_area(client, devices, disk):
    info = devices.make([linear(disk())])
    run("mkswap", info["path"])
    run("swapon", info["path"])
    try:
        data = remove_fails(client, info)
    finally:
        run("swapoff", info["path"])
    assert data["holders"] == [{"kind": "swap", "path": info["path"]}]
    assert f"swapoff {info['path']}" in data["hint"]


def test_a_device_under_a_loop_device(client, devices, disk):
    info = devices.make([linear(disk())])
    loop = run("losetup", "--find", "--show", info["path"])
    try:
        data = remove_fails(client, info)
    finally:
        run("losetup", "--detach", loop)
    status = os.stat(loop).st_rdev
    assert data["holders"] == [
        {"kind": "loop", "path": loop, "device": {"major": os.major(status), "minor": os.minor(status)}}]
    assert f"losetup -d {loop}" in data["hint"]


def test_a_device_that_a_process_has_open(client, devices):
    info = devices.make([line(0, 64, "zero")])
    with opened(info["path"], os.O_RDONLY):
        data = remove_fails(client, info)
        assert "holders" not in data
        command = re.search(r"fuser -v /dev/dm-\d+", data["hint"]).group()
        found = subprocess.run(command.split(), stdout=subprocess.PIPE, timeout=TIMEOUT, check=True).stdout
        assert str(os.getpid()) in found.decode().split()


def test_a_device_that_is_closed_meanwhile(client, devices):
    """Somebody opens it again and again for a moment: at some time it is open when the kernel looks, and not after."""
    info = devices.make([line(0, 8, "zero")])
    ended = threading.Event()

    def blink():
        while not ended.is_set():
            with contextlib.suppress(FileNotFoundError, OSError), opened(info["path"], os.O_RDONLY):
                time.sleep(0.02)
            time.sleep(0.005)

    thread = threading.Thread(target=blink)
    thread.start()
    hints = set()
    try:
        for _ in range(500):
            if any(hint.startswith("it has been closed meanwhile: try again") for hint in hints):
                break
            try:
                client.device_remove(name=info["name"])
            except RpcError as error:
                assert error.name == "device_busy" and "holders" not in error.data
                hints.add(error.data["hint"])
            else:
                devices.gone(info)
                info = devices.make([line(0, 8, "zero")])
                wait_until(lambda: client.device_status(name=info["name"])["open_count"] > 0, "it is open again")
    finally:
        ended.set()
        thread.join(TIMEOUT)
    assert any(hint.startswith("it has been closed meanwhile: try again") for hint in hints), hints


def test_a_device_that_udev_has_open(client, devices):
    """Which shows by a file that is there while udev handles events."""
    info = devices.make([line(0, 64, "zero")])
    queue = pathlib.Path("/run/udev/queue")
    if queue.parent.exists():
        pytest.skip("udev runs, and would take the file away")
    queue.parent.mkdir()
    queue.touch()
    try:
        with opened(info["path"], os.O_RDONLY):
            assert remove_fails(client, info)["hint"].startswith("udev is at work")
    finally:
        queue.unlink()
        queue.parent.rmdir()


def test_holders_are_those_of_the_last_try(client, other, devices, disk):
    lower = devices.make([linear(disk())])
    with opened(lower["path"], os.O_RDONLY):
        ident = client.start("device_remove", name=lower["name"], retry=True, timeout_ms=5000)
        time.sleep(0.3)
        upper = other.device_create(name=f"{lower['name']}-upper")
        other.table_load(name=upper["name"], targets=[on(lower, 8)])
    try:
        data = fails(lambda: client.finish(ident), "device_busy")
    finally:
        other.device_remove(name=upper["name"])
    assert [each["name"] for each in data["holders"]] == [upper["name"]]
    assert "tried" in data["state"]


# --- names, states, rights ---

def test_names_that_are_taken(client, devices):
    info = devices.create(uuid="KT-taken")
    owner = f"device '{info['name']}' ({number(info)})"
    data = fails(lambda: client.device_create(name=info["name"]), "device_exists")
    assert data["hint"].startswith(f"the name is that of {owner}")
    data = fails(lambda: client.device_create(name="kt-other", uuid="KT-taken"), "device_exists")
    assert data["hint"].startswith(f"the uuid is that of {owner}")
    second = devices.create("kt-second")
    data = fails(lambda: client.device_rename(name=second["name"], new_name=info["name"]), "device_exists")
    assert data["hint"].startswith(f"the name is that of {owner}")
    assert data["kernel_log"] == [
        "device-mapper: ioctl: Unable to change name on mapped device kt-second to one that already exists: "
        + info["name"]]
    data = fails(lambda: client.device_set_uuid(name=second["name"], uuid="KT-taken"), "device_exists")
    assert data["hint"].startswith(f"the uuid is that of {owner}")


def test_a_device_that_was_not_resumed_yet(client, devices):
    info = devices.load([line(0, 8, "zero")])
    data = fails(lambda: client.target_msg(name=info["name"], message="hello"), "no_table")
    assert "device_resume first" in data["hint"]
    assert data["kernel_log"] == ["device-mapper: ioctl: The device has no table."]


def test_a_message_that_the_target_does_not_take(client, devices):
    info = devices.make([line(0, 8, "zero")])
    data = fails(lambda: client.target_msg(name=info["name"], message="hello"), "kernel_error")
    assert data["kernel_log"] == ["device-mapper: ioctl: Target type does not support messages"]


def test_without_the_capability(daemons):
    with daemons(within=("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")) as weak, \
            weak.client() as client:
        for method in ("version", "list_devices"):
            data = fails(lambda call=method: client.call(call), "permission_denied", errno_name="EACCES")
            assert data["hint"].startswith("dmrpcd lacks CAP_SYS_ADMIN")


def test_a_kernel_that_is_too_old():
    """For an interface that none has yet, as every kernel is one day."""
    program = build_dir() / "tests" / "kernel" / "too_old"
    error, message, hint = run(program).splitlines()
    assert error == "kernel_too_old" and message.startswith("DM_VERSION failed: ")
    assert re.fullmatch(r"the kernel's interface is 4\.\d+ and the call needs 4\.1000: a newer kernel is needed", hint)
    messages = run("dmesg").splitlines()
    assert any("ioctl interface mismatch" in each and "user(4.1000." in each for each in messages)


def test_in_a_user_namespace_of_its_own(daemons):
    with daemons(within=("unshare", "--user", "--map-root-user")) as rootless, rootless.client() as client:
        data = fails(client.version, "permission_denied")
        assert "user namespace of its own" in data["hint"] and "on the host" in data["hint"]


# --- the kernel's log, and many at once ---

def refused(index, kind):
    """A line that is refused, and words that only this device's lines have."""
    if kind == 0:
        return line(0, 8, f"nosuch{index}"), f"nosuch{index}: unknown target type"
    if kind == 1:
        return line(0, 8, "linear", f"/dev/nosuch{index} 0"), "linear: Device lookup failed"
    if kind == 2:
        return line(8, 8, "zero"), "zero: Gap in table"
    return line(0, 8, "linear", "1"), "linear: Invalid argument count"


def test_many_at_once_get_each_its_own_lines(daemon, devices):
    infos = [devices.create() for _ in range(PARALLEL)]
    start = threading.Barrier(PARALLEL)
    faults, numberless = [], []

    def work(index):
        own = f"device-mapper: table: {number(infos[index])}: "
        with daemon.client() as client:
            for round_ in range(ROUNDS):
                target, words = refused(index, (index + round_) % 4)
                start.wait(TIMEOUT)
                try:
                    client.table_load(device=infos[index]["device"], targets=[target])
                    faults.append((index, "it was taken"))
                except RpcError as error:
                    lines = error.data.get("kernel_log", [])
                    named = [each for each in lines if each != ADDING]
                    numberless.extend(each for each in lines if each == ADDING)
                    if len(named) != 1 or not named[0].startswith(own + words) or "kernel_log_lost" in error.data:
                        faults.append((index, words, error.data))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10 * TIMEOUT)
    assert faults == []
    print(f"{PARALLEL * ROUNDS} refusals, each with its own line; {len(numberless)} had nobody beside them")
    assert len(numberless) < PARALLEL * ROUNDS / 2, "they were to overlap"


def test_a_line_that_names_no_device_is_nobodys_while_others_run(daemon, client, devices, disk):
    info, taken = devices.create(), devices.create()
    stuck = Stuck(daemon, client, devices, disk)
    with daemon.client() as third:
        data = load_fails(third, info, line(0, 8, "nosuch"))
        assert data["kernel_log"] == [said(info, "nosuch: unknown target type")]
        data = fails(lambda: third.device_rename(name=info["name"], new_name=taken["name"]), "device_exists")
        assert "kernel_log" not in data
        stuck.end()
        data = load_fails(third, info, line(0, 8, "nosuch"))
        assert data["kernel_log"] == [said(info, "nosuch: unknown target type"), ADDING]


@pytest.fixture
def setting():
    """Sets a sysctl: setting("kernel/printk_devkmsg", "on")."""
    before = []

    def put(name, value):
        path = pathlib.Path("/proc/sys", name)
        before.append((path, path.read_text()))
        path.write_text(value)

    yield put
    for path, value in reversed(before):
        with contextlib.suppress(OSError):  # some can be set once only
            path.write_text(value)


class Flood:
    """Writes to the kernel's log for as long as it is there."""

    def __init__(self, text):
        self.text, self.count, self.ends = text.encode(), 0, False
        self.thread = threading.Thread(target=self.write)

    def write(self):
        fd = os.open("/dev/kmsg", os.O_WRONLY)
        while not self.ends:
            os.write(fd, self.text)
            self.count += 1
        os.close(fd)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join(TIMEOUT)


def test_a_flood_of_lines_that_processes_write(client, devices, setting):
    """They may look as they like: none of them is taken for the kernel's."""
    info = devices.create()
    setting("kernel/printk_devkmsg", "on\n")
    with Flood(f"<7>{said(info, 'forged')} {'x' * 400}") as flood:
        for _ in range(100):
            data = load_fails(client, info, line(0, 8, "linear", "1"))
            assert data.get("kernel_log", [data])[0] == said(info, "linear: Invalid argument count (-EINVAL)")
            assert "forged" not in "".join(data["kernel_log"])
        wait_until(lambda: flood.count > 1000, "the log is full of them")


def test_a_log_that_overflows_during_a_call(daemon, client, devices, disk, setting):
    """The kernel overwrites what nobody has read while one call runs on and on; others still get their lines."""
    info = devices.create()
    setting("kernel/printk_devkmsg", "on\n")
    size = int(re.search(r"log_buf_len: (\d+)", run("dmesg")).group(1)) if "log_buf_len: " in run("dmesg") else 1 << 22
    stuck = Stuck(daemon, client, devices, disk)
    with Flood("<7>" + "x" * 900) as flood:
        wait_until(lambda: flood.count * 900 > 2 * size, "the kernel's log is overwritten", timeout=120)
    with daemon.client() as third:
        data = load_fails(third, info, line(0, 8, "nosuch"))
        assert data["kernel_log"] == [said(info, "nosuch: unknown target type")]
    stuck.end()


def test_without_access_to_the_log(daemons, devices):
    """A node of a device that does not exist stands for one that may not be opened."""
    info = devices.create()
    hide = ('mount -t tmpfs none /mnt && mknod /mnt/kmsg c 1 99 && mount --bind /mnt/kmsg /dev/kmsg && exec "$@"')
    with daemons(within=("unshare", "--mount", "sh", "-c", hide, "sh")) as deaf, deaf.client() as client:
        assert deaf.said("/dev/kmsg: cannot be read"), deaf.log()
        assert deaf.log().count("kmsg") == 1 and "CAP_SYSLOG" in deaf.log()
        data = load_fails(client, info, line(0, 8, "zero"), line(16, 8, "zero"))
        assert "kernel_log" not in data and data["hint"].startswith("line 2 must start at sector 8")
        data = load_fails(client, info, line(0, 8, "nosuch"))
        assert "kernel_log" not in data and "kernel log" in data["hint"]


def test_a_kernel_that_keeps_its_log_to_itself(daemons, setting):
    setting("kernel/dmesg_restrict", "1\n")
    weak = "-sys_admin,-syslog"
    with daemons(within=("setpriv", "--bounding-set", weak, "--inh-caps", weak)) as deaf:
        assert deaf.said(f"/dev/kmsg: cannot be read: {os.strerror(errno.EPERM)}")
        assert "kernel.dmesg_restrict" in deaf.log()


def test_a_log_that_says_nothing(client, devices):
    info = devices.make([line(0, 8, "zero")])
    with opened(info["path"], os.O_RDONLY):
        assert "kernel_log" not in remove_fails(client, info)
    assert "kernel_log" not in fails(lambda: client.device_status(name="kt-nobody"), "device_not_found")
