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
from scep import Csr, ProtocolError

COUNT = environment.count(300, 10000)

# an issuer waits for the store; the store is away; a write did not come back
UNREACHABLE = ("GH0014", "GH0078", "GH0082", "GH0083", "GH0087", "GH0088", "GH0089", "GH0034")
# a flush failed; writes are stopped
STOPPED = ("GH0053", "GH0065", "GH0066")


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


def load_of(server, count=COUNT):
    client = server.client(standard.STATIC)
    return Load(client, count, seconds=max(120, count), challenge=CHALLENGE)


def new_request(client, subject="CN=device"):
    return client.message(Csr(standard.device_key(), subject, CHALLENGE))


def enrols(client):
    """Whether the server issues, or at least answers that it cannot now."""
    try:
        response = client.send(new_request(client))
    except ProtocolError as error:      # of GetCACert
        assert "503" in str(error)
        return False
    assert response.status in (200, 503), response
    return response.status == 200


# processes

@pytest.mark.slow
@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_children_killed_during_enrolments(make_server, store, mpm):
    server = make_server(content, store=store, mpm=mpm)
    kills = 0
    with load_of(server) as load:
        while load.busy and kills < COUNT // 30:
            mark = load.answered
            wait_until(lambda: load.answered > mark + 5 or not load.busy, 60)
            kills += len(server.kill_children(most=1 if kills % 4 else 99))
    assert kills >= min(8, COUNT // 30)
    assert load.lost > 0, "nothing was interrupted"
    check_store(server, load)
    assert server.client(standard.STATIC).enrol(standard.device_key(), CHALLENGE).succeeded


@pytest.mark.slow
def test_everything_killed_during_enrolments(make_server, store):
    server = make_server(content, store=store)
    kills = environment.count(3, 20)
    with load_of(server) as load:
        for number in range(kills):     # from the first devices to the last
            mark = max(number * COUNT // (kills + 1), load.answered) + 10
            wait_until(lambda: load.answered > mark or not load.busy, 120)
            assert load.busy, "all have been answered before the last kill"
            server.kill_all()
            server.allow("AH00098")
            server.start()
    assert load.lost > 0, "nothing was interrupted"
    assert load.answered == COUNT
    check_store(server, load)


@pytest.mark.slow
def test_graceful_restarts_lose_nothing(make_server, store):
    server = make_server(content, store=store)
    restarts = 0
    with load_of(server, 3 * COUNT) as load:
        while load.busy:
            server.graceful()
            restarts += 1
            time.sleep(0.2)
    assert restarts >= 2
    assert load.lost == 0 and load.statuses == []
    check_store(server, load)


def test_enrolments_are_durable_when_answered(make_server, store):
    """kill -9 of everything right behind the answer."""
    server = make_server(content, store=store)
    for number in range(3):
        reply = server.client(standard.STATIC).enrol(standard.device_key(), CHALLENGE,
                                                     f"CN=now-{number}")
        server.kill_all()
        server.allow("AH00098")
        assert [int(row["serial"], 16) for row in server.certificates(
            "--subject", f"now-{number}")] == [reply.certificate.serial_number]
        server.start()
        assert server.client(standard.STATIC).exchange(reply.request).issued == reply.issued


# databases

@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "crash"])
def test_database_restarts_during_load(make_server, how):
    with Cluster() as own:
        server = make_server(content, store=own.database())
        client = server.client(standard.STATIC)
        with load_of(server) as load:
            wait_until(lambda: load.answered > 20, 30)
            server.allow(*UNREACHABLE)
            getattr(own, how)()
            time.sleep(1.5)
            response = client.send(new_request(client))
            assert response.status == 503, response
            assert int(response.headers["Retry-After"]) > 0
            assert b"GH" in response.body
            assert server.get("/crl/devices.crl").status == 200     # it needs no database
            assert client.caps()
            own.start()
            wait_until(lambda: enrols(client), 20, 0.2, "recovery")
        assert set(load.statuses) <= {503}, set(load.statuses)
        assert load.lost == 0
        check_store(server, load)


def test_server_starts_without_its_database(make_server):
    """httpd refuses to start and says why, or it starts and recovers by itself."""
    with Cluster() as own:
        server = make_server(content, store=own.database())
        server.stop()
        own.stop()
        server.allow(*UNREACHABLE)
        try:
            server.start()
        except AssertionError as error:
            assert "GH0" in str(error)
        own.start()
        if server.process is None:
            server.start()
        wait_until(lambda: enrols(server.client(standard.STATIC)), 20, 0.2, "recovery")


# disks

def shim():
    """A library whose fdatasync() and fsync() fail while the file that it is told of exists."""
    return environment.check_library("failfsync")


def test_disk_that_does_not_flush(make_server):
    server = make_server(content, preload=shim(), start=False)
    switch = server.root / "run" / "fail"
    server.environment["FAILFSYNC_TRIGGER"] = str(switch)
    server.start()
    client = server.client(standard.STATIC)
    assert client.enrol(standard.device_key(), CHALLENGE, "CN=before").succeeded
    server.crl()                        # there is one before the disk fails
    switch.write_text("")
    os.chmod(switch, 0o644)
    server.expect("GH0066")
    server.allow(*STOPPED)
    responses = [client.send(new_request(client, f"CN=during-{number}")) for number in range(5)]
    assert {response.status for response in responses} == {503}
    switch.unlink()                     # the disk says that it is well again: it is not believed
    response = client.send(new_request(client, "CN=after"))
    assert response.status == 503 and b"GH0065" in response.body
    assert server.get("/crl/devices.crl").status == 200
    assert client.caps() and client.ra
    stopped = server.ctl("check")
    assert stopped.status == 1
    assert [line for line in stopped.objects if line["verdict"] == "error"
            and line["name"].startswith("store")], stopped
    server.graceful()                   # a restart checks the store and lifts the stop
    assert client.enrol(standard.device_key(), CHALLENGE, "CN=restarted").succeeded
    subjects = " ".join(row["subject"] for row in server.certificates())
    assert "before" in subjects and "restarted" in subjects and "after" not in subjects
