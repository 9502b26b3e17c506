# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Renewal by certificate, and the queries for which a certificate speaks: RenewalReq, PKCSReq signed
under an old certificate, GetCert, GetCRL."""

import datetime
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from harness import standard
from harness.checks import serial_text
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import Authority
from harness.server import CHALLENGE, wait_until
from scep import Csr, Identity, der, extension
from scep.csr import other_name
from scep.message import (CERTPOLL, GETCERT, GETCRL, PKCSREQ, RENEWALREQ,
                          issuer_and_serial)

RENEW = "/scep/acme/devices/test-renew"
DELAYED = "/scep/acme/devices/test-delayed"
AGAIN = "/scep/acme/devices/test-again"
SHORT = "/scep/acme/devices/test-short"
LATE = "/scep/acme/devices/test-late"
BOTH = "/scep/acme/devices/test-both"
MANUAL = "/scep/acme/devices/test-approved"
REPLACED = "/scep/acme/devices/test-replaced"
REPLACED_MANUAL = "/scep/acme/devices/test-replaced-approved"
NAMED = "/scep/acme/devices/test-named"
OTHER_TENANT = "/scep/beta/devices/test-renew"
OTHER_ISSUER = "/scep/acme/other/test-renew"

PRINCIPAL = "1.3.6.1.5.2.2"             # id-pkinit-san

PROFILES = "".join(f"""
<CertificateProfile {path.rsplit("/", 1)[1]} base={standard.BASE}>
    {directives}
