# SPDX-License-Identifier: Apache-2.0
"""What the kernel tests share: one dmrpcd on the kernel for all, disks, devices, and the watch over what is left.

They run inside a machine of `run`, as root. Every reply that any of them gets is held against the schema.
"""

import itertools
import os
import pathlib
import re
import shlex
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "support"), str(HERE.parent / "support")]

pytest.register_assert_rewrite("calls", "dm", "tasks")

# pylint: disable=wrong-import-position
import dm  # noqa: E402
from calls import line  # noqa: E402
from contract import Contract  # noqa: E402
from disks import Disk  # noqa: E402
from dmrpc import Client, Daemon, RpcError, build_dir  # noqa: E402
from plain import plain_build  # noqa: E402
from probe import Trace  # noqa: E402
from tasks import Uevents  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--part", default="1/1", metavar="K/N", help="every Nth test, beginning with the Kth")


def pytest_collection_modifyitems(config, items):
    first, step = map(int, config.getoption("--part").split("/"))
    items[:] = items[first - 1::step]


@pytest.fixture(scope="session")
def contract(request):
    """What has been answered is left for test_contract.py."""
    held = Contract()
    yield held
    if "DMRPC_RESULTS" in os.environ:
        held.save(pathlib.Path(os.environ["DMRPC_RESULTS"]) / "contract.json")


@pytest.fixture(scope="session")
def foreign():
    """Devices that were there before: on a host they are somebody's, and stay."""
    return set(dm.listed())


@pytest.fixture(scope="session")
def folder():
    """For sockets; others may enter it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="dmrpc-test-", dir="/run"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def daemons(folder):
    """Makes daemons on the kernel: daemons("--reply-bytes", 4096)."""
    numbers = itertools.count()

    def make(*arguments, within=(), **options):
        """`within` is a command that runs it: ("setpriv", "--ambient-caps", ...)."""
        home = folder / str(next(numbers))
        home.mkdir(mode=0o755)
        if not within:
            return Daemon(home, *arguments, simulate=False, **options)
        wrapper = home / "build" / "server" / "dmrpcd"
        wrapper.parent.mkdir(parents=True)
        command = shlex.join([*within, str(build_dir() / "server" / "dmrpcd")])
        wrapper.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DMRPC_BUILD", str(home / "build"))
            return Daemon(home, *arguments, simulate=False, **options)

    return make


@pytest.fixture(scope="session")
def plain_daemons(daemons):
    """The same of a build without sanitizers."""
    def make(*arguments, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DMRPC_BUILD", str(plain_build()))
            return daemons(*arguments, **options)
    return make


@pytest.fixture(scope="session")
def daemon(daemons):
    """The one that serves all tests; it must end well after all of them."""
    with daemons() as served:
        yield served


FAILED = pytest.StashKey()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().failed:
        item.stash[FAILED] = True


@pytest.fixture(autouse=True)
def watch(request, contract, foreign):
    """After each test: no device is left, and all that was answered fits the schema."""
    Client.recorded = []
    yield
    recorded, Client.recorded = Client.recorded, None
    left = dm.clean(foreign)
    faults = contract.check(recorded)
    assert not faults, "\n".join(faults)
    # One that failed did not come to its end.
    assert not left or FAILED in request.node.stash, f"{request.node.name} left devices behind: {left}"


@pytest.fixture
def client(daemon, watch):  # pylint: disable=unused-argument
    with daemon.client() as connection:
        yield connection


@pytest.fixture
def other(daemon, watch):  # pylint: disable=unused-argument
    """A second connection."""
    with daemon.client() as connection:
        yield connection


@pytest.fixture
def disk(watch):  # pylint: disable=unused-argument
    """Makes disks: disk(size_kib)."""
    made = []

    def make(size_kib=4096, **options):
        made.append(Disk(size_kib, **options))
        return made[-1]

    yield make
    for each in reversed(made):
        each.close()


class Devices:
    """Makes devices by a client, and takes those away that are still there at the end, last first."""

    def __init__(self, client, test):
        self.client = client
        self.prefix = "kt-" + re.sub(r"\W.*", "", test.removeprefix("test_"))[:60] + "-"
        self.made = []

    def name(self):
        return f"{self.prefix}{len(self.made)}"

    def create(self, name=None, **params):
        if "minor" in params:
            params["flags"] = ["DM_PERSISTENT_DEV"]
        info = self.client.device_create(name=name or self.name(), **params)
        self.made.append(info["device"])
        return info

    def load(self, targets, name=None, flags=(), **params):
        """A device with an inactive table."""
        info = self.create(name, **params)
        self.client.table_load(device=info["device"], targets=targets, flags=list(flags))
        return self.client.device_status(device=info["device"])

    def make(self, targets, name=None, flags=(), **params):
        """A device with a live table."""
        info = self.load(targets, name, flags, **params)
        return self.client.device_resume(device=info["device"])

    def gone(self, info):
        """The test has removed it."""
        self.made.remove(info["device"])

    def remove_all(self):
        while self.made:
            device = self.made.pop()
            try:
                self.client.device_remove(device=device)
            except RpcError as error:
                assert error.name == "device_not_found", error


@pytest.fixture
def devices(client, disk, request):  # pylint: disable=unused-argument
    made = Devices(client, request.node.name)
    yield made
    if FAILED not in request.node.stash:
        made.remove_all()


@pytest.fixture
def uevents():
    events = Uevents()
    yield events
    events.close()


@pytest.fixture
def trace():
    probe = Trace()
    yield probe
    probe.close()


@pytest.fixture
def alone(foreign):
    """For what reaches every device of the host."""
    if foreign:
        pytest.skip(f"this host has device-mapper devices of its own: {sorted(foreign)}")


class Pool:
    """A thin-pool of 64 KiB blocks and one thin device on it."""

    blocks_of_4k = 16
    block_sectors = 128

    def __init__(self, client, devices, disk, size_kib=8192, low_water=4):
        self.client, self.devices, self.low_water = client, devices, low_water
        self.meta, self.data = disk(4096), disk(size_kib)
        self.info = devices.make([self.line()])
        client.target_msg(name=self.info["name"], message="create_thin 0")
        self.thin = devices.make([self.thin_line(0)])

    def line(self, blocks=None):
        length = blocks * self.block_sectors if blocks else self.data.sectors
        params = f"{self.meta.number} {self.data.number} {self.block_sectors} {self.low_water} 0"
        return line(0, length, "thin-pool", params)

    def thin_line(self, number, length=65536):
        return line(0, length, "thin", f"{self.info['device']['major']}:{self.info['device']['minor']} {number}")

    def blocks(self):
        return self.data.sectors // self.block_sectors


@pytest.fixture
def pool(client, devices, disk):
    return Pool(client, devices, disk)
