# SPDX-License-Identifier: Apache-2.0
"""The daemon never needs a device that it suspended: its program, its libraries and its runtime folder may lie on it.

DMRPC_LOCKED_SECONDS, a whole number, says how long it is used with the device suspended, for each test that does.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

import dm
import pytest
from calls import line, linear
from dmrpc import Client, Daemon, RpcError
from plain import plain_build
from tasks import Task, wait_until
from test_leases import SUSPEND, alive, guardian_of

SECONDS = float(os.environ.get("DMRPC_LOCKED_SECONDS", "5"))
MIB = 1 << 20
HOUR = 3600000
PR_SET_IO_FLUSHER, MCL_CURRENT, MCL_FUTURE, PF_MEMALLOC_NOIO = 57, 1, 2, 0x80000
FLAGS = {"frozen": SUSPEND, "not frozen": [*SUSPEND, "DM_SKIP_LOCKFS"]}


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=120, check=True).stdout.decode()


def copy_program(folder):
    """dmrpcd, its libraries and their loader; returns the command that runs it."""
    program = plain_build() / "server" / "dmrpcd"
    files = re.findall(r"(/\S+) \(0x", run("ldd", str(program)))
    for file in [program, *files]:
        shutil.copy(file, folder)
    (loader,) = [file for file in files if "ld-linux" in file]
    return [str(folder / os.path.basename(loader)), "--library-path", str(folder), str(folder / "dmrpcd")]


# --- memory ---

@contextlib.contextmanager
def cgroup():
    """A control group for memory; what is charged to it can be reclaimed at will."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="dmrpc-cgroup-", dir="/run"))
    run("mount", "-t", "cgroup2", "none", str(root))
    try:
        (root / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
        group = root / root.name
        group.mkdir()
        yield group
        wait_until(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"), "the group is empty")
        group.rmdir()
    finally:
        run("umount", str(root))
        root.rmdir()


def available():
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    return int(re.search(r"MemAvailable: +(\d+) kB", text)[1]) * 1024


def swap_used():
    lines = pathlib.Path("/proc/swaps").read_text(encoding="ascii").splitlines()[1:]
    return sum(int(each.split()[3]) for each in lines) * 1024


# Memory is taken and touched again and again. Files that are read push out what of files is in memory and not locked.
HOG = """
import mmap, os, sys
size, swap = map(int, sys.argv[1:])
open("/proc/self/oom_score_adj", "w").write("1000")
def swapped():
    return sum(int(line.split()[3]) for line in open("/proc/swaps").read().splitlines()[1:]) * 1024
memory = mmap.mmap(-1, size)
pages = range(0, size, 4096)
for page, at in enumerate(pages):
    memory[at] = 1
    if swap and page % 256 == 255 and swapped() >= swap:
        pages = pages[:page]
        break
print(flush=True)
while True:
    for folder, _, names in os.walk("/usr/lib"):
        for name in names:
            try: open(os.path.join(folder, name), "rb").read()
            except OSError: pass
    for at in pages: memory[at] = 2
"""


class Hog:
    """A process that takes all memory but `spare` bytes, or as much as it needs to have `swap` bytes in swap."""

    def __init__(self, spare=0, swap=0):
        size = available() + 4 * swap - spare
        self.process = subprocess.Popen(["/usr/bin/python3", "-c", HOG, str(size), str(swap)], stdout=subprocess.PIPE)

    def wait_full(self, timeout=120):
        end = Task(lambda: self.process.stdout.readline() and None)
        assert end.end(timeout) in ("", "None")

    def end(self):
        self.process.kill()
        self.process.wait(60)


def forget_files():
    """Nothing of any file stays in memory that need not."""
    task = Task(lambda: pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii") and None)
    assert task.end(30) in ("", "None")


def reclaim(group):
    """All of the group's memory that the kernel gets hold of. EAGAIN says that there was less, as there should be."""
    def work():
        with contextlib.suppress(BlockingIOError):
            (group / "memory.reclaim").write_text("256M", encoding="ascii")
    task = Task(work)
    assert task.end(60) == ""


# --- what it is given ---

WITHOUT_RIGHTS = ("prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set", "-ipc_lock,-sys_resource")
ALL = ["io_flusher", "oom_score", "locked_memory"]


@pytest.mark.parametrize("within, missing", [
    ((), []), (WITHOUT_RIGHTS, ALL),
    (("setpriv", "--bounding-set", "-ipc_lock,-sys_resource"), ALL),
    (("prlimit", "--memlock=unlimited", "setpriv", "--bounding-set", "-ipc_lock,-sys_resource"), ALL[:2]),
    (("prlimit", "--memlock=65536:65536"), [])],
    ids=["root", "no rights", "the system's limit", "no limit", "root with a limit"])
def test_what_was_refused_is_told_and_done_without(plain_daemons, within, missing):
    with plain_daemons(within=within) as daemon, daemon.client() as own:
        memory = own.server_info()["memory"]
        assert memory["missing"] == missing
        assert (memory["locked_bytes"] > 4 * MIB) == ("locked_memory" not in missing)
        assert daemon.said("Serving")
        assert daemon.log().count("Not safe from a device") == (missing != [])
        score = pathlib.Path(f"/proc/{daemon.process.pid}/oom_score_adj").read_text(encoding="ascii")
        assert score == ("0\n" if "oom_score" in missing else "-900\n")


def flags_of_threads(pid):
    """The kernel's own flags of each thread of a process."""
    stats = pathlib.Path(f"/proc/{pid}/task").glob("*/stat")
    return [int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[6]) for stat in stats]


def test_no_thread_waits_for_a_disk_to_get_memory(plain_daemons):
    with plain_daemons() as daemon, daemon.client() as own:
        own.list_devices()  # on a worker
        flags = flags_of_threads(daemon.process.pid)
        assert len(flags) >= 4 and all(each & PF_MEMALLOC_NOIO for each in flags)
        flags = flags_of_threads(guardian_of(daemon))
        assert len(flags) > 60 and all(each & PF_MEMALLOC_NOIO for each in flags)


# --- a daemon that lives on what it suspends ---

class Home:
    """A file system on a device, and a daemon with all that it has on that file system."""

    def __init__(self, client, devices, disk, group):
        self.info = devices.make([linear(disk(98304))])
        run("mkfs.ext4", "-q", "-F", self.info["path"])
        self.mount = pathlib.Path(tempfile.mkdtemp(prefix="dmrpc-mount-", dir="/run"))
        run("mount", self.info["path"], str(self.mount))
        command = copy_program(self.mount)
        (self.mount / "dmrpcd.json").write_text('{"limits": {"depth": 16}}', encoding="ascii")
        run("sync")
        forget_files()  # what the daemon reads is charged to its group
        wrapper = pathlib.Path(tempfile.mkdtemp(prefix="dmrpc-build-", dir="/run"))
        (wrapper / "server").mkdir()
        program = wrapper / "server" / "dmrpcd"
        program.write_text(f"#!/bin/sh\necho $$ >{group}/cgroup.procs\n"
                           f"LD_BIND_NOW=1 exec {shlex.join(command)} \"$@\"\n")
        program.chmod(0o755)
        (self.mount / "run").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DMRPC_BUILD", str(wrapper))
            self.daemon = Daemon(self.mount / "run", "--config", self.mount / "dmrpcd.json", simulate=False)
        shutil.rmtree(wrapper)
        self.guardian = guardian_of(self.daemon)
        self.group = group
        self.outside = client

    def suspend(self, own, flags):
        run("sync")
        own.device_suspend(name=self.info["name"], flags=flags, resume_after_ms=HOUR)
        assert dm.suspended(self.info["device"])
        forget_files()
        reclaim(self.group)

    def remove(self):
        if self.daemon.process.poll() is None:
            self.daemon.stop()
        wait_until(lambda: not alive(self.guardian), "the guardian has gone")
        self.daemon.stderr.close()
        run("umount", str(self.mount))
        self.mount.rmdir()


@pytest.fixture
def home(client, devices, disk):
    with cgroup() as group:
        made = Home(client, devices, disk, group)
        yield made
        dm.dmsetup("resume", made.info["name"])  # of a test that failed
        made.remove()


@contextlib.contextmanager
def suppress_cancelled():
    try:
        yield
    except RpcError as error:
        assert error.name == "cancelled" and "its lease was over" in error.message, error


def wait_released(own, info):
    """Until a device has no lease, the end of which the log tells."""
    wait_until(lambda: not dm.suspended(info["device"]), "it runs")
    time.sleep(0.005)  # were lease_list the first to see that, nothing would be said
    wait_until(lambda: info["device"] not in [lease["device"] for lease in own.lease_list()["leases"]], "its end")


def use(own, daemon, drive):
    """A device's whole life, a lease that ends by time, and all that one may ask."""
    device = {"name": "kt-locked-used"}
    own.device_create(**device)
    own.table_load(**device, targets=[linear(drive, 1024)])
    info = own.device_resume(**device)
    with suppress_cancelled():  # memory is short: the suspend may take longer than that
        own.device_suspend(**device, flags=SUSPEND, resume_after_ms=100)
    wait_released(own, info)
    own.device_suspend(**device, flags=SUSPEND)
    own.table_load(**device, targets=[line(0, 1024, "error")])
    own.device_resume(**device)
    assert own.table_status(**device)["targets"] == [line(0, 1024, "error")]
    assert own.list_devices()["devices"] and own.device_status(**device)["target_count"] == 1
    own.device_remove(**device)
    stats = own.server_stats()
    with daemon.client() as http:
        http.send("GET /metrics HTTP/1.1\r\nHost: dm\r\nConnection: close\r\n\r\n")
        assert http.read_all().endswith(b"# EOF\n")
    with daemon.client() as another:
        another.version()
    return stats["log_lines_dropped"]


def use_for(own, home, drive):
    """Long enough for everything that it may need to have been needed."""
    rounds, longest, dropped = 0, 0.0, 0
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        began = time.monotonic()
        dropped = use(own, home.daemon, drive)
        longest = max(longest, time.monotonic() - began)
        rounds += 1
    print(f"{rounds} rounds, {longest:.2f} s the longest, {dropped} lines of the log dropped")
    return rounds


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_it_serves_while_all_that_it_has_is_suspended(home, disk, flags):
    drive = disk()
    with home.daemon.client() as own:
        memory = own.server_info()["memory"]
        assert memory["missing"] == [] and memory["locked_bytes"] > 4 * MIB
        use(own, home.daemon, drive)
        home.suspend(own, flags)
        hog = Hog(spare=96 * MIB)
        try:
            hog.wait_full()
            assert use_for(own, home, drive) > 0
            assert dm.suspended(home.info["device"])
        finally:
            hog.end()
        own.device_resume(name=home.info["name"])
        assert own.lease_list() == {"leases": []}
    wait_until(lambda: "its time was up, it was resumed" in home.daemon.log(), "the log goes on")


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_its_guardian_resumes_what_both_live_on(home, disk, flags):
    drive = disk()
    with home.daemon.client() as own:
        home.suspend(own, flags)
        hog = Hog(spare=96 * MIB)
        try:
            hog.wait_full()
            assert use_for(own, home, drive) > 0
            home.daemon.process.send_signal(signal.SIGKILL)
            wait_until(lambda: not dm.suspended(home.info["device"]), "the guardian resumes", 20)
        finally:
            hog.end()
    home.daemon.process.wait(30)


def test_the_log_lies_on_what_is_suspended(home):
    """The lines that fit are kept, the others counted; and the end does not wait for it."""
    with home.daemon.client() as own:
        home.suspend(own, SUSPEND)
        own.device_create(name="kt-locked-log")
        own.table_load(name="kt-locked-log", targets=[line(0, 8, "zero")])
        info = own.device_resume(name="kt-locked-log")
        for _ in range(200):
            with home.daemon.client() as holder:
                holder.device_suspend(name=info["name"], flags=SUSPEND, resume_on_disconnect=True)
            wait_released(own, info)
        dropped = own.server_stats()["log_lines_dropped"]
        assert 0 < dropped < 200
        own.device_resume(name=home.info["name"])
        own.device_remove(name="kt-locked-log")
        wait_until(lambda: f"{dropped} lines of this log were dropped" in home.daemon.log(), "it says so")
    # lease_list may be the first to see that a device runs: then nothing is said.
    assert 100 < home.daemon.log().count("suspended by process") <= 200 - dropped


def test_the_audit_lies_on_what_is_suspended(home):
    """No resume waits for a record, the one of that very device included; what was lost is told, by its number."""
    with home.daemon.client() as own:
        home.suspend(own, SUSPEND)
        own.device_create(name="kt-locked-audit")
        for _ in range(400):
            own.device_rename(name="kt-locked-audit", new_name="kt-locked-other")
            own.device_rename(name="kt-locked-other", new_name="kt-locked-audit")
        stats = own.server_stats()
        dropped = stats["audit_dropped"]
        assert 0 < dropped < stats["audit_records"]
        began = time.monotonic()
        own.device_resume(name=home.info["name"])
        assert time.monotonic() - began < 5
        own.device_remove(name="kt-locked-audit")
        (lost,) = home.daemon.audited(kind="lost")
        home.daemon.audited(method="device_remove")
        assert lost["lost"] == own.server_stats()["audit_dropped"] >= dropped
    records = home.daemon.audit()
    following = records[records.index(lost) + 1]
    assert following["seq"] == lost["seq"] + lost["lost"] + 1


def test_a_signal_ends_it_in_time(home):
    """What it has to write and to remove lies on the device that its end resumes."""
    with home.daemon.client() as own:
        home.suspend(own, SUSPEND)
    began = time.monotonic()
    home.daemon.stop()
    assert time.monotonic() - began < 10
    assert not dm.suspended(home.info["device"]) and not home.daemon.socket.exists()


# --- swap ---

@contextlib.contextmanager
def swap_on(info):
    run("mkswap", info["path"])
    run("swapon", info["path"])
    try:
        yield
    finally:
        run("swapoff", info["path"])


@pytest.fixture
def ram_disk():
    """Memory that is taken already: a page that is swapped to it needs no other."""
    kib = 192 * 1024
    run("modprobe", "brd", "rd_nr=1", f"rd_size={kib}")
    run("dd", "if=/dev/zero", "of=/dev/ram0", "bs=1M", f"count={kib // 1024}", "status=none")
    yield "/dev/ram0", kib * 2
    run("modprobe", "-r", "brd")


@contextlib.contextmanager
def staying_in_memory():
    """This process has to act while swap cannot be read."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0 and libc.mlockall(MCL_CURRENT | MCL_FUTURE) == 0
    try:
        yield
    finally:
        libc.munlockall()
        libc.prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0)


@pytest.mark.parametrize("killed", [False, True])
def test_a_device_that_backs_swap_comes_back(plain_daemons, watch, ram_disk, killed):  # pylint: disable=unused-argument
    path, sectors = ram_disk
    daemon = plain_daemons()
    guardian = guardian_of(daemon)
    with Client(daemon.socket) as own:
        info = own.device_create(name="kt-locked-swap")
        own.table_load(name=info["name"], targets=[line(0, sectors, "linear", f"{path} 0")])
        info = own.device_resume(name=info["name"])
        with swap_on(info), staying_in_memory():
            hog = Hog(swap=48 * MIB)
            try:
                # Full first: while it still grows, the kernel would have to kill somebody.
                hog.wait_full()
                assert swap_used() >= 32 * MIB
                began = time.monotonic()
                own.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=HOUR if killed else 12000)
                if killed:
                    daemon.process.kill()
                wait_until(lambda: not dm.suspended(info["device"]), "the device runs", 60)
                took = time.monotonic() - began
                print(f"suspended for {took:.1f} s with {swap_used() // MIB} MiB of swap in use")
                assert took < 30
            finally:
                hog.end()
        if not killed:
            own.device_remove(name=info["name"])
    if killed:
        daemon.process.wait(30)
        dm.dmsetup("remove", info["name"])
    else:
        daemon.stop()
    wait_until(lambda: not alive(guardian), "the guardian has gone")
