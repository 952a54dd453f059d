# SPDX-License-Identifier: Apache-2.0
"""The configuration file on a device that is suspended: the daemon must neither need it nor wait for it."""

import json
import pathlib
import signal
import subprocess
import time

import pytest

from calls import line


def run(*command):
    subprocess.run([str(word) for word in command], timeout=60, check=True)


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    path.chmod(0o600)


def forget_files():
    """What is read from now on comes from the disk."""
    run("sync")
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


@pytest.fixture
def place(devices, disk, tmp_path):
    """A device with a file system, mounted, and the path of a configuration file in it."""
    under = disk(16384)
    device = devices.make([line(0, under.sectors, "linear", f"{under.number} 0")])
    run("mkfs.ext4", "-q", "-F", device["path"])
    run("mount", "-o", "noatime", device["path"], tmp_path)
    path = tmp_path / "dmrpcd.json"
    write(path, {"limits": {"batch": 5}})
    yield device, path
    run("umount", tmp_path)


def batch(client):
    return client.server_info()["limits"]["batch"]


def change(path):
    write(path, {"limits": {"batch": 6}})
    forget_files()


def assert_all_goes_on(client, devices):
    """Nobody waits, though the file cannot be read."""
    began = time.monotonic()
    for _ in range(20):
        assert batch(client) == 5
    devices.gone(devices.create("kt-meanwhile"))
    client.device_remove(name="kt-meanwhile")
    assert time.monotonic() - began < 5


def test_a_file_on_a_device_that_somebody_else_has_suspended(daemons, client, devices, place):
    device, path = place
    with daemons("--config", path) as daemon, daemon.client() as ours:
        assert batch(ours) == 5
        change(path)
        run("dmsetup", "suspend", "--nolockfs", device["name"])
        try:
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(1)
            assert_all_goes_on(ours, devices)
            daemon.process.send_signal(signal.SIGHUP)  # and one more
            assert_all_goes_on(ours, devices)
            assert "read again" not in daemon.log()
        finally:
            run("dmsetup", "resume", device["name"])
        assert daemon.said(f"{path}: read again")
        assert batch(ours) == 6
        assert client.version()


def test_a_file_on_a_device_that_a_lease_has_suspended(daemons, devices, place):
    device, path = place
    with daemons("--config", path) as daemon, daemon.client() as ours:
        change(path)
        ours.device_suspend(device=device["device"], flags=["DM_SUSPEND", "DM_SKIP_LOCKFS"], resume_after_ms=60000)
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.said("will be read again when the last lease of a suspended device has ended (1 now)")
        assert_all_goes_on(ours, devices)
        ours.device_resume(device=device["device"])
        assert daemon.said(f"{path}: read again")
        assert batch(ours) == 6
