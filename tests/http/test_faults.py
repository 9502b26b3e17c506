# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What happens when processes die, disks fail and databases go away."""

import os
import time

import pytest

from harness import environment, standard
from harness.config import CRL_AND_CA, issuer, location
from harness.load import Load, check_store
from harness.postgres import Cluster
from harness.server import CHALLENGE, wait_until

COUNT = environment.count(300, 10000)


def content(server):
    return standard.PROFILES + issuer(server.authority) + location(
        "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
        "SCEPProfiles scep-* test-*") + location(
            standard.STATIC, standard.challenge(server)) + CRL_AND_CA


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as started:
        yield started


@pytest.fixture(params=["sqlite", "pgsql"])
def store(request):
    if request.param == "sqlite":
        return "sqlite"
    return request.getfixturevalue("cluster").database()


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_children_killed_during_enrolments(make_server, store, mpm):
    server = make_server(content, store=store, mpm=mpm)
    server.allow("AH00052")
    client = server.client(standard.STATIC)
    kills = 0
    with Load(client, COUNT, seconds=COUNT, challenge=CHALLENGE) as load:
        while load.busy:
            time.sleep(0.25)
            server.allow("AH00052")
            kills += len(server.kill_children())
    assert kills > 2
    assert load.lost > 0                # or nothing was interrupted
    check_store(server, load)
    assert client.enrol(standard.device_key(), CHALLENGE).succeeded


def test_everything_killed_during_enrolments(make_server, store):
    server = make_server(content, store=store)
    client = server.client(standard.STATIC)
    with Load(client, COUNT, seconds=COUNT, challenge=CHALLENGE) as load:
        for _ in range(environment.count(3, 20)):
            mark = load.answered
            wait_until(lambda: load.answered > mark + 10 or not load.busy, 30)
            server.kill_all()
            server.allow("AH00098")
            server.start()
    check_store(server, load)


def test_graceful_restarts_lose_nothing(make_server, store):
    server = make_server(content, store=store)
    client = server.client(standard.STATIC)
    restarts = 0
    with Load(client, COUNT, seconds=COUNT, challenge=CHALLENGE) as load:
        while load.busy:
            server.graceful()
            restarts += 1
            time.sleep(0.5)
    assert restarts >= 2
    assert load.lost == 0 and load.statuses == []
    check_store(server, load)


def test_enrolments_are_durable_when_answered(make_server, store, subject):
    """kill -9 of everything right behind the answer."""
    server = make_server(content, store=store)
    for number in range(5):
        reply = server.client(standard.STATIC).enrol(standard.device_key(), CHALLENGE,
                                                     f"CN=now-{number}")
        server.kill_all()
        server.allow("AH00098")
        assert [int(row["serial"], 16) for row in server.certificates(
            "--subject", f"now-{number}")] == [reply.certificate.serial_number]
        server.start()


def test_database_restarts_during_load(make_server):
    with Cluster() as own:
        server = make_server(content, store=own.database())
        client = server.client(standard.STATIC)
        with Load(client, COUNT, seconds=120, challenge=CHALLENGE) as load:
            wait_until(lambda: load.answered > 20, 30)
            server.allow(*UNAVAILABLE)
            own.stop()
            time.sleep(1.5)
            response = client.send(load.devices[0].request)
            assert response.status == 503, response
            assert int(response.headers["Retry-After"]) > 0
            assert server.get("/crl/devices.crl").status == 200     # reads that need no database go on
            own.start()
            wait_until(lambda: client.send(load.devices[0].request).status == 200, 20, 0.2,
                       "recovery")
        server.allow(*UNAVAILABLE)
        assert set(load.statuses) <= {503}, set(load.statuses)
        assert load.lost == 0
        check_store(server, load)


def test_server_starts_without_its_database(make_server):
    """What is needed is said; httpd either refuses to start with a reason or recovers by itself."""
    with Cluster() as own:
        uri = own.database()
        server = make_server(content, store=uri)
        server.stop()
        own.stop()
        try:
            server.start()
        except AssertionError as error:
            assert "GH0" in str(error)
            server.allow(*UNAVAILABLE)
        own.start()
        if server.process is None:
            server.start()
        wait_until(lambda: server.client(standard.STATIC).send(server.client(
            standard.STATIC).message(__import__("scep").Csr(
                standard.device_key(), challenge=CHALLENGE))).status == 200, 20, 0.2, "recovery")
        server.allow(*UNAVAILABLE)


UNAVAILABLE = []


def test_disk_that_does_not_flush(make_server, tmp_path):
    """A failed fdatasync: writes stop, nothing unsynced is acknowledged, reads go on."""
    switch = tmp_path / "fail"
    os.chmod(tmp_path, 0o755)
    server = make_server(content, preload=shim(), start=False)
    server.environment["GH_FAIL_FSYNC"] = str(switch)
    server.start()
    client = server.client(standard.STATIC)
    before = client.enrol(standard.device_key(), CHALLENGE, "CN=before")
    assert before.succeeded
    switch.write_text("")
    server.expect(*STOPPED)
    responses = [client.send(client.message(__import__("scep").Csr(
        standard.device_key(), f"CN=during-{i}", CHALLENGE))) for i in range(5)]
    assert {r.status for r in responses} == {503}
    switch.unlink()                     # the disk says it is well again: it is not believed
    response = client.send(client.message(__import__("scep").Csr(
        standard.device_key(), "CN=after", CHALLENGE)))
    assert response.status == 503
    assert server.get("/crl/devices.crl").status == 200
    assert client.caps()
    server.allow(*STOPPED)


STOPPED = []


def shim():
    path = environment.build() / ".libs" / "failfsync.so"
    assert path.exists(), path
    return path
