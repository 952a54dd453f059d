# SPDX-License-Identifier: Apache-2.0
"""Who may do what: other users of the socket, and a daemon that the kernel does not let."""

import contextlib
import grp
import json
import os
import pathlib
import secrets
import signal
import subprocess
import time

import dm
import pytest
from calls import fails, line, linear, state
from dmrpc import TIMEOUT, RpcError
from peers import Peer
from tasks import Task, geometry, wait_until

NOBODY = 65534
NOFLUSH = 1 << 11
# Methods that never ask the kernel: lease_list does so for leases only.
OWN = {"rpc.discover", "server_info", "server_stats", "calls_list", "lease_list", "access_explain"}
# Of these one must have something to end: see below, and the wire tests.
ENDING = {"call_cancel", "events_unsubscribe"}


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
        "table_swap": {"name": name, "targets": [line(0, 8, "zero")]},
        "target_msg": {"name": name, "message": "@stats_list"},
        "events_subscribe": {"kinds": ["call_ended"]},
        "access_explain": {"method": "device_remove"},
    }
    plain = {"version", "list_versions", "dev_majors", "list_devices", *OWN}
    return special.get(method, {} if method in plain else {"name": name})


@pytest.fixture
def shared(daemons, watch):  # pylint: disable=unused-argument
    """A daemon whose socket a group has, too."""
    with daemons("--group", grp.getgrgid(NOBODY).gr_name) as served:
        yield served


def test_another_user_may_read_and_not_write(shared, contract, devices):
    info = devices.make([line(0, 8, "zero")], uuid="KT-readable")
    before = dm.listed(), dm.describe(info["device"])
    with Peer(shared.socket, NOBODY, NOBODY) as reader:
        for method in [*kernel_methods(contract), *OWN]:
            effect = contract.methods[method]["x-effect"]
            params = params_of(method, info["name"])
            if effect == "read":
                assert reader.call(method, **params), method
            else:
                data = fails(lambda call=method, more=params: reader.call(call, **more), "permission_denied")
                assert "errno" not in data, "the kernel was not asked"
    assert (dm.listed(), dm.describe(info["device"])) == before


def test_a_reader_ends_own_calls_only(shared, devices):
    info = devices.make([line(0, 8, "zero")])
    wait = {"name": info["name"], "event_nr": info["event_nr"]}
    with shared.client() as root, shared.client() as other, Peer(shared.socket, NOBODY, NOBODY) as reader, \
            Peer(shared.socket, NOBODY, NOBODY) as waiter:
        ours, theirs = root.start("device_wait", **wait), waiter.start("device_wait", **wait)
        numbers = {}
        wait_until(lambda: numbers.update({call["uid"]: call["call"] for call in other.calls_list()["calls"]})
                   or len(numbers) == 2, "both wait")
        fails(lambda: reader.call_cancel(call=numbers[0]), "permission_denied")
        assert reader.call_cancel(call=numbers[NOBODY])["outcome"] == "ended"
        fails(lambda: waiter.finish(theirs), "cancelled")
        assert other.call_cancel(call=numbers[0])["outcome"] == "ended"
        fails(lambda: root.finish(ours), "cancelled")


def test_the_status_that_a_reader_asks_for_commits_nothing(shared, pool, trace):
    with Peer(shared.socket, NOBODY, NOBODY) as reader:
        trace.take(dm.TABLE_STATUS)
        reader.table_status(name=pool.info["name"])
    assert [bool(flags & NOFLUSH) for flags, _ in trace.take(dm.TABLE_STATUS)] == [True]


def test_a_reader_gets_no_keys(shared, client, devices, disk):
    key = secrets.token_hex(32)
    crypt = line(0, 8, "crypt", f"aes-xts-plain64 {key} 0 {disk().number} 0")
    info = devices.make([crypt])
    ask = {"name": info["name"], "flags": ["DM_STATUS_TABLE"]}
    with Peer(shared.socket, NOBODY, NOBODY) as reader:
        (shown,) = reader.table_status(**ask)["targets"]
        assert shown == {**crypt, "params": crypt["params"].replace(key, "<hidden>"), "keys_hidden": True}
        data = fails(lambda: reader.table_status(**ask, show_keys=True), "permission_denied")
        assert "errno" not in data and "show_keys" in data["hint"]
    assert client.table_status(**ask, show_keys=True)["targets"] == [crypt]


def test_who_is_not_in_the_group_cannot_connect(shared):
    with pytest.raises(PermissionError):
        Peer(shared.socket, NOBODY, NOBODY - 1)
    with Peer(shared.socket, NOBODY, NOBODY - 1, [NOBODY]) as member:
        assert member.version()


def kernel_methods(contract):
    return [name for name, method in contract.methods.items()
            if name not in OWN | ENDING and not method.get("x-simulated")]


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


# --- rules of a configuration ---