</CertificateProfile>
""" for path, directives in (
    (RENEW, ""), (DELAYED, ""), (AGAIN, ""), (SHORT, "ProfileValidity 4s"), (LATE, ""),
    (BOTH, ""), (MANUAL, "ProfileApproval manual"),
    (REPLACED, ""), (REPLACED_MANUAL, "ProfileApproval manual"),
    (NAMED, "ProfileRequestExtensions sid\n    ProfileSubjectAltName take *")))


def content(server):
    other = Authority(server.root / "ca", "other", "rsa3072-01")
    challenge = standard.challenge(server)
    return "".join([
        PROFILES, issuer(server.authority), issuer(other),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices other",
                 "SCEPTenant beta devices", "SCEPProfiles test-* scep-*"),
        location(standard.STATIC, challenge),
        location(RENEW, challenge, "SCEPRenewal by-certificate"),
        location(DELAYED, challenge, "SCEPRenewal by-certificate revoke-old=2s"),
        location(AGAIN, challenge,
                 "SCEPRenewal by-certificate same-key=on from=test-renew,test-short"),
        location(SHORT, challenge, "SCEPRenewal by-certificate grace=0s"),
        location(LATE, challenge, "SCEPRenewal by-certificate window=30d grace=30d from=test-short"),
        location(BOTH, challenge, "SCEPRenewal by-certificate challenge=required"),
        location(MANUAL, challenge, "SCEPRenewal by-certificate revoke-old=1s"),
        location(REPLACED, challenge, "SCEPRenewal by-certificate again=replace revoke-old=1h"),
        location(REPLACED_MANUAL, challenge,
                 "SCEPRenewal by-certificate again=replace from=test-replaced"),
        location(NAMED, challenge, "SCEPRenewal by-certificate",
                 f"GatehouseAllowRequest SID {PRINCIPAL}"),
        location(OTHER_TENANT, challenge, "SCEPRenewal by-certificate"),
        location(OTHER_ISSUER, challenge, "SCEPRenewal by-certificate"),
        CRL_AND_CA,
    ])


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content)


NAMES = ["DNS:device.example.com", "email:device@example.com"]


class Device:
    """A device with a certificate."""

    def __init__(self, server, subject, path=RENEW, number=1, names=NAMES):
        self.server, self.subject, self.path, self.number = server, subject, path, number
        self.names = names
        self.client = server.client(path)
        reply = self.client.enrol(self.key, CHALLENGE, subject, self.extensions(names))
        assert reply.succeeded, reply
        self.identity = Identity(self.key, reply.issued)
        self.certificate = reply.certificate

    @property
    def key(self):
        return standard.device_key(self.number)

    @property
    def serial(self):
        return serial_text(self.certificate.serial_number)

    @staticmethod
    def extensions(names):
        return [extension("san", *names)] if names else []

    def request(self, number=2, message_type=RENEWALREQ, path=None, subject=None, names=None,
                challenge=None, identity=None, **options):
        client = self.server.client(path or self.path)
        csr = Csr(standard.device_key(number), subject or self.subject, challenge,
                  self.extensions(self.names if names is None else names))
        return client, client.message(csr, identity or self.identity, message_type=message_type,
                                      **options)

    def renew(self, *arguments, **options):
        client, request = self.request(*arguments, **options)
        reply = client.exchange(request)
        reply.request = request
        return reply


@pytest.fixture
def device(server, subject):
    return Device(server, subject)


def certificate(server, serial):
    return server.ctl_ok("cert", "show", serial).object


def lines(server, **members):
    """Lines of the audit log with these members, once there are any."""
    return wait_until(lambda: [line for line in server.audit()
                               if all(line.get(k) == v for k, v in members.items())], 3,
                      what=f"a line with {members}")


@pytest.mark.parametrize("kind", [RENEWALREQ, PKCSREQ])
def test_renewed(server, device, kind):
    """Without challenge, by both messages (RFC 8894 2.3; older clients have PKCSReq only)."""
    reply = device.renew(message_type=kind)
    assert reply.succeeded, reply
    new = reply.certificate
    assert new.subject == device.certificate.subject
    assert new.extensions.get_extension_for_class(x509.SubjectAlternativeName) == \
        device.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert new.public_key().public_numbers() == standard.device_key(2).public_key().public_numbers()
    line = lines(server, serial=serial_text(new.serial_number))[-1]
    assert (line["event"], line["rule"], line["result"]) == ("renew", "renewal", "issued")
    assert certificate(server, device.serial)["status"] == "good"


def test_capability(server):
    assert "Renewal" in server.client(RENEW).caps()
    assert "Renewal" not in server.client(standard.STATIC).caps()


def test_same_request_again(server, device):
    """A reply that was lost: the same request gives the same certificate."""
    client, request = device.request()
    first = client.exchange(request)
    assert first.succeeded
    assert client.exchange(request).issued == first.issued


def test_one_live_successor(server, device):
    first = device.renew(2)
    assert first.succeeded
    second = device.renew(3)
    assert second.failed and second.fail_info == "2"
    assert serial_text(first.certificate.serial_number) in second.fail_text
    # the successor may be renewed, and one that was revoked leaves its place
    server.ctl_ok("cert", "revoke", serial_text(first.certificate.serial_number))
    assert device.renew(4).succeeded


def parallel(device, count):
    requests = [device.request(2 + n % 6, transaction=f"parallel-{n}") for n in range(count)]
    assert all(request.der for _, request in requests)
    replies = []

    def send(client, request):
        replies.append(client.exchange(request))

    threads = [threading.Thread(target=send, args=one) for one in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == count
    return replies


def test_parallel_renewals_give_one_successor(server, device):
    replies = parallel(device, 12)
    assert sum(reply.succeeded for reply in replies) == 1
    assert all(reply.fail_info == "2" for reply in replies if not reply.succeeded)


def test_another_successor(server, subject):
    """again=replace: a device that has lost a reply, and the key with it, is not locked out."""
    device = Device(server, subject, REPLACED)
    first, second = device.renew(2), device.renew(3)
    assert first.succeeded and second.succeeded, second
    shown = certificate(server, serial_text(first.certificate.serial_number))
    assert (shown["status"], shown["reason"]) == ("revoked", "superseded")
    assert certificate(server, device.serial)["status"] == "good"
    line = lines(server, event="revoke", serial=shown["serial"])[-1]
    assert line["rule"] == "renewal.replaced" and line["client"] == "127.0.0.1"
    assert certificate(server, serial_text(second.certificate.serial_number))["enrolment"] \
        in line["message"]
    # what was revoked renews nothing
    refused(server, device.renew(4, identity=Identity(standard.device_key(2), first.issued)),
            "renewal.revoked")


def test_held_successor_is_not_replaced(server, subject):
    device = Device(server, subject, REPLACED)
    serial = serial_text(device.renew(2).certificate.serial_number)
    server.ctl_ok("cert", "hold", serial)
    refused(server, device.renew(3), "renewal.successor")
    assert certificate(server, serial)["status"] == "held"


def test_waiting_successor_is_not_replaced(server, subject):
    device = Device(server, subject, REPLACED)
    assert device.renew(2, path=REPLACED_MANUAL).pending
    refused(server, device.renew(3, path=REPLACED_MANUAL), "renewal.successor")


def test_parallel_replacements_leave_one(server, subject):
    device = Device(server, subject, REPLACED)
    issued = [reply for reply in parallel(device, 12) if reply.succeeded]
    states = [certificate(server, serial_text(reply.certificate.serial_number))["status"]
              for reply in issued]
    assert sorted(states) == ["good"] + ["revoked"] * (len(issued) - 1)


# each rule of the renewal

def refused(server, reply, rule, fail_info="2"):
    assert reply.failed and reply.fail_info == fail_info, reply
    line = lines(server, transaction=reply.transaction)[-1]
    assert line["rule"] == rule and line["result"] == "refused", line
    assert line["gh"] in reply.fail_text and line["client"] == "127.0.0.1"


def test_revoked(server, device):
    server.ctl_ok("cert", "revoke", device.serial)
    refused(server, device.renew(), "renewal.revoked")


def test_held_and_released(server, device):
    server.ctl_ok("cert", "hold", device.serial)
    refused(server, device.renew(), "renewal.revoked")
    server.ctl_ok("cert", "release", device.serial)
    assert device.renew(3).succeeded


def test_expired_without_and_with_grace(server, subject):
    device = Device(server, subject, SHORT)
    end = device.certificate.not_valid_after
    wait_until(lambda: datetime.datetime.utcnow() > end + datetime.timedelta(seconds=1), 10)
    refused(server, device.renew(), "renewal.expired", "3")
    assert device.renew(path=LATE).succeeded


def test_too_early(server, subject):
    refused(server, Device(server, subject, LATE).renew(), "renewal.early", "3")


def test_of_another_ca(server, subject):
    foreign = Device(server, subject, OTHER_ISSUER)
    refused(server, foreign.renew(path=RENEW), "renewal.unknown")


def test_made_up_certificate(server, device):
    """Issuer and serial number of ours, another certificate."""
    real = device.certificate
    builder = x509.CertificateBuilder(
        real.issuer, real.subject, real.public_key(), real.serial_number, real.not_valid_before,
        real.not_valid_after, list(real.extensions))
    fake = builder.sign(standard.device_key(9), hashes.SHA256())
    identity = Identity(device.key, fake.public_bytes(serialization.Encoding.DER))
    refused(server, device.renew(identity=identity), "renewal.unknown")


def test_of_another_tenant(server, device):
    refused(server, device.renew(path=OTHER_TENANT), "renewal.unknown")


def test_of_another_profile(server, device):
    refused(server, device.renew(path=DELAYED), "renewal.profile")


def test_of_a_listed_profile(device):
    assert device.renew(path=AGAIN).succeeded


def test_self_signed(server, device):
    identity = Identity.self_signed(standard.device_key(2), device.subject)
    refused(server, device.renew(identity=identity), "renewal.self-signed")


def test_self_signed_with_another_key(server, device):
    """Nobody vouches for the request: it looks like one that cannot be opened."""
    identity = Identity.self_signed(standard.device_key(3), device.subject)
    for kind in (PKCSREQ, RENEWALREQ):
        refused(server, device.renew(identity=identity, message_type=kind), "message.open", "1")


def test_ca_certificate(server, device):
    """The CA's own key signs a request for a device."""
    authority = server.authority
    identity = Identity(authority.key_source,
                        authority.certificate.public_bytes(serialization.Encoding.DER))
    refused(server, device.renew(identity=identity), "renewal.unknown")


