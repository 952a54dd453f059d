# SPDX-License-Identifier: Apache-2.0
"""No suspended device is left behind: agents that die, the daemon that is killed, the guardian that acts alone.

Each test has a daemon of its own, because most kill it. That a device runs again is shown by a write that had to wait.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import dm
import pytest
from calls import LIVE, fails, line, linear, on, state
from dmrpc import Client, Daemon, is_sanitized
from tasks import Task, pattern, wait_until, write
from test_blocking import is_in_ioctl

SUSPEND = ["DM_SUSPEND"]


def alive(pid):
    """Is there such a process, and not only its remains?"""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def guardian_of(daemon):
    children = pathlib.Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
    pids = [int(pid) for pid in children.read_text(encoding="ascii").split()]
    (pid,) = [pid for pid in pids if pathlib.Path(f"/proc/{pid}/comm").read_text() == "dmrpc-guardian\n"]
    return pid


class Served:
    """A daemon, its guardian, and what of both is still there at the end."""

    def __init__(self, daemon):
        self.start(daemon)

    def start(self, daemon):
        self.daemon = daemon
        self.guardian = guardian_of(daemon)
        return daemon

    def again(self, *arguments):
        """The next daemon on the same path."""
        return self.start(Daemon(self.daemon.folder, *arguments, simulate=False))

    def kill(self):
        self.daemon.process.kill()
        self.daemon.process.wait()

    def kill_both(self):
        # Stopped first, so that neither sees the other die.
        os.kill(self.guardian, signal.SIGSTOP)
        self.daemon.process.kill()
        os.kill(self.guardian, signal.SIGKILL)
        self.daemon.process.wait()
        wait_until(lambda: not alive(self.guardian), "the guardian is dead")

    def wait_guardian_gone(self):
        wait_until(lambda: not alive(self.guardian), "the guardian has gone")


@pytest.fixture
def served(daemons, watch):  # pylint: disable=unused-argument
    both = Served(daemons())
    yield both
    if both.daemon.process.poll() is None:
        both.daemon.stop()
    both.wait_guardian_gone()


@pytest.fixture
def client(served):
    """Of that daemon; `devices` uses it."""
    with served.daemon.client() as connection:
        yield connection


class Waiting:
    """A write to a suspended device: it ends when the device runs."""

    def __init__(self, info, block=1):
        self.block = block
        self.task = Task(lambda: write(info["path"], block, pattern(block)))
        self.task.wait_stuck()

    def end(self, drive, timeout=20.0):
        assert self.task.end(timeout) == ""
        assert drive.read(8 * self.block, 8) == pattern(self.block)


class Agent:
    """A process with a connection of its own, that does its work, says so, and waits to be killed."""

    def __init__(self, path, work):
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(reading)
                connection = Client(path)  # stays open until the process is killed
                work(connection)
                os.write(writing, b"x")
            finally:
                signal.pause()
                os._exit(0)
        os.close(writing)
        assert os.read(reading, 1) == b"x"
        os.close(reading)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def remove(*infos):
    for info in infos:
        dm.ioctl(dm.DEV_REMOVE, device=tuple(info["device"].values()))


# --- the guardian itself ---

def test_the_guardian_is_protected_and_holds_next_to_nothing(served):
    pid = served.guardian
    status = dict(each.split(":", 1) for each in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    # Its table alone has a MiB; but AddressSanitizer makes mlockall do nothing.
    assert is_sanitized() or int(status["VmLck"].split()[0]) >= 1024
    assert int(status["VmRSS"].split()[0]) < 65536
    assert pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text() == "-1000\n"
    assert os.getsid(pid) == pid
    held = sorted(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    assert held.pop(0) == "/dev/mapper/control"
    assert [held.pop(0) for _ in range(3)] == ["/dev/null"] * 3
    assert held.pop(0).endswith("dmrpcd.sock.leases")
    assert [each.partition(":")[0] for each in held[:3]] == ["anon_inode", "anon_inode", "anon_inode"]
    assert [each.partition(":")[0] for each in held[3:]] == ["pipe"]
    assert "not safe" not in served.daemon.log()


def test_a_clean_end_leaves_no_guardian(served):
    served.daemon.stop()
    served.wait_guardian_gone()


# --- agents that die ---

@pytest.mark.parametrize("rename", [False, True])
def test_an_agent_dies_between_suspend_and_load(served, client, devices, disk, rename):
    drive = disk()
    info = devices.make([linear(drive)])

    def work(own):
        own.device_suspend(name=info["name"], flags=SUSPEND, resume_on_disconnect=True)

    agent = Agent(served.daemon.socket, work)
    writer = Waiting(info)
    if rename:
        client.device_rename(name=info["name"], new_name="kt-other")
    agent.kill()
    writer.end(drive)
    assert not dm.suspended(info["device"]) and client.lease_list() == {"leases": []}


def test_an_agent_dies_between_load_and_resume(client, served, devices, disk):
    old, new = disk(), disk()
    info = devices.make([linear(old, 1024)])

    def work(own):
        own.device_suspend(name=info["name"], flags=SUSPEND, resume_on_disconnect=True)
        own.table_load(name=info["name"], targets=[linear(new, 1024)])

    agent = Agent(served.daemon.socket, work)
    writer = Waiting(info)
    agent.kill()
    # Where the copy was not made the write must not go.
    writer.end(old)
    assert new.read(8, 8) == bytes(4096)
    assert state(client.device_status(name=info["name"])) == LIVE
    assert dm.lines("table", info["device"]) == [linear(old, 1024)]


def test_an_agent_dies_while_a_call_of_it_waits_for_the_leased_device(served, client, devices, disk):
    """Its suspend of the upper device waits for a write, and that for the lower device, which it has leased."""
    drive = disk()
    lower = devices.make([linear(drive, 1024)])
    upper = devices.make([on(lower, 1024)])

    def work(own):
        def stack(*_):
            own.start("device_suspend", name=upper["name"], flags=SUSPEND)
            signal.pause()

        own.device_suspend(name=lower["name"], flags=SUSPEND, resume_on_disconnect=True)
        signal.signal(signal.SIGUSR1, stack)

    agent = Agent(served.daemon.socket, work)
    writer = Waiting(upper)
    os.kill(agent.pid, signal.SIGUSR1)
    wait_until(lambda: is_in_ioctl(served.daemon, dm.DEV_SUSPEND), "the suspend is in the kernel")
    agent.kill()
    writer.end(drive)
    assert not dm.suspended(lower["device"]) and client.lease_list() == {"leases": []}
    # What was received is carried out.
    wait_until(lambda: dm.suspended(upper["device"]), "its last call has ended")
    assert state(client.device_resume(name=upper["name"])) == LIVE


def test_a_lease_ends_by_time(client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive)])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=700)
    writer = Waiting(info)
    writer.end(drive)
    assert client.lease_list() == {"leases": []}


def test_what_somebody_else_resumed_or_removed_is_left_alone(client, devices):
    info = devices.make([line(0, 8, "zero")])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=700)
    dm.dmsetup("resume", info["name"])
    assert client.lease_list() == {"leases": []}
    dm.dmsetup("suspend", info["name"])
    other = devices.make([line(0, 8, "zero")])
    client.device_suspend(name=other["name"], flags=SUSPEND, resume_after_ms=700)
    dm.dmsetup("remove", other["name"])
    # The same number for another device; its disk has another sequence number.
    dm.dmsetup("create", "kt-foreign", "--table", "0 8 zero", *dm.by_number(other["device"]))
    dm.dmsetup("suspend", "kt-foreign")
    time.sleep(1.5)
    assert dm.suspended(info["device"]) and dm.suspended(other["device"])
    assert client.lease_list() == {"leases": []}
    dm.dmsetup("resume", info["name"])
    dm.dmsetup("remove", "kt-foreign")
    devices.gone(other)


# --- the daemon dies ---

def test_the_daemon_is_killed_and_the_guardian_resumes(served, client, devices, disk):
    old, new = disk(), disk()
    info = devices.make([linear(old, 1024)])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    client.table_load(name=info["name"], targets=[linear(new, 1024)])
    writer = Waiting(info)
    began = time.monotonic()
    served.kill()
    writer.end(old)
    assert time.monotonic() - began < 5
    served.wait_guardian_gone()
    assert new.read(8, 8) == bytes(4096)
    assert dm.lines("table", info["device"]) == [linear(old, 1024)]
    remove(info)
    devices.made.clear()


def test_a_table_that_took_the_place_of_one_from_before_is_not_made_live(served, client, devices, disk):
    """It is younger than the suspend, although there was a table before."""
    old, before, new = disk(), disk(), disk()
    info = devices.make([linear(old, 1024)])
    client.table_load(name=info["name"], targets=[linear(before, 1024)])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    client.table_load(name=info["name"], targets=[linear(new, 1024)])
    writer = Waiting(info)
    served.kill()
    writer.end(old)
    served.wait_guardian_gone()
    assert dm.lines("table", info["device"]) == [linear(old, 1024)]
    assert before.read(8, 8) == new.read(8, 8) == bytes(4096)
    remove(info)
    devices.made.clear()


def test_the_daemon_is_killed_and_another_starts_at_once(served, client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive)])
    for _ in range(5):
        with served.daemon.client() as own:
            own.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
            writer = Waiting(info)
            served.kill()
        with served.again().client() as own:
            writer.end(drive)
            assert state(own.device_status(name=info["name"])) == LIVE
            assert own.lease_list() == {"leases": []}
    remove(info)
    devices.made.clear()


def test_a_daemon_that_does_not_act_is_not_waited_for(served, client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive)])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=500)
    writer = Waiting(info)
    os.kill(served.daemon.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    writer.end(drive)
    assert 1.5 < time.monotonic() - began < 6
    os.kill(served.daemon.process.pid, signal.SIGCONT)
    assert client.lease_list() == {"leases": []}
    wait_until(lambda: "its time was up, it was resumed" in served.daemon.log(), "the daemon tells of it")
    # And the next one is the daemon's again.
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=200)
    wait_until(lambda: not dm.suspended(info["device"]), "the daemon resumes")


def test_devices_on_one_another_all_run_again(served, client, devices, disk):
    drive = disk()
    stack = [devices.make([linear(drive, 1024)])]
    for _ in range(4):
        stack.append(devices.make([on(stack[-1], 1024)]))
    for info in reversed(stack):
        client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    writer = Waiting(stack[-1])
    served.kill()
    writer.end(drive)
    served.wait_guardian_gone()
    assert not any(dm.suspended(info["device"]) for info in stack)
    remove(*reversed(stack))
    devices.made.clear()


def test_more_leases_than_the_guardian_has_threads(served, client, devices):
    made = [devices.make([line(0, 8, "zero")]) for _ in range(150)]
    for info in made:
        client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    served.kill()
    served.wait_guardian_gone()
    assert not any(dm.suspended(info["device"]) for info in made)
    remove(*made)
    devices.made.clear()


def test_both_are_killed_and_the_next_start_goes_on(served, client, devices, disk):
    first, second = disk(), disk()
    one, other = devices.make([linear(first)]), devices.make([linear(second)])
    client.device_suspend(name=one["name"], flags=SUSPEND, resume_on_disconnect=True)
    client.device_suspend(name=other["name"], flags=SUSPEND, resume_after_ms=6000)
    began = time.monotonic()
    waiting, longer = Waiting(one), Waiting(other)
    served.kill_both()
    assert dm.suspended(one["device"]) and dm.suspended(other["device"])
    with served.again().client() as own:
        waiting.end(first)
        # What ends by time keeps its time.
        (lease,) = own.lease_list()["leases"]
        assert lease["device"] == other["device"] and 0 < lease["ends_in_ms"] <= 6000
        longer.end(second)
        assert time.monotonic() - began > 5
    assert "taken over" in served.daemon.log()
    remove(one, other)
    devices.made.clear()


def test_the_guardian_alone_is_killed_and_the_daemon_goes_on(served, client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive)])
    os.kill(served.guardian, signal.SIGKILL)
    wait_until(lambda: "The guardian has died" in served.daemon.log(), "the daemon tells of it")
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=500)
    Waiting(info).end(drive)
    served.daemon.stop()
    remove(info)
    devices.made.clear()


def test_a_signal_ends_all_leases_and_the_daemon(served, client, devices, disk):
    drive = disk()
    info = devices.make([linear(drive)])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    writer = Waiting(info)
    served.daemon.stop()
    writer.end(drive)
    served.wait_guardian_gone()
    remove(info)
    devices.made.clear()


# --- a suspend that is stuck ---

@contextlib.contextmanager
def mounted(path):
    subprocess.run(["mkfs.ext4", "-q", "-F", path], timeout=120, check=True)
    folder = tempfile.mkdtemp(prefix="dmrpc-mount-", dir="/run")
    subprocess.run(["mount", path, folder], timeout=60, check=True)
    try:
        yield pathlib.Path(folder)
    finally:
        subprocess.run(["umount", folder], timeout=60, check=True)
        os.rmdir(folder)


def test_the_daemon_is_killed_while_a_freeze_is_stuck(served, client, devices, disk):
    drive = disk(16384)
    lower = devices.make([linear(drive)])
    upper = devices.make([on(lower, drive.sectors)])
    with mounted(upper["path"]) as folder:
        (folder / "file").write_bytes(b"before")
        client.device_suspend(name=lower["name"], flags=SUSPEND, resume_after_ms=3600000)
        with served.daemon.client() as own:
            # The freeze has to write the file out, and the device below is suspended.
            own.start("device_suspend", name=upper["name"], flags=SUSPEND, resume_after_ms=3600000)
            wait_until(lambda: is_in_ioctl(served.daemon, dm.DEV_SUSPEND), "the suspend is in the kernel")
            time.sleep(0.2)
            served.daemon.process.kill()
        # The killed daemon does not die before its thread has left the kernel, but its guardian need not wait.
        served.wait_guardian_gone()
        served.daemon.process.wait(30)
        assert not dm.suspended(lower["device"]) and not dm.suspended(upper["device"])
        task = Task(lambda: (folder / "file").write_bytes(b"after") and None or os.sync())
        assert task.end(30) in ("", "None")
        assert (folder / "file").read_bytes() == b"after"
    remove(upper, lower)
    devices.made.clear()


def test_somebody_elses_lease_is_not_taken(served, devices):
    info = devices.make([line(0, 8, "zero")])
    with served.daemon.client() as holder, served.daemon.client() as other:
        holder.device_suspend(name=info["name"], flags=SUSPEND, resume_on_disconnect=True)
        fails(lambda: other.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=1), "device_busy")
        assert dm.suspended(info["device"])
    wait_until(lambda: not dm.suspended(info["device"]), "its holder is gone")


def test_a_drain_that_lasts_longer_than_the_lease_is_undone(served, client, devices, disk):
    drive = disk()
    lower = devices.make([linear(drive, 1024)])
    upper = devices.make([on(lower, 1024)])
    dm.dmsetup("suspend", lower["name"])
    writer = Waiting(upper)
    with served.daemon.client() as own:
        call = own.start("device_suspend", name=upper["name"], flags=SUSPEND, resume_after_ms=300)
        wait_until(lambda: is_in_ioctl(served.daemon, dm.DEV_SUSPEND), "the suspend is in the kernel")
        data = fails(lambda: own.finish(call), "cancelled", errno_name="EINTR")
        assert data["state"].startswith("running")
    assert not dm.suspended(upper["device"])
    wait_until(lambda: client.lease_list() == {"leases": []}, "the lease is gone")
    time.sleep(3)  # past the guardian's patience: nobody does anything more
    assert not dm.suspended(upper["device"]) and dm.suspended(lower["device"])
    dm.dmsetup("resume", lower["name"])
    writer.end(drive)


# --- the table's file ---

def test_a_damaged_table_is_begun_anew(served):
    served.daemon.stop()
    served.wait_guardian_gone()
    table = pathlib.Path(f"{served.daemon.socket}.leases")
    assert table.stat().st_mode & 0o777 == 0o600
    table.write_bytes(b"nonsense")
    with served.again().client() as own:
        assert own.lease_list() == {"leases": []}
    assert "no table of leases; begun anew" in served.daemon.log()
    served.daemon.stop()
    served.wait_guardian_gone()
    table.chmod(0o644)
    with pytest.raises(RuntimeError, match="no plain file that only this user can reach"):
        served.again()
    table.unlink()
    served.again()