ROOT = {"name": "root", "who": [{"uid": 0}], "what": ["read", "write", "admin"]}


@pytest.fixture
def ruled(daemons, folder, watch):  # pylint: disable=unused-argument
    """Makes daemons with rules, root's besides: ruled({...}); everybody can open their sockets."""
    with contextlib.ExitStack() as stack:
        def make(*rules):
            config = folder / "rules.json"
            config.write_text(json.dumps({"rules": [ROOT, *rules]}), encoding="utf-8")
            served = stack.enter_context(daemons("--config", config))
            served.socket.chmod(0o666)
            return served

        yield make


def nobody(what, **more):
    return {"name": "nobody", "who": [{"gid": NOBODY}], "what": what, **more}


def test_what_no_rule_allows_is_denied_whatever_it_is(ruled, contract, devices):
    info = devices.make([line(0, 8, "zero")])
    before = dm.listed(), dm.describe(info["device"])
    params = {"call_cancel": {"call": 1}, "events_unsubscribe": {"subscription": 1}}
    with Peer(ruled().socket, NOBODY, NOBODY) as stranger:
        for method in [*kernel_methods(contract), *OWN, *ENDING]:
            given = params.get(method) or params_of(method, info["name"])
            data = fails(lambda call=method, more=given: stranger.call(call, **more), "permission_denied")
            assert "errno" not in data, "the kernel was not asked"
    assert (dm.listed(), dm.describe(info["device"])) == before


def until_all(seconds=3, times=10, limit=90):
    """Goes on for some seconds, and until each of the outcomes was seen some times."""
    began = time.monotonic()

    def goes_on(seen):
        took = time.monotonic() - began
        assert took < limit, seen
        return took < seconds or min(seen.values()) < times

    return goes_on


def test_a_right_to_a_uuid_hits_the_device_that_has_it(ruled, daemon, devices):
    """Names move from device to device beside the calls; whoever bears one now, only the right device is touched.

    By its geometry: Linux 6.1 does not bear a rename beside a load of the same device.
    """
    own = devices.make([line(0, 8, "zero")], uuid="KT-own")
    victim = devices.make([line(0, 8, "zero")], uuid="KT-victim")
    name, apart, aside = own["name"], victim["name"], own["name"] + "-aside"
    served = ruled(nobody(["device_set_geometry"], devices=[{"uuid": "KT-own"}]))
    stop = pathlib.Path(str(served.socket) + ".stop")

    def exchange():
        # By another daemon: this one knows nothing of it. The name is now the one's, now the other's.
        with daemon.client() as foreign:
            while not stop.exists():
                for old, new in ((name, aside), (apart, name), (aside, apart)):
                    foreign.device_rename(name=old, new_name=new)
        return ""

    seen, goes_on = {"ok": 0, "permission_denied": 0}, until_all()
    before = geometry(victim["path"])
    task = Task(exchange)
    try:
        with Peer(served.socket, NOBODY, NOBODY) as client:
            while goes_on(seen):
                try:
                    done = client.device_set_geometry(name=name, cylinders=2, heads=2, sectors=2, start=1)
                    assert done["uuid"] == "KT-own"
                    seen["ok"] += 1
                except RpcError as error:
                    seen[error.name] += 1
    finally:
        stop.touch()
        assert task.end() == ""
    assert geometry(victim["path"]) == before != geometry(own["path"])


def test_a_right_to_a_name_is_none_to_where_its_device_went(ruled, devices):
    own = devices.make([line(0, 8, "zero")], uuid="KT-named")
    served = ruled(nobody(["device_status", "device_rename"], devices=[{"name": own["name"] + "*"}]))
    with Peer(served.socket, NOBODY, NOBODY) as client:
        assert client.device_status(uuid="KT-named")["name"] == own["name"]
        assert client.device_status(device=own["device"])["name"] == own["name"]
        fails(lambda: client.device_rename(name=own["name"], new_name="kt-elsewhere"), "permission_denied")
        client.device_rename(name=own["name"], new_name=own["name"] + "-2")
        dm.dmsetup("rename", own["name"] + "-2", "kt-elsewhere")
        for which in ({"uuid": "KT-named"}, {"device": own["device"]}, {"name": "kt-elsewhere"}):
            fails(lambda params=which: client.device_status(**params), "permission_denied")


def test_supplementary_groups_count_as_when_it_connected(ruled, devices):
    info = devices.make([line(0, 8, "zero")])
    served = ruled(nobody(["device_status"]))
    for gid, groups, allowed in ((NOBODY, [], True), (1, [2, NOBODY, 3], True), (1, [2, 3], False), (1, [], False)):
        with Peer(served.socket, 1234, gid, groups) as client:
            if allowed:
                assert client.device_status(name=info["name"])
            else:
                fails(lambda peer=client: peer.device_status(name=info["name"]), "permission_denied")


# --- what tables lie on ---

