# SPDX-License-Identifier: Apache-2.0
"""Who may do what with which devices: real other users and groups, each row by a call and by access_explain."""

import contextlib
import errno
import grp
import json
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import tempfile
import time

import pytest

import dmrpc
from dmrpc import RpcError
from peers import Peer, PeerListener, connect

TABLE = ["DM_STATUS_TABLE", "DM_QUERY_INACTIVE_TABLE"]
ZERO = [{"start": 0, "length": 8, "type": "zero", "params": ""}]

PEERS = {  # uid, primary group, supplementary groups
    "root": (0, 0, []),
    "app": (1000, 1000, []),
    "app+vol": (1000, 1000, [2000]),
    "vol": (1001, 2000, []),
    "vol by supplement": (1002, 1002, [7, 2000, 70000]),
    "watcher": (1003, 3000, []),
    "admin": (1004, 1004, []),
    "single": (1005, 1005, [8]),
    "nobody": (65534, 65534, []),
    "nobody in many": (65534, 65534, list(range(5000, 5100))),
}

RULES = [
    {"name": "root", "who": [{"uid": 0}], "what": ["read", "write", "admin"], "show_keys": True},
    {"name": "app", "who": [{"uid": 1000}], "what": ["read", "write"], "devices": [{"name": "app-*"}]},
    {"name": "vol", "who": [{"gid": 2000}],
     "what": ["device_status", "table_clear", "device_set_geometry", "device_set_uuid", "device_rename", "device_wait"],
     "devices": [{"uuid": "VOL-*"}]},
    {"name": "watcher", "who": [{"gid": 3000}], "what": ["read"]},
    {"name": "admin", "who": [{"uid": 1004}], "what": ["admin"]},
    {"name": "single", "who": [{"uid": 1005}, {"gid": 9999}],
     "what": ["device_create", "device_rename", "device_set_uuid", "table_status", "table_load"],
     "devices": [{"name": "tmp-?"}, {"uuid": "TMP-*"}], "under": ["/dev/sim-a*", "259:7"]},
    {"name": "all", "who": [{"any": True}], "what": ["version", "access_explain"]},
]

DEVICES = {  # name: uuid
    "app-1": "X-1", "app-3": "VOL-3", "data-2": "VOL-2", "other-4": "Z-4", "tmp-1": None, "tmp-long": "TMP-2",
}

OK, NO, GONE, TAKEN = "ok", "permission_denied", "device_not_found", "device_exists"


def on(name):
    return {"name": name}


def by(uuid):
    return {"uuid": uuid}


GEOMETRY = {"cylinders": 1, "heads": 1, "sectors": 1, "start": 0}

