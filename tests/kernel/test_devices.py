# SPDX-License-Identifier: Apache-2.0
"""Devices come, get names, and go: create, rename, set uuid, list, remove, remove all, geometry."""

import os

import dm
import pytest
from calls import INACTIVE, LIVE, fails, line, linear, on, state
from tasks import geometry, opened, wait_until

PRIMARY_SOURCE = 0x0040 << 16  # libdm's flag that says: whoever manages this device did this


def entry_of(info):
    return {key: info[key] for key in ("name", "uuid", "device", "event_nr")}


# --- create ---

def test_create_makes_a_device_without_a_table(client, devices):
    info = devices.create(uuid="KT-uuid of a new device")
    dm.assert_same(info)
    assert info["flags"] == [] and info["target_count"] == 0 and info["open_count"] == 0
    assert info == client.device_status(uuid="KT-uuid of a new device")
    assert not os.path.exists(info["path"]), "the node comes with the first table"


def test_create_without_a_uuid_answers_null(devices):
    info = devices.create()
    assert info["uuid"] is None
    dm.assert_same(info)


def test_create_passes_readonly_on(devices, trace):
    info = devices.create(flags=["DM_READONLY"])
    assert trace.take(dm.DEV_CREATE)[0][0] & 1
    dm.assert_same(info)
    # It is the table that makes a device read-only.
    assert info["flags"] == []


# 255 is the last minor that an old dev_t holds, 2^20 - 1 the last there is.
@pytest.mark.parametrize("minor", [77, 255, 256, 4660, 1048575])
def test_a_persistent_minor_is_taken(client, devices, minor):
    info = devices.create(minor=minor)
    assert info["device"] == {"major": dm.majors()[0], "minor": minor}
    dm.assert_same(info)
    assert (info["device"]["major"], minor) in dm.listed()
    assert client.device_status(device=info["device"]) == info

    client.table_load(device=info["device"], targets=[line(0, 8, "zero")])
    client.device_resume(device=info["device"])
    assert os.stat(info["path"]).st_rdev == os.makedev(info["device"]["major"], minor)
    with opened(info["path"], os.O_RDONLY) as fd:
        assert os.read(fd, 4096) == bytes(4096)


def test_the_minor_that_a_kernel_picks_is_the_one_that_is_answered(client, devices):
    for _ in range(3):
        info = devices.create()
        assert (info["device"]["major"], info["device"]["minor"]) in dm.listed()


def test_a_taken_name_or_uuid_is_device_exists(client, devices):
    info = devices.create(uuid="KT-taken")
    before = dm.listed()
    for params in ({"name": info["name"]}, {"name": devices.name(), "uuid": "KT-taken"}):
        fails(lambda taken=params: client.device_create(**taken), "device_exists", errno_name="EBUSY",
              ioctl="DM_DEV_CREATE", name=params["name"])
    assert dm.listed() == before


def test_a_taken_minor_is_device_exists_too(client, devices):
    devices.create(minor=300)
    before = dm.listed()
    # The kernel itself has no errno for it that would tell.
    fails(lambda: client.device_create(name=devices.name(), flags=["DM_PERSISTENT_DEV"], minor=300),
          "device_exists", errno_name="ENXIO", ioctl="DM_DEV_CREATE", name=devices.name())
    assert dm.listed() == before


# --- find ---

def test_a_device_is_found_by_name_by_uuid_and_by_number(client, devices):
    info = devices.make([line(0, 8, "zero")], uuid="KT-found")
    now = client.device_status(name=info["name"])
    dm.assert_same(now)
    assert client.device_status(uuid="KT-found") == now
    assert client.device_status(device=info["device"]) == now


@pytest.mark.parametrize("ref", [{"name": "kt-nobody"}, {"uuid": "KT-nobody"}, {"device": {"major": 4000, "minor": 9}}],
                         ids=lambda ref: next(iter(ref)))
