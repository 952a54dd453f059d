"""Tests of the VM runner itself: what goes in, what comes out, and that no failure passes for a success.

A boot costs some seconds, so checks that can share one do. Run by: /usr/bin/python3 -m pytest tests/kernel/test_vm.py
"""

import os
import pathlib
import select
import shutil
import signal
import subprocess
import types

import pytest

VM = pathlib.Path(__file__).with_name("vm")
ALL_BYTES = bytes(range(256)) * 2000 + b"no newline at the end"
DEVICES = ("/dev/kmsg", "/dev/loop-control", "/dev/mapper/control", "/dev/pts/ptmx", "/dev/shm")


def start(*arguments, **options):
    return subprocess.Popen([VM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run(*arguments, **options):
    return subprocess.run([VM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False,
                          **options)


def shell(*arguments, **options):
    """Run the last argument as a shell script in the guest."""
    return run(*arguments[:-1], "sh", "-c", arguments[-1], **options)


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """One boot that leaves many traces: its process, its folder and its results folder."""
    folder = tmp_path_factory.mktemp("a 'folder', with marks")
    results = folder / "results"
    (folder / "bytes").write_bytes(ALL_BYTES)
    script = """
        cat bytes
        exec >/results/log 2>&1
        pwd
        echo "$PASSED,$DMRPC_PASSED,$NOT_PASSED,$DMRPC_RESULTS"
        echo changed >bytes
        echo new >new
        dmsetup version >/results/dmsetup
        mkdir -p /results/deep/er
        echo "a file" >/results/deep/er/file
        ls -d %s >/results/devices
        truncate -s 1M /tmp/image && losetup -f --show /tmp/image >/results/loop
        cat /sys/class/net/lo/flags >/results/loopback
        echo "to the error output" >&2
        exit 3
    """ % " ".join(DEVICES)
    environment = dict(os.environ, PASSED="one two", DMRPC_PASSED="three", NOT_PASSED="four")
    process = shell("--results", results, "--env", "PASSED", script, cwd=folder, env=environment)
    return types.SimpleNamespace(process=process, folder=folder, results=results)


def test_output_is_exact(visit):
    assert visit.process.stderr == b""
    assert visit.process.stdout == ALL_BYTES


def test_exit_status(visit):
    assert visit.process.returncode == 3


def test_folder_and_environment(visit):
    log = (visit.results / "log").read_text().splitlines()
    assert log == [str(visit.folder), "one two,three,,/results", "to the error output"]


def test_host_is_untouched(visit):
    assert (visit.folder / "bytes").read_bytes() == ALL_BYTES
    assert sorted(path.name for path in visit.folder.iterdir()) == ["bytes", "results"]


def test_results_folder(visit):
    assert (visit.results / "deep/er/file").read_text() == "a file\n"


def test_device_mapper_is_there(visit):
    assert "Driver version:    4." in (visit.results / "dmsetup").read_text()
    assert (visit.results / "devices").read_text() == "".join(f"{path}\n" for path in DEVICES)


def test_loop_devices_and_loopback(visit):
    assert (visit.results / "loop").read_text() == "/dev/loop0\n"
    assert int((visit.results / "loopback").read_text(), 16) & 1


def test_udev_makes_the_nodes():
    script = """
        dmsetup create made --table '0 8 zero' && readlink /dev/mapper/made && dmsetup remove made &&
        test ! -e /dev/mapper/made
    """
    process = shell("--udev", script)
    assert (process.returncode, process.stdout, process.stderr) == (0, b"../dm-0\n", b"")


def test_killed_command_with_a_leftover():
    process = shell("sleep 1000 & echo before; kill -KILL $$")
    assert (process.returncode, process.stdout) == (128 + signal.SIGKILL, b"before\n")


def test_timeout_is_noticed():
    process = run("--timeout", "6", "sleep", "1000")
    assert process.returncode == 126
    assert b"within 6 seconds" in process.stderr


def test_panic_is_noticed():
    process = shell("echo before; echo c >/proc/sysrq-trigger; echo after")
    assert (process.returncode, process.stdout) == (126, b"before\n")
    assert b"stopped before the command ended" in process.stderr
    assert b"sysrq triggered crash" in process.stderr


def test_power_off_is_no_success():
    process = shell("echo o >/proc/sysrq-trigger; sleep 1000")
    assert process.returncode == 126


def test_kernel_complaint_fails():
    process = shell("echo 'BUG kmalloc-64 (Not tainted): a test' >/dev/kmsg; exit 7")
    assert process.returncode == 125
    assert b"kmalloc-64" in process.stderr
    assert b"own status was 7" in process.stderr


def test_taint_alone_fails_unless_allowed():
    process = shell("--allow-oops", "echo 128 >/proc/sys/kernel/tainted; exit 7")
    assert process.returncode == 7
    assert b"complained (oops)" in process.stderr


def test_closed_output_ends_the_run():
    with start("yes") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_termination_takes_the_machine_along():
    with start("sh", "-c", "echo up; sleep 1000") as process:
        assert process.stdout.readline() == b"up\n"
        (machine,) = children(process.pid)
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
        assert not pathlib.Path(f"/proc/{machine}").exists()


def test_killed_runner_takes_the_machine_along():
    with start("sh", "-c", "echo up; sleep 1000") as process:
        assert process.stdout.readline() == b"up\n"
        (machine,) = children(process.pid)
        machine_handle = os.pidfd_open(machine)
        process.kill()
        process.wait(20)
        # A pidfd turns readable when its process is gone.
        with open(machine_handle, "rb", buffering=0) as handle:
            assert select.select([handle], [], [], 20)[0]


def test_not_prepared(tmp_path):
    folder = tmp_path / "tests/kernel"
    folder.mkdir(parents=True)
    for name in ("vm", "guest-init"):
        shutil.copy(VM.with_name(name), folder)
    process = subprocess.run([folder / "vm", "true"], stderr=subprocess.PIPE, check=False)
    assert process.returncode == 126
    assert b"scripts/install-deps" in process.stderr


def has_device_mapper():
    try:
        os.close(os.open("/dev/mapper/control", os.O_RDWR))
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_device_mapper(), reason="this host has device-mapper")
def test_host_without_device_mapper():
    process = run("--host", "true")
    assert process.returncode == 126
    assert process.stderr.count(b"\n") == 1


def test_usage_error():
    assert run().returncode == 2