# who, method, params, what comes of it, and where it is allowed the rule and what the kernel is told.
ROWS = [
    # root: all, and by whatever it says
    ("root", "device_status", on("app-1"), OK, "root", "as asked"),
    ("root", "device_status", by("Z-4"), OK, "root", "as asked"),
    ("root", "device_status", {"number of": "data-2"}, OK, "root", "as asked"),
    ("root", "device_status", on("missing"), GONE, "root", "as asked"),
    ("root", "table_clear", on("other-4"), OK, "root", "as asked"),
    ("root", "device_rename", {"name": "other-4", "new_name": "app-1"}, TAKEN, "root", "as asked"),
    ("root", "device_set_uuid", {"name": "tmp-1", "uuid": "X-1"}, TAKEN, "root", "as asked"),
    ("root", "device_create", {"name": "app-1"}, TAKEN, "root", "as asked"),
    ("root", "remove_all", {}, OK, "root", None),
    ("root", "version", {}, OK, "root", None),
    ("root", "simulate_event", on("app-1"), OK, "root", "as asked"),
    # a user by a name glob
    ("app", "device_status", on("app-1"), OK, "app", "name"),
    ("app", "device_status", by("X-1"), OK, "app", "name"),
    ("app", "device_status", {"number of": "app-1"}, OK, "app", "name"),
    ("app", "device_status", on("app-3"), OK, "app", "name"),
    ("app", "device_status", on("app-missing"), GONE, "app", "name"),
    ("app", "device_status", on("data-2"), NO),
    ("app", "device_status", by("VOL-2"), NO),
    ("app", "device_status", {"number of": "data-2"}, NO),
    ("app", "device_status", on("missing"), NO),
    ("app", "device_status", by("missing"), NO),
    ("app", "device_status", {"device": {"major": 254, "minor": 4000}}, NO),
    ("app", "table_status", on("app-1"), OK, "app", "name"),
    ("app", "table_status", on("other-4"), NO),
    ("app", "table_deps", on("app-1"), OK, "app", "name"),
    ("app", "table_deps", on("tmp-1"), NO),
    ("app", "table_clear", on("app-1"), OK, "app", "name"),
    ("app", "table_clear", by("X-1"), OK, "app", "name"),
    ("app", "table_clear", on("other-4"), NO),
    ("app", "table_clear", by("Z-4"), NO),
    ("app", "device_resume", on("app-1"), OK, "app", "name"),
    ("app", "device_resume", on("data-2"), NO),
    ("app", "device_suspend", on("other-4"), NO),
    ("app", "device_remove", on("app-missing"), GONE, "app", "name"),
    ("app", "device_remove", on("other-4"), NO),
    ("app", "device_remove", on("tmp-1"), NO),
    ("app", "table_load", {"name": "app-1", "targets": ZERO}, OK, "app", "name"),
    ("app", "table_load", {"name": "data-2", "targets": ZERO}, NO),
    ("app", "table_swap", {"name": "other-4", "targets": ZERO}, NO),
    ("app", "target_msg", {"name": "other-4", "message": "@stats_list"}, NO),
    ("app", "device_rename", {"name": "app-1", "new_name": "app-3"}, TAKEN, "app", "name"),
    ("app", "device_rename", {"name": "app-1", "new_name": "other-4"}, NO),
    ("app", "device_rename", {"name": "app-1", "new_name": "free"}, NO),
    ("app", "device_rename", {"name": "other-4", "new_name": "app-9"}, NO),
    ("app", "device_rename", {"name": "missing", "new_name": "app-9"}, NO),
    ("app", "device_rename", {"name": "app-missing", "new_name": "app-9"}, GONE, "app", "name"),
    ("app", "device_set_uuid", {"name": "app-1", "uuid": "X-9"}, NO),
    ("app", "device_set_uuid", {"name": "other-4", "uuid": "X-9"}, NO),
    ("app", "device_create", {"name": "app-1"}, TAKEN, "app", "name"),
    ("app", "device_create", {"name": "app-9", "uuid": "X-9"}, NO),
    ("app", "device_create", {"name": "other-9"}, NO),
    ("app", "device_create", {"name": "other-4"}, NO),
    ("app", "remove_all", {}, NO),
    ("app", "version", {}, OK, "app", None),
    ("app", "list_devices", {}, OK, "app", None),
    ("app", "list_versions", {}, OK, "app", None),
    ("app", "server_info", {}, OK, "app", None),
    ("app", "calls_list", {}, OK, "app", None),
    ("app", "rpc.discover", {}, OK, "app", None),
    ("app", "simulate_event", on("app-1"), OK, "app", "name"),
    ("app", "simulate_event", on("data-2"), NO),
    # the same user, in a group that has rights to uuids as well
    ("app+vol", "device_status", on("app-3"), OK, "app", "name"),
    ("app+vol", "device_status", by("VOL-3"), OK, "vol", "uuid"),
    ("app+vol", "device_status", on("data-2"), OK, "vol", "uuid"),
    ("app+vol", "table_clear", {"number of": "app-3"}, OK, "app", "name"),
    ("app+vol", "table_status", on("data-2"), NO),
    ("app+vol", "device_set_uuid", {"name": "app-1", "uuid": "VOL-2"}, TAKEN, "app", "name"),
    ("app+vol", "device_set_uuid", {"name": "data-2", "uuid": "VOL-9"}, NO),
    ("app+vol", "device_create", {"name": "app-1", "uuid": "VOL-9"}, NO),
    ("app+vol", "device_rename", {"name": "data-2", "new_name": "app-9"}, NO),
    # by the primary group, and a uuid glob
    ("vol", "device_status", on("data-2"), OK, "vol", "uuid"),
    ("vol", "device_status", by("VOL-2"), OK, "vol", "uuid"),
    ("vol", "device_status", {"number of": "data-2"}, OK, "vol", "uuid"),
    ("vol", "device_status", by("VOL-missing"), GONE, "vol", "uuid"),
    ("vol", "device_status", on("app-3"), OK, "vol", "uuid"),
    ("vol", "device_status", on("app-1"), NO),
    ("vol", "device_status", on("missing"), NO),
    ("vol", "device_status", {"number of": "app-1"}, NO),
    ("vol", "table_clear", on("data-2"), OK, "vol", "uuid"),
    ("vol", "table_clear", on("other-4"), NO),
    ("vol", "table_status", on("data-2"), NO),
    ("vol", "device_resume", by("VOL-2"), NO),
    ("vol", "device_rename", {"name": "data-2", "new_name": "data-9"}, NO),
    ("vol", "device_set_uuid", {"name": "tmp-1", "uuid": "VOL-9"}, NO),
    ("vol", "device_set_geometry", {"name": "other-4", **GEOMETRY}, NO),
    ("vol", "device_set_geometry", {"uuid": "VOL-2", **GEOMETRY}, OK, "vol", "uuid"),
    ("vol", "list_devices", {}, NO),
    ("vol", "server_info", {}, NO),
    ("vol", "version", {}, OK, "all", None),
    # by a supplementary group
    ("vol by supplement", "device_status", on("data-2"), OK, "vol", "uuid"),
    ("vol by supplement", "table_clear", by("VOL-3"), OK, "vol", "uuid"),
    ("vol by supplement", "device_status", by("VOL-missing"), GONE, "vol", "uuid"),
    ("vol by supplement", "device_status", on("app-1"), NO),
    ("vol by supplement", "device_remove", on("data-2"), NO),
    ("vol by supplement", "list_devices", {}, NO),
    # an effect, all devices
    ("watcher", "device_status", on("other-4"), OK, "watcher", "as asked"),
    ("watcher", "device_status", {"number of": "tmp-1"}, OK, "watcher", "as asked"),
    ("watcher", "device_status", on("missing"), GONE, "watcher", "as asked"),
    ("watcher", "table_status", by("VOL-2"), OK, "watcher", "as asked"),
    ("watcher", "list_devices", {}, OK, "watcher", None),
    ("watcher", "lease_list", {}, OK, "watcher", None),
    ("watcher", "table_clear", on("other-4"), NO),
    ("watcher", "device_create", {"name": "app-9"}, NO),
    ("watcher", "device_remove", on("missing"), NO),
    ("watcher", "remove_all", {}, NO),
    # effects do not include one another
    ("admin", "remove_all", {}, OK, "admin", None),
    ("admin", "device_status", on("app-1"), NO),
    ("admin", "device_remove", on("app-1"), NO),
    ("admin", "list_devices", {}, NO),
    # single methods, and globs of both kinds
    ("single", "table_status", on("tmp-1"), OK, "single", "name"),
    ("single", "table_status", on("tmp-long"), OK, "single", "uuid"),
    ("single", "table_status", by("TMP-2"), OK, "single", "uuid"),
    ("single", "table_status", on("app-1"), NO),
    ("single", "table_deps", on("tmp-1"), NO),
    ("single", "device_create", {"name": "tmp-1"}, TAKEN, "single", "name"),
    ("single", "device_create", {"name": "tmp-9", "uuid": "TMP-2"}, TAKEN, "single", "name"),
    ("single", "device_create", {"name": "tmp-99"}, NO),
    ("single", "device_create", {"name": "tmp-9", "uuid": "X-9"}, NO),
    ("single", "device_rename", {"name": "tmp-1", "new_name": "tmp-9"}, OK, "single", "name"),
    ("single", "device_rename", {"name": "tmp-9", "new_name": "tmp-1"}, OK, "single", "name"),
    ("single", "device_rename", {"name": "tmp-long", "new_name": "tmp-9"}, NO),
    ("single", "device_rename", {"name": "tmp-1", "new_name": "tmp-99"}, NO),
    ("single", "device_set_uuid", {"name": "tmp-1", "uuid": "TMP-2"}, TAKEN, "single", "name"),
    ("single", "device_set_uuid", {"name": "tmp-long", "uuid": "TMP-3"}, NO),
    ("single", "device_remove", on("tmp-1"), NO),
    ("single", "table_load", {"name": "app-1", "targets": ZERO}, NO),
    # no rule but the one for everybody
    ("nobody", "version", {}, OK, "all", None),
    ("nobody", "device_status", on("app-1"), NO),
    ("nobody", "device_status", on("missing"), NO),
    ("nobody", "list_devices", {}, NO),
    ("nobody", "remove_all", {}, NO),
    ("nobody", "rpc.discover", {}, NO),
    ("nobody", "call_cancel", {"call": 1}, NO),
    ("nobody", "server_stats", {}, NO),
    ("nobody in many", "version", {}, OK, "all", None),
    ("nobody in many", "device_status", by("VOL-2"), NO),
]


