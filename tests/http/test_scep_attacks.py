# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Messages that are made to crash, to confuse, or to take what belongs to others."""

import concurrent.futures
import os
import time

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harness import standard
from harness.checks import (decision, issued_to, new_challenge, refused, refused_or_unreadable,
                            serial_text)
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import key
from harness.server import CHALLENGE, wait_until
from scep import Csr, Identity, PkiMessage, Recipient, der, extension
from scep.csr import APPLICATION_POLICIES, CHALLENGE_PASSWORD, EXTENSION_REQUEST, SID_EXTENSION
from scep.identity import public_der
from scep.message import (CIPHERS, CONTENT_TYPE, DATA, ENVELOPED_DATA, MESSAGE_DIGEST, PKCSREQ,
                          RENEWALREQ, SCEP, content_info, encrypt, enveloped, pad)
from scep.reply import BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST

STATIC = standard.STATIC
STRIP = "/scep/acme/devices/test-strip"
RENEW = "/scep/acme/devices/test-renew"

PROFILES = f"""
<CertificateProfile test-strip base={standard.BASE}>
    ProfileUnlistedExtensions strip
</CertificateProfile>
<CertificateProfile test-renew base={standard.BASE}>
</CertificateProfile>
"""


def content(server):
    challenge = standard.challenge(server)
    return "".join([
        "SCEPFailureLimit off\n", standard.PROFILES, PROFILES, issuer(server.authority),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 "SCEPProfiles scep-* test-*"),
        location(STATIC, challenge), location(STRIP, challenge),
        location(RENEW, challenge, "SCEPRenewal by-certificate from=test-renew," + standard.BASE),
        location(standard.ONETIME, "SCEPChallenge onetime"),
        location(standard.MANUAL, challenge), CRL_AND_CA])


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content)


@pytest.fixture
def client(server):
    """After each test, the children are those that were there before."""
    before = set(server.children())
    yield server.client(STATIC)
    assert set(server.children()) == before, "a child has died"


def good(server, subject):
    """That the server still does what it is for."""
    assert server.client(STATIC).enrol(standard.device_key(), CHALLENGE, subject).succeeded


# envelopes

AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"
AES_128_GCM = "2.16.840.1.101.3.4.1.6"


def auth_enveloped(content, recipient, nonce=b"n" * 12, tag_length=16, parameters=None):
    """AuthEnvelopedData with AES-128-GCM (RFC 5083, 5084)."""
    secret = os.urandom(16)
    sealed = AESGCM(secret).encrypt(nonce[:12] or b"n" * 12, content, None)
    if parameters is None:
        parameters = der.sequence(der.octets(nonce), der.integer(tag_length))
    return content_info(AUTH_ENVELOPED_DATA, der.sequence(
        der.integer(0), der.set_of(recipient.info(secret)[1]),
        der.sequence(der.oid(DATA), der.algorithm(AES_128_GCM, parameters),
                     der.tlv(0x80, sealed[:-16])), der.octets(sealed[-16:])))


@pytest.mark.parametrize("options", [
    {}, {"nonce": b"n" * 4000}, {"nonce": b""}, {"tag_length": 1}, {"parameters": der.NULL},
    {"parameters": b""}], ids=["proper", "long nonce", "no nonce", "short tag", "NULL", "absent"])
def test_authenticated_envelopes(server, client, subject, options):
    """Refused before anything of them is decrypted (CVE-2025-15467, CVE-2026-34182)."""
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    envelope = auth_enveloped(csr.der, Recipient(client.ra), **options)
    reply = refused(client.exchange(client.message(csr, envelope=envelope)), BAD_ALG)
    assert decision(server, reply)["rule"] == "message.envelope-type"
    assert not issued_to(server, subject)


