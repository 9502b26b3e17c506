# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The OCSP feeder: indexes of the store and of files, and how it lives and ends."""

import os
import signal
import time

import pytest
from cryptography import x509

from harness import standard
from harness.feeder import Feeder, hang, make_crl, source, written
from harness.server import CHALLENGE, wait_until


class StoreFeeder(Feeder):
    def content(self, server):
        return standard.content(server) + super().content(server)


def file_source(server, name="ca.crl", **options):
    return source("crl", f"file://{server.root}/run/{name}", **options)


def write(server, data, name="ca.crl"):
    """As CAs should publish: by rename."""
    path = server.root / "run" / name
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").rename(path)


@pytest.fixture
def files(make_server):
    """A feeder of one CRL in a file, with 3 revoked certificates."""
    feeder = Feeder(make_server, {}, start=False)
    feeder.configure({"devices": [file_source(feeder.server)]})
    write(feeder.server, make_crl(feeder.server.authority, [1, 2, 3]))
    feeder.start()
    return feeder


def entries(state, of=0):
    return state["sources"][of]["entries"]


# the store

def test_store_has_an_index_at_once(make_server):
    feeder = StoreFeeder(make_server, {"devices": [source("store")], "other": [source("store")]})
    for name in ("devices", "other"):
        state = feeder.wait_index(name, seconds=5)
        assert state["sources"][0]["kind"] == "store"
        assert state["build_error"] is None
        assert state["pid"] == feeder.pid()
        assert (feeder.folder() / f"{name}.index").exists()
    assert [p.name for p in feeder.folder().glob("*.lock")] == ["feeder.lock"]


def test_store_index_has_what_was_issued(make_server):
    feeder = StoreFeeder(make_server, {"devices": [source("store")]})
    feeder.wait_index("devices")
    for number in (1, 2, 3):
        reply = feeder.server.client(standard.STATIC).enrol(
            standard.device_key(number), CHALLENGE, f"CN=device-{number}")
        assert reply.succeeded
    count = len(feeder.server.certificates("--issuer", "devices"))
    assert count >= 3
    feeder.server.stop()
    (feeder.folder() / "devices.index").unlink()
    feeder.server.start()
    feeder.wait("devices", lambda state: entries(state) == count, what="the index of the whole")


def test_a_damaged_index_is_made_again(make_server):
    feeder = StoreFeeder(make_server, {"devices": [source("store")]})
    first = feeder.wait_index("devices")
    feeder.server.stop()
    path = feeder.folder() / "devices.index"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    feeder.server.start()
    again = feeder.wait("devices", lambda state: state["pid"] != first["pid"]
                        and state["generation"] > 0, what="another index")
    assert again["build_error"] is None
    assert path.read_bytes() != bytes(data)


