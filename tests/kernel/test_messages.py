# SPDX-License-Identifier: Apache-2.0
"""Messages to targets: with output and without, refused, and never sent twice."""

import dm
import pytest
from calls import LIVE, fails, line, linear, state
from dmrpc import RpcError
from tasks import pattern, read, write

SECURE_DATA = 1 << 15


def test_a_pool_makes_and_deletes_thin_devices_by_message(client, devices, pool):
    name = pool.info["name"]
    reply = client.target_msg(name=name, message="create_thin 1")
    assert reply["output"] is None and "DM_DATA_OUT" not in reply["info"]["flags"]
    assert state(reply["info"]) == LIVE
    dm.assert_same(reply["info"])
    thin = devices.make([pool.thin_line(1, 1024)])
    write(thin["path"], 0, pattern(7))
    assert read(thin["path"], 0) == pattern(7)
    assert read(pool.thin["path"], 0) == bytes(4096)
    used = client.table_status(name=name)["targets"]
    assert used == dm.lines("status", pool.info["device"])
    assert used[0]["params"].split()[2] == f"1/{pool.blocks()}"

    client.device_remove(name=thin["name"])
    client.target_msg(name=name, message="delete 1")
    assert client.table_status(name=name)["targets"][0]["params"].split()[2] == f"0/{pool.blocks()}"
    # It is gone: the kernel now refuses a table that wants it.
    info = devices.create()
    fails(lambda: client.table_load(name=info["name"], targets=[pool.thin_line(1, 1024)]), "table_rejected")


def test_a_message_is_sent_once(client, pool, trace):
    trace.take(dm.TARGET_MSG)
    client.target_msg(name=pool.info["name"], message="create_thin 2")
    assert len(trace.take(dm.TARGET_MSG)) == 1
    fails(lambda: client.target_msg(name=pool.info["name"], message="create_thin 2"), "kernel_error",
          errno_name="EEXIST", ioctl="DM_TARGET_MSG", device=pool.info["device"], name=pool.info["name"])
    assert len(trace.take(dm.TARGET_MSG)) == 1


def test_messages_with_output_answer_what_dmsetup_is_answered(client, devices):
    info = devices.make([line(0, 1024, "zero")])

    def say(message, **params):
        reply = client.target_msg(device=info["device"], message=message, **params)
        assert ("DM_DATA_OUT" in reply["info"]["flags"]) == (reply["output"] is not None)
        return reply["output"]

    def say_by_dmsetup(message):
        return dm.text("message", *dm.by_number(info["device"]), "0", message)

    assert say("@stats_create - /4 kt") == "0"
    assert say_by_dmsetup("@stats_create - /1 kt") == "1\n"
    listed = say("@stats_list kt")
    assert listed.splitlines() == ["0: 0+1024 256 kt -", "1: 0+1024 1024 kt -"]
    assert listed == say_by_dmsetup("@stats_list kt")
    read(info["path"], 0, 16)
    printed = say("@stats_print 0")
    assert printed == say_by_dmsetup("@stats_print 0")
    assert [each.split()[0] for each in printed.splitlines()] == ["0+256", "256+256", "512+256", "768+256"]
    assert say("@stats_list nobody") == ""
    assert say("@stats_delete 0") is None
    assert say("@stats_delete 1") is None


def test_stats_can_be_listed_without_a_table(client, devices):
    info = devices.create()
    assert client.target_msg(name=info["name"], message="@stats_list")["output"] == ""


def test_a_message_goes_to_the_target_that_holds_the_sector(client, devices, disk):
    drive = disk()
    table = [linear(drive, 64), line(64, 64, "delay", f"{drive.number} 64 0")]
    info = devices.make(table)
    for sector in (0, 64):
        fails(lambda at=sector: client.target_msg(name=info["name"], sector=at, message="anything"), "kernel_error",
              errno_name="EINVAL", ioctl="DM_TARGET_MSG", device=info["device"])
    fails(lambda: client.target_msg(name=info["name"], sector=128, message="anything"), "kernel_error",
          errno_name="EINVAL")


def test_a_message_without_a_table_is_no_table(client, devices):
    for info in (devices.create(), devices.load([line(0, 8, "zero")])):
        fails(lambda name=info["name"]: client.target_msg(name=name, message="anything"), "no_table",
              device=info["device"])


@pytest.mark.parametrize("message", ["", "@stats_nothing_like_it", "two  words", "\\", "with\nlines", "é"])
def test_a_message_that_nobody_knows_is_refused(client, devices, message):
    info = devices.make([line(0, 8, "zero")])
    with pytest.raises(RpcError) as caught:
        client.target_msg(name=info["name"], message=message)
    assert caught.value.name == ("kernel_error" if message else "invalid_params")


def test_an_output_past_its_room_is_told_apart_from_a_failure(client, devices):
    info = devices.make([line(0, 4096, "zero")])
    # An area for each 8 sectors: more than 10 KiB of numbers.
    assert client.target_msg(name=info["name"], message="@stats_create - 8")["output"] == "0"
    whole = client.target_msg(name=info["name"], message="@stats_print 0")["output"]
    assert len(whole) > 10000 and len(whole.splitlines()) == 512
    data = fails(lambda: client.target_msg(name=info["name"], message="@stats_print 0", max_output=4096),
                 "reply_too_large", ioctl="DM_TARGET_MSG", device=info["device"])
    assert "carried out" in data["state"]
    assert client.target_msg(name=info["name"], message="@stats_print 0", max_output=65536)["output"] == whole


def test_secure_data_goes_with_a_message_that_holds_a_key(client, devices, trace):
    info = devices.make([line(0, 8, "zero")])
    trace.take(dm.TARGET_MSG)
    for message, flags in (("anything", ["DM_SECURE_DATA"]), ("key set 0123", []), ("anything", [])):
        fails(lambda text=message, more=flags: client.target_msg(name=info["name"], message=text, flags=more),
              "kernel_error", errno_name="EINVAL")
    assert [bool(flags & SECURE_DATA) for flags, _ in trace.take(dm.TARGET_MSG)] == [True, True, False]
