# SPDX-License-Identifier: Apache-2.0
"""The configuration file: at the start, by --check-config, and again on SIGHUP while calls go on."""

import json
import os
import pathlib
import signal
import subprocess
import time

import jsonschema
import pytest

import dmrpc

SCHEMA = json.loads((dmrpc.ROOT / "proto" / "dmrpcd.config.schema.json").read_text(encoding="utf-8"))
EXAMPLE = dmrpc.ROOT / "docs" / "dmrpcd.example.json"
READS = {"name": "all may read", "who": [{"any": True}], "what": ["read"]}
WRITES = {"name": "root writes", "who": [{"uid": 0}, {"uid": os.getuid()}], "what": ["read", "write", "admin"]}
# They count only at a start; the others at once.
FIXED = {"connections", "reply_bytes", "total_bytes", "values", "workers"}


def run(*args):
    command = [str(dmrpc.build_dir() / "server" / "dmrpcd"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def check(path):
    return run("--check-config", path)


def write(path, content, mode=0o644):
    """By another file and a rename, as editors do."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    other = path.with_suffix(".new")
    other.write_text(text)
    other.chmod(mode)
    other.rename(path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c.json"


@pytest.fixture
def start(tmp_path, path):
    """Starts a daemon with a file of this content."""
    daemons = []

    def begin(content, *args):
        write(path, content)
        daemons.append(dmrpc.Daemon(tmp_path, "--config", path, *args))
        return daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.stop()


def count(daemon, text):
    return daemon.log().count(text)


def hangup(daemon, *said, times=1):
    """Sends SIGHUP, and waits until each of these has been said once more."""
    before = [count(daemon, text) for text in said]
    for _ in range(times):
        daemon.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 20
    while not all(count(daemon, text) > n for text, n in zip(said, before)):
        assert time.monotonic() < until, f"{said}: {daemon.log()}"
        time.sleep(0.01)


def limits(daemon):
    with daemon.client() as client:
        return client.server_info()["limits"]


# --- the start ---

def test_start_with_rules(start):
    daemon = start({"rules": [READS, WRITES]})
    with daemon.client() as client:
        assert client.version() and client.device_create(name="a")


def test_start_without_any_rule_says_so(start):
    assert "there are no rules: everybody is denied everything" in start({"rules": []}).log()


BAD = [  # a file, and what the line about it must have
    ('{"limits": {\n "depth": 7,\n}}', "line 3: not valid JSON"),
    ('{"socket": "/a",\n "socket": "/b"}', "line 2: duplicate"),
    ('{\n\n "nix": 1}', 'line 3: at "/nix": unknown'),
    ('{"limits": {\n "depth": 3}}', 'line 2: at "/limits/depth": out of range: 4 to 1024'),
    ('{"rules": [\n {"name": "a", "who": [{"any": true}], "what": [\n  "reed"]}]}', 'line 3: at "/rules/0/what/0": no method'),
    ('{"rules": [\n {"name": "a", "what": ["read"],\n  "who": [{"user": "no-such-user"}]}]}',
     'line 3: at "/rules/0/who/0/user": there is no user \'no-such-user\''),
    ('{\n"group": "no-such-group"}', 'line 2: at "/group": there is no group \'no-such-group\''),
    ('{"rules": [{"name": "a", "who": [{"any": true}], "what": ["read"],\n "devices": []}]}',
     'line 2: at "/rules/0/devices": 0 items'),
    ('{"rules": [{"name": "a", "who": [{"any": true}], "what": ["read"]},\n'
     ' {"name": "a", "who": [{"any": true}], "what": ["read"]}]}', 'line 2: at "/rules/1/name": another rule'),
    ('{"rules": [{"name": "a", "who": [\n{"uid": 1, "gid": 2}], "what": ["read"]}]}',
     'line 2: at "/rules/0/who/0": exactly one'),
]


@pytest.mark.parametrize("text, said", BAD)
def test_a_bad_file_is_1_with_line_and_pointer(tmp_path, path, text, said):
    write(path, text)
    for result in (run("--simulate", "--socket", tmp_path / "s", "--config", path), check(path)):
        assert result.returncode == 1
        assert result.stderr.startswith(f"dmrpcd: {path}: {said}") and "Mend the file." in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not result.stdout
    assert not (tmp_path / "s").exists()


def test_a_file_that_others_can_write_is_refused(tmp_path, path):
    for mode in (0o664, 0o646, 0o666):
        write(path, {}, mode)
        result = run("--simulate", "--socket", tmp_path / "s", "--config", path)
        assert result.returncode == 1 and "chmod go-w" in result.stderr
    write(path, {}, 0o640)
    assert check(path).returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(path):
    write(path, {})
    os.chown(path, 4321, 0)
    result = check(path)
    assert result.returncode == 1 and "belongs to user 4321" in result.stderr


def test_what_is_no_plain_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    for other in (tmp_path / "fifo", tmp_path, "/dev/null"):
        result = check(other)
        assert result.returncode == 1 and "no plain file" in result.stderr


# --- --check-config ---

def test_check_says_what_is_good(path):
    result = check(write(path, {"rules": [READS, WRITES]}))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{path}: good: 2 rules.\n")
    assert check(write(path, {"rules": [READS]})).stdout.startswith(f"{path}: good: 1 rule.\n")
    assert "good: no rules of its own" in check(write(path, {})).stdout


def test_check_remarks(path):
    assert "everybody is denied everything" in check(write(path, {"rules": []})).stdout
    assert "No rule allows anybody to change devices." in check(write(path, {"rules": [READS]})).stdout
    agent = {"name": "agent", "who": [{"uid": 7}], "what": ["write"]}
    assert "No rule is for root" in check(write(path, {"rules": [agent]})).stdout
    assert "only a start: group, workers." in check(write(path, {"group": "disk", "limits": {"workers": 9}})).stdout


def test_check_needs_no_rights(path):
    """Nor a kernel: it opens neither a socket nor the control file."""
    write(path, {"rules": [READS], "socket": "/proc/no/socket"})
    result = subprocess.run(["strace", "-f", "-e", "trace=socket,bind,ioctl,openat", dmrpc.build_dir() / "server" / "dmrpcd",
                             "--check-config", path], capture_output=True, text=True, timeout=30, check=False) \
        if pathlib.Path("/usr/bin/strace").exists() else None
    if result is not None:
        assert "/dev/mapper" not in result.stderr and "/proc/no" not in result.stderr
    assert check(path).returncode == 0


def test_the_example():
    jsonschema.Draft7Validator(SCHEMA).validate(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    result = check(EXAMPLE)
    assert result.returncode == 0 and "good: 4 rules." in result.stdout, result.stderr


# --- the schema agrees ---

def rule(**members):
    return {"rules": [{**READS, **members}]}


def without(member):
    return {"rules": [{key: value for key, value in READS.items() if key != member}]}


FORMS = [
    {}, {"rules": []}, {"rules": [READS, WRITES]}, {"$schema": "x"}, {"socket": "/x"}, {"socket": ""}, {"socket": 5},
    {"socket": None}, {"socket": "x" * 107}, {"socket": "x" * 108}, {"group": "root"}, {"group": ""}, {"nix": 1}, {"limits": {}},
    {"limits": []}, {"limits": {"nix": 1}}, {"rules": {}}, {"rules": [1]}, {"rules": None}, [], [{}], 5, "x", None,
    *[{"limits": {name: value}} for name, form in SCHEMA["definitions"]["ConfigLimits"]["properties"].items()
      for value in (form["minimum"], form["minimum"] - 1, form["maximum"], form["maximum"] + 1, form["default"], "5", None)],
    without("name"), without("who"), without("what"), rule(nix=1),
    rule(name=""), rule(name="x" * 127), rule(name="x" * 128), rule(name=5),
    *[rule(who=who) for who in (
        [], {}, [{}], [{"any": True}], [{"any": False}], [{"any": 1}], [{"uid": 0}], [{"uid": -1}], [{"uid": 4294967294}],
        [{"uid": 4294967295}], [{"gid": 4294967294}], [{"gid": 4294967295}], [{"uid": "0"}], [{"uid": 1.5}], [{"user": "root"}],
        [{"user": ""}], [{"user": 0}], [{"group": "root"}], [{"uid": 1, "gid": 1}], [{"any": True, "uid": 1}], [{"nix": 1}],
        ["root"], [{"uid": 1}, {"gid": 1}])],
    *[rule(what=what) for what in (
        [], "read", ["read"], ["write"], ["admin"], ["Read"], [""], [5], ["no_such"], ["rpc.discover"],
        *([name] for name in SCHEMA["definitions"]["ConfigRule"]["properties"]["what"]["items"]["enum"]))],
    *[rule(devices=devices) for devices in (
        [], {}, [{}], [{"name": "a"}], [{"uuid": "a"}], [{"name": "a", "uuid": "b"}], [{"name": ""}], [{"uuid": ""}],
        [{"name": 5}], [{"nix": "a"}], ["a"], [{"name": "a" * 511}], [{"name": "a" * 512}], [{"name": "["}])],
    *[rule(under=under) for under in (
        [], {}, "8:0", ["8:0"], ["*:*"], ["/dev/*"], [""], ["sda"], ["*"], [5], ["/" + "x" * 1022], ["/" + "x" * 1023])],
    rule(show_keys=True), rule(show_keys=False), rule(show_keys=1), rule(show_keys=None),
]


def test_the_schema_and_the_daemon_agree(path):
    """What each says of a file, as far as a schema can tell."""
    validator = jsonschema.Draft7Validator(SCHEMA)
    verdicts = [0, 0]
    for form in FORMS:
        good = validator.is_valid(form)
        result = check(write(path, form))
        assert (result.returncode == 0) == good, f"{form}: {result.stderr}"
        verdicts[good] += 1
    assert min(verdicts) > 50


# --- SIGHUP ---

def test_hangup_without_a_file(daemon, client):
    hangup(daemon, "SIGHUP: there is nothing to read again")
    assert client.version()


def test_hangup_reads_again(start, path):
    daemon = start({"rules": [READS, WRITES], "limits": {"batch": 5}})
    write(path, {"rules": [WRITES], "limits": {"batch": 6, "depth": 9}})
    hangup(daemon, f"{path}: read again: 1 rule.")
    now = limits(daemon)
    assert now["batch"] == 6 and now["depth"] == 9
    write(path, {})
    hangup(daemon, "read again: no rules of its own")
    now = limits(daemon)
    assert now["batch"] == 1000 and now["depth"] == 32
    write(path, {"rules": []})
    hangup(daemon, "read again: there are no rules: everybody is denied everything")


@pytest.mark.parametrize("text, said", BAD)
def test_a_bad_file_changes_nothing(start, path, text, said):
    daemon = start({"rules": [WRITES], "limits": {"batch": 5}})
    before = limits(daemon)
    write(path, text)
    hangup(daemon, f"{path}: {said}", "Nothing has changed.")
    assert limits(daemon) == before and "read again" not in daemon.log()
    write(path, {"rules": [WRITES], "limits": {"batch": 7}})
    hangup(daemon, "read again: 1 rule.")
    assert limits(daemon)["batch"] == 7


def test_a_bad_rule_keeps_good_limits_out(start, path):
    daemon = start({})
    write(path, {"limits": {"batch": 7}, "rules": [{**READS, "what": ["reed"]}]})
    hangup(daemon, "Nothing has changed.")
    assert limits(daemon)["batch"] == 1000


def test_a_file_that_is_gone_or_not_ours(start, path):
    daemon = start({"limits": {"batch": 5}})
    path.unlink()
    hangup(daemon, "No such file or directory", "Nothing has changed.")
    os.mkfifo(path, 0o600)
    hangup(daemon, "no plain file", "Nothing has changed.")
    path.unlink()
    write(path, {"limits": {"batch": 6}}, 0o666)
    hangup(daemon, "chmod go-w", "Nothing has changed.")
    assert limits(daemon)["batch"] == 5
    path.chmod(0o600)
    hangup(daemon, "read again")
    assert limits(daemon)["batch"] == 6


def test_each_limit_changes_or_it_is_said(start, path):
    """By server_info, limit by limit; the command line's stay."""
    daemon = start({}, "--waits", 77)
    before = limits(daemon)
    properties = SCHEMA["definitions"]["ConfigLimits"]["properties"]
    assert set(properties) == set(before) and before["waits"] == 77
    wanted = {name: form["default"] + 1 for name, form in properties.items()}
    write(path, {"limits": wanted, "group": "daemon", "socket": "/no/such"})
    hangup(daemon, "these change only when dmrpcd is started anew: group, ")
    now = limits(daemon)
    for name, value in wanted.items():
        assert now[name] == (before[name] if name in FIXED | {"waits"} else value), name
    (line,) = [line for line in daemon.log().splitlines() if "started anew: " in line]
    assert set(line.rstrip(".").split("anew: ")[1].split(", ")) == FIXED | {"group"}  # the command line names the socket


def test_limits_are_held_at_once(start, path):
    daemon = start({"limits": {"batch": 2, "lease_seconds": 0}})
    batch = [{"jsonrpc": "2.0", "id": i, "method": "version"} for i in range(3)]
    with daemon.client() as client:
        client.send(json.dumps(batch) + "\n")
        assert b"past the limit of 2" in client.read_line()
        write(path, {"limits": {"batch": 3, "lease_seconds": 5}})
        hangup(daemon, "read again")
        client.send(json.dumps(batch) + "\n")
        assert len(json.loads(client.read_line())) == 3
        client.device_create(name="a")
        with pytest.raises(dmrpc.RpcError) as raised:
            client.device_suspend(name="a", flags=["DM_SUSPEND"], resume_after_ms=5001)
        assert raised.value.data["path"] == "/resume_after_ms"


def test_stall_seconds_counts_for_new_connections(start, path):
    daemon = start({})
    write(path, {"limits": {"stall_seconds": 1}})
    hangup(daemon, "read again")
    with daemon.client() as http:
        http.send("GET /healthz HTTP/1.1\r\nHost: d\r\n\r\n")
        assert b"200 OK" in http.read_all()  # to its end


def test_connections_per_user_counts_for_new_ones(start, path):
    daemon = start({})
    with daemon.client() as one, daemon.client() as two:
        assert one.version() and two.version()
        write(path, {"limits": {"connections_per_user": 1}})
        hangup(daemon, "read again")
        assert one.version() and two.version()  # those that are there stay
        with daemon.client() as three:
            assert b"overloaded" in three.read_line()


def test_many_hangups_at_once(start, path):
    """They are heeded together, and what is read last is what stands in the file."""
    daemon = start({"rules": [READS, WRITES]})
    with daemon.client() as client:
        for i in range(1, 30):
            write(path, {"rules": [WRITES], "limits": {"batch": i}})
            for _ in range(20):
                daemon.process.send_signal(signal.SIGHUP)
            assert client.version()
    until = time.monotonic() + 20
    while limits(daemon)["batch"] != 29:
        assert time.monotonic() < until, daemon.log()
        time.sleep(0.01)
    assert "Nothing has changed" not in daemon.log()


def suspended(client, name):
    client.device_create(name=name)
    client.table_load(name=name, targets=[{"start": 0, "length": 8, "type": "zero", "params": ""}])
    client.device_resume(name=name)
    client.device_suspend(name=name, flags=["DM_SUSPEND"], resume_after_ms=60000)


def test_put_off_while_there_is_a_lease(start, path):
    daemon = start({"limits": {"batch": 5}})
    with daemon.client() as client:
        suspended(client, "a")
        suspended(client, "b")
        write(path, {"limits": {"batch": 6}})
        hangup(daemon, "will be read again when the last lease of a suspended device has ended (2 now)")
        hangup(daemon, times=5)
        client.device_resume(name="a")
        time.sleep(0.3)
        assert limits(daemon)["batch"] == 5 and "read again: no" not in daemon.log()
        assert count(daemon, "will be read again") == 1  # said once
        client.device_resume(name="b")
        assert daemon.said("read again: no rules of its own")
        assert limits(daemon)["batch"] == 6
        suspended(client, "c")
        write(path, {"limits": {"batch": 7}})
        hangup(daemon, "will be read again when")
    daemon.stop()  # with the lease, and the reading still put off


def test_hangup_at_the_end(start, path):
    """No harm is done by one that comes with SIGTERM."""
    daemon = start({})
    daemon.process.send_signal(signal.SIGHUP)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.stop()


def test_a_relative_path_is_kept(tmp_path, path, monkeypatch):
    write(path, {"limits": {"batch": 5}})
    monkeypatch.setenv("DMRPC_BUILD", str(dmrpc.build_dir()))  # it may be relative, too
    monkeypatch.chdir(tmp_path)
    with dmrpc.Daemon(tmp_path, "--config", "c.json") as daemon:
        write(path, {"limits": {"batch": 6}})
        hangup(daemon, f"{path}: read again")
        assert limits(daemon)["batch"] == 6