def damage(path):
    """In its middle, where it is, as a defect of the disk or another program would do it."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("harm", [damage, os.unlink])
def test_store_index_that_is_lost_while_all_runs(make_server, harm):
    feeder = StoreFeeder(make_server, {"devices": [source("store")]})
    first = feeder.wait_index("devices")
    time.sleep(1)       # another mtime
    feeder.server.expect("GH0768")
    harm(feeder.folder() / "devices.index")
    feeder.wait_index("devices", after=first["generation"], seconds=5)
    assert feeder.server.log.text().count("GH0768") == 1


def test_the_time_of_the_whole_index_survives_a_restart(make_server):
    feeder = StoreFeeder(make_server, {"devices": [source("store")]})
    first = feeder.wait_index("devices")
    assert first["built_whole"] == first["built"]
    feeder.server.stop()
    path = feeder.folder() / "devices.index"
    os.utime(path, (path.stat().st_mtime + 60,) * 2)     # as if it had been merged since
    feeder.server.start()
    again = feeder.wait("devices", lambda state: state["pid"] != first["pid"])
    assert again["generation"] == first["generation"]
    assert again["built"] != first["built"] and again["built_whole"] == first["built_whole"]


def test_store_that_cannot_be_reached_delays_nothing(make_server):
    feeder = Feeder(make_server, {}, start=False)
    server = feeder.server
    server.store_uri = "pgsql:host=127.0.0.1 port=9 dbname=none connect_timeout=2"
    feeder.configure({"devices": [source("store")], "files": [file_source(server)]})
    write(server, make_crl(server.authority, [1]))
    begin = time.monotonic()
    feeder.start()
    feeder.wait_index("files", seconds=5)
    assert time.monotonic() - begin < 5
    state = feeder.wait("devices", lambda state: state["build_error"], what="an error of the store")
    assert state["generation"] == 0
    number = state["build_error"]["gh"]
    server.expect(number)
    assert f"{number}: authority devices, its index from the store: " in server.log.text()


# files

def test_crl_from_a_file(files):
    state = files.wait_index("devices")
    assert entries(state) == 3
    assert state["sources"][0]["number"] == "01" or int(state["sources"][0]["number"], 16) == 1
    write(files.server, make_crl(files.server.authority, [1, 2, 3, 4], number=2))
    later = files.wait_index("devices", after=state["generation"], seconds=3)
    assert entries(later) == 4
    assert int(later["sources"][0]["number"], 16) == 2


def test_unchanged_is_a_success_without_a_new_index(files):
    state = files.wait_index("devices")
    later = files.wait("devices", lambda new: written(new["sources"][0], "last_success")
                       > written(state["sources"][0], "last_success"), what="another success")
    assert later["generation"] == state["generation"]


@pytest.mark.parametrize("harm", [damage, os.unlink])
def test_index_of_files_that_is_lost_while_all_runs(files, harm):
    server = files.server
    files.wait_index("devices")
    server.stop()
    server.start()      # whose feeder has the index, and not the CRL
    first = files.wait("devices", lambda state: state["pid"] == files.pid())
    server.expect("GH0768")
    harm(files.folder() / "devices.index")
    later = files.wait_index("devices", after=first["generation"], seconds=5)
    assert entries(later) == 3
    assert server.log.text().count("GH0768") == 1


def test_the_number_of_a_crl_is_on_disk_before_its_index(make_server):
    feeder = Feeder(make_server, {}, start=False)
    feeder.configure({"devices": [file_source(feeder.server, interval=100000)]})
    write(feeder.server, make_crl(feeder.server.authority, [1]))
    feeder.start()
    state = feeder.wait_index("devices")
    path = feeder.folder() / "devices.index"
    for number in range(2, 6):
        feeder.wait("devices", lambda new: new["written"] != state["written"])
        before = path.stat().st_ino
        write(feeder.server, make_crl(feeder.server.authority, [1], number=number))
        deadline = time.monotonic() + 10
        while path.stat().st_ino == before:
            assert time.monotonic() < deadline
        state = feeder.state("devices")
        assert int(state["sources"][0]["number"], 16) == number


def test_index_txt_of_a_new_ca(make_server):
    feeder = Feeder(make_server, {}, start=False)
    feeder.configure({"devices": [source("index", f"file://{feeder.server.root}/run/index.txt")]})
    write(feeder.server, b"", "index.txt")
    feeder.start()
    state = feeder.wait_index("devices")
    assert entries(state) == 0
    write(feeder.server, b"V\t350101000000Z\t\t01\tunknown\t/CN=x\n", "index.txt")
    assert entries(feeder.wait_index("devices", after=state["generation"])) == 1
    feeder.server.expect("GH0770")
    write(feeder.server, b"", "index.txt")
    feeder.wait_error("devices", "GH0770")


def test_a_file_that_is_gone(files):
    first = files.wait_index("devices")
    (files.server.root / "run" / "ca.crl").unlink()
    files.server.expect("GH0673")
    state = files.wait_error("devices", "GH0673")
    assert state["generation"] == first["generation"]
    write(files.server, make_crl(files.server.authority, [1, 2, 3], number=5))
    files.wait("devices", lambda state: state["sources"][0]["failures"] == 0)
    assert "GH0675: authority devices, file://" in files.server.log.text()


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_plain_file_blocks_nothing(files, kind):
    files.wait_index("devices")
    path = files.server.root / "run" / "ca.crl"
    path.unlink()
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    files.server.expect("GH0673")
    files.wait_error("devices", "GH0673")
    begin = time.monotonic()
    files.server.stop()
    assert time.monotonic() - begin < 5


def test_bad_documents_leave_the_index_alone(files):
    server = files.server
    first = files.wait_index("devices")
    other = x509.load_pem_x509_certificate(server.authority.root_path.read_bytes())
    cases = [
        ("GH0704", b"garbage"), ("GH0685", b""),
        ("GH0704", make_crl(server.authority, [1], number=9)[:-1]),
        ("GH0696", make_crl(server.authority, [1], number=9, key=standard.device_key(1))),
        ("GH0700", make_crl(server.authority, [1], number=9, age=7200, hours=1)),
    ]
    assert other.subject != server.authority.certificate.subject
    for good, (number, data) in enumerate(cases, 2):
        server.expect(number)
        write(server, data)
        state = files.wait_error("devices", number, seconds=15)
        assert state["generation"] == first["generation"], number
        # and what is good again is taken up again
        write(server, make_crl(server.authority, [1, 2, 3], number=good))
        first = files.wait_index("devices", after=first["generation"], seconds=15)
        assert first["sources"][0]["failures"] == 0


def test_older_ones_are_refused_also_after_a_restart(files):
    server = files.server
    state = files.wait_index("devices")
    write(server, make_crl(server.authority, [1, 2, 3, 4], number=7))
    state = files.wait_index("devices", after=state["generation"])
    server.stop()
    write(server, make_crl(server.authority, [1], number=6))
    server.expect("GH0701")
    server.start()
    later = files.wait_error("devices", "GH0701")
    assert later["generation"] == state["generation"]
    assert later["pid"] != state["pid"]


def test_a_crl_that_ends_soon(files):
    server = files.server
    files.wait_index("devices")
    server.expect("GH0677")
    write(server, make_crl(server.authority, [1, 2, 3], number=2, hours=1))
    state = files.wait("devices", lambda state: state["sources"][0]["warn"] == 1)
    assert state["sources"][0]["failures"] == 0
    wait_until(lambda: "GH0677: authority devices, file://" in server.log.text(), 5)


# life

def test_a_killed_feeder_is_back_within_a_second(files):
    state = files.wait_index("devices")
    pid = files.pid()
    files.server.expect("GH0663")
    begin = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: [new for new in files.pids() if new != pid], 3, what="another feeder")
    assert time.monotonic() - begin < 1.5
    write(files.server, make_crl(files.server.authority, [1, 2, 3, 4], number=2))
    later = files.wait_index("devices", after=state["generation"])
    assert entries(later) == 4 and later["pid"] != pid


def test_the_feeder_ends_with_a_killed_parent(files):
    files.wait_index("devices")
    pid = files.pid()
    os.kill(files.server.process.pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 3, what="the end of the feeder")
    files.server.kill_all()


def test_graceful_restarts_leave_one_feeder(files):
    state = files.wait_index("devices")
    for _ in range(20):     # one comes while the worker of the last has hardly been forked
        files.server.graceful()
    wait_until(lambda: len(files.pids()) == 1, 5, what="one feeder alone")
    write(files.server, make_crl(files.server.authority, [9] + list(range(1, 4)), number=3))
    assert entries(files.wait_index("devices", after=state["generation"])) == 4
    assert files.state("devices")["pid"] == files.pids()[0]


def test_graceful_with_another_configuration(make_server, files):
    files.wait_index("devices")
    write(files.server, make_crl(files.server.authority, [1], number=4), "second.crl")
    files.configure({"second": [file_source(files.server, "second.crl")]})
    files.server.graceful()
    assert entries(files.wait_index("second")) == 1
    assert entries(files.state("devices")) == 3     # left as it was


def test_it_ends_at_once_while_a_source_hangs(make_server):
    from harness.feeder import Source
    web = Source()
    web["/crl"] = hang
    try:
        feeder = Feeder(make_server, {"devices": [source("crl", web.url("/crl"),
                                                         timeout=30000000)]})
        wait_until(lambda: web.requests("/crl"), 5, what="a request")
        begin = time.monotonic()
        feeder.server.stop()
        assert time.monotonic() - begin < 3
    finally:
        web.close()


def test_the_state_tells_that_the_feeder_is_there(files):
    files.wait_index("devices")
    folder = files.folder()
    mode = (folder / "devices.state").stat().st_mode & 0o777
    assert mode & 0o007 == 0, oct(mode)
    assert not list(folder.glob("*.new"))
