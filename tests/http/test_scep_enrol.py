# Licensed under the Apache License, Version 2.0. See LICENSE.
"""PKCSReq: what is issued, to whom, and how often."""

import concurrent.futures
import datetime
import hashlib
import time

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from harness import standard
from harness.checks import decision, issued_to, new_challenge, refused
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import Authority, key, verify_chain
from harness.server import CHALLENGE
from scep import Csr, Identity, ProtocolError, Recipient, der, extension
from scep.reply import BAD_MESSAGE_CHECK, BAD_REQUEST

STATIC = standard.STATIC

@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(standard.content)


@pytest.fixture(scope="module")
def client(server):
    return server.client(STATIC)


# what is issued

@pytest.mark.parametrize("method", ["GET", "POST"])
def test_enrol(server, method, subject):
    client = server.client(STATIC, method=method)
    reply = client.enrol(standard.device_key(), CHALLENGE, subject)
    assert reply.succeeded
    assert len(reply.inner) == 1
    leaf = reply.certificate
    assert leaf.public_key().public_numbers() == \
        standard.device_key().public_key().public_numbers()
    assert verify_chain(reply.issued, server.authority)[0] == 0
    rows = issued_to(server, subject)
    assert [int(row["serial"], 16) for row in rows] == [leaf.serial_number]
    line = decision(server, reply)
    assert line["event"] == "enrol" and line["result"] == "issued"
    assert line["protocol"] == "scep" and line["tenant"] == "acme" and line["issuer"] == "devices"
    assert line["profile"] == standard.BASE and line["client"] == "127.0.0.1"
    assert line["rule"] == "challenge.static" and line["node"] == "test-node"
    assert int(line["serial"], 16) == leaf.serial_number
    assert line["transaction"] == reply.request.transaction
    assert subject.split(",")[0] in line["subject"] and line["algorithms"]