@pytest.mark.parametrize("name", ["CN=somebody else", "CN=device,OU=added"])
def test_another_subject(server, device, name):
    refused(server, device.renew(subject=name), "renewal.subject")


@pytest.mark.parametrize("names", [
    NAMES + ["DNS:added.example.com"], NAMES[:1], ["DNS:other.example.com", NAMES[1]], []])
def test_other_names(server, device, names):
    refused(server, device.renew(names=names), "renewal.san")


def test_names_in_another_order(device):
    assert device.renew(names=list(reversed(NAMES))).succeeded


@pytest.mark.parametrize("kind", [PRINCIPAL, "1.3.6.1.4.1.32473.7"])
def test_other_value_of_the_same_type(server, subject, kind):
    """Such a name has its type alone in lists of names."""
    names = ["DNS:device.example.com", other_name(kind, der.utf8("device"))]
    device = Device(server, subject, NAMED, names=names)
    refused(server, device.renew(names=[names[0], other_name(kind, der.utf8("admin"))]),
            "renewal.san")
    assert device.renew().succeeded


def test_security_identifier(server, subject):
    """It cannot be added or changed; what is left out does no harm."""
    def renew(number, *identifier):
        csr = Csr(standard.device_key(number), subject,
                  extensions=[extension("sid", text) for text in identifier])
        reply = client.exchange(request := client.message(csr, identity, message_type=RENEWALREQ))
        reply.request = request
        return reply

    client = server.client(NAMED)
    reply = client.enrol(standard.device_key(), CHALLENGE, subject)
    identity = Identity(standard.device_key(), reply.issued)
    refused(server, renew(2, "S-1-5-21-1-2-3-500"), "renewal.sid")
    reply = client.enrol(standard.device_key(3), CHALLENGE, subject,
                         [extension("sid", "S-1-5-21-1-2-3-1001")])
    identity = Identity(standard.device_key(3), reply.issued)
    refused(server, renew(4, "S-1-5-21-1-2-3-500"), "renewal.sid")
    reply = renew(5, "S-1-5-21-1-2-3-1001")
    assert reply.succeeded
    identity = Identity(standard.device_key(5), reply.issued)
    assert renew(6).succeeded


