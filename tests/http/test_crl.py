# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Revocation lists: how they are served, when they are made, what is in them."""

import datetime
import ssl
import time

import pytest
from cryptography import x509

from harness import standard
from harness.checks import issued_to, serial_text
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import verify_chain
from harness.server import CHALLENGE, wait_until


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(standard.content)


def enrol(server, subject, path=standard.STATIC, number=1):
    reply = server.client(path).enrol(standard.device_key(number), CHALLENGE, subject)
    assert reply.succeeded, reply
    reply.serial = serial_text(reply.certificate.serial_number)
    return reply


def current(server, name="devices"):
    return x509.load_der_x509_crl(server.crl(name))


def number_of(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def entry(server, reply):
    return current(server).get_revoked_certificate_by_serial_number(
        reply.certificate.serial_number)


def wait_revoked(server, reply, seconds=5):
    return wait_until(lambda: entry(server, reply), seconds, what="the entry of the CRL")


def wait_released(server, reply, seconds=5):
    wait_until(lambda: entry(server, reply) is None, seconds, what="the entry to go")


def reason_of(revoked):
    try:
        return revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except x509.ExtensionNotFound:
        return None


# how it is served

def test_first_crl_is_there_at_once(server):
    crl = current(server)
    authority = server.authority
    assert number_of(crl) >= 1
    assert crl.issuer == authority.certificate.subject
    assert crl.is_signature_valid(authority.certificate.public_key())
    now = datetime.datetime.utcnow()
    assert crl.last_update <= now + datetime.timedelta(seconds=1)
    assert 6.9 <= (crl.next_update - now).total_seconds() / 86400 <= 7.1
    assert crl.extensions.get_extension_for_class(
        x509.AuthorityKeyIdentifier).value.key_identifier == \
        authority.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier).value.digest


def test_der_and_pem(server):
    der = server.get("/crl/devices.crl")
    pem = server.get("/crl/devices.pem")
    assert der.status == pem.status == 200
    assert der.type == "application/pkix-crl"
    assert pem.type in ("application/x-pem-file", "application/pem-certificate-chain", "text/plain")
    text = pem.body.decode("ascii")
    assert text.startswith("-----BEGIN X509 CRL-----\n")
    body = text.replace("X509 CRL", "CERTIFICATE")
    assert ssl.PEM_cert_to_DER_cert(body) == der.body
    assert int(der.headers["Content-Length"]) == len(der.body)


@pytest.mark.parametrize("path", [
    "/crl", "/crl/", "/crl/devices", "/crl/nothing.crl", "/crl/Devices.crl", "/crl/devices.CRL",
    "/crl/devices.crl/", "/crl/devices.crl/x", "/crl/devices.der", "/crl/../crl.crl",
    "/crl/%2e%2e/devices.crl", "/crl/devices.crl%00", "/crl/.crl", "/crl/*.crl"])
def test_paths_that_do_not_exist(server, path):
    assert server.get(path).status in ((404, 400) if "%00" in path else (404,))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_methods(server, method):
    assert server.get("/crl/devices.crl", method=method, body=b"").status == 405


def test_head(server):
    response = server.get("/crl/devices.crl", method="HEAD")
    assert response.status == 200 and response.body == b""
    assert int(response.headers["Content-Length"]) == len(server.crl())


@pytest.mark.parametrize("name", ["devices.crl", "devices.pem"])
def test_caching(server, name):
    response = server.get(f"/crl/{name}")
    etag, modified = response.headers["ETag"], response.headers["Last-Modified"]
    assert etag.startswith('"') and modified
    control = response.headers["Cache-Control"]
    assert "public" in control and "max-age=" in control
    age = int(control.split("max-age=")[1].split(",")[0])
    assert 0 < age <= 7 * 86400
    for headers in ({"If-None-Match": etag}, {"If-None-Match": f'"other", {etag}'},
                    {"If-None-Match": "*"}, {"If-Modified-Since": modified}):
        again = server.get(f"/crl/{name}", headers=headers)
        assert again.status == 304 and again.body == b"", headers
        assert again.headers["ETag"] == etag
    for headers in ({"If-None-Match": '"other"'},
                    {"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"},
                    {"If-None-Match": '"other"', "If-Modified-Since": modified}):
        assert server.get(f"/crl/{name}", headers=headers).status == 200, headers


def test_each_issuer_has_its_own(server):
    other = current(server, "other")
    assert other.issuer != current(server).issuer


# what is in it

