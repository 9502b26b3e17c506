# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A clock that jumps, under a server that goes on: answers are in force when they are given, or there
are none, and everything is well again once the clock is."""

import json
import sqlite3
import time

import pytest

from harness import ocsp
from harness.clock import SECOND, Clock
from harness.feeder import make_crl
from harness.pki import Authority
from harness.server import wait_until


@pytest.fixture
def server(make_server):
    """An issuer, and a CA that is known by a CRL of one day; signers for two days."""
    server = make_server("", start=False, own_modules=ocsp.OWN_MODULES)
    server.clock = Clock(server)
    server.files = Authority(server.root / "ca", "files", "rsa2048-09")
    server.files.key = server.files.key_source
    (server.root / "run").mkdir(exist_ok=True)
    publish(server, 1, age=3600)
    server.configure(ocsp.content(
        server, signer_line='OCSPSigner "{}" "{}"'.format(*ocsp.signer(server.authority, days=2)))
        + ocsp.section("files", f'OCSPCertificate "{server.files.certificate_path}"',
                       'OCSPSigner "{}" "{}"'.format(*ocsp.signer(server.files, days=2)),
                       f"OCSPSource crl file://{server.root}/run/files.crl interval=1s"))
    server.start()
    ocsp.wait_ready(server)
    server.leaf = ocsp.enrol(server).serial_number
    wait_good(server)
    return server


def publish(server, number, age=0):
    path = server.root / "run" / "files.crl"
    new = path.with_suffix(".new")
    new.write_bytes(make_crl(server.files, [1], number, age=age))
    new.rename(path)


def asked(server, authority, serial):
    """The answer, which is in force now, or the name of an error."""
    before = server.clock.now()
    answer = ocsp.parse(ocsp.post(server, ocsp.request_for(authority, [serial])))
    after = server.clock.now()
    if answer.response_status != ocsp.SUCCESSFUL:
        return answer.response_status
    assert answer.this_update <= after + SECOND, (answer.this_update, after)
    assert answer.next_update > before - SECOND, (answer.next_update, before)
    assert answer.produced_at <= after + SECOND
    signer, = answer.certificates
    assert signer.not_valid_before <= after and before <= signer.not_valid_after + SECOND
    return answer.certificate_status


def wait_good(server, seconds=10):
    wait_until(lambda: asked(server, server.authority, server.leaf) == ocsp.GOOD
               and asked(server, server.files, 1) == ocsp.REVOKED, seconds, what="good answers")


def look(server, seconds=2):
    """What is said in some seconds, of both."""
    seen, end = set(), time.monotonic() + seconds
    while time.monotonic() < end:
        seen.add(asked(server, server.authority, server.leaf))
        seen.add(asked(server, server.files, 1))
        time.sleep(0.05)
    return seen


def test_steps(server):
    """Ahead and back again; answers that were kept do not outlive their time."""
    server.allow("GH0763", "GH0677", "GH0554", "GH0562")
    wait_good(server)
    for step in (3 * 3600, 0, -120, 5400, 0):
        server.clock.set(step)
        # what was known is of another time for a moment
        assert look(server) <= {ocsp.GOOD, ocsp.REVOKED, ocsp.TRY_LATER}
        wait_good(server)


def test_ends(server):
    """The CRL ends, then the signers do; nothing is signed with what has ended."""
    server.allow("GH0763", "GH0677")
    server.clock.set(25 * 3600)
    time.sleep(1)
    wait_until(lambda: asked(server, server.authority, server.leaf) == ocsp.GOOD, 10, what="good")
    assert asked(server, server.files, 1) == ocsp.TRY_LATER
    server.expect("GH0647")             # no valid signer
    server.clock.set(49 * 3600)
    time.sleep(1)
    for _ in range(30):
        assert asked(server, server.authority, server.leaf) not in (ocsp.GOOD, ocsp.REVOKED)
        assert asked(server, server.files, 1) not in (ocsp.GOOD, ocsp.REVOKED)
    server.clock.set(0)
    wait_good(server)


def test_merged_from_time_to_time_and_made_anew_each_day(server):
    """Changes come into the index after five minutes; what the store has lost goes after a day."""
    server.allow("GH0763", "GH0677", "GH0554", "GH0562")

    def state():
        return json.loads((server.root / "run" / "ocsp" / "devices.state").read_text())

    def next_index(after):
        return wait_until(lambda: state() if state()["generation"] > after["generation"] else None,
                          10, what="another index")

    def none_after(before):
        time.sleep(2.5)
        assert state()["generation"] == before["generation"]
        return before

    def known():
        return state()["sources"][0]["entries"]

    # the feeder tells of it within a second
    first = wait_until(lambda: state() if state()["generation"] else None, 10, what="an index")
    assert known() < 3                  # the rest is in the overlay
    ocsp.wait_for(server, ocsp.enrol(server, "CN=2", 2).serial_number, ocsp.GOOD)
    server.clock.set(200)
    none_after(first)
    server.clock.set(302)
    merged = next_index(first)
    count = len(server.certificates("--issuer", "devices"))
    assert known() == count
    server.clock.set(700)
    none_after(merged)                  # nothing has changed since

    sql = sqlite3.connect(server.root / "store" / "gatehouse.db", timeout=10)
    with sql:
        for table in ("certificate_status", "certificate_der"):
            assert sql.execute(f"DELETE FROM {table} WHERE serial = ?",
                               (server.leaf.to_bytes((server.leaf.bit_length() + 8) // 8, "big"),)
                               ).rowcount == 1
    sql.close()
    ocsp.wait_for(server, ocsp.enrol(server, "CN=3", 3).serial_number, ocsp.GOOD)
    merged = next_index(merged)
    assert known() == count + 1
    server.clock.set(24 * 3600 - 60)
    none_after(merged)
    server.clock.set(24 * 3600 + 30)
    next_index(merged)
    assert known() == count == len(server.certificates("--issuer", "devices"))
