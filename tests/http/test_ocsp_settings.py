# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What settings of OCSP do where they hold: in locations, in virtual hosts, over restarts."""

import re
import secrets

import pytest

from harness import ocsp
from harness.config import location
from harness.redis import Redis
from harness.server import free_port, wait_until
from scep import transport


def origins(server, start):
    return re.findall(r"GH0762: .* origin (\S+)", server.log.text(start))


def nonce_of(response):
    for extension in ocsp.parse(response).extensions:
        if extension.oid.dotted_string == "1.3.6.1.5.5.7.48.1.2":
            return extension.value.nonce
    return None


def test_nonce_off(make_server):
    """The answer has none (RFC 9654 2.1 permits that), and is the one that was kept."""
    server = ocsp.make(make_server, endpoint="OCSPFastPath /ocsp\nOCSPNonce off\n"
                       "AllowEncodedSlashes NoDecode\n"
                       + location("/with", "SetHandler gatehouse-ocsp", "OCSPNonce on")
                       + location("/without", "SetHandler gatehouse-ocsp"))
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    der = ocsp.request_for(server.authority, [serial], nonce=b"0123456789abcdef")
    for path, echoed in (("/ocsp", False), ("/without", False), ("/with", True)):
        start = server.log.size()
        answer = ocsp.post(server, der, path=path)
        assert ocsp.status_of(answer)[0] == ocsp.GOOD
        assert nonce_of(answer) == (b"0123456789abcdef" if echoed else None), path
        assert origins(server, start) == ["signed" if echoed else "cache"], path
        assert ("ETag" in answer.headers) != echoed


def test_virtual_hosts(make_server):
    """Each has what the server has, but for what it says itself."""
    def lines(server):
        server.other = free_port()
        return ("OCSPFastPath /ocsp\nOCSPNonce off\nOCSPMaxBody 90\n"
                f"Listen 127.0.0.1:{server.other}\n<VirtualHost 127.0.0.1:{server.other}>\n"
                "    OCSPFastPath /status\n    OCSPNonce on\n    OCSPHTTPErrors on\n"
                "</VirtualHost>\n")

    server = ocsp.make(make_server, endpoint=lines)
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    short = ocsp.request_for(server.authority, [serial])
    nonce = ocsp.request_for(server.authority, [serial], nonce=b"x")
    for port, path, own in ((server.port, "/ocsp", False), (server.other, "/status", True)):
        def post(der, port=port, path=path):
            return transport.request(f"http://127.0.0.1:{port}{path}", "POST", body=der,
                                     headers={"Content-Type": ocsp.REQUEST})

        assert ocsp.status_of(post(short))[0] == ocsp.GOOD
        assert len(short) <= 90 < len(nonce)
        assert post(nonce).status == 413
        assert post(b"garbage").status == (400 if own else 200)
        other = "/status" if path == "/ocsp" else "/ocsp"
        assert post(short, path=other).status == 404


@pytest.fixture
def redis():
    made = Redis()
    yield made
    made.close()


def test_key_of_the_second_level(make_server, redis):
    """Who has another key than the one that an answer was kept with does not use it."""
    server = ocsp.make(make_server, endpoint=lambda one: "OCSPFastPath /ocsp\n"
                       f"OCSPSecondLevel redis:127.0.0.1:{redis.port}\n"
                       f"OCSPSecondLevelKey file:{one.make_secret('second-key', 'ab' * 32)}\n",
                       modules=("socache_redis",))
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)

    def origin_after_restart():
        server.stop()
        server.start()
        ocsp.wait_ready(server)
        start = server.log.size()
        assert ocsp.ask(server, serial)[0] == ocsp.GOOD
        return origins(server, start)

    # it is left alone for some seconds when it is slow
    server.allow("GH0757")
    wait_until(lambda: origin_after_restart() == ["second-level"], 30, what="use of the cache")
    server.make_secret("second-key", secrets.token_hex(32))
    assert origin_after_restart() == ["signed"]
    wait_until(lambda: origin_after_restart() == ["second-level"], 30, what="use with that key")


def test_size_of_the_cache(make_server):
    """What does not fit is signed again."""
    server = ocsp.make(make_server, endpoint="OCSPFastPath /ocsp\nOCSPCache 1m\n")
    first = [ocsp.enrol(server, f"CN=first-{number}").serial_number for number in range(8)]

    def origins_of_first():
        start = server.log.size()
        for serial in first:
            assert ocsp.ask(server, serial)[0] == ocsp.GOOD
        return origins(server, start)

    for serial in first:
        ocsp.wait_for(server, serial, ocsp.GOOD)
    assert origins_of_first() == ["cache"] * len(first)
    # others, of one digest after the other, until there is no room
    for number in range(100):
        one = ocsp.enrol(server, f"CN=filler-{number}").serial_number
        for digest in ("sha1", "sha256", "sha384", "sha512"):
            ocsp.wait_for(server, one, ocsp.GOOD, digest=digest)
    assert "signed" in origins_of_first()
