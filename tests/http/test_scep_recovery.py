# Licensed under the Apache License, Version 2.0. See LICENSE.
"""SCEP that goes on: when the store comes late, and when the RA's certificate ends. And what httpd
forbids at a path, forbidden at every spelling of it."""

import json
import time

import pytest
from cryptography import x509

from harness import environment, standard
from harness.config import CRL_AND_CA, issuer, location
from harness.server import CHALLENGE, wait_until
from scep import Csr, transport
from scep.reply import BAD_MESSAGE_CHECK

STATIC = standard.STATIC
ALIAS = "/scep/acme/devices/scep-signature-key-encipherment"

SHORT = f"""
<CertificateProfile short-lived-ra base={standard.BASE}>
    ProfileValidity 12s
</CertificateProfile>
SCEPRAProfile short-lived-ra
"""


def content_of(*more, profiles="scep-* test-*", before=""):
    def content(server):
        return "".join([before, standard.PROFILES, issuer(server.authority),
                        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                                 f"SCEPProfiles {profiles}"),
                        location(STATIC, standard.challenge(server), *more), CRL_AND_CA])
    return content


def operation(server, path, name="GetCACert", **options):
    target = transport.operation_target(server.url(path), name)
    return transport.request(server.url(path), target=target, **options)


# access control

def test_alias_is_no_path(make_server):
    """Reached by its name only, also if SCEPProfiles names the profile by its alias."""
    server = make_server(content_of(profiles="scep-signature-key-encipherment"))
    assert operation(server, STATIC).status == 200
    for tail in ("", "/", "/nop", "/pkiclient.exe"):
        assert operation(server, ALIAS + tail).status == 404
    dump = server.configtest("-D", "DUMP_GATEHOUSE")
    assert dump.returncode == 0, dump.stderr
    assert [entry["path"] for entry in json.loads(dump.stdout)["scep"]] == [STATIC]
    assert server.client(STATIC).enrol(standard.device_key(), CHALLENGE).succeeded


SAME = [STATIC + tail for tail in (
    "", "/", "/nop", "/nop/", "/pkiclient.exe", "/pkiclient.exe/", "/cgi-bin/pkiclient.exe",
    "/mscep.dll/pkiclient.exe", "/nop/pkiclient.exe", "/./", "/x/../nop", "/x")] + [
        STATIC.replace("acme", "%61cme"), STATIC.replace("devices", "device%73"),
        STATIC.replace("scep-digital", "scep%2Ddigital"),
        "/%73cep" + STATIC[5:], "/scep/./acme" + STATIC[10:], "/x/.." + STATIC,
        "/scep/acme/other/../devices" + STATIC[18:]]

OTHERS = [
    ALIAS, ALIAS + "/", ALIAS + "/nop", ALIAS.replace("acme", "%61cme"),
    "/" + STATIC, "/scep//acme" + STATIC[10:], "/scep/acme//devices" + STATIC[18:],
    STATIC.replace("/devices/", "/devices//"), STATIC + "//", STATIC + "//nop",
    STATIC.upper(), STATIC.replace("acme", "ACME"), "/SCEP" + STATIC[5:],
    STATIC.replace("scep-digital", "SCEP-digital"), STATIC + "%00", STATIC + "%20", STATIC + ".",
    STATIC + ";nop", STATIC + "%2Fnop", STATIC.replace("/devices/", "%2Fdevices/"),
    STATIC.replace("acme", "%2561cme")]


@pytest.mark.parametrize("merge", ["On", "Off"])
def test_forbidden_at_every_spelling(make_server, merge):
    server = make_server(content_of("Require all denied", before=f"MergeSlashes {merge}\n"))
    server.allow("AH01630", "AH00026")
    for path in SAME:
        response = operation(server, path)
        assert response.status == 403, (path, response)
    for path in OTHERS:
        response = operation(server, path)
        assert response.status in (400, 403, 404), (path, response)
        assert b"GH" not in response.body or response.status == 404, (path, response)
    # the others exist
    assert operation(server, standard.ONETIME).status == 200


# HTTP

def test_head_does_nothing(make_server, subject):
    server = make_server(content_of())
    client = server.client(STATIC)
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE))
    message = transport.text_of(request.der)
    for target in (transport.operation_target(server.url(STATIC), "PKIOperation", message),
                   transport.operation_target(server.url(STATIC), "PKIOperation")):
        response = transport.request(server.url(STATIC), method="HEAD", target=target)
        assert response.status == 405, response
        assert response.headers["Allow"] == "GET, POST"
        assert response.body == b""
    assert [row["profile"] for row in server.certificates()] == [standard.BASE]     # the RA's
    for name in ("GetCACaps", "GetCACert"):
        head = operation(server, STATIC, name, method="HEAD")
        assert head.status == 200 and head.body == b""
        assert int(head.headers["Content-Length"]) == len(operation(server, STATIC, name).body)


# configuration

PRIVILEGED = """
<CertificateProfile sub-ca>
    ProfileBasicConstraints ca pathlen=0
    ProfileKeyUsage keyCertSign cRLSign
    ProfileSubject take *
    ProfileValidity 365d
</CertificateProfile>
"""