def test_old_key(server, device, subject):
    refused(server, device.renew(1), "renewal.key")
    again = Device(server, subject + ",OU=again", AGAIN)
    assert again.renew(1).succeeded


@pytest.mark.parametrize("challenge", [None, ""])
def test_old_key_by_pkcsreq(server, subject, challenge):
    """An empty challenge is none."""
    device = Device(server, subject, AGAIN)
    reply = device.renew(1, PKCSREQ, challenge=challenge)
    assert reply.succeeded, reply
    assert lines(server, transaction=reply.transaction)[-1]["rule"] == "renewal"


def test_not_configured(server, subject):
    device = Device(server, subject, standard.STATIC)
    for kind in (RENEWALREQ, PKCSREQ):
        refused(server, device.renew(message_type=kind), "renewal.off")


def test_challenge_required(server, subject):
    device = Device(server, subject, BOTH)
    refused(server, device.renew(), "challenge.missing")
    refused(server, device.renew(3, challenge="wrong"), "challenge.static")
    assert device.renew(4, challenge=CHALLENGE).succeeded


def test_new_enrolment_with_challenge(server, device):
    """The third shape: a new request with a challenge renews nothing and needs no old one."""
    reply = device.client.enrol(standard.device_key(3), CHALLENGE, device.subject)
    assert reply.succeeded
    assert device.renew(4).succeeded