def test_the_table_is_large():
    assert len(ROWS) >= 100
    assert sum(row[3] == NO for row in ROWS) >= 40 and sum(row[3] != NO for row in ROWS) >= 40


class Place:
    """A daemon with a configuration, at a socket that everybody can open."""

    def __init__(self, rules):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dmrpc-access-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "dmrpcd.json"
        self.write(rules)
        self.daemon = dmrpc.Daemon(self.folder, "--config", self.config)
        self.daemon.socket.chmod(0o666)
        self.reloads = 0

    def write(self, rules):
        self.config.write_text(json.dumps({} if rules is None else {"rules": rules}))

    def reload(self, rules):
        """Other rules; when this returns they are in force."""
        self.write(rules)
        self.reloads += 1
        self.daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + dmrpc.TIMEOUT
        while self.daemon.log().count("read again") < self.reloads:
            assert time.monotonic() < deadline, self.daemon.log()
            time.sleep(0.005)

    def peer(self, who):
        return Peer(self.daemon.socket, *PEERS[who])

    def listener(self, who):
        return PeerListener(self.daemon.socket, *PEERS[who])

    def close(self):
        self.daemon.stop()
        self.daemon.stderr.close()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def serving(rules):
    place = Place(rules)
    try:
        yield place
    finally:
        place.close()


def make(client, name, uuid=None):
    client.device_create(name=name, **({"uuid": uuid} if uuid else {}))
    client.table_load(name=name, targets=ZERO)
    return client.device_resume(name=name)


@pytest.fixture(scope="module")
def table():
    """The rules above, with the devices above."""
    with serving(RULES) as place:
        with place.peer("root") as root:
            place.devices = {name: make(root, name, uuid) for name, uuid in DEVICES.items()}
        yield place


@pytest.fixture
def place():
    with serving(RULES) as served:
        with served.peer("root") as root:
            served.devices = {name: make(root, name, uuid) for name, uuid in DEVICES.items()}
        yield served


def settle(place, params):
    """`number of` becomes the device's number."""
    if "number of" in params:
        return {"device": place.devices[params["number of"]]["device"]}
    return params


def question(method, params):
    asked = {key: params[key] for key in ("name", "uuid", "device", "new_name") if key in params}
    if method in ("device_create", "device_set_uuid") and "uuid" in asked:
        asked["new_uuid"] = asked.pop("uuid")
    return {"method": method, **asked}


def outcome(reply):
    return reply["error"]["data"]["error"] if "error" in reply else OK


def outcome_of(client, method, params):
    try:
        client.call(method, **params)
        return OK
    except RpcError as error:
        return error.name