def test_what_is_not_there_is_device_not_found_for_every_call(client, ref):
    table = [line(0, 8, "zero")]
    for method, ioctl, params in (
            ("device_status", "DM_DEV_STATUS", {}),
            ("device_remove", "DM_DEV_REMOVE", {}),
            ("device_resume", "DM_DEV_SUSPEND", {}),
            ("device_suspend", None, {"flags": ["DM_SUSPEND"]}),
            ("device_wait", None, {"event_nr": 0}),
            ("device_set_geometry", "DM_DEV_SET_GEOMETRY", {"cylinders": 1, "heads": 1, "sectors": 1, "start": 0}),
            ("table_load", "DM_TABLE_LOAD", {"targets": table}),
            ("table_swap", "DM_TABLE_STATUS", {"targets": table}),
            ("table_clear", "DM_TABLE_CLEAR", {}),
            ("table_status", "DM_TABLE_STATUS", {}),
            ("table_deps", "DM_TABLE_DEPS", {}),
            ("target_msg", "DM_TARGET_MSG", {"message": "@stats_list"}),
    ):
        data = fails(lambda call=method, more=params: client.call(call, **ref, **more), "device_not_found",
                     errno_name="ENXIO")
        assert ioctl in (None, data["ioctl"]), method
        assert {key: data[key] for key in ref if key != "uuid"} == {key: ref[key] for key in ref if key != "uuid"}
    assert "kt-nobody" not in dm.text("ls")


def test_renaming_what_is_not_there_is_device_not_found(client):
    for call in (lambda: client.device_rename(name="kt-nobody", new_name="kt-somebody"),
                 lambda: client.device_set_uuid(name="kt-nobody", uuid="KT-u")):
        fails(call, "device_not_found", errno_name="ENXIO", ioctl="DM_DEV_RENAME", name="kt-nobody")


# --- rename, set uuid ---

def test_rename_changes_the_name_and_nothing_else(client, devices, uevents):
    info = devices.make([line(0, 8, "zero")], uuid="KT-renamed")
    uevents.take(info)
    with opened(info["path"], os.O_RDONLY):
        renamed = client.device_rename(name=info["name"], new_name="kt-new-name")
        dm.assert_same(renamed)
    assert renamed["name"] == "kt-new-name" and renamed["uuid"] == "KT-renamed"
    assert renamed["device"] == info["device"] and renamed["open_count"] == 1
    assert renamed["event_nr"] == info["event_nr"] + 1
    assert dm.sysfs(info, "dm", "name") == "kt-new-name"
    fails(lambda: client.device_status(name=info["name"]), "device_not_found")

    assert "DM_UEVENT_GENERATED" in renamed["flags"]
    (action, properties), = uevents.take(info)
    assert action == "change" and properties["DM_COOKIE"] == str(PRIMARY_SOURCE)


def test_a_rename_to_a_taken_name_changes_nothing(client, devices):
    one, two = devices.create(), devices.create()
    before = dm.listed()
    fails(lambda: client.device_rename(name=one["name"], new_name=two["name"]), "device_exists", errno_name="EBUSY",
          ioctl="DM_DEV_RENAME", name=one["name"], device=one["device"])
    assert dm.listed() == before


def test_a_uuid_can_be_set_once_only(client, devices):
    info = devices.make([line(0, 8, "zero")])
    now = client.device_set_uuid(name=info["name"], uuid="KT-late")
    dm.assert_same(now)
    assert now["uuid"] == "KT-late" and now["event_nr"] == info["event_nr"] + 1
    assert "DM_UEVENT_GENERATED" in now["flags"]
    assert dm.sysfs(info, "dm", "uuid") == "KT-late"
    fails(lambda: client.device_set_uuid(name=info["name"], uuid="KT-later"), "kernel_error", errno_name="EINVAL",
          ioctl="DM_DEV_RENAME", device=info["device"])
    # Its own is taken, too.
    fails(lambda: client.device_set_uuid(name=info["name"], uuid="KT-late"), "device_exists", errno_name="EBUSY",
          ioctl="DM_DEV_RENAME", device=info["device"])
    assert dm.field(info["device"], "uuid") == "KT-late"


def test_a_uuid_that_another_device_has_is_device_exists(client, devices):
    devices.create(uuid="KT-first")
    info = devices.create()
    fails(lambda: client.device_set_uuid(name=info["name"], uuid="KT-first"), "device_exists", errno_name="EBUSY",
          ioctl="DM_DEV_RENAME", device=info["device"])
    assert dm.field(info["device"], "uuid") == ""


# --- list ---

def test_list_devices_shows_what_dmsetup_shows(client, devices):
    infos = [devices.create(uuid=f"KT-{number}") for number in range(3)] + [devices.create(), devices.create()]
    entries = client.list_devices()["devices"]
    ours = [entry for entry in entries if entry["name"].startswith(devices.prefix)]
    assert sorted(ours, key=str) == sorted(map(entry_of, infos), key=str)
    assert {(entry["device"]["major"], entry["device"]["minor"]): entry["name"].encode() for entry in entries} \
        == dm.listed_by_dmsetup()