@pytest.mark.parametrize("profile", ["sub-ca", "test-code-signing"])
def test_privileged_profile_needs_a_challenge(make_server, profile):
    where = f"/scep/acme/devices/{profile}"

    def content(challenge):
        return lambda server: "".join([
            PRIVILEGED, content_of(profiles=f"scep-* {profile}")(server),
            location(where, challenge)])

    server = make_server(content("SCEPChallenge none insecure"), start=False)
    result = server.configtest()
    assert result.returncode != 0
    assert "GH0270" in result.stderr and profile in result.stderr, result.stderr
    lines = server.conf.read_text().splitlines()
    number = lines.index("    SCEPChallenge none insecure") + 1
    assert f"httpd.conf:{number}: " in result.stderr, result.stderr
    server.configure(content("SCEPChallenge onetime"))
    result = server.configtest()
    assert result.returncode == 0, result.stderr


def test_privileged_profile_below_an_open_location(make_server):
    """The directive of a wider location counts, too."""
    def content(server):
        return "".join([standard.PROFILES, issuer(server.authority), location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles scep-* test-code-signing", "SCEPChallenge none insecure")])

    result = make_server(content, start=False).configtest()
    assert result.returncode != 0
    assert "GH0270" in result.stderr and "test-code-signing" in result.stderr, result.stderr


# the store

def test_store_that_comes_after_the_children(make_server):
    """SCEP answers as soon as the store is open, in the children that were started without it."""
    server = make_server(content_of())
    client = server.client(STATIC)
    assert client.enrol(standard.device_key(), CHALLENGE, "CN=before").succeeded
    store, away = server.root / "store", server.root / "store-away"
    store.rename(away)
    server.expect("GH0072", "GH0260")
    server.graceful()
    wait_until(lambda: operation(server, STATIC).status == 503, 10, what="children without store")
    response = operation(server, STATIC)
    assert response.status == 503 and response.headers["Retry-After"], response
    assert response.body.startswith(b"GH0261"), response
    assert operation(server, STATIC, "GetCACaps").status == 200
    children = set(server.children())
    away.rename(store)
    wait_until(lambda: operation(server, STATIC).status == 200, 15, what="recovery")
    time.sleep(0.5)
    answers = [operation(server, STATIC).status for _ in range(20)]
    assert answers == [200] * 20
    assert server.client(STATIC).enrol(standard.device_key(), CHALLENGE, "CN=after").succeeded
    assert set(server.children()) & children
    assert "SCEP answers now" in server.log.new_text()


# the RA

def announced(server):
    return x509.load_der_x509_certificate(server.client(STATIC).ra)


def test_ra_is_replaced_while_the_server_runs(make_server):
    """All children change, nobody is turned away, and an expired one is never used."""
    server = make_server(content_of(before=SHORT))
    seen, number = [], 0
    end = time.monotonic() + environment.count(11, 60)
    while time.monotonic() < end:
        client = server.client(STATIC)
        ra = announced(server)
        if ra.serial_number not in seen:
            seen.append(ra.serial_number)
        assert ra.not_valid_after.timestamp() - time.timezone > time.time() - 1
        # another child may answer, which has not seen this RA yet, or has a newer one
        reply = client.enrol(standard.device_key(1 + number % 4), CHALLENGE, f"CN=ra-{number}")
        assert reply.succeeded, reply
        number += 1
        time.sleep(0.1)
    assert len(seen) >= 3, seen
    assert len({row["serial"] for row in server.certificates("--subject", "SCEP RA")}) \
        >= len(seen)


@pytest.mark.parametrize("verb", ["revoke", "hold"])
def test_ra_whose_certificate_is_revoked(make_server, verb):
    """What is done about a key that somebody else may know: no child uses it any more."""
    server = make_server(content_of())
    client = server.client(STATIC)
    old = announced(server)
    assert client.enrol(standard.device_key(), CHALLENGE, "CN=before").succeeded
    server.ctl_ok("cert", verb, f"{old.serial_number:x}")
    time.sleep(2)
    seen = {announced(server).serial_number for _ in range(40)}
    assert len(seen) == 1 and old.serial_number not in seen
    for number in range(20):            # all children; this request is to the old RA
        request = client.message(Csr(standard.device_key(), f"CN=late-{number}", CHALLENGE))
        reply = server.client(STATIC).read(client.send(request), request)
        assert reply.failed and reply.fail_info == BAD_MESSAGE_CHECK, reply
    assert server.client(STATIC).enrol(standard.device_key(), CHALLENGE, "CN=after").succeeded
    server.restart()
    assert {announced(server).serial_number for _ in range(10)} == seen
    if verb == "hold":
        server.ctl_ok("cert", "release", f"{old.serial_number:x}")
        time.sleep(2)
        assert announced(server).serial_number in seen
        request = client.message(Csr(standard.device_key(), "CN=released", CHALLENGE))
        assert client.read(client.send(request), request).succeeded