def row_id(row):
    return f"{row[0]}-{row[1]}-{'-'.join(str(value) for value in row[2].values() if value is not ZERO)}"


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_row(table, row):
    who, method, params, wanted = row[:4]
    rule, goes_by = row[4:] if wanted != NO else (None, None)
    params = settle(table, params)
    with table.peer(who) as client, table.peer("root") as root:
        uid, gid, groups = PEERS[who]
        asked = question(method, params)
        told = client.access_explain(**asked)
        assert told["configured"] and told["allowed"] == (wanted != NO), told
        assert (told["rule"], told["goes_by"]) == (rule, goes_by), told
        assert f"user id {uid}" in told["reason"] and method in told["reason"]
        assert ("rule_number" in told) == told["allowed"]
        if rule:
            assert RULES[told["rule_number"] - 1]["name"] == rule and rule in told["reason"]
        # Whoever may ask for others is told the same, with the groups that the connection had.
        assert root.access_explain(**asked, uid=uid, gids=[gid, *groups]) == told
        assert outcome_of(client, method, params) == wanted


@pytest.mark.parametrize("who", PEERS)
def test_rows_in_one_batch(table, who):
    """Each call of a batch is judged by itself."""
    rows = [row for row in ROWS if row[0] == who]
    with table.peer(who) as client:
        client.send(json.dumps([client.request(row[1], settle(table, row[2]), number)
                                for number, row in enumerate(rows)]) + "\n")
        replies = json.loads(client.read_line())
    assert [outcome(reply) for reply in sorted(replies, key=lambda reply: reply["id"])] == [row[3] for row in rows]


def post(place, who, body):
    """What HTTP answers to a request of somebody."""
    text = json.dumps(body)
    with connect(place.daemon.socket, *PEERS[who]) as sock, sock.makefile("rb") as stream:
        sock.settimeout(dmrpc.TIMEOUT)
        sock.sendall(f"POST / HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
                     f"{text}".encode())
        head, _, rest = stream.read().partition(b"\r\n\r\n")
    assert head.split()[1] == b"200", head
    return json.loads(rest)


def test_a_call_over_http(place):
    with place.peer("app") as client:
        for method, params, wanted in (("device_remove", on("other-4"), NO), ("version", {}, OK), ("remove_all", {}, NO),
                                       ("table_clear", on("app-1"), OK), ("call_cancel", {"call": 1}, "invalid_params")):
            assert outcome(post(place, "app", client.request(method, params))) == wanted
    refused = place.daemon.audited(2, outcome="refused")
    assert [record["method"] for record in refused] == ["device_remove", "remove_all"]
    for record in refused:
        assert record["uid"] == 1000 and record["error"] == NO and "connection" not in record
    assert refused[0]["name"] == "other-4" and refused[1]["effect"] == "admin"
    assert place.daemon.audited(method="table_clear")[0]["outcome"] == "ok"


def test_rows_in_one_batch_over_http(place):
    rows = [row for row in ROWS if row[0] == "app+vol"]
    with place.peer("app") as client:
        batch = [client.request(row[1], settle(place, row[2]), number) for number, row in enumerate(rows)]
    silent = {"jsonrpc": "2.0", "method": "device_remove", "params": on("tmp-1")}
    replies = post(place, "app+vol", [*batch, silent])
    assert [outcome(reply) for reply in sorted(replies, key=lambda reply: reply["id"])] == [row[3] for row in rows]
    denied = [row[1] for row in rows if row[3] == NO] + ["device_remove"]
    refused = place.daemon.audited(len(denied), outcome="refused")
    assert sorted(record["method"] for record in refused) == sorted(denied)
    assert {record["uid"] for record in refused} == {1000} and not any("connection" in record for record in refused)
    with place.peer("root") as root:
        assert "tmp-1" in names_of(root.list_devices()["devices"])


def by_name(uid, gid):
    """Rules for a user and a group that the file calls by their names."""
    return [RULES[0],
            {"name": "by user", "who": [{"user": pwd.getpwuid(uid).pw_name}], "what": ["device_status"]},
            {"name": "by group", "who": [{"group": grp.getgrgid(gid).gr_name}], "what": ["table_status"]}]


def test_users_and_groups_by_name():
    """At the start, and in a file that is read again, by a daemon that may open next to nothing."""
    peers = {"user 1": (1, 71), "user 2": (2, 72), "group 1": (73, 1), "group 2": (74, 2), "in group 1": (75, 75, [1]),
             "in group 2": (76, 76, [2])}
    with serving(by_name(1, 2)) as place, place.peer("root") as root, contextlib.ExitStack() as stack:
        make(root, "a")
        clients = {who: stack.enter_context(Peer(place.daemon.socket, *ids)) for who, ids in peers.items()}
        for status, table in (("user 1", {"group 2", "in group 2"}), ("user 2", {"group 1", "in group 1"})):
            for who, client in clients.items():
                assert outcome_of(client, "device_status", on("a")) == (OK if who == status else NO), who
                assert outcome_of(client, "table_status", on("a")) == (OK if who in table else NO), who
            place.reload(by_name(2, 1))