class Other:
    """A recipient that is not by key transport (RFC 5652 6.2)."""

    def __init__(self, kind):
        wrap = der.algorithm("2.16.840.1.101.3.4.1.5", None)
        agreement = "1.3.133.16.840.63.0.2"
        originator = der.explicit(0, der.implicit(1, der.sequence(
            der.algorithm("1.2.840.10045.2.1", None), der.bits(b"\x04" + b"p" * 64))))
        keys = der.sequence(der.sequence(
            der.implicit(0, der.sequence(der.octets(b"i" * 20))), der.octets(b"w" * 24)))
        self.der = {
            "key agreement": der.implicit(1, der.sequence(
                der.integer(3), originator, der.algorithm(agreement, wrap), keys)),
            "key agreement without parameters": der.implicit(1, der.sequence(
                der.integer(3), originator, der.algorithm(agreement, None), keys)),
            "key agreement with nobody": der.implicit(1, der.sequence(
                der.integer(3), originator, der.algorithm(agreement, wrap), der.sequence())),
            "key encryption key": der.implicit(2, der.sequence(
                der.integer(4), der.sequence(der.octets(b"id")), wrap, der.octets(b"w" * 24))),
            "key encryption key, too short": der.implicit(2, der.sequence(
                der.integer(4), der.sequence(der.octets(b"id")), wrap, der.octets(b"w"))),
            "password": der.implicit(3, der.sequence(
                der.integer(0), der.algorithm("1.2.840.113549.1.9.16.3.9", der.algorithm(
                    CIPHERS["aes128"][0], der.octets(b"v" * 16))), der.octets(b"w" * 32))),
            "password without parameters": der.implicit(3, der.sequence(
                der.integer(0), der.algorithm("1.2.840.113549.1.9.16.3.9", None),
                der.octets(b"w"))),
            "another": der.implicit(4, der.sequence(der.oid("1.2.3.4"), der.NULL)),
        }[kind]

    def info(self, _):
        return 3, self.der


@pytest.mark.parametrize("kind", [
    "key agreement", "key agreement without parameters", "key agreement with nobody",
    "key encryption key", "key encryption key, too short", "password",
    "password without parameters", "another"])
@pytest.mark.parametrize("beside", [False, True])
def test_recipients_of_other_kinds(server, client, subject, kind, beside):
    """Refused before decryption, also beside the RA (CVE-2026-28389, -9076, -63072)."""
    recipients = [Other(kind)] + ([Recipient(client.ra)] if beside else [])
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE), recipient=recipients)
    reply = refused(client.exchange(request), BAD_ALG, BAD_REQUEST)
    assert decision(server, reply)["rule"] in ("message.recipient-type", "message.envelope")
    assert not issued_to(server, subject)


def test_many_recipients(server, client, subject):
    """Our key is used for none of them."""
    other = Recipient(Identity.self_signed(standard.device_key(4), "CN=other").certificate)
    info = other.info(b"k" * 16)
    other.info = lambda _: info
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE),
                             recipient=[Recipient(client.ra)] + [other] * 150)
    assert request.der
    begin = time.monotonic()
    refused(client.exchange(request), BAD_MESSAGE_CHECK)
    assert time.monotonic() - begin < 2
    assert not issued_to(server, subject)


@pytest.mark.parametrize("parameters", [
    b"", der.NULL, der.octets(b""), der.octets(b"v" * 8), der.octets(b"v" * 17),
    der.octets(b"v" * 5000), der.sequence(), der.integer(1)],
    ids=["absent", "NULL", "0", "8", "17", "5000", "SEQUENCE", "INTEGER"])
