# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A clock that jumps, under a server that goes on: answers are in force when they are given, or there
are none, and everything is well again once the clock is."""

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