def test_keys_are_shown_by_rule():
    """On one glob and not on another, whatever else may be read there."""
    who = [{"uid": 1000}]
    rules = [RULES[0], {"name": "reads", "who": who, "what": ["read"]},
             {"name": "keys", "who": who, "what": ["table_status"], "devices": [{"name": "own-*"}], "show_keys": True}]
    key, flags = secrets.token_hex(32), ["DM_STATUS_TABLE"]
    crypt = {"start": 0, "length": 8, "type": "crypt", "params": f"aes-xts-plain64 {key} 0 259:0 0"}
    with serving(rules) as place, place.peer("root") as root, place.peer("app") as client:
        root.simulate_disk_add(path="/dev/sim0", sectors=64)
        for name in ("own-1", "other-1"):
            root.device_create(name=name, uuid=f"U-{name}")
            root.table_load(name=name, targets=[crypt])
            root.device_resume(name=name)
        for name in ("own-1", "other-1"):
            (shown,) = client.table_status(name=name, flags=flags)["targets"]
            assert key not in shown["params"] and shown["keys_hidden"]
        (shown,) = client.table_status(name="own-1", flags=flags, show_keys=True)["targets"]
        assert shown == crypt
        # The rule for all devices is preferred, and the kernel told a uuid: that is no right to a name.
        for params in (on("other-1"), by("U-other-1"), by("U-own-1")):
            error = refusal(client, "table_status", **params, flags=flags, show_keys=True)
            assert key not in json.dumps([error.message, error.data])
        (record, *_) = place.daemon.audited(3, method="table_status", outcome="refused")
        assert record["name"] == "other-1" and record["uid"] == 1000
        place.reload([rules[0], rules[2]])
        (shown,) = client.table_status(**by("U-own-1"), flags=flags, show_keys=True)["targets"]
        assert shown == crypt, "by the name that the kernel says it has"
        refusal(client, "table_status", **on("other-1"), flags=flags)
        assert key not in place.daemon.log()


def state_of(root):
    return [(device["name"], root.device_status(name=device["name"])) for device in root.list_devices()["devices"]]


def test_denied_notifications_do_nothing(place):
    with place.peer("root") as root, place.peer("app") as client:
        before = state_of(root)
        for method, params in (("device_remove", on("other-4")), ("device_suspend", on("data-2")),
                               ("device_rename", {"name": "app-1", "new_name": "free"}),
                               ("device_create", {"name": "other-9"}), ("remove_all", {"confirm": True}),
                               ("table_load", {"name": "tmp-1", "targets": ZERO})):
            client.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}) + "\n")
        client.version()  # they were before it
        assert state_of(root) == before
        client.send(json.dumps({"jsonrpc": "2.0", "method": "device_remove", "params": on("app-1")}) + "\n")
        client.version()
        assert [name for name, _ in state_of(root)] == [name for name, _ in before if name != "app-1"]


# --- what a refusal tells ---

def refusal(client, method, /, **params):
    with pytest.raises(RpcError) as caught:
        client.call(method, **params)
    assert caught.value.name == NO
    return caught.value


def words_of(value):
    return value if isinstance(value, str) else f"{value['major']}:{value['minor']}"


def test_a_refusal_does_not_tell_what_is_there(place):
    """What is there and what is not get the same words, and the same data, but for what the caller said."""
    absent = {"name": "absent-4", "uuid": "A-4", "device": {"major": 254, "minor": 4000}}
    present = {"name": "other-4", "uuid": "Z-4", "device": place.devices["other-4"]["device"]}
    with place.peer("app") as client:
        for method, more in (("device_status", {}), ("device_remove", {}), ("table_swap", {"targets": ZERO}),
                             ("device_wait", {"event_nr": 0}), ("access_explain", {"method": "device_status"})):
            for key in ("name", "uuid", "device"):
                texts = []
                for device in (absent, present):
                    if method == "access_explain":
                        reply = client.call(method, **more, **{key: device[key]})
                        texts.append(json.dumps(reply))
                    else:
                        error = refusal(client, method, **more, **{key: device[key]})
                        error.data.pop("call")
                        texts.append(json.dumps([error.message, error.data]))
                text = texts[1].replace(json.dumps(present[key]), json.dumps(absent[key]))
                assert text.replace(words_of(present[key]), words_of(absent[key])) == texts[0]


def test_a_refusal_tells_what_to_do(place):
    with place.peer("app") as client:
        error = refusal(client, "device_rename", name="app-1", new_name="free")
        assert error.code == 6
        assert error.message == "User id 1000 may not call device_rename on the new name 'free': no rule allows it."
        assert "access_explain" in error.data["hint"]


def test_explain(place):
    with place.peer("root") as root, place.peer("app") as app, place.peer("single") as single:
        told = root.access_explain(method="table_status", name="app-1")
        assert told["show_keys"] and "under" not in told
        told = single.access_explain(method="table_load", name="tmp-1")
        assert told["under"] == ["/dev/sim-a*", "259:7"] and not told["show_keys"]
        assert "under" not in single.access_explain(method="table_status", name="tmp-1")
        # Without a device it is about all of them.
        told = app.access_explain(method="device_status")
        assert not told["allowed"] and "give one" in told["reason"]
        assert root.access_explain(method="device_status")["goes_by"] is None
        assert root.access_explain(method="device_status", uid=1000)["allowed"] is False
        assert root.access_explain(method="device_status", name="data-2", uid=4711, gids=[2000])["rule"] == "vol"
        assert root.access_explain(method="device_status", name="data-2", uid=4711)["allowed"] is False
        refusal(app, "access_explain", method="version", uid=1000)
        for params in ({"method": "none"}, {"method": "version", "gids": [1]},
                       {"method": "device_status", "name": "a", "uuid": "b"},
                       {"method": "device_rename", "uuid": "b"}, {}):
            with pytest.raises(RpcError) as caught:
                root.access_explain(**params)
            assert caught.value.name == "invalid_params"