def test_parameters_of_the_cipher(server, client, subject, parameters):
    """An IV of another length, or none."""
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    secret, iv = os.urandom(16), b"v" * 16
    data = encrypt("aes128", secret, iv, pad(csr.der, 16))
    envelope = content_info(ENVELOPED_DATA, der.sequence(
        der.integer(0), der.set_of(Recipient(client.ra).info(secret)[1]),
        der.sequence(der.oid(DATA), der.algorithm(CIPHERS["aes128"][0], parameters),
                     der.tlv(0x80, data))))
    refused_or_unreadable(client, client.message(csr, envelope=envelope), BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("size", [0, 1, 15, 17, 31])
def test_content_that_is_no_whole_block(server, client, subject, size):
    """Looks like everything else that does not decrypt."""
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    envelope = content_info(ENVELOPED_DATA, der.sequence(
        der.integer(0), der.set_of(Recipient(client.ra).info(os.urandom(16))[1]),
        der.sequence(der.oid(DATA), der.algorithm(CIPHERS["aes128"][0], der.octets(b"v" * 16)),
                     der.tlv(0x80, b"x" * size))))
    reply = refused(client.exchange(client.message(csr, envelope=envelope)), BAD_MESSAGE_CHECK)
    assert decision(server, reply)["rule"] == "message.open"
    assert not issued_to(server, subject)


# signatures

def test_no_digest_algorithms(server, client, subject):
    """An empty SET (CVE-2026-45447)."""
    for listed in ([], [der.algorithm("1.2.3.4.5")], [der.algorithm(der.DIGESTS["md5"])]):
        request = client.message(Csr(standard.device_key(), subject, CHALLENGE),
                                 digest_algorithms=listed)
        refused_or_unreadable(client, request, BAD_MESSAGE_CHECK, BAD_ALG)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("name", ["transactionID", "senderNonce", "messageType", "contentType",
                                  "messageDigest"])
@pytest.mark.parametrize("value", [b"", der.sequence(), der.NULL, b"\x31\x00"],
                         ids=["empty set", "SEQUENCE", "NULL", "SET"])
def test_empty_attributes(server, client, subject, name, value):
    oid = {"transactionID": SCEP + "7", "senderNonce": SCEP + "5", "messageType": SCEP + "2",
           "contentType": CONTENT_TYPE, "messageDigest": MESSAGE_DIGEST}[name]
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE), omit={name},
                             attributes={oid: value})
    refused_or_unreadable(client, request, BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def huge_rsa(bits, exponent=65537):
    """A public key that no one has."""
    modulus = (1 << (bits - 1)) | 1
    return der.sequence(der.algorithm(der.RSA_ENCRYPTION), der.bits(der.sequence(
        der.integer(modulus), der.integer(exponent))))


@pytest.mark.parametrize("public", [huge_rsa(16384), huge_rsa(65536), huge_rsa(4096, (1 << 4095) + 1),
                                    huge_rsa(2048, 1)],
                         ids=["16384", "65536", "long exponent", "exponent 1"])
def test_keys_that_cost_or_mean_nothing(server, client, subject, public):
    """Not worked with: neither that of the message nor that of the request."""
    device = standard.device_key()
    signer = Identity.self_signed(device, subject, public=public)
    csr = Csr(device, subject, CHALLENGE)
    strange = Csr(device, subject, CHALLENGE, public=public)
    begin = time.monotonic()
    for request in (client.message(csr, signer), client.message(strange, signer),
                    client.message(strange, Identity.self_signed(device, subject))):
        refused_or_unreadable(client, request, BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST)
    assert time.monotonic() - begin < 2
    assert not issued_to(server, subject)


# ASN.1

EXTENSIONS = {
    "subjectKeyIdentifier": "2.5.29.14", "keyUsage": "2.5.29.15",
    "privateKeyUsagePeriod": "2.5.29.16", "subjectAltName": "2.5.29.17",
    "issuerAltName": "2.5.29.18", "basicConstraints": "2.5.29.19", "cRLNumber": "2.5.29.20",
    "nameConstraints": "2.5.29.30", "cRLDistributionPoints": "2.5.29.31",
    "certificatePolicies": "2.5.29.32", "policyMappings": "2.5.29.33",
    "authorityKeyIdentifier": "2.5.29.35", "policyConstraints": "2.5.29.36",
    "extendedKeyUsage": "2.5.29.37", "freshestCRL": "2.5.29.46", "inhibitAnyPolicy": "2.5.29.54",
    "authorityInfoAccess": "1.3.6.1.5.5.7.1.1", "qcStatements": "1.3.6.1.5.5.7.1.3",
    "subjectInfoAccess": "1.3.6.1.5.5.7.1.11", "tlsFeature": "1.3.6.1.5.5.7.1.24",
    "netscape type": "2.16.840.1.113730.1.1", "template name": "1.3.6.1.4.1.311.20.2",
    "template": "1.3.6.1.4.1.311.21.7", "applicationPolicies": APPLICATION_POLICIES,
    "sid": SID_EXTENSION, "smimeCapabilities": "1.2.840.113549.1.9.15",
    "scts": "1.3.6.1.4.1.11129.2.4.2", "unknown": "1.2.3.4.5",
}
EMPTY = [b"", b"\x30\x00", b"\x31\x00", der.NULL, der.octets(b""), b"\x03\x01\x00",
         der.sequence(der.sequence()), der.sequence(der.set_of()), der.sequence(b"\xa0\x00"),
         b"\x30\x80\x00\x00", der.sequence(b"\x30\x80\x00\x00")]
# What is well-formed, asks for nothing, and gives way to what the CA says; and lists that may be empty.
HARMLESS = {("basicConstraints", b"\x30\x00"), ("basicConstraints", b"\x30\x80\x00\x00"),
            ("subjectKeyIdentifier", b"\x04\x00"),
            ("keyUsage", b"\x03\x01\x00"), ("smimeCapabilities", b"\x30\x00")}


@pytest.mark.parametrize("path", [STATIC, STRIP])
@pytest.mark.parametrize("name", EXTENSIONS)
def test_empty_extensions(server, client, subject, name, path):
    """An empty SEQUENCE or SET where something must be (CVE-2026-40097): refused, or left out."""
    client = server.client(path)
    device = standard.device_key()
    for number, value in enumerate(EMPTY):
        critical = (number + (path == STRIP)) % 2 == 0
        reply = client.enrol(device, CHALLENGE, subject,
                             [extension(EXTENSIONS[name], value, critical=critical)])
        if reply.failed:
            refused(reply, BAD_REQUEST, BAD_MESSAGE_CHECK)
            continue
        assert path == STRIP or (name, value) in HARMLESS, value
        for found in reply.certificate.extensions:          # all of them can be read
            if found.oid.dotted_string == EXTENSIONS[name] and \
                    name not in ("basicConstraints", "smimeCapabilities"):
                assert found.value.public_bytes() != value, value
    good(server, subject)


@pytest.mark.parametrize("oid", [CHALLENGE_PASSWORD, EXTENSION_REQUEST, "1.3.6.1.4.1.311.2.1.14",
                                 "2.5.4.5", "1.2.840.113549.1.9.8"])
@pytest.mark.parametrize("value", [None, b"", der.sequence(), der.set_of(), der.NULL],
                         ids=["no SET", "empty SET", "SEQUENCE", "SET", "NULL"])
def test_empty_attributes_of_the_request(server, client, subject, oid, value):
    """Whatever this attribute says, nothing of the challenge is granted by it."""
    odd = der.sequence(der.oid(oid), *([] if value is None else [der.set_of(value)]))
    reply = client.enrol(standard.device_key(), None, subject, csr_options={"attributes": [odd]})
    refused(reply, BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def long_oid(size):
    return der.tlv(0x06, b"\x2a" + b"\x81" * (size - 2) + b"\x01")


@pytest.mark.parametrize("size", [200, 5000, 40000])
def test_long_object_identifiers(server, client, subject, size):
    """Nobody takes a long time to write them into a log (CVE-2023-2650)."""
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    algorithm = der.sequence(long_oid(size), der.NULL)
    in_extension = Csr(standard.device_key(), subject, CHALLENGE)
    in_extension.attributes = [der.sequence(der.oid(EXTENSION_REQUEST), der.set_of(
        der.sequence(der.sequence(long_oid(size), der.octets(b"\x30\x00")))))]
    envelope = content_info(ENVELOPED_DATA, der.sequence(
        der.integer(0), der.set_of(Recipient(client.ra).info(b"k" * 16)[1]),
        der.sequence(der.oid(DATA), algorithm, der.tlv(0x80, b"x" * 16))))
    messages = [client.message(csr, digest_algorithms=[algorithm]),
                client.message(csr, envelope=envelope), client.message(in_extension)]
    for message in messages:
        assert message.der
        begin = time.monotonic()
        refused_or_unreadable(client, message, BAD_ALG, BAD_REQUEST, BAD_MESSAGE_CHECK)
        assert time.monotonic() - begin < 1
    assert not issued_to(server, subject)
    assert len(server.log.new_text()) < 100_000, "an attacker fills the log"


@pytest.mark.parametrize("head", [b"\x30\x80", b"\x24\x80", b"\xa0\x80", b"\x31\x80"], ids=bytes.hex)
def test_deep_nesting(server, client, head):
    for depth in (50, 5000, 30_000):
        begin = time.monotonic()
        assert client.post(head * depth).status == 400
        assert client.post(content_info(DATA, head * depth)).status == 400
        assert time.monotonic() - begin < 2


# what belongs to others

def test_captured_message_sent_again_at_once(server, client, subject):
    """By 32 connections: one certificate, and all get that."""
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE))
    assert request.der and client.ra
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda _: client.exchange(request), range(32)))
    assert all(reply.succeeded for reply in replies), replies
    assert len({reply.issued for reply in replies}) == 1
    assert len(issued_to(server, subject)) == 1


