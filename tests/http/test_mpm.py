# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The same on every MPM, with empty logs; the error log is checked by the fixtures."""

import pathlib
import signal

import pytest
from cryptography import x509

from harness import standard
from harness.checks import serial_text
from harness.config import CRL_AND_CA, issuer
from harness.load import Load
from harness.server import CHALLENGE, wait_until


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_life(make_server, mpm, subject):
    server = make_server(standard.content, mpm=mpm, loglevel="debug")
    client = server.client(standard.STATIC)
    first = client.enrol(standard.device_key(), CHALLENGE, subject)
    assert first.succeeded
    server.ctl_ok("cert", "revoke", serial_text(first.certificate.serial_number))
    wait_until(lambda: x509.load_der_x509_crl(
        server.crl()).get_revoked_certificate_by_serial_number(
            first.certificate.serial_number), 5, what="the revocation")
    server.graceful()
    assert client.exchange(first.request).issued == first.issued
    assert client.enrol(standard.device_key(2), CHALLENGE, subject).succeeded
    server.restart()
    assert client.exchange(first.request).issued == first.issued
    waiting = server.client(standard.MANUAL).enrol(standard.device_key(), CHALLENGE, subject)
    assert waiting.pending
    assert server.stop() == 0
    server.start()


def test_prefork_ends_processes_amid_requests(make_server):
    """Prefork ends a process within its signal handler, which may find it at work with anything."""
    server = make_server(standard.content, mpm="prefork")
    load = Load(server.client(standard.STATIC), 2000, challenge=CHALLENGE)
    told = 0
    with load:
        while told < 24:
            mark = load.answered
            wait_until(lambda: load.answered > mark + 5, 30, what="more answers")
            ended = server.kill_children(signal.SIGTERM)
            wait_until(lambda: not any(map(is_alive, ended)), 5, what=f"the end of {ended}")
            told += len(ended)
        assert load.busy
        load.stop()
    assert load.lost > 0, "nothing was interrupted"
    assert server.client(standard.STATIC).enrol(standard.device_key(), CHALLENGE).succeeded


def is_alive(pid):
    return pathlib.Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("order", [("gatehouse", "scep"), ("scep", "gatehouse")])
def test_order_of_modules(make_server, order):
    server = make_server(standard.content, own_modules=order)
    assert server.client(standard.STATIC).enrol(standard.device_key(), CHALLENGE).succeeded


def test_start_says_nothing_that_worries(make_server):
    server = make_server(standard.content)
    assert server.stderr() == ""


def test_gatehouse_alone(make_server):
    """Without mod_scep: CRL and CA certificate."""
    server = make_server(lambda s: issuer(s.authority) + CRL_AND_CA, own_modules=("gatehouse",))
    assert server.crl()
    assert server.get("/ca/devices.cer").status == 200


def test_loaded_but_not_configured(make_server):
    """An httpd with our modules and none of our directives starts."""
    server = make_server("", start=False)
    text = server.conf.read_text()
    server.conf.write_text("\n".join(line for line in text.splitlines()
                                     if "Gatehouse" not in line and "Include" not in line) + "\n")
    server.start()
    assert server.get("/scep").status == 404