def test_without_a_configuration():
    """The rules that are built in: root may do all, others may read."""
    with serving(None) as place, place.peer("root") as root, place.peer("nobody") as reader:
        make(root, "a")
        told = reader.access_explain(method="device_remove", name="a")
        assert not told["configured"] and not told["allowed"]
        assert reader.access_explain(method="device_status", name="a")["goes_by"] == "as asked"
        assert root.access_explain(method="remove_all")["allowed"]
        error = refusal(reader, "device_remove", name="a")
        assert "neither root nor the daemon's own user" in error.message
        assert reader.list_devices()["devices"] == root.list_devices()["devices"]


def test_a_taken_minor_does_not_tell_whose_it_is(place):
    with place.peer("app") as app, place.peer("root") as root:
        for name, minor, words in (("app-77", 77, "device 'app-77'"), ("other-78", 78, "another device")):
            root.device_create(name=name, minor=minor, flags=["DM_PERSISTENT_DEV"])
            with pytest.raises(RpcError) as caught:
                app.device_create(name="app-9", minor=minor, flags=["DM_PERSISTENT_DEV"])
            assert caught.value.name == TAKEN and words in caught.value.message


def test_holders_have_the_names_that_may_be_seen(place):
    """Of a device that is busy, and of one that a refused table names."""
    seen, hidden = ("app-8", "device 'app-8' is stacked on it"), ("other-8", "/dev/dm-")
    with place.peer("root") as root, place.peer("app") as app:
        lower = place.devices["app-1"]["device"]
        number = f"{lower['major']}:{lower['minor']}"
        for name, words in (seen, hidden):
            root.device_create(name=name)
            root.table_load(name=name, targets=[{**ZERO[0], "type": "linear", "params": f"{number} 0"}])
            root.simulate_fault_add(ioctl="DM_TABLE_LOAD", errno=errno.EBUSY, calls=1)
            load = {"name": "app-3", "targets": root.table_status(name=name, flags=TABLE)["targets"]}
            for client, method, params in ((app, "device_remove", on("app-1")), (app, "table_load", load)):
                error = pytest.raises(RpcError, client.call, method, **params).value
                (holder,) = error.data["holders"]
                assert holder.get("name") == (name if name.startswith("app-") else None)
                assert holder["device"] and words in error.data["hint"]
                assert name.startswith("app-") or name not in json.dumps(error.data)
            assert root.device_remove(name=name)


# --- lists ---

def names_of(entries):
    return {entry["name"] for entry in entries}


def test_lists_show_what_may_be_seen(place):
    with place.peer("root") as root, place.peer("app") as app, place.peer("watcher") as watcher:
        assert names_of(app.list_devices()["devices"]) == {"app-1", "app-3"}
        assert names_of(watcher.list_devices()["devices"]) == set(DEVICES)
        for name in ("app-1", "other-4"):
            root.device_suspend(name=name, flags=["DM_SUSPEND"], resume_after_ms=60000)
        assert names_of(app.lease_list()["leases"]) == {"app-1"}
        assert names_of(root.lease_list()["leases"]) == {"app-1", "other-4"}
        for name in ("app-1", "other-4"):
            root.device_resume(name=name)


@contextlib.contextmanager
def waiting(place, who, *names):
    """Waits of one user for devices; the numbers of the calls by name."""
    with contextlib.ExitStack() as stack:
        clients = {}
        for name in names:
            clients[name] = stack.enter_context(place.peer(who))
            clients[name].start("device_wait", name=name, event_nr=place.devices[name]["event_nr"])
        with place.peer("root") as root:
            deadline = time.monotonic() + dmrpc.TIMEOUT
            while True:
                calls = {call["name"]: call["call"] for call in root.calls_list()["calls"]
                         if call["uid"] == PEERS[who][0] and call.get("name") in names}
                if len(calls) == len(names):
                    break
                assert time.monotonic() < deadline
        yield clients, calls


def test_calls_of_others_are_shown_by_their_device(place):
    with waiting(place, "root", "app-1", "other-4") as (_, numbers), \
            waiting(place, "watcher", "data-2") as (_, theirs), place.peer("app") as app, \
            place.peer("watcher") as watcher, place.peer("root") as root:
        assert {call["call"] for call in app.calls_list()["calls"]} == {numbers["app-1"]}
        everything = {*numbers.values(), *theirs.values()}
        assert {call["call"] for call in watcher.calls_list()["calls"]} == everything
        assert {call["call"] for call in root.calls_list()["calls"]} == everything
        # What is hidden is answered for as what is not there.
        for hidden in (numbers["other-4"], theirs["data-2"]):
            errors = [pytest.raises(RpcError, app.call_cancel, call=number).value for number in (hidden, 10 ** 6)]
            assert errors[0].name == "invalid_params" and errors[0].message == errors[1].message
            for error in errors:
                error.data.pop("call")
            assert errors[0].data == errors[1].data
        # To end: own ones, and those on a device that one may write to.
        assert "user id" not in refusal(watcher, "call_cancel", call=numbers["app-1"]).message
        assert app.call_cancel(call=numbers["app-1"])["outcome"] == "ended"
        assert watcher.call_cancel(call=theirs["data-2"])["outcome"] == "ended"
        assert root.call_cancel(call=numbers["other-4"])["outcome"] == "ended"


# --- events ---