# what becomes of the old certificate

def test_old_one_is_revoked_after_the_delay(server, subject):
    device = Device(server, subject, DELAYED)
    began = time.monotonic()
    reply = device.renew()
    assert reply.succeeded
    assert certificate(server, device.serial)["status"] == "good"
    row = wait_until(lambda: [c for c in [certificate(server, device.serial)]
                              if c["status"] == "revoked"], 8)[0]
    assert time.monotonic() - began > 1.5
    assert row["reason"] == "superseded"
    line = lines(server, event="revoke", serial=device.serial)[-1]
    assert line["rule"] == "renewal.superseded" and line["result"] == "done"
    assert serial_text(reply.certificate.serial_number) in line["message"]


def test_old_one_stays_if_the_new_one_is_revoked(server, subject):
    device = Device(server, subject, DELAYED)
    reply = device.renew()
    server.ctl_ok("cert", "revoke", serial_text(reply.certificate.serial_number))
    time.sleep(3.5)
    assert certificate(server, device.serial)["status"] == "good"
    assert device.renew(3).succeeded


def test_approved_renewal(server, subject):
    """It waits for an operator, is polled under the old certificate, and counts as the successor;
    the delay begins when it is issued."""
    client = server.client(MANUAL)
    first = client.enrol(standard.device_key(1), CHALLENGE, subject)
    assert first.pending
    approve(server, first)
    old = client.wait(first.request)
    assert old.succeeded
    device = Device.__new__(Device)
    device.server, device.subject, device.path, device.names = server, subject, MANUAL, []
    device.identity = Identity(standard.device_key(1), old.issued)
    device.certificate = old.certificate
    pending = device.renew(2)
    assert pending.pending
    refused(server, device.renew(3), "renewal.successor")
    time.sleep(2)
    assert certificate(server, device.serial)["status"] == "good"
    approve(server, pending)
    new = client.wait(pending.request)
    assert new.succeeded and new.certificate.serial_number != old.certificate.serial_number
    wait_until(lambda: certificate(server, device.serial)["status"] == "revoked", 8)


@pytest.mark.parametrize("change", ["revoke", "hold"])
def test_revoked_while_the_renewal_waits(server, subject, change):
    """Whoever has stolen a key may ask before that is known; the operator need not know either."""
    device = Device(server, subject, REPLACED)
    pending = device.renew(2, path=REPLACED_MANUAL)
    assert pending.pending
    server.ctl_ok("cert", change, device.serial)
    approve(server, pending)
    reply = server.client(REPLACED_MANUAL).wait(pending.request)
    assert reply.failed and "GH0220" in reply.fail_text and "revoked or held" in reply.fail_text
    line = lines(server, event="issue", transaction=pending.transaction)[-1]
    assert (line["result"], line["rule"], line["gh"]) == ("refused", "renewal.revoked", "GH0552")
    assert "serial" not in line
    assert len([c for c in server.certificates() if subject.split(",")[0][3:] in c["subject"]]) == 1


def approve(server, reply):
    rows = [row for row in server.ctl_ok("enrolment", "list").objects
            if row["transaction"] == reply.transaction]
    server.ctl_ok("enrolment", "approve", rows[0]["id"])


# GetCert and GetCRL

def query(device, kind, serial, name=None, identity=None, path=None):
    client = device.server.client(path or device.path)
    content = issuer_and_serial(name or client.ca.subject.public_bytes(), serial)
    request = client.message(content, identity or device.identity, message_type=kind)
    return client.exchange(request)


def test_get_cert(server, device, subject):
    other = Device(server, subject + ",OU=other", number=3)
    reply = query(device, GETCERT, other.certificate.serial_number)
    assert reply.succeeded and reply.issued == other.identity.certificate
    unknown = query(device, GETCERT, 4711)
    assert unknown.failed and unknown.fail_info == "4"


