# SPDX-License-Identifier: Apache-2.0
"""Thousands of devices, and replies that pass the server's limit."""

import dm
import pytest
from calls import Many, fails, line

DEVICES = 2000
SMALL = 4096  # the least that --reply-bytes takes


@pytest.fixture
def crowd(client, daemon, watch):  # pylint: disable=unused-argument
    """Many devices, long names and short ones, with uuids and without."""
    infos = []
    with Many(daemon.socket, timeout=120) as many:
        for first in range(0, DEVICES, 100):
            for number in range(first, first + 100):
                name = f"kt-crowd-{number}" + "-long" * (number % 20)
                uuid = {"uuid": f"KT-CROWD-{number}" + "u" * (number % 90)} if number % 3 else {}
                many.start("device_create", name=name, **uuid)
            infos += many.take_all().values()
        yield infos
        for info in infos:
            many.start("device_remove", device=info["device"])
            if len(many.methods) == 100:
                many.take_all()
        many.take_all()


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


def test_a_list_past_the_limit_is_reply_too_large_and_a_prefix_helps(small, devices, alone):  # pylint: disable=unused-argument
    for number in range(12):
        devices.create(f"kt-{'wide' * 30}-{number:02}", uuid=f"KT-{'wide' * 30}-{number}")
    fails(small.list_devices, "reply_too_large", limit=SMALL)
    assert len(small.list_devices(name_prefix=f"kt-{'wide' * 30}-1")["devices"]) == 2
    fails(small.remove_all, "reply_too_large")
    assert len(small.version()) == 2, "the connection goes on"


def test_a_removal_of_all_whose_reply_is_too_large_was_carried_out(small, devices, alone):  # pylint: disable=unused-argument
    for number in range(12):
        devices.create(f"kt-{'wide' * 30}-{number:02}", uuid=f"KT-{'wide' * 30}-{number}")
    fails(lambda: small.remove_all(confirm=True), "reply_too_large", limit=SMALL)
    assert not dm.listed()


def test_lines_past_the_limit_are_reply_too_large(small, devices):
    info = devices.make([line(8 * number, 8, "zero") for number in range(200)])
    fails(lambda: small.table_status(name=info["name"]), "reply_too_large", limit=SMALL)
    fails(lambda: small.device_wait(name=info["name"], event_nr=info["event_nr"] + 1), "reply_too_large", limit=SMALL)
    assert small.device_status(name=info["name"])["target_count"] == 200


def test_deps_past_the_limit_are_reply_too_large(small, client, devices):
    # A hundred and eighty devices, one line on each.
    lower = [devices.make([line(0, 8, "zero")]) for _ in range(180)]
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