def test_list_devices_shows_event_numbers(client, devices):
    info = devices.make([line(0, 8, "zero")])
    now = client.device_rename(name=info["name"], new_name="kt-counted")
    (entry,) = client.list_devices(name_prefix="kt-counted")["devices"]
    assert entry == entry_of(now) and entry["event_nr"] == int(dm.field(info["device"], "events"))


def test_prefixes_choose_devices(client, devices):
    for name, uuid in (("kt-a-one", "KTA-1"), ("kt-a-two", None), ("kt-b-one", "KTA-2"), ("kt-b-two", "KTB-1")):
        devices.create(name, **({"uuid": uuid} if uuid else {}))

    def names(**params):
        return sorted(entry["name"] for entry in client.list_devices(**params)["devices"])

    assert names(name_prefix="kt-a-") == ["kt-a-one", "kt-a-two"]
    assert names(uuid_prefix="KTA-") == ["kt-a-one", "kt-b-one"]
    assert names(name_prefix="kt-b-", uuid_prefix="KTA-") == ["kt-b-one"]
    assert names(name_prefix="kt-a-one") == ["kt-a-one"]
    assert names(name_prefix="kt-a-one-and-more") == []
    assert names(uuid_prefix="nobody's") == []


@pytest.mark.usefixtures("alone")
def test_no_devices_are_an_empty_list(client):
    assert client.list_devices() == {"devices": []}
    assert dm.text("ls").strip() == "No devices found"


# --- remove ---

def test_remove_takes_the_device_away(client, devices, uevents):
    info = devices.make([line(0, 8, "zero")])
    uevents.take(info)
    removal = client.device_remove(name=info["name"])
    assert removal == {"name": info["name"], "deferred": False, "tries": 1, "flags": ["DM_UEVENT_GENERATED"]}
    assert (info["device"]["major"], info["device"]["minor"]) not in dm.listed()
    assert not os.path.exists(info["path"])
    cookies = [properties.get("DM_COOKIE") for action, properties in uevents.take(info) if action == "remove"]
    assert str(PRIMARY_SOURCE) in cookies


def test_an_open_device_is_busy_and_stays(client, devices):
    info = devices.make([line(0, 8, "zero")])
    with opened(info["path"], os.O_RDONLY):
        fails(lambda: client.device_remove(name=info["name"]), "device_busy", errno_name="EBUSY",
              ioctl="DM_DEV_REMOVE", device=info["device"], name=info["name"])
        now = client.device_status(name=info["name"])
        assert now["open_count"] == 1
        dm.assert_same(now)


def test_a_device_that_another_one_uses_is_busy(client, devices):
    lower = devices.make([line(0, 8, "zero")])
    upper = devices.make([on(lower, 8)])
    fails(lambda: client.device_remove(device=lower["device"]), "device_busy", errno_name="EBUSY")
    assert client.device_status(name=lower["name"])["open_count"] == 1
    client.device_remove(name=upper["name"])
    assert client.device_status(name=lower["name"])["open_count"] == 0


def test_a_deferred_removal_waits_for_the_last_close(client, devices):
    info = devices.make([line(0, 8, "zero")])
    number = (info["device"]["major"], info["device"]["minor"])
    with opened(info["path"], os.O_RDONLY):
        removal = client.device_remove(name=info["name"], flags=["DM_DEFERRED_REMOVE"])
        assert removal == {"name": info["name"], "deferred": True, "tries": 1, "flags": ["DM_DEFERRED_REMOVE"]}
        assert "DM_DEFERRED_REMOVE" in client.device_status(name=info["name"])["flags"]
        assert "DEFERRED REMOVE" in dm.text("info", info["name"])
    wait_until(lambda: number not in dm.listed(), "the device goes at its last close")
    fails(lambda: client.device_status(name=info["name"]), "device_not_found")


def test_a_deferred_removal_of_a_device_that_nobody_has_open_is_done_at_once(client, devices):
    info = devices.make([line(0, 8, "zero")])
    removal = client.device_remove(name=info["name"], flags=["DM_DEFERRED_REMOVE"])
    assert removal["deferred"] is False
    assert (info["device"]["major"], info["device"]["minor"]) not in dm.listed()