def test_revoked(server, subject):
    reply = enrol(server, subject)
    assert entry(server, reply) is None
    before = current(server)
    etag = server.get("/crl/devices.crl").headers["ETag"]
    shown = server.ctl_ok("cert", "revoke", reply.serial).object
    assert shown["status"] == "revoked" and shown["revoked_at"] and shown["serial"] == reply.serial
    revoked = wait_revoked(server, reply)
    assert reason_of(revoked) is None
    assert abs((revoked.revocation_date - datetime.datetime.utcnow()).total_seconds()) < 30
    after = current(server)
    assert number_of(after) > number_of(before)
    assert after.last_update >= before.last_update
    assert server.get("/crl/devices.crl", headers={"If-None-Match": etag}).status == 200
    status, text = verify_chain(reply.issued, server.authority, crl=pem_crl(server))
    assert status != 0 and "revoked" in text
    assert issued_to(server, subject)[0]["status"] == "revoked"


def pem_crl(server):
    return server.get("/crl/devices.pem").body


def test_good_certificates_pass_the_crl_check(server, subject):
    reply = enrol(server, subject)
    assert verify_chain(reply.issued, server.authority, crl=pem_crl(server))[0] == 0


@pytest.mark.parametrize("reason, number", [
    ("keyCompromise", "keyCompromise"), ("affiliationChanged", "affiliationChanged"),
    ("superseded", "superseded"), ("cessationOfOperation", "cessationOfOperation"),
    ("privilegeWithdrawn", "privilegeWithdrawn"), ("unspecified", None)])
def test_reasons(server, subject, reason, number):
    reply = enrol(server, subject)
    server.ctl_ok("cert", "revoke", reply.serial, "--reason", reason)
    assert reason_of(wait_revoked(server, reply)) == number
    line = wait_until(lambda: [line for line in server.audit() if line["event"] == "revoke"
                               and line.get("serial") == reply.serial], 5, what="an audit line")[0]
    assert line["result"] == "done" and line["issuer"] == "devices"


@pytest.mark.parametrize("reason", ["cACompromise", "aACompromise", "certificateHold",
                                    "removeFromCRL", "whim", "7"])
def test_reasons_that_do_not_apply(server, subject, reason):
    reply = enrol(server, subject)
    assert server.ctl("cert", "revoke", reply.serial, "--reason", reason).status in (1, 2)
    assert issued_to(server, subject)[0]["status"] == "good"


def test_hold_and_release(server, subject):
    reply = enrol(server, subject)
    assert server.ctl_ok("cert", "hold", reply.serial).object["status"] == "held"
    assert reason_of(wait_revoked(server, reply)) == "certificateHold"
    assert server.ctl_ok("cert", "release", reply.serial).object["status"] == "good"
    wait_released(server, reply)
    assert server.ctl_ok("cert", "release", reply.serial).object["status"] == "good"
    server.ctl_ok("cert", "hold", reply.serial)
    wait_revoked(server, reply)
    server.ctl_ok("cert", "revoke", reply.serial, "--reason", "superseded")
    wait_until(lambda: reason_of(entry(server, reply)) == "superseded", 5, what="the new reason")
    assert server.ctl("cert", "release", reply.serial).status == 1


def test_revocation_is_final(server, subject):
    reply = enrol(server, subject)
    server.ctl_ok("cert", "revoke", reply.serial)
    first = wait_revoked(server, reply)
    for command in ("hold", "release"):
        result = server.ctl("cert", command, reply.serial)
        assert result.status == 1 and "GH" in result.err, result
    # to do it again changes nothing
    before = server.ctl_ok("cert", "revoke", reply.serial).object
    again = server.ctl_ok("cert", "revoke", reply.serial, "--reason", "superseded").object
    assert again == before and again["reason"] is None
    server.ctl_ok("cert", "revoke", reply.serial, "--reason", "keyCompromise")
    wait_until(lambda: reason_of(entry(server, reply)) == "keyCompromise", 5, what="the reason")
    assert entry(server, reply).revocation_date == first.revocation_date


def test_invalidity_date(server, subject):
    reply = enrol(server, subject)
    server.ctl_ok("cert", "revoke", reply.serial, "--reason", "keyCompromise",
                  "--invalid-from", "2026-01-02T03:04:05Z")
    revoked = wait_revoked(server, reply)
    assert revoked.extensions.get_extension_for_class(
        x509.InvalidityDate).value.invalidity_date == datetime.datetime(2026, 1, 2, 3, 4, 5)


def test_serial_forms(server, subject):
    reply = enrol(server, subject)
    colons = ":".join(reply.serial[i:i + 2] for i in range(0, len(reply.serial), 2)).upper()
    assert server.ctl_ok("cert", "show", colons).object["serial"] == reply.serial
    assert server.ctl("cert", "show", "00" + reply.serial).status in (0, 3)
    assert server.ctl("cert", "show", "nothex").status == 2
    assert server.ctl("cert", "revoke", "01").status == 3
    assert server.ctl("cert", "revoke", reply.serial, "--issuer", "other").status == 3
    assert issued_to(server, subject)[0]["status"] == "good"


