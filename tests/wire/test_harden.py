# SPDX-License-Identifier: Apache-2.0
"""What the daemon gives up when it has started: rights, and system calls; and what it says where it cannot."""

import os
import pathlib
import shlex
import shutil

import pytest

import dmrpc
from forbid import PR_SET_DUMPABLE, forbid

OTHER = 65533  # a user without rights
NEEDS_ROOT = pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")


def status_of(path):
    lines = pathlib.Path(path, "status").read_text(encoding="ascii").splitlines()
    return dict(each.split(":\t", 1) for each in lines)


def threads_of(pid):
    return [status_of(task) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]


@pytest.fixture
def daemon_within(tmp_path, monkeypatch):
    """Makes a daemon that another command runs: daemon_within("setpriv", ...)."""
    def make(*within):
        command = shlex.join([*within, str(dmrpc.build_dir() / "server" / "dmrpcd")])
        program = tmp_path / "build" / "server" / "dmrpcd"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setenv("DMRPC_BUILD", str(tmp_path / "build"))
            return dmrpc.Daemon(tmp_path)
    return make


def test_no_thread_has_more_than_it_needs(daemon, client):
    client.list_devices()  # on a worker
    threads = threads_of(daemon.process.pid)
    assert len(threads) >= 4
    for each in threads:
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(each[name], 16) == 0, each
        assert int(each["CapBnd"], 16) == 0 or os.getuid() != 0
        assert each["NoNewPrivs"] == "1" and each["Seccomp"] == "2"
    assert client.server_info()["hardening"] == {"capabilities": [], "missing": []}
    assert "Not hardened" not in daemon.log()


def test_its_limits(daemon, client):
    client.version()  # the socket is there before it is done
    lines = pathlib.Path(f"/proc/{daemon.process.pid}/limits").read_text(encoding="ascii").splitlines()
    limits = {each[:26].strip(): each[26:].split()[:2] for each in lines}
    assert limits["Max core file size"] == ["0", "0"]
    soft, hard = limits["Max open files"]
    assert soft == hard and int(soft) >= 1024


@NEEDS_ROOT
def test_an_ordinary_user_gives_up_the_same(tmp_path, daemon_within):
    os.chown(tmp_path, OTHER, OTHER)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        os.chmod(folder, 0o755)
    with daemon_within("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups") as daemon, \
            daemon.client() as client:
        pid = daemon.process.pid
        assert client.server_info()["hardening"] == {"capabilities": [], "missing": []}
        assert all(each["Seccomp"] == "2" and each["NoNewPrivs"] == "1" for each in threads_of(pid))
        assert status_of(f"/proc/{pid}")["Uid"].split()[0] == str(OTHER)
        # Not dumpable: what shows its memory is no longer its user's, but root's.
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        client.device_create(name="d")
        assert client.list_devices()["devices"]


def told_once(daemon, text):
    assert daemon.said("Serving")
    lines = [each for each in daemon.log().splitlines() if "Not hardened" in each]
    assert len(lines) == 1 and text in lines[0], lines


def test_a_container_that_forbids_seccomp(daemon_within):
    with daemon_within(*forbid("seccomp")) as daemon, daemon.client() as client:
        assert client.server_info()["hardening"] == {"capabilities": [], "missing": ["seccomp"]}
        told_once(daemon, "CONFIG_SECCOMP_FILTER")
        assert client.list_devices() == {"devices": []}


def test_a_container_that_lets_it_be_dumped(daemon_within):
    with daemon_within(*forbid("prctl", PR_SET_DUMPABLE)) as daemon, daemon.client() as client:
        assert client.server_info()["hardening"] == {"capabilities": [], "missing": ["not_dumpable"]}
        told_once(daemon, "PR_SET_DUMPABLE")


@NEEDS_ROOT
def test_a_container_without_the_right_to_drop_all(daemon_within):
    with daemon_within("setpriv", "--bounding-set", "-setpcap", "--inh-caps", "-setpcap") as daemon, \
            daemon.client() as client:
        assert client.server_info()["hardening"] == {"capabilities": [], "missing": ["capabilities"]}
        told_once(daemon, "CAP_SETPCAP")
        status = status_of(f"/proc/{daemon.process.pid}")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0 != int(status["CapBnd"], 16)