@pytest.mark.parametrize("path", [STATIC, standard.ONETIME])
def test_captured_message_after_revocation(server, client, subject, path):
    """The certificate stays revoked, and there is no other."""
    challenge = CHALLENGE if path == STATIC else new_challenge(server)
    client = server.client(path)
    first = client.enrol(standard.device_key(), challenge, subject)
    server.ctl_ok("cert", "revoke", serial_text(first.certificate.serial_number))
    again = client.exchange(first.request)
    assert again.failed or again.issued == first.issued
    row, = issued_to(server, subject)
    assert row["status"] == "revoked"


def test_captured_envelope_signed_by_another(server, client, subject):
    """The challenge is in the envelope; it is of no use to whoever has not the device's key."""
    captured = client.message(Csr(standard.device_key(1), subject, CHALLENGE))
    envelope = content_info(ENVELOPED_DATA, enveloped(captured.content, captured.recipient))
    thief = standard.device_key(2)
    for kind in (PKCSREQ, RENEWALREQ):
        request = PkiMessage(None, Identity.self_signed(thief, subject), None, envelope=envelope,
                             message_type=kind)
        reply = refused(client.exchange(request), BAD_MESSAGE_CHECK)
        assert decision(server, reply)["rule"] == "message.open"
    assert not issued_to(server, subject)


