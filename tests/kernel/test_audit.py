# SPDX-License-Identifier: Apache-2.0
"""The audit of what is done to real devices, and whose unit did it."""

import contextlib
import json
import os
import pathlib
import secrets
import subprocess
import sys

import dm
import pytest
from calls import fails, line, linear
from dmrpc import ROOT
from schema import Document
from tasks import wait_until
from test_leases import SUSPEND, Served

CGROUPS = pathlib.Path("/sys/fs/cgroup")


@pytest.fixture
def served(daemons, watch):  # pylint: disable=unused-argument
    """A daemon of the test's own, all records of which are held against the schema."""
    with daemons() as daemon:
        yield daemon
        daemon.stop()
        records = daemon.audit()
        assert Document().record_faults(records) == []
        assert [each["seq"] for each in records] == list(range(1, len(records) + 1))


def test_the_life_of_a_device(served, disk):
    drive = disk()
    key = secrets.token_hex(32)
    with served.client(120) as client:  # it may load modules
        info = client.device_create(name="kt-audit", uuid="KT-audit")
        client.table_load(name="kt-audit", targets=[linear(drive, 1024), line(1024, 8, "zero")])
        client.device_resume(device=info["device"])
        client.device_suspend(uuid="KT-audit", flags=SUSPEND, resume_after_ms=100)
        (rolled_back,) = served.audited(kind="lease_ended")
        crypt = f"aes-xts-plain64 {key} 0 {drive.number} 0"
        client.table_load(name="kt-audit", targets=[line(0, 1024, "crypt", crypt)], flags=["DM_SECURE_DATA"])
        client.device_resume(name="kt-audit")
        client.device_suspend(name="kt-audit", flags=SUSPEND)
        client.target_msg(name="kt-audit", message=f"key set {key}")
        client.device_resume(name="kt-audit")
        fails(lambda: client.table_load(name="kt-audit", targets=[line(0, 8, "linear", "1")]), "table_rejected")
        client.device_rename(name="kt-audit", new_name="kt-audit-2")
        client.device_remove(name="kt-audit-2")
    created, loaded, resumed, suspend, *rest = served.audited(12, kind="call")
    assert created["new_uuid"] == "KT-audit" and created["device"] == info["device"]
    assert loaded["targets"] == ["linear", "zero"] and loaded["target_count"] == 2
    for record in (loaded, resumed, suspend, rolled_back):
        assert record["name"] == "kt-audit" and record["uuid"] == "KT-audit" and record["device"] == info["device"]
        assert record["pid"] == os.getpid() and record["uid"] == 0
    assert suspend["flags"] == SUSPEND and suspend["seq"] < rolled_back["seq"] < rest[0]["seq"]
    assert rolled_back["outcome"] == "rolled_back" and rolled_back["reason"] == "timeout"
    assert rolled_back["duration_us"] >= 100000
    secret, *_, message, _, failed, renamed, removed = rest
    assert secret["targets"] == ["crypt"] and message["message"] == "key" and message["outcome"] == "ok"
    assert failed["outcome"] == "failed" and failed["error"] == "table_rejected"
    assert failed["errno_name"] == "EINVAL" and failed["ioctl"] == "DM_TABLE_LOAD"
    assert renamed["name"] == "kt-audit" and renamed["new_name"] == "kt-audit-2"
    assert removed["name"] == "kt-audit-2" and removed["device"] == info["device"]
    served.stop()
    assert key not in served.log()


@contextlib.contextmanager
def unit(name):
    """A control group where systemd would have that unit."""
    mounted = not (CGROUPS / "cgroup.controllers").exists()
    if mounted:
        subprocess.run(["mount", "-t", "cgroup2", "none", str(CGROUPS)], check=True)
    group = CGROUPS / "system.slice" / name
    group.mkdir(parents=True)
    try:
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"), "the group is empty")
        group.rmdir()
        with contextlib.suppress(OSError):
            group.parent.rmdir()
        if mounted:
            subprocess.run(["umount", str(CGROUPS)], check=True)


def test_the_unit_of_a_client(served):
    """Of one that leaves before its reply, too."""
    script = (
        "import os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "open(sys.argv[2] + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "import dmrpc\n"
        "client = dmrpc.Client(sys.argv[3])\n"
        "client.device_create(name='kt-audit-unit')\n"
        "client.device_remove(name='kt-audit-unit')\n")
    with unit("kt-agent.service") as group:
        support = ROOT / "tests" / "support"
        done = subprocess.run([sys.executable, "-c", script, str(support), str(group), str(served.socket)],
                              timeout=30, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with served.client() as client:  # which is in no unit
            client.device_create(name="kt-audit-none")
            client.device_remove(name="kt-audit-none")
        records = served.audited(4, kind="call")
    assert [each.get("unit") for each in records] == ["kt-agent.service"] * 2 + [None] * 2, json.dumps(records)


def test_what_the_guardian_has_resumed_is_told_by_the_next_daemon(daemons, devices):
    info = devices.make([line(0, 8, "zero")], uuid="KT-audit-orphan")
    both = Served(daemons())
    with both.daemon.client() as client:
        client.device_suspend(name=info["name"], flags=SUSPEND, resume_after_ms=3600000)
    both.kill()
    both.wait_guardian_gone()
    assert not dm.suspended(info["device"])
    with both.again() as daemon:
        (record,) = daemon.audited(kind="lease_ended")
        assert record["outcome"] == "rolled_back" and record["reason"] == "server died"
        assert record["name"] == info["name"] and record["uuid"] == "KT-audit-orphan"
        assert record["device"] == info["device"] and record["duration_us"] > 0
        assert record["pid"] == os.getpid() and record["uid"] == 0
        assert Document().record_faults([record]) == []
    both.wait_guardian_gone()


def test_a_refusal_by_the_kernel_is_a_failure(daemons):
    """The daemon lacks the right, not the caller."""
    with daemons(within=("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")) as weak, \
            weak.client() as client:
        fails(lambda: client.device_create(name="kt-not-to-be"), "permission_denied", errno_name="EACCES")
        (record,) = weak.audited(kind="call")
        assert record["outcome"] == "failed" and record["error"] == "permission_denied"
        assert record["errno_name"] == "EACCES"