def test_events_show_what_may_be_seen(place):
    with place.peer("root") as root, place.listener("app") as app, place.listener("watcher") as watcher:
        assert names_of(app.events_subscribe()["devices"]) == {"app-1", "app-3"}
        watcher.events_subscribe()
        seen = []
        for name in ("data-2", "app-1"):
            root.device_suspend(name=name, flags=["DM_SUSPEND"])
            root.device_resume(name=name)
        for old, new in (("other-4", "hidden"), ("app-3", "secret"), ("hidden", "app-5"), ("app-5", "app-6")):
            root.device_rename(name=old, new_name=new)
            while not seen or seen[-1]["kind"] != "renamed" or seen[-1]["name"] != new:
                seen.append(watcher.next())
        root.device_remove(name="data-2")
        root.device_remove(name="app-6")
        events = []
        while not events or events[-1]["kind"] != "removed" or events[-1]["name"] != "app-6":
            events.append(app.next())
        told = [(event["kind"], event["name"], event.get("old_name")) for event in events if event["kind"] != "changed"]
        assert told == [("suspended", "app-1", None), ("resumed", "app-1", None), ("removed", "app-3", None),
                        ("added", "app-5", None), ("renamed", "app-6", "app-5"), ("removed", "app-6", None)]
        assert "secret" not in json.dumps(events) and "hidden" not in json.dumps(events)
        gone = next(event for event in events if event["name"] == "app-3" and event["kind"] == "removed")
        renamed = next(event for event in seen if event.get("old_name") == "app-3")
        assert gone["seq"] == renamed["seq"] and gone["device"] == renamed["device"]


def test_a_device_comes_into_view_by_its_uuid(place):
    place.reload([*RULES, {"name": "hears", "who": [{"gid": 2000}], "what": ["events_subscribe"],
                           "devices": [{"uuid": "VOL-*"}]}])
    with place.peer("root") as root, place.listener("vol") as vol:
        assert names_of(vol.events_subscribe()["devices"]) == {"app-3", "data-2"}
        root.device_set_uuid(name="tmp-1", uuid="VOL-9")
        added = vol.next()
        assert (added["kind"], added["name"], added["uuid"]) == ("added", "tmp-1", "VOL-9")
        # With a new name in the same list: the old one could not be seen.
        make(root, "hidden")
        fault = root.simulate_fault_add(ioctl="DM_LIST_DEVICES", held=True)["fault"]
        root.device_set_uuid(name="hidden", uuid="VOL-10")
        root.device_rename(name="hidden", new_name="seen")
        root.simulate_fault_remove(fault=fault)
        added = vol.next()
        assert (added["kind"], added["name"], added["uuid"]) == ("added", "seen", "VOL-10")
        assert "hidden" not in json.dumps(added)


def test_who_may_not_subscribe_does_not(place):
    with place.listener("vol") as client:
        refusal(client, "events_subscribe")
    for path, method in (("/events", "events_subscribe"), ("/metrics", "server_stats"), ("/openrpc.json", "rpc.discover")):
        with open_stream(place, "nobody", path) as stream:
            assert stream.readline().split()[1] == b"403"
        (record,) = place.daemon.audited(uid=65534, method=method)
        assert record["kind"] == "call" and record["outcome"] == "refused" and record["error"] == NO
        assert record["effect"] == "read" and record["pid"] != os.getpid() and "call" not in record
        with open_stream(place, "watcher", path) as stream:
            assert stream.readline().split()[1] == b"200"
    place.daemon.audited(4, outcome="refused")


@contextlib.contextmanager
def open_stream(place, who, path="/events"):
    sock = connect(place.daemon.socket, *PEERS[who])
    sock.settimeout(dmrpc.TIMEOUT)
    with sock, sock.makefile("rb") as stream:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        yield stream


def without(name):
    return [rule for rule in RULES if rule["name"] != name]


def with_devices(name, *globs):
    return [rule | {"devices": [{"name": glob} for glob in globs]} if rule["name"] == name else rule for rule in RULES]


def test_a_reload_ends_subscriptions(place):
    with place.listener("app") as app, place.listener("watcher") as watcher, open_stream(place, "app") as stream, \
            place.peer("root") as root:
        number = app.events_subscribe()["subscription"]
        watcher.events_subscribe()
        while not stream.readline().startswith(b"event: snapshot"):
            pass
        place.reload(without("app"))
        last = app.next()
        assert last["kind"] == "subscription_ended" and last["subscription"] == number and "rules" in last["reason"]
        rest = stream.read().decode()  # to its end
        assert "event: subscription_ended" in rest
        refusal(app, "events_unsubscribe", subscription=number)
        root.device_suspend(name="app-1", flags=["DM_SUSPEND"])
        root.device_resume(name="app-1")
        assert watcher.kinds(2) == ["suspended", "resumed"], "who sees all as before hears nothing of the reload"
        assert app.is_silent()
        place.reload(RULES)
        with pytest.raises(RpcError) as caught:
            app.events_unsubscribe(subscription=number)
        assert caught.value.name == "invalid_params"


def test_a_reload_shows_other_devices(place):
    with place.listener("app") as app, place.peer("root") as root:
        assert names_of(app.events_subscribe()["devices"]) == {"app-1", "app-3"}
        place.reload(with_devices("app", "app-1", "other-*"))
        event = app.next()
        assert event["kind"] == "snapshot" and names_of(event["devices"]) == {"app-1", "other-4"}
        for name in ("app-3", "other-4"):
            root.device_suspend(name=name, flags=["DM_SUSPEND"])
            root.device_resume(name=name)
        assert [(event["kind"], event["name"]) for event in (app.next(), app.next())] == \
            [("suspended", "other-4"), ("resumed", "other-4")]