def test_many_from_standard_input(server, subject):
    replies = [enrol(server, subject) for _ in range(6)]
    lines = [f"devices {replies[0].serial}", f"devices {replies[1].serial} keyCompromise",
             f"devices {replies[2].serial} whim", "devices zz", "devices", "nothing 01",
             f"devices {'0' * 30}", f"devices {replies[3].serial} superseded",
             f"devices {replies[0].serial}"]
    result = server.ctl("cert", "revoke", "-", stdin="\n".join(lines) + "\n")
    assert result.status == 1           # since some failed
    assert [o["result"] for o in result.objects] == [
        "revoked", "revoked", "failed", "failed", "failed", "failed", "failed", "revoked",
        "unchanged"]
    assert [o["line"] for o in result.objects] == list(range(1, 10))
    for reply, reason in ((replies[0], None), (replies[1], "keyCompromise"),
                          (replies[3], "superseded")):
        assert reason_of(wait_revoked(server, reply)) == reason
    assert entry(server, replies[2]) is None and entry(server, replies[4]) is None
    good = server.ctl("cert", "revoke", "-", stdin=f"devices {replies[5].serial}\n")
    assert good.status == 0


# when it is made

SHORT = "/scep/acme/devices/test-short"


def timed(crl="validity=7d publish=24h delay=4s"):
    def content(server):
        return standard.PROFILES + f"""
<CertificateProfile test-short base={standard.BASE}>
    ProfileValidity 10s
</CertificateProfile>
""" + issuer(server.authority, crl=crl) + location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles scep-* test-*") + location(
                standard.STATIC, standard.challenge(server)) + location(
                    SHORT, standard.challenge(server)) + CRL_AND_CA
    return content


def test_first_revocation_at_once_then_at_most_once_per_delay(make_server, subject):
    server = make_server(timed())
    replies = [enrol(server, subject) for _ in range(4)]
    time.sleep(4.2)                     # the CRL of the start counts too
    start = number_of(current(server))
    server.ctl_ok("cert", "revoke", replies[0].serial)
    wait_revoked(server, replies[0], 1.5)
    began = time.monotonic()
    assert number_of(current(server)) == start + 1
    for reply in replies[1:]:
        server.ctl_ok("cert", "revoke", reply.serial)
    while time.monotonic() < began + 2:
        assert number_of(current(server)) == start + 1
        time.sleep(0.1)
    wait_revoked(server, replies[3], 4)
    assert number_of(current(server)) == start + 2      # all of them in one
    assert all(entry(server, reply) for reply in replies)


def test_scheduled_without_traffic(make_server):
    server = make_server(timed("validity=1h publish=2s delay=1s"))
    first = number_of(current(server))
    wait_until(lambda: number_of(current(server)) >= first + 2, 8, 0.2, "two more CRLs")


def test_numbers_go_on_after_a_restart(make_server, subject):
    server = make_server(timed("validity=7d publish=24h delay=1s"))
    reply = enrol(server, subject)
    server.ctl_ok("cert", "revoke", reply.serial)
    wait_revoked(server, reply)
    before = current(server)
    server.restart()
    after = current(server)
    assert number_of(after) >= number_of(before)
    assert entry(server, reply) is not None
    again = enrol(server, subject)
    server.ctl_ok("cert", "revoke", again.serial)
    wait_revoked(server, again)
    assert number_of(current(server)) > number_of(before)


def test_revoked_while_nothing_runs(make_server, subject):
    server = make_server(timed("validity=7d publish=24h delay=1s"))
    reply = enrol(server, subject)
    server.stop()
    server.ctl_ok("cert", "revoke", reply.serial)
    server.start()
    wait_revoked(server, reply)


def test_expired(make_server, subject):
    """An expired certificate cannot be revoked; an entry stays until one CRL after expiry."""
    server = make_server(timed("validity=1h publish=2s delay=1s"))
    first, second = enrol(server, subject, SHORT, 1), enrol(server, subject, SHORT, 2)
    server.ctl_ok("cert", "revoke", first.serial)
    wait_revoked(server, first)
    wait_until(lambda: datetime.datetime.utcnow() > second.certificate.not_valid_after, 10)
    rows = {row["serial"]: row for row in issued_to(server, subject)}
    assert rows[second.serial]["status"] == "expired"
    result = server.ctl("cert", "revoke", second.serial)
    assert result.status == 1 and "GH" in result.err
    wait_released(server, first, 12)


def test_all_children_serve_the_same(server):
    """Every child serves the same CRL."""
    number = number_of(current(server))
    assert {number_of(current(server)) for _ in range(40)} == {number}
