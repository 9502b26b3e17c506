# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A CA that hands over to another one: announced, taken over at its time, nothing lost."""

import datetime

import pytest
from cryptography import x509

from harness import standard
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import Authority
from harness.server import CHALLENGE, wait_until
from scep import Csr, Identity, transport
from scep.message import RENEWALREQ
from scep.reply import next_certificates

MANUAL = standard.MANUAL
RENEW = "/scep/acme/devices/test-renewed"
PROFILE = f"""
<CertificateProfile test-renewed base={standard.BASE}>
</CertificateProfile>
"""


def stamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def content_with(next_directive, second=True):
    def content(server):
        made = Authority(server.root / "ca", "successor", "rsa3072-01", root_key="p384-01")
        server.successor = made
        first = issuer(server.authority)
        first = first.replace("</Issuer>", f"    {next_directive}\n</Issuer>")
        return "".join([
            PROFILE, standard.PROFILES, first, issuer(made) if second else "",
            location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                     "SCEPProfiles scep-* test-*"),
            location(standard.STATIC, standard.challenge(server)),
            location(MANUAL, standard.challenge(server)),
            location(RENEW, standard.challenge(server), "SCEPRenewal by-certificate"),
            CRL_AND_CA])
    return content


def ask_next(server, path=standard.STATIC):
    url = server.client(path).url
    return transport.request(url, target=transport.operation_target(url, "GetNextCACert"))


def issued_by(reply, authority):
    return reply.certificate.issuer == authority.certificate.subject


def test_announced_only(make_server, subject):
    server = make_server(content_with("IssuerNext successor"))
    client = server.client(standard.STATIC)
    assert "GetNextCACert" in client.caps()
    response = ask_next(server)
    assert response.status == 200 and response.type == "application/x-x509-next-ca-cert"
    inner = next_certificates(response.body, client.ra)
    parsed = [x509.load_der_x509_certificate(one) for one in inner]
    assert parsed[0].issuer == server.successor.certificate.subject
    assert [c.subject for c in parsed[1:]] == [server.successor.certificate.subject,
                                               server.successor.root.subject]
    reply = client.enrol(standard.device_key(), CHALLENGE, subject)
    assert reply.succeeded and issued_by(reply, server.authority)


def test_none_announced(make_server):
    server = make_server(standard.content)
    assert "GetNextCACert" not in server.client(standard.STATIC).caps()
    response = ask_next(server)
    assert response.status == 404 and b"GH0439" in response.body


def test_takes_over(make_server, subject):
    """Old clients go on with what they know until they ask again; polls and renewals go through."""
    when = datetime.datetime.utcnow() + datetime.timedelta(seconds=6)
    server = make_server(content_with(f"IssuerNext successor from={stamp(when)}"))
    old = server.client(standard.STATIC)
    before = old.enrol(standard.device_key(), CHALLENGE, subject)
    assert before.succeeded and issued_by(before, server.authority)
    waiting = server.client(MANUAL)
    pending = waiting.enrol(standard.device_key(2), CHALLENGE, subject + ",OU=pending")
    assert pending.pending
    renewing = server.client(RENEW)
    first = renewing.enrol(standard.device_key(3), CHALLENGE, subject + ",OU=renewed")
    assert first.succeeded
    wait_until(lambda: datetime.datetime.utcnow() > when + datetime.timedelta(seconds=1), 12)

    new = server.client(standard.STATIC)
    assert new.ca.subject == server.successor.certificate.subject
    assert "GetNextCACert" not in new.caps()
    reply = new.enrol(standard.device_key(4), CHALLENGE, subject + ",OU=new")
    assert reply.succeeded and issued_by(reply, server.successor)
    assert server.get("/crl/successor.crl").status == 200

    reply = old.enrol(standard.device_key(5), CHALLENGE, subject + ",OU=old")
    assert reply.succeeded and issued_by(reply, server.authority)
    row = [r for r in server.ctl_ok("enrolment", "list").objects
           if r["transaction"] == pending.transaction][0]
    server.ctl_ok("enrolment", "approve", row["id"])
    done = waiting.wait(pending.request)
    assert done.succeeded and issued_by(done, server.authority)

    renewer = server.client(RENEW)
    csr = renewer_request(subject + ",OU=renewed")
    reply = renewer.exchange(renewer.message(
        csr, Identity(standard.device_key(3), first.issued), message_type=RENEWALREQ))
    assert reply.succeeded and issued_by(reply, server.successor)


def renewer_request(subject):
    return Csr(standard.device_key(6), subject)


@pytest.mark.parametrize("directive, reason", [
    ("IssuerNext nobody", "nobody"), ("IssuerNext devices", "circle"),
    ("IssuerNext successor from=soon", "from=soon"), ("IssuerNext successor later", "later"),
    ("IssuerNext successor\n    IssuerNext successor", "before"),
])
def test_refused(make_server, directive, reason):
    server = make_server(start=False)
    server.configure(content_with(directive))
    result = server.configtest()
    assert result.returncode != 0 and reason in result.stderr, result.stderr
    assert "httpd.conf" in result.stderr
