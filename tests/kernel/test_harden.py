# SPDX-License-Identifier: Apache-2.0
"""A daemon and a guardian that have kept one right, a few limits and the system calls of their work, on a real kernel."""

import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import time

import dm
import pytest
from calls import line
from dmrpc import RpcError, is_sanitized
from listener import Listener
from tasks import wait_until
from test_events import resume
from test_leases import SUSPEND, Served, alive, client, served  # noqa: F401: two of them are fixtures

# pylint: disable=redefined-outer-name

CAP_IPC_LOCK, CAP_SYS_ADMIN = 14, 21
CORES = pathlib.Path("/proc/sys/kernel/core_pattern")


def threads_of(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return [dict(each.split(":\t", 1) for each in (task / "status").read_text().splitlines()) for task in tasks]


def judge(pid, kept):
    """Every thread has these rights, and no way to more."""
    threads = threads_of(pid)
    for each in threads:
        assert int(each["CapEff"], 16) == int(each["CapPrm"], 16) == sum(1 << number for number in kept), each
        assert [int(each[name], 16) for name in ("CapInh", "CapBnd", "CapAmb")] == [0, 0, 0]
        assert each["NoNewPrivs"] == "1" and each["Seccomp"] == "2"
    return len(threads)


def open_files(pid):
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    (files,) = [each.split()[3:5] for each in limits if each.startswith("Max open files")]
    (cores,) = [each.split()[4:6] for each in limits if each.startswith("Max core file size")]
    assert cores == ["0", "0"]
    return files


def test_they_keep_one_right(served, client):
    client.list_devices()  # on a worker
    assert judge(served.daemon.process.pid, [CAP_SYS_ADMIN]) >= 4
    assert judge(served.guardian, [CAP_SYS_ADMIN]) > 60
    for pid in (served.daemon.process.pid, served.guardian):
        soft, hard = open_files(pid)
        assert soft == hard
    assert client.server_info()["hardening"] == {"capabilities": ["CAP_SYS_ADMIN"], "missing": []}
    log = served.daemon.log()
    assert "Not hardened" not in log and "not safe" not in log


def test_a_limit_of_locked_memory_takes_another(daemons, devices):
    """Without it nothing could be mapped any more, not even a thread's stack."""
    info = devices.make([line(0, 8, "zero")])
    with daemons(within=("prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set", "-sys_resource")) as limited:
        guardian = Served(limited).guardian
        with limited.client() as own:
            sanitized = is_sanitized()  # then nothing is locked
            kept = [] if sanitized else ["CAP_IPC_LOCK"]
            assert own.server_info()["hardening"] == {"capabilities": [*kept, "CAP_SYS_ADMIN"], "missing": []}
            judge(limited.process.pid, [CAP_SYS_ADMIN] if sanitized else [CAP_IPC_LOCK, CAP_SYS_ADMIN])
            judge(guardian, [CAP_IPC_LOCK, CAP_SYS_ADMIN])  # AddressSanitizer makes mlockall do nothing, and succeed
            own.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=1)
            wait_until(lambda: not dm.suspended(info["device"]), "the lease is over")
            with contextlib.ExitStack() as stack:
                many = [stack.enter_context(limited.client()) for _ in range(16)]
                idents = [each.start("list_devices") for each in many]
                assert all(each.finish(ident)["devices"] for each, ident in zip(many, idents))


def test_a_device_s_whole_life(served, client, disk):
    drive = disk()
    device = {"name": "kt-harden"}
    with Listener(served.daemon) as listener:
        listener.events_subscribe(name="kt-harden*")
        client.device_create(**device, uuid="KT-harden")
        client.table_load(**device, targets=[line(0, 1024, "linear", f"{drive.number} 0")])
        info = client.device_resume(**device)
        with pytest.raises(RpcError, match="timed_out"):
            client.device_wait(**device, event_nr=info["event_nr"], timeout_ms=100)
        assert [listener.next()["kind"] for _ in range(2)] == ["added", "resumed"]
        resume(info)  # by another program: a uevent tells
        assert listener.next()["foreign"]
        client.device_suspend(**device, flags=SUSPEND, resume_after_ms=20)
        wait_until(lambda: not dm.suspended(info["device"]), "the lease is over")
        client.device_rename(**device, new_name="kt-harden-new")
        assert client.table_status(name="kt-harden-new")["targets"][0]["type"] == "linear"
        assert client.target_version(type="snapshot")["name"] == "snapshot"  # the kernel loads a module
        assert client.dev_majors()["majors"] == dm.majors()
        client.device_remove(name="kt-harden-new")
        assert [listener.next()["kind"] for _ in range(4)] == ["suspended", "lease_ended", "renamed", "removed"]


def test_a_killed_daemon_s_guardian_rolls_back(served, client, devices):
    info = devices.make([line(0, 8, "zero")])
    client.table_load(name=info["name"], targets=[line(0, 8, "error")])
    client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    client.table_load(name=info["name"], targets=[line(0, 16, "zero")])
    assert dm.suspended(info["device"])
    served.kill()
    wait_until(lambda: not dm.suspended(info["device"]), "the guardian resumes", 20)
    wait_until(lambda: not alive(served.guardian), "the guardian has gone")
    dm.ioctl(dm.DEV_REMOVE, device=tuple(info["device"].values()))
    devices.made.clear()


def test_uevents_have_the_room_that_rights_gave_them(daemon, devices):
    """2,000 are too many for the socket that anybody may have."""
    noisy, info = (devices.make([line(0, 8, "zero")]) for _ in range(2))
    for _ in range(2):  # the second time with the same socket
        with Listener(daemon) as listener, daemon.client() as own:
            listener.events_subscribe(name=info["name"])
            before = own.server_stats()["uevents_lost"]
            os.kill(daemon.process.pid, signal.SIGSTOP)
            try:
                with open(f"/sys/block/dm-{noisy['device']['minor']}/uevent", "wb", buffering=0) as file:
                    for _ in range(2000):
                        file.write(b"change")
                resume(info)
            finally:
                os.kill(daemon.process.pid, signal.SIGCONT)
            assert listener.next()["kind"] == "resumed"
            assert own.server_stats()["uevents_lost"] == before


# --- its memory stays its own ---

@pytest.fixture
def cores():
    """A folder where the kernel leaves what processes that die have in memory."""
    before = CORES.read_text(encoding="ascii")
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    folder = pathlib.Path("/run/dmrpc-cores")
    folder.mkdir(mode=0o777)
    CORES.write_text(f"{folder}/core.%p", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    yield folder
    resource.setrlimit(resource.RLIMIT_CORE, limits)
    CORES.write_text(before, encoding="ascii")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def abort(process):
    process.send_signal(signal.SIGABRT)
    assert process.wait(60) == -signal.SIGABRT


def test_no_core_is_left(cores, daemons, devices):
    info = devices.make([line(0, 8, "zero")])
    other = subprocess.Popen(["sleep", "60"])
    time.sleep(0.1)  # it has to be `sleep` first
    abort(other)
    assert [file.name for file in cores.iterdir()] == [f"core.{other.pid}"]  # others leave one
    aborted = Served(daemons())
    with aborted.daemon.client() as own:
        own.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
        # A limit that somebody raises again changes nothing.
        resource.prlimit(aborted.daemon.process.pid, resource.RLIMIT_CORE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        abort(aborted.daemon.process)
    wait_until(lambda: not dm.suspended(info["device"]), "the guardian resumes", 20)
    aborted.wait_guardian_gone()
    assert [file.name for file in cores.iterdir()] == [f"core.{other.pid}"]