def test_get_cert_of_another_issuer(server, device):
    reply = query(device, GETCERT, device.certificate.serial_number,
                  device.certificate.subject.public_bytes())
    assert reply.failed and reply.fail_info == "4"


def test_get_crl(server, device, subject):
    other = Device(server, subject + ",OU=other", number=3)
    server.ctl_ok("cert", "revoke", other.serial)
    wait_until(lambda: x509.load_der_x509_crl(server.crl()).
               get_revoked_certificate_by_serial_number(other.certificate.serial_number), 70)
    reply = query(device, GETCRL, device.certificate.serial_number)
    assert reply.succeeded and not reply.inner
    crl = x509.load_der_x509_crl(reply.crl)
    assert crl.is_signature_valid(server.authority.certificate.public_key())


@pytest.mark.parametrize("kind", [GETCERT, GETCRL])
def test_queries_are_for_holders(server, device, kind):
    serial = device.certificate.serial_number
    stranger = Identity.self_signed(standard.device_key(4), "CN=stranger")
    reply = query(device, kind, serial, identity=stranger)
    assert reply.failed and reply.fail_info == "2"
    server.ctl_ok("cert", "revoke", device.serial)
    reply = query(device, kind, serial)
    assert reply.failed and reply.fail_info == "2"


def test_queries_that_are_none(server, device):
    """A poll's content in a query, and a query's in a poll."""
    client = device.client
    content = issuer_and_serial(client.ca.subject.public_bytes(), 1)
    for kind, body in ((CERTPOLL, content), (GETCERT, b"nothing"), (GETCRL, content + b"\0")):
        reply = client.exchange(client.message(body, device.identity, message_type=kind))
        assert reply.failed and reply.fail_info == "1", kind


# configuration

@pytest.mark.parametrize("directive, reason", [
    ("SCEPRenewal", "takes"), ("SCEPRenewal on", '"on"'),
    ("SCEPRenewal by-certificate grace=soon", '"grace=soon"'),
    ("SCEPRenewal by-certificate revoke-old=maybe", '"revoke-old=maybe"'),
    ("SCEPRenewal by-certificate same-key=2", '"same-key=2"'),
    ("SCEPRenewal by-certificate challenge=some", '"challenge=some"'),
    ("SCEPRenewal by-certificate colour=red", '"colour=red"'),
    ("SCEPRenewal by-certificate from=", '"from="'),
    ("SCEPRenewal by-certificate again=perhaps", "again=refuse|replace"),
    ("SCEPRenewal by-certificate from=no-such-profile", "no-such-profile"),
    ("SCEPRenewal by-certificate\n    SCEPRenewal off", "already"),
])
def test_refused_settings(make_server, directive, reason):
    def wrong(server):
        return standard.PROFILES + issuer(server.authority) + location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles scep-*") + location(
                standard.STATIC, standard.challenge(server), directive) + CRL_AND_CA

    server = make_server(start=False)
    server.configure(wrong)
    result = server.configtest()
    assert result.returncode != 0 and reason in result.stderr, result.stderr
    assert "GH04" in result.stderr and "httpd.conf" in result.stderr


def test_narrower_off_wins(make_server, subject):
    def off(server):
        return standard.PROFILES + issuer(server.authority) + location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles scep-*", "SCEPRenewal by-certificate") + location(
                standard.STATIC, standard.challenge(server), "SCEPRenewal off") + location(
                    standard.ONETIME, standard.challenge(server)) + CRL_AND_CA

    server = make_server(off)
    assert "Renewal" not in server.client(standard.STATIC).caps()
    assert "Renewal" in server.client(standard.ONETIME).caps()
    refused(server, Device(server, subject, standard.STATIC).renew(), "renewal.off")
    assert Device(server, subject + ",OU=on", standard.ONETIME).renew().succeeded