# --- waits, and what waits for its turn ---

def test_a_reload_ends_waits(place):
    with waiting(place, "app", "app-1", "app-3") as (clients, _), place.peer("root") as root:
        place.reload(with_devices("app", "app-3"))
        with pytest.raises(RpcError) as caught:
            clients["app-1"].finish(1)
        assert caught.value.name == NO and "app-1" not in caught.value.data.get("state", "")
        root.simulate_event(name="app-3")
        assert clients["app-3"].finish(1)["info"]["name"] == "app-3", "it still waited"
        (record,) = place.daemon.audited(outcome="refused")
        assert record["method"] == "device_wait" and record["name"] == "app-1" and record["uid"] == 1000


def test_a_wait_does_not_follow_a_device_out_of_sight(place):
    with waiting(place, "app", "app-1", "app-3") as (clients, _), place.peer("root") as root:
        root.device_rename(name="app-1", new_name="secret")
        root.device_rename(name="app-3", new_name="app-4")
        error = pytest.raises(RpcError, clients["app-1"].finish, 1).value
        assert error.name == NO and "secret" not in str(error)
        assert clients["app-3"].finish(1)["info"]["name"] == "app-4"


def stages_of(client):
    return {(call["method"], call["stage"]) for call in client.calls_list()["calls"]}


def test_what_waits_for_its_turn_is_judged_when_it_comes(place):
    with place.peer("root") as root, place.peer("root") as suspender, place.peer("app") as app, \
            place.peer("app") as other:
        root.simulate_stall(name="app-1", drain=True)
        suspender.start("device_suspend", name="app-1", flags=["DM_SUSPEND"])
        deadline = time.monotonic() + dmrpc.TIMEOUT
        while ("device_suspend", "worker") not in stages_of(root):
            assert time.monotonic() < deadline
        cleared = app.start("table_clear", name="app-1")
        while ("table_clear", "turn") not in stages_of(root):
            assert time.monotonic() < deadline
        # Who may not gets the answer at once, and a resume that may not be does not end the suspend.
        place.reload(without("app"))
        refusal(other, "table_clear", name="app-1")
        refusal(other, "device_resume", name="app-1")
        assert stages_of(root) >= {("device_suspend", "worker"), ("table_clear", "turn")}
        root.simulate_stall(name="app-1")
        suspender.finish(1)
        error = pytest.raises(RpcError, app.finish, cleared).value
        assert error.name == NO
        root.device_resume(name="app-1")
        refused = place.daemon.audited(3, outcome="refused")
        assert [record["method"] for record in refused] == ["table_clear", "device_resume", "table_clear"]
        last = refused[-1]
        assert last["call"] == error.data["call"] and last["name"] == "app-1" and last["uid"] == 1000
        assert last["device"] == place.devices["app-1"]["device"], "its turn had come"


# --- what tables lie on ---

@pytest.fixture
def disks(place):
    with place.peer("root") as root:
        for path in ("/dev/sim-a1", "/dev/sim-a2", "/dev/sim-b1"):
            root.simulate_disk_add(path=path, sectors=4096)
        yield place


def linear(*words):
    return [{"start": 8 * at, "length": 8, "type": "linear", "params": f"{word} 0"} for at, word in enumerate(words)]


def test_tables_lie_on_what_is_allowed(disks):
    with disks.peer("single") as client, disks.peer("root") as root:
        client.table_load(name="tmp-1", targets=linear("/dev/sim-a1", "/dev/sim-a2"))
        assert "DM_INACTIVE_PRESENT" in root.device_status(name="tmp-1")["flags"]
        root.table_clear(name="tmp-1")
        for targets, words in ((linear("/dev/sim-a1", "/dev/sim-b1"), "line 2"),
                               (linear("/dev/mapper/other-4"), "line 1"), (linear("/dev/none"), "line 1")):
            error = refusal(client, "table_load", name="tmp-1", targets=targets)
            assert words in error.message and "nothing was loaded" in error.data["state"]
            assert "DM_INACTIVE_PRESENT" not in root.device_status(name="tmp-1")["flags"]
        for record in disks.daemon.audited(3, outcome="refused"):
            assert record["method"] == "table_load" and record["name"] == "tmp-1" and record["error"] == NO
            assert record["targets"] == ["linear"] and record["uid"] == 1005 and "nothing was loaded" in record["state"]
        root.simulate_disk_add(path="/dev/by-number", sectors=4096, number={"major": 259, "minor": 7})
        client.table_load(name="tmp-1", targets=linear("259:7"))
        root.table_clear(name="tmp-1")
        root.table_load(name="tmp-1", targets=linear("/dev/sim-b1"))


def test_a_swap_lies_on_what_is_allowed(disks):
    rules = [rule | {"what": [*rule["what"], "table_swap"]} if rule["name"] == "single" else rule for rule in RULES]
    disks.reload(rules)
    with disks.peer("single") as client, disks.peer("root") as root:
        before = root.table_status(name="tmp-1")
        error = refusal(client, "table_swap", name="tmp-1", targets=linear("/dev/sim-b1"))
        assert "no rule allows it to lie on" in error.message
        assert root.table_status(name="tmp-1") == before
        client.table_swap(name="tmp-1", targets=linear("/dev/sim-a1"))
        assert [target["type"] for target in root.table_status(name="tmp-1")["targets"]] == ["linear"]