def test_contents_follow_the_profile(server, client, subject):
    reply = client.enrol(standard.device_key(), CHALLENGE, subject, [
        extension("san", "DNS:device.example", "email:a@example.org", "IP:192.0.2.7"),
        extension("eku", "clientAuth", "serverAuth"),
        extension("ku", "digitalSignature", "keyEncipherment", critical=True)])
    assert reply.succeeded, reply
    leaf, ca = reply.certificate, server.authority.certificate
    find = leaf.extensions.get_extension_for_class
    assert leaf.version == x509.Version.v3
    assert 128 <= leaf.serial_number.bit_length() + 8 and leaf.serial_number.bit_length() <= 159
    usage = find(x509.KeyUsage)
    assert usage.critical
    assert usage.value == x509.KeyUsage(True, False, True, False, False, False, False, False, False)
    constraints = find(x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(False, None)
    eku = find(x509.ExtendedKeyUsage)
    assert not eku.critical
    assert {oid.dotted_string for oid in eku.value} == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
    names = find(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["device.example"]
    assert names.get_values_for_type(x509.RFC822Name) == ["a@example.org"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    points = find(x509.CRLDistributionPoints).value
    assert [n.value for p in points for n in p.full_name] == [server.url("/crl/devices.crl")]
    access = find(x509.AuthorityInformationAccess).value
    assert [(d.access_method, d.access_location.value) for d in access] == [
        (AuthorityInformationAccessOID.CA_ISSUERS, server.url("/ca/devices.cer"))]
    assert find(x509.AuthorityKeyIdentifier).value.key_identifier == \
        ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    digest = hashlib.sha256(spki_bits(leaf)).digest()[:20]
    assert find(x509.SubjectKeyIdentifier).value.digest == digest     # RFC 7093 2 method 1
    now = datetime.datetime.utcnow()
    assert now - datetime.timedelta(minutes=15) < leaf.not_valid_before <= now
    days = (leaf.not_valid_after - leaf.not_valid_before).total_seconds() / 86400
    assert 364.9 <= days <= 365.1
    assert leaf.issuer == ca.subject
    assert leaf.signature_hash_algorithm.name == "sha256"


def spki_bits(certificate):
    parsed = asn1.Certificate.load(certificate.public_bytes(Encoding.DER))
    return parsed.public_key["public_key"].contents[1:]


def test_issuer_certificate_is_served(server):
    response = server.get("/ca/devices.cer")
    assert response.status == 200
    assert response.type == "application/pkix-cert"
    assert response.body == server.authority.certificate.public_bytes(Encoding.DER)
    pem = server.get("/ca/devices.pem")
    assert pem.body.startswith(server.authority.certificate.public_bytes(Encoding.PEM))
    for path in ("/ca/nothing.cer", "/ca/devices", "/ca/", "/ca/devices.cer/", "/ca/devices.key"):
        assert server.get(path).status == 404


@pytest.mark.parametrize("kind", ["rsa2048-03", "rsa3072-01", "rsa4096-01"])
@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_keys_ciphers_digests(client, kind, cipher, digest):
    reply = client.enrol(key(kind), CHALLENGE, cipher=cipher, digest=digest)
    assert reply.succeeded
    assert reply.cipher == cipher       # answered with what the client used
    assert reply.digest == digest


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
def test_oaep(client, digest):
    recipient = Recipient(client.ra, "oaep", digest)
    assert client.enrol(standard.device_key(), CHALLENGE, recipient=recipient).succeeded


def test_recipient_by_key_identifier(client):
    recipient = Recipient(client.ra, identifier="ski")
    assert client.enrol(standard.device_key(), CHALLENGE, recipient=recipient).succeeded


def test_issuer_with_each_reply_chain(server):
    for path, count in ((STATIC, 1), (standard.CHAIN, 2), (standard.FULL_CHAIN, 3)):
        client = server.client(path, leaf_only=False)
        reply = client.enrol(standard.device_key(), CHALLENGE)
        assert len(reply.inner) == count, path
        subjects = [x509.load_der_x509_certificate(c).subject for c in reply.inner]
        expected = [server.authority.certificate.subject, server.authority.root.subject]
        assert subjects[1:] == expected[:count - 1]


@pytest.mark.parametrize("challenge", [
    der.printable(CHALLENGE), der.utf8(CHALLENGE), der.ia5(CHALLENGE),
    der.tlv(0x1e, CHALLENGE.encode("utf-16-be"))], ids=["printable", "utf8", "ia5", "bmp"])
def test_challenge_string_types(client, challenge):
    reply = client.enrol(standard.device_key(), challenge)
    if challenge[0] in (0x13, 0x0c):
        assert reply.succeeded
    else:
        assert reply.succeeded or reply.fail_info == BAD_REQUEST


def test_odd_self_signed_certificates(client, subject):
    device = standard.device_key()
    long_ago = datetime.datetime.utcnow() - datetime.timedelta(days=4000)
    for identity in (Identity.self_signed(device, "CN=another name"),
                     Identity.self_signed(device, "", serial=1),
                     Identity.self_signed(device, subject, start=long_ago),
                     Identity.self_signed(device, subject, digest="sha1"),
                     Identity.self_signed(device, subject, serial=1 << 158)):
        assert client.enrol(device, CHALLENGE, subject, identity=identity).succeeded


@pytest.mark.parametrize("transaction", ["1", "a" * 64, "A-b_c.d+e/f=", "0" * 40])
def test_transaction_ids(client, transaction):
    reply = client.enrol(standard.device_key(8), CHALLENGE, transaction=transaction)
    assert reply.succeeded and reply.transaction == transaction


# retransmission and transactions

def test_retransmission_gets_the_same_certificate(server, client, subject):
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    first = client.message(csr)
    reply = client.exchange(first)
    same_bytes = client.exchange(first)
    again = client.exchange(client.message(csr.der, identity=first.identity,
                                           transaction=first.transaction))
    assert reply.succeeded
    assert reply.issued == same_bytes.issued == again.issued
    assert len(issued_to(server, subject)) == 1


def test_another_request_under_the_same_transaction_is_refused(server, client, subject):
    device = standard.device_key()
    first = client.enrol(device, CHALLENGE, subject)
    refused(client.enrol(device, CHALLENGE, subject, [extension("san", "DNS:other.example")],
                         transaction=first.request.transaction))
    assert len(issued_to(server, subject)) == 1
    assert client.exchange(first.request).issued == first.issued


def test_stranger_with_the_same_transaction_gets_its_own_result(server, client, subject):
    first = client.enrol(standard.device_key(1), CHALLENGE, subject)
    second = client.enrol(standard.device_key(2), CHALLENGE, subject,
                          transaction=first.request.transaction)
    wrong = client.enrol(standard.device_key(3), "guess", subject,
                         transaction=first.request.transaction)
    assert first.succeeded and second.succeeded and first.issued != second.issued
    assert second.certificate.public_key().public_numbers() == \
        standard.device_key(2).public_key().public_numbers()
    refused(wrong)
    assert client.exchange(first.request).issued == first.issued
    assert len(issued_to(server, subject)) == 2


def test_same_transaction_at_another_endpoint_is_another_enrolment(server, client, subject):
    first = client.enrol(standard.device_key(), CHALLENGE, subject)
    other = server.client(standard.CHAIN, leaf_only=False)
    second = other.enrol(standard.device_key(), CHALLENGE, subject,
                         transaction=first.request.transaction)
    assert second.succeeded and second.issued != first.issued


def test_poll_of_an_issued_enrolment(client, subject):
    first = client.enrol(standard.device_key(), CHALLENGE, subject)
    assert client.poll(first.request).issued == first.issued


def test_poll_of_nothing(client):
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    refused(client.poll(request), "2", "4")


def test_poll_by_a_stranger(server, client, subject):
    first = client.enrol(standard.device_key(1), CHALLENGE, subject)
    stranger = Identity.self_signed(standard.device_key(2), subject)
    refused(client.poll(first.request, identity=stranger), "2", "4")


# challenges

@pytest.mark.parametrize("challenge", [
    None, "wrong", "", CHALLENGE + " ", CHALLENGE[:-1], CHALLENGE.upper(), "x" * 200])
def test_wrong_challenge(server, client, subject, challenge):
    reply = refused(client.enrol(standard.device_key(), challenge, subject))
    line = decision(server, reply)
    assert line["event"] == "enrol" and line["result"] == "refused" and line["gh"]
    assert not issued_to(server, subject)


@pytest.mark.parametrize("challenge", [
    CHALLENGE + "\x00", [CHALLENGE, CHALLENGE], [CHALLENGE, "wrong"], "x" * 5000])
def test_malformed_challenge(server, client, subject, challenge):
    refused(client.enrol(standard.device_key(), challenge, subject), BAD_REQUEST,
            BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("challenge", [None, "", CHALLENGE])
def test_endpoint_without_challenge_is_closed(server, subject, challenge):
    refused(server.client(standard.CLOSED).enrol(standard.device_key(), challenge, subject))
    assert not issued_to(server, subject)


def test_static_challenge_is_bound_to_its_endpoint(server, subject):
    for path in (standard.ONETIME, standard.ONETIME_SET, standard.BETA, standard.CLOSED,
                 "/scep/acme/other/" + standard.BASE):
        refused(server.client(path).enrol(standard.device_key(), CHALLENGE, subject))
    assert not issued_to(server, subject)


def test_onetime(server, subject):
    client = server.client(standard.ONETIME)
    challenge = new_challenge(server)
    reply = client.enrol(standard.device_key(), challenge, subject)
    assert reply.succeeded
    assert decision(server, reply)["rule"] == "challenge.onetime"
    refused(client.enrol(standard.device_key(), challenge, subject))
    refused(client.enrol(standard.device_key(2), challenge, subject))
    assert client.exchange(reply.request).issued == reply.issued
    assert len(issued_to(server, subject)) == 1


def test_onetime_is_bound_to_tenant_issuer_and_profile(server, subject):
    challenge = new_challenge(server)
    for path in (standard.BETA, standard.ONETIME_SET, STATIC, standard.CLOSED,
                 "/scep/acme/other/scep-digital-signature"):
        refused(server.client(path).enrol(standard.device_key(), challenge, subject))
    assert not issued_to(server, subject)
    assert server.client(standard.ONETIME).enrol(standard.device_key(), challenge,
                                                 subject).succeeded


def test_onetime_set(server, subject):
    client = server.client(standard.ONETIME_SET)
    profile = "scep-key-encipherment"
    for options in ((), ("--set", "printers")):     # the only one there, or by its name
        challenge = new_challenge(server, *options, profile=profile)
        assert client.enrol(standard.device_key(), challenge, subject).succeeded
        refused(client.enrol(standard.device_key(), challenge, subject))
    wrong = server.ctl("challenge", "new", "--tenant", "acme", "--issuer", "devices", "--profile",
                       profile, "--set", "scanners")
    assert wrong.status == 1 and "GH" in wrong.err and not wrong.out


def test_onetime_bound_to_a_subject(server, subject):
    client = server.client(standard.ONETIME)
    common_name = subject.split(",")[0]
    challenge = new_challenge(server, "--subject", common_name)
    refused(client.enrol(standard.device_key(), challenge, "CN=somebody else"))
    assert client.enrol(standard.device_key(), challenge, common_name).succeeded


def test_onetime_expired(server, subject):
    client = server.client(standard.ONETIME)
    challenge = new_challenge(server, "--expires", "1s")
    time.sleep(1.2)
    refused(client.enrol(standard.device_key(), challenge, subject))
    assert not issued_to(server, subject)


def test_onetime_after_a_refusal_is_still_good(server, subject):
    """A request that the profile refuses does not use the challenge up."""
    client = server.client(standard.ONETIME)
    challenge = new_challenge(server)
    refused(client.enrol(standard.device_key(), challenge, subject,
                         [extension("eku", "codeSigning")]))
    assert client.enrol(standard.device_key(), challenge, subject).succeeded


def test_onetime_used_by_200_at_once_issues_one(server, subject):
    client = server.client(standard.ONETIME)
    challenge = new_challenge(server)
    requests = [client.message(Csr(standard.device_key(1 + i % 4), subject, challenge))
                for i in range(200)]
    for request in requests:
        assert request.der
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(client.exchange, requests))
    assert sorted(r.status for r in replies) == ["0"] + ["2"] * 199
    assert len(issued_to(server, subject)) == 1


def test_open_endpoint_is_warned_of_at_start(make_server, subject):
    def content(server):
        return standard.content(server) + location(standard.CLOSED,
                                                   "SCEPChallenge none insecure")

    server = make_server(content, start=False)
    server.expect("GH0259")
    server.start()
    for challenge in (None, "anything"):
        reply = server.client(standard.CLOSED).enrol(standard.device_key(), challenge, subject)
        assert reply.succeeded
    assert decision(server, reply)["rule"] == "challenge.none"


# identification of requests

def test_client_request_id_is_recorded_not_used(server, client):
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    response = client.post(request.der, headers={"X-Request-Id": "from-the-client"})
    reply = client.read(response, request)
    assert response.headers["X-Request-Id"] != "from-the-client"
    line = decision(server, reply)
    assert line["client_request_id"] == "from-the-client"


def test_sensitive_bytes_of_a_subject_do_not_break_the_audit_log(server, client):
    subject = [("CN", "quote\" back\\slash\x01 \u2603 newline\n"), ("O", "x" * 60)]
    reply = client.enrol(standard.device_key(), CHALLENGE, subject)
    assert reply.status in ("0", "2")
    assert decision(server, reply)


# an issuer that ends soon

def test_validity_ends_with_the_issuer(make_server):
    def content(server):
        short = Authority(server.root / "ca", "short", "rsa2048-10", days=20)
        return standard.PROFILES + issuer(short) + location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme short",
            "SCEPProfiles scep-*") + location(
                "/scep/acme/short/" + standard.BASE, standard.challenge(server)) + CRL_AND_CA

    server = make_server(content)
    reply = server.client("/scep/acme/short/" + standard.BASE).enrol(
        standard.device_key(), CHALLENGE)
    ca = x509.load_pem_x509_certificate((server.root / "ca" / "short.pem").read_bytes())
    assert reply.certificate.not_valid_after == ca.not_valid_after


@pytest.mark.parametrize("ca_key", ["p256-01", "p384-01", "p521-01", "rsa4096-01"])
def test_issuers_of_other_key_kinds(make_server, ca_key):
    def content(server):
        other = Authority(server.root / "ca", "devices", ca_key, root_key="rsa2048-12")
        server.authority = other
        return standard.PROFILES + issuer(other) + location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles scep-*") + location(STATIC, standard.challenge(server)) + CRL_AND_CA

    server = make_server(content)
    reply = server.client(STATIC).enrol(standard.device_key(), CHALLENGE)
    assert verify_chain(reply.issued, server.authority)[0] == 0
    expected = {"p384-01": "sha384", "p521-01": "sha512", "rsa4096-01": "sha512"}
    assert reply.certificate.signature_hash_algorithm.name == expected.get(ca_key, "sha256")


def test_client_checks_replies(client):
    """The client of these tests notices a reply to somebody else."""
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    response = client.send(request)
    request.sender_nonce = b"x" * 16
    with pytest.raises(ProtocolError):
        client.read(response, request)