@pytest.mark.parametrize("path", [STATIC, RENEW])
def test_captured_envelope_signed_under_a_certificate(server, client, subject, path):
    """Nor to a device with a certificate of its own, which could renew that."""
    thief = standard.device_key(2)
    own = client.enrol(thief, CHALLENGE, "CN=thief")
    captured = client.message(Csr(standard.device_key(1), subject, CHALLENGE))
    envelope = content_info(ENVELOPED_DATA, enveloped(captured.content, captured.recipient))
    for kind in (PKCSREQ, RENEWALREQ):
        request = PkiMessage(None, Identity(thief, own.issued), None, envelope=envelope,
                             message_type=kind)
        reply = refused(server.client(path).exchange(request))
        assert decision(server, reply)["rule"] == \
            ("renewal.off" if path == STATIC else "renewal.subject")
    assert not issued_to(server, subject)


def test_transaction_taken_before(server, client, subject):
    """Who knows a transactionID keeps its owner from nothing."""
    transaction = os.urandom(16).hex()
    for number, challenge in ((2, "guess"), (3, CHALLENGE)):
        client.enrol(standard.device_key(number), challenge, "CN=squatter", transaction=transaction)
    mine = client.enrol(standard.device_key(1), CHALLENGE, subject, transaction=transaction)
    assert mine.succeeded and len(issued_to(server, subject)) == 1
    assert client.poll(mine.request).issued == mine.issued


def test_transaction_taken_while_it_waits(server, client, subject):
    """An operator approves one enrolment, not everything with its transactionID."""
    client = server.client(standard.MANUAL)
    mine = client.enrol(standard.device_key(1), CHALLENGE, subject)
    other = client.enrol(standard.device_key(2), CHALLENGE, subject,
                         transaction=mine.request.transaction)
    assert mine.pending and other.pending
    ids = {row["id"] for row in server.ctl_ok("enrolment", "list").objects
           if row["transaction"] == mine.request.transaction}
    assert len(ids) == 2
    first = next(i for i in ids if server.ctl_ok("enrolment", "show", i).object["id"] == i)
    server.ctl_ok("enrolment", "approve", first)
    wait_until(lambda: len(issued_to(server, subject)) == 1, 5)
    replies = [client.poll(request.request) for request in (mine, other)]
    assert sorted(reply.status for reply in replies) == ["0", "3"], replies
    for number, reply in enumerate(replies, 1):
        if reply.succeeded:
            assert reply.certificate.public_key().public_numbers() == \
                standard.device_key(number).public_key().public_numbers()


def test_elliptic_key_is_not_confused(server, client, subject):
    """A signer's certificate whose key is of another kind than its signature."""
    device = standard.device_key()
    confused = Identity.self_signed(device, subject, public=public_der(key("p256-01")))
    refused_or_unreadable(client, client.message(Csr(device, subject, CHALLENGE), confused),
                          BAD_ALG, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)