def test_a_deferred_removal_can_be_taken_back(client, devices):
    info = devices.make([line(0, 8, "zero")])
    with opened(info["path"], os.O_RDONLY):
        client.device_remove(name=info["name"], flags=["DM_DEFERRED_REMOVE"])
        reply = client.target_msg(name=info["name"], message="@cancel_deferred_remove")
        assert "DM_DEFERRED_REMOVE" not in reply["info"]["flags"]
    dm.assert_same(client.device_status(name=info["name"]))


# --- remove all ---

def names_of(removal, key):
    return {entry["name"] for entry in removal[key]}


@pytest.mark.usefixtures("alone")
def test_remove_all_without_confirm_only_tells(client, devices):
    free, held = devices.create(), devices.make([line(0, 8, "zero")])
    with opened(held["path"], os.O_RDONLY):
        before = dm.listed()
        forecast = client.remove_all()
        assert forecast["confirmed"] is False
        assert forecast["removed"] == [entry_of(free)] and forecast["remaining"] == [entry_of(held)]
        assert dm.listed() == before


@pytest.mark.usefixtures("alone")
def test_remove_all_takes_what_nobody_has_open(client, devices):
    free, held = devices.create(), devices.make([line(0, 8, "zero")])
    lower = devices.make([line(0, 8, "zero")])
    upper = devices.make([on(lower, 8)])
    with opened(held["path"], os.O_RDONLY):
        removal = client.remove_all(confirm=True)
        assert removal["confirmed"] is True
        assert names_of(removal, "removed") == {free["name"], lower["name"], upper["name"]}
        assert removal["remaining"] == [entry_of(held)]
        assert set(dm.listed().values()) == {held["name"].encode()}


@pytest.mark.usefixtures("alone")
def test_remove_all_deferred_marks_what_is_open(client, devices):
    free, held = devices.create(), devices.make([line(0, 8, "zero")])
    with opened(held["path"], os.O_RDONLY):
        removal = client.remove_all(confirm=True, flags=["DM_DEFERRED_REMOVE"])
        assert names_of(removal, "removed") == {free["name"]}
        assert names_of(removal, "remaining") == {held["name"]}
        assert "DM_DEFERRED_REMOVE" in client.device_status(name=held["name"])["flags"]
    wait_until(lambda: not dm.listed(), "the device goes at its last close")


# --- geometry ---

GEOMETRY = {"cylinders": 2080, "heads": 16, "sectors": 63, "start": 2048}


def test_the_geometry_that_was_set_is_what_the_kernel_answers(client, devices):
    info = devices.make([line(0, 8192, "zero")])
    result = client.device_set_geometry(name=info["name"], **GEOMETRY)
    assert result["name"] == info["name"]
    assert geometry(info["path"]) == (16, 63, 2080, 2048)
    assert result == client.device_status(name=info["name"])

    dm.dmsetup("setgeometry", info["name"], "100", "8", "32", "64")
    assert geometry(info["path"]) == (8, 32, 100, 64)


def test_a_table_of_another_size_takes_the_geometry_away(client, devices):
    info = devices.make([line(0, 8192, "zero")])
    client.device_set_geometry(name=info["name"], **GEOMETRY)
    client.table_load(name=info["name"], targets=[line(0, 4096, "zero")])
    client.device_resume(name=info["name"])
    assert geometry(info["path"]) == (0, 0, 0, 0)


def test_a_geometry_is_kept_without_a_table_too(client, devices):
    info = devices.load([line(0, 8192, "zero")])
    result = client.device_set_geometry(name=info["name"], **GEOMETRY)
    assert state(result) == INACTIVE
    assert geometry(info["path"]) == (16, 63, 2080, 2048)


def test_a_start_outside_of_the_geometry_is_refused(client, devices):
    info = devices.make([line(0, 8192, "zero")])
    fails(lambda: client.device_set_geometry(name=info["name"], cylinders=1, heads=1, sectors=8, start=9),
          "kernel_error", errno_name="EINVAL", ioctl="DM_DEV_SET_GEOMETRY", device=info["device"])
    assert geometry(info["path"]) == (0, 0, 0, 0)
    assert state(client.device_status(name=info["name"])) == LIVE


# --- names and uuids ---

