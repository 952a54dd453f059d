# SPDX-License-Identifier: Apache-2.0
"""Who may do what: other users of the socket, and a daemon that the kernel does not let."""

import grp
import socket
import subprocess

import dm
import pytest
from calls import fails, line
from dmrpc import TIMEOUT, Client

NOBODY = 65534
NOFLUSH = 1 << 11
# Methods that never ask the kernel.
OWN = {"rpc.discover", "server_info", "server_stats"}


def params_of(method, name):
    """Good params of each method, for a device of that name."""
    special = {
        "target_version": {"type": "linear"},
        "device_create": {"name": "kt-not-to-be"},
        "device_rename": {"name": name, "new_name": "kt-not-to-be"},
        "device_set_uuid": {"name": name, "uuid": "KT-not-to-be"},
        "remove_all": {"confirm": True},
        "device_wait": {"name": name, "event_nr": 4000000},
        "device_set_geometry": {"name": name, "cylinders": 1, "heads": 1, "sectors": 1, "start": 0},
        "table_load": {"name": name, "targets": [line(0, 8, "zero")]},
        "target_msg": {"name": name, "message": "@stats_list"},
    }
    plain = {"version", "list_versions", "dev_majors", "list_devices", *OWN}
    return special.get(method, {} if method in plain else {"name": name})


class Bridge(Client):
    """A connection of another user's: socat, run by setpriv, holds the socket."""

    def __init__(self, path, uid, gid):  # pylint: disable=super-init-not-called
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(TIMEOUT)
        self.buffer, self.count, self.methods = b"", 0, {}
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups",
             "socat", "STDIO", f"UNIX-CONNECT:{path}"], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
        theirs.close()

    def close(self):
        self.socket.close()
        self.process.communicate(timeout=TIMEOUT)


@pytest.fixture
def shared(daemons, watch):  # pylint: disable=unused-argument
    """A daemon whose socket a group has, too."""
    with daemons("--group", grp.getgrgid(NOBODY).gr_name) as served:
        yield served


def test_another_user_may_read_and_not_write(shared, contract, devices):
    info = devices.make([line(0, 8, "zero")], uuid="KT-readable")
    before = dm.listed(), dm.describe(info["device"])
    with Bridge(shared.socket, NOBODY, NOBODY) as reader:
        for method in [*kernel_methods(contract), *OWN]:
            effect = contract.methods[method]["x-effect"]
            params = params_of(method, info["name"])
            if effect == "read":
                assert reader.call(method, **params), method
            else:
                data = fails(lambda call=method, more=params: reader.call(call, **more), "permission_denied")
                assert "errno" not in data, "the kernel was not asked"
    assert (dm.listed(), dm.describe(info["device"])) == before


def test_the_status_that_a_reader_asks_for_commits_nothing(shared, pool, trace):
    with Bridge(shared.socket, NOBODY, NOBODY) as reader:
        trace.take(dm.TABLE_STATUS)
        reader.table_status(name=pool.info["name"])
    assert [bool(flags & NOFLUSH) for flags, _ in trace.take(dm.TABLE_STATUS)] == [True]


def test_who_is_not_in_the_group_cannot_connect(shared):
    with Bridge(shared.socket, NOBODY, NOBODY - 1) as stranger:
        assert stranger.read_line() == b""
        _, said = stranger.process.communicate(timeout=TIMEOUT)
        assert b"Permission denied" in said


def kernel_methods(contract):
    return [name for name, method in contract.methods.items() if name not in OWN and not method.get("x-simulated")]


def test_without_the_capability_every_call_is_permission_denied(daemons, contract, devices):
    info = devices.make([line(0, 8, "zero")])
    before = dm.listed(), dm.describe(info["device"])
    with daemons(within=("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")) as weak, \
            weak.client() as client:
        for method in kernel_methods(contract):
            if method != "dev_majors":  # /proc is for everybody
                data = fails(lambda call=method: client.call(call, **params_of(call, info["name"])),
                             "permission_denied", errno_name="EACCES")
                assert data["ioctl"].startswith("DM_"), method
        assert client.dev_majors()["majors"] == dm.majors()
        assert client.server_info()["backend"] == "kernel"
    assert (dm.listed(), dm.describe(info["device"])) == before


def test_a_control_node_that_went_away_is_kernel_unavailable_for_what_opens_it_anew(daemons, devices):
    info = devices.make([line(0, 8, "zero")])
    with daemons(within=("unshare", "--mount")) as served, served.client() as client:
        assert client.device_status(name=info["name"]) == info | {"flags": ["DM_ACTIVE_PRESENT"]}
        subprocess.run(["nsenter", f"--target={served.process.pid}", "--mount",
                        "mount", "-t", "tmpfs", "none", "/dev/mapper"], timeout=TIMEOUT, check=True)
        # The first wait opens a file of its own; the others go on with theirs.
        fails(lambda: client.device_wait(name=info["name"], event_nr=info["event_nr"], timeout_ms=0),
              "kernel_unavailable")
        assert client.device_status(name=info["name"])["name"] == info["name"]


def test_without_a_control_node_the_daemon_says_so_and_does_not_start(daemons):
    hide = 'mount -t tmpfs none /dev/mapper && exec "$@"'
    with pytest.raises(RuntimeError) as caught:
        daemons(within=("unshare", "--mount", "sh", "-c", hide, "sh"))
    assert "exited with 1:" in str(caught.value) and "/dev/mapper/control" in str(caught.value)
