# SPDX-License-Identifier: Apache-2.0
"""Thousands of devices, and replies that pass the server's limit."""

import contextlib

import dm
import pytest
from calls import Many, fails, line
from dmrpc import RpcError

DEVICES = 2000
LANES = 8
SMALL = 4096  # the least that --reply-bytes takes


@contextlib.contextmanager
def lanes(daemon):
    """Connections that share one long row of calls; each has a few on their way."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Many(daemon.socket, timeout=120)) for _ in range(LANES)]

        def run(method, rows):
            results = []
            for first in range(0, len(rows), LANES * 20):
                part = rows[first:first + LANES * 20]
                order = [(lane := connections[number % LANES], lane.start(method, **params))
                         for number, params in enumerate(part)]
                replies = {lane: lane.take_all() for lane in connections}
                results += [replies[lane][ident] for lane, ident in order]
            return results

        yield run


@pytest.fixture
def crowd(daemon, watch):  # pylint: disable=unused-argument
    """Many devices, long names and short ones, with uuids and without."""
    rows = []
    for number in range(DEVICES):
        uuid = {"uuid": f"KT-CROWD-{number}" + "u" * (number % 90)} if number % 3 else {}
        rows.append({"name": f"kt-crowd-{number}" + "-long" * (number % 20), **uuid})
    with lanes(daemon) as run:
        infos = run("device_create", rows)
        yield infos
        removals = run("device_remove", [{"device": info["device"]} for info in infos])
    assert [removal["name"] for removal in removals] == [info["name"] for info in infos]


def test_thousands_of_devices_are_listed_whole(client, crowd):
    entries = client.list_devices(name_prefix="kt-crowd-")["devices"]
    wanted = [{key: info[key] for key in ("name", "uuid", "device", "event_nr")} for info in crowd]
    assert sorted(entries, key=str) == sorted(wanted, key=str)
    everything = client.list_devices()["devices"]
    assert {(entry["device"]["major"], entry["device"]["minor"]): entry["name"].encode() for entry in everything} \
        == dm.listed_by_dmsetup()

    some = client.list_devices(name_prefix="kt-crowd-19")["devices"]
    assert sorted(entry["name"] for entry in some) == sorted(
        info["name"] for info in crowd if info["name"].startswith("kt-crowd-19"))
    last = crowd[-1]
    assert client.device_status(uuid=last["uuid"]) == client.device_status(name=last["name"]) == last
    dm.assert_same(last)
    forecast = client.remove_all()
    assert len(forecast["removed"]) >= DEVICES and forecast["confirmed"] is False


# --- replies past the limit ---

@pytest.fixture
def small(daemons, watch):  # pylint: disable=unused-argument
    with daemons("--reply-bytes", SMALL) as served, served.client() as connection:
        yield connection


# A name that takes six times as much room in JSON as in the kernel's list, and one that takes as much.
UNPRINTABLE, PLAIN = "kt-" + "\x01" * 60, "kt-" + "wide" * 30


@pytest.mark.parametrize("name", [UNPRINTABLE, PLAIN], ids=["in JSON", "in the kernel's list"])
def test_a_list_past_the_limit_is_reply_too_large_and_a_prefix_helps(small, devices, name):
    for number in range(30):
        devices.create(f"{name}{number:02}")
    fails(small.list_devices, "reply_too_large", limit=SMALL)
    assert len(small.list_devices(name_prefix=f"{name}11")["devices"]) == 1
    fails(small.remove_all, "reply_too_large", limit=SMALL)
    assert small.version()["backend"] == "kernel", "the connection goes on"


@pytest.mark.usefixtures("alone")
def test_a_removal_of_all_whose_reply_is_too_large_was_carried_out_and_says_so(small, devices):
    for number in range(30):
        devices.create(f"{UNPRINTABLE}{number:02}")
    with pytest.raises(RpcError) as caught:
        small.remove_all(confirm=True)
    assert caught.value.name == "reply_too_large" and "was carried out" in caught.value.message
    assert not dm.listed()


@pytest.mark.usefixtures("alone")
def test_a_removal_of_all_that_cannot_list_them_removes_nothing(small, devices):
    for number in range(30):
        devices.create(f"{PLAIN}{number:02}")
    before = dm.listed()
    fails(lambda: small.remove_all(confirm=True), "reply_too_large", ioctl="DM_LIST_DEVICES")
    assert dm.listed() == before


def test_lines_past_the_limit_are_reply_too_large(small, devices):
    info = devices.make([line(8 * number, 8, "zero") for number in range(200)])
    fails(lambda: small.table_status(name=info["name"]), "reply_too_large", limit=SMALL)
    fails(lambda: small.device_wait(name=info["name"], event_nr=info["event_nr"] + 1), "reply_too_large", limit=SMALL)
    assert small.device_status(name=info["name"])["target_count"] == 200


def test_the_document_is_past_the_smallest_limit(small):
    fails(lambda: small.call("rpc.discover"), "reply_too_large", limit=SMALL)


def test_deps_past_the_limit_are_reply_too_large(small, client, devices):
    # Large minors take more room.
    lower = [devices.make([line(0, 8, "zero")], minor=1000000 + number)
             for number in range(140)]
    top = devices.make([line(8 * number, 8, "linear", f"{info['device']['major']}:{info['device']['minor']} 0")
                        for number, info in enumerate(lower)])
    assert len(client.table_deps(name=top["name"])["devices"]) == len(lower)
    fails(lambda: small.table_deps(name=top["name"]), "reply_too_large", limit=SMALL)


def test_an_output_past_the_limit_is_reply_too_large_and_the_message_was_carried_out(small, devices):
    info = devices.make([line(0, 4096, "zero")])
    small.target_msg(name=info["name"], message="@stats_create - 8")
    fails(lambda: small.target_msg(name=info["name"], message="@stats_print_clear 0", max_output=1 << 20),
          "reply_too_large", limit=SMALL)
    # Asked for less of it, the same region is still there.
    assert small.target_msg(name=info["name"], message="@stats_print 0 0 4")["output"].count("\n") == 4