NAMES = {
    "spaces": "kt two  spaces ",
    "quotes": "kt 'single' \"double\" `back`",
    "backslash": "kt\\x20\\\\",
    "newline": "kt\nline\ttab",
    "UTF-8": "kt-Größe-体积-\U0001f4be",
    "longest": "n" * 127,
    "longest in UTF-8": "é" * 63 + "n",
    "a dot": "...",
    "a percent sign": "kt-100%s%n",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_is_taken_as_it_is(client, devices, name):
    info = devices.make([line(0, 8, "zero")], name)
    assert info["name"] == name and "name_exact" not in info
    assert dm.field(info["device"], "name") == name
    assert dm.sysfs(info, "dm", "name") == name
    assert name in [entry["name"] for entry in client.list_devices()["devices"]]
    assert [entry["name"] for entry in client.list_devices(name_prefix=name)["devices"]] == [name]
    assert client.device_status(name=name)["device"] == info["device"]
    assert client.device_rename(name=name, new_name="kt-plain")["name"] == "kt-plain"
    assert client.device_rename(name="kt-plain", new_name=name)["name"] == name
    assert client.device_remove(name=name)["name"] == name


UUIDS = {
    "longest": "u" * 128,
    "longest in UTF-8": "é" * 64,
    "spaces and marks": "KT 'u' \"u\" \\ /\n%s",
}


@pytest.mark.parametrize("late", [False, True], ids=["at its creation", "later"])
@pytest.mark.parametrize("uuid", UUIDS.values(), ids=UUIDS.keys())
def test_a_uuid_is_taken_as_it_is(client, devices, uuid, late):
    if late:
        info = client.device_set_uuid(name=devices.create()["name"], uuid=uuid)
    else:
        info = devices.create(uuid=uuid)
    assert info["uuid"] == uuid
    assert dm.field(info["device"], "uuid") == uuid
    assert client.device_status(uuid=uuid)["device"] == info["device"]
    assert [entry["uuid"] for entry in client.list_devices(uuid_prefix=uuid)["devices"]] == [uuid]


def test_a_name_or_uuid_that_is_too_long_is_refused_not_cut(client):
    for call in (lambda: client.device_create(name="n" * 128), lambda: client.device_create(name="é" * 64),
                 lambda: client.device_create(name="kt-n", uuid="u" * 129)):
        fails(call, "invalid_params")
    assert b"kt-n" not in dm.listed().values()


@pytest.mark.parametrize("name", ["control", ".", "..", "with/slash"])
def test_names_that_belong_to_the_folder_are_refused(client, devices, name):
    info = devices.create()
    fails(lambda: client.device_create(name=name), "invalid_params", path="/name")
    fails(lambda: client.device_rename(name=info["name"], new_name=name), "invalid_params", path="/new_name")
    assert name.encode() not in dm.listed().values()


def test_a_device_whose_name_is_not_utf8_is_shown_escaped_and_reached_by_its_number(client, devices):
    raw = b"kt-\xff\\\xc3\xa9\xfe"
    device = dm.create_raw(raw, b"KT-\x80")
    devices.made.append(device)
    assert dm.listed_by_dmsetup()[device["major"], device["minor"]] == raw

    info = client.device_status(device=device)
    assert info["name"] == "kt-\\xff\\x5cé\\xfe" and info["uuid"] == "KT-\\x80" and info["name_exact"] is False
    (entry,) = [each for each in client.list_devices()["devices"] if each["device"] == device]
    assert (entry["name"], entry["uuid"], entry["name_exact"]) == (info["name"], info["uuid"], False)

    client.table_load(device=device, targets=[line(0, 8, "zero")])
    assert client.device_resume(device=device)["name"] == info["name"]
    assert client.table_status(device=device)["targets"] == dm.lines("status", device)
    removal = client.device_remove(device=device)
    assert removal["name"] == info["name"] and removal["name_exact"] is False
    assert raw not in dm.listed().values()


def test_a_uuid_that_is_not_utf8_is_shown_escaped_beside_an_exact_name(client, devices):
    device = dm.create_raw(b"kt-exact", b"\xc3\x28")
    devices.made.append(device)
    info = client.device_status(name="kt-exact")
    assert info["name"] == "kt-exact" and info["uuid"] == "\\xc3(" and info["name_exact"] is False
    (entry,) = client.list_devices(name_prefix="kt-exact")["devices"]
    assert entry["uuid"] == "\\xc3(" and entry["name_exact"] is False


def test_disks_of_ours_hold_still(client, devices, disk):
    """A loop device's number as a target's parameter works by number and by path."""
    drive = disk()
    for params in (f"{drive.number} 8", f"{drive.path} 8"):
        info = devices.make([line(0, 8, "linear", params)])
        assert client.table_status(name=info["name"], flags=["DM_STATUS_TABLE"])["targets"] == [linear(drive, 8, 8)]