@pytest.fixture
def laid(ruled, devices, disk):
    """(client who may load tables of one device on one disk only, that device, that disk, another disk)."""
    good, bad = disk(), disk()
    info = devices.create()
    served = ruled(nobody(["table_load", "table_swap", "device_resume"], devices=[{"name": info["name"]}],
                          under=[good.path]))
    with Peer(served.socket, NOBODY, NOBODY) as client:
        yield client, info, good, bad


def test_a_table_lies_on_what_a_rule_allows(laid, client):
    user, info, good, bad = laid
    name = info["name"]
    user.table_load(name=name, targets=[linear(good)])
    assert dm.deps(info["device"], "--inactive") == {(good.device["major"], good.device["minor"])}
    client.table_clear(name=name)
    for targets in ([linear(good, 8), linear(bad, 8, start=8)], [line(0, 8, "linear", f"{bad.path} 0")],
                    [line(0, 8, "linear", "/dev/none 0")], [line(0, 8, "kt-unknown", f"{good.path} 0")]):
        data = fails(lambda lines=targets: user.table_load(name=name, targets=lines), "permission_denied")
        assert "nothing was loaded" in data["state"]
        assert state(client.device_status(name=name)) == set()
    user.table_load(name=name, targets=[linear(good)])
    user.device_resume(name=name)
    before = client.table_status(name=name, flags=["DM_STATUS_TABLE"])["targets"]
    fails(lambda: user.table_swap(name=name, targets=[linear(bad)]), "permission_denied")
    assert client.table_status(name=name, flags=["DM_STATUS_TABLE"])["targets"] == before
    user.table_swap(name=name, targets=[linear(good, 16)])


def test_a_constructor_that_writes_never_sees_a_forbidden_disk(laid):
    """A thin-pool formats its metadata when it is loaded, before anybody could look at dependencies."""
    user, info, good, bad = laid
    blank, writes = bad.read(0, bad.sectors), bad.writes()
    pool = [line(0, good.sectors, "thin-pool", f"{bad.number} {good.number} 128 0 0")]
    fails(lambda: user.table_load(name=info["name"], targets=pool), "permission_denied")
    assert bad.read(0, bad.sectors) == blank and bad.writes() == writes


def test_links_are_what_they_lead_to(laid, client, folder):
    user, info, good, bad = laid
    link = folder / "link"
    for target, allowed in ((good, True), (bad, False)):
        link.unlink(missing_ok=True)
        link.symlink_to(target.path)
        targets = [line(0, 8, "linear", f"{link} 0")]
        if allowed:
            user.table_load(name=info["name"], targets=targets)
            client.table_clear(name=info["name"])
        else:
            fails(lambda lines=targets: user.table_load(name=info["name"], targets=lines), "permission_denied")


def test_a_link_that_moves_beside_the_load_leads_nowhere_else(laid, client, folder):
    """Whatever it led to when it was judged: no table stays that lies on the forbidden disk."""
    user, info, good, bad = laid
    link, stop = folder / "moving", folder / "moving.stop"
    inactive = ["DM_QUERY_INACTIVE_TABLE"]
    link.symlink_to(good.path)

    def move():
        target = 0
        while not stop.exists():
            fresh = folder / "moving.new"
            fresh.symlink_to((bad.path, good.path)[target])
            os.rename(fresh, link)
            target = 1 - target
        return ""

    seen, goes_on = {"loaded": 0, "refused": 0}, until_all()
    task = Task(move)
    try:
        while goes_on(seen):
            try:
                user.table_load(name=info["name"], targets=[line(0, 8, "linear", f"{link} 0")])
                seen["loaded"] += 1
            except RpcError as error:
                assert error.name == "permission_denied"
                seen["refused"] += 1
                assert state(client.device_status(name=info["name"])) == set(), error
            assert bad.device not in client.table_deps(name=info["name"], flags=inactive)["devices"]
            client.table_clear(name=info["name"])
    finally:
        stop.touch()
        assert task.end() == ""


# --- other rules ---

def test_other_rules_count_at_once(ruled, devices, folder):
    info = devices.make([line(0, 8, "zero")])
    served = ruled(nobody(["device_wait", "device_status"]))
    with Peer(served.socket, NOBODY, NOBODY) as client, Peer(served.socket, NOBODY, NOBODY) as waiter, \
            served.client() as root:
        waiting = waiter.start("device_wait", name=info["name"], event_nr=info["event_nr"])
        wait_until(lambda: root.calls_list()["calls"], "it waits")
        (folder / "rules.json").write_text(json.dumps({"rules": [ROOT]}), encoding="utf-8")
        os.kill(served.process.pid, signal.SIGHUP)
        fails(lambda: waiter.finish(waiting), "permission_denied")
        fails(lambda: client.device_status(name=info["name"]), "permission_denied")
        assert root.device_status(name=info["name"])
