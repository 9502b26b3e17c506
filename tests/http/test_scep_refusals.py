# Licensed under the Apache License, Version 2.0. See LICENSE.
"""PKCSReq: what is refused, and how it looks."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding

from harness import standard
from harness.checks import decision, issued_to, refused, refused_or_unreadable
from harness.pki import key
from harness.server import CHALLENGE, wait_until
from scep import Csr, Identity, PkiMessage, Recipient, der, extension, make_key
from scep.csr import MICROSOFT_EXTENSIONS, other_name
from scep.message import CERTPOLL, DATA, ENVELOPED_DATA, PKCSREQ, content_info
from scep.reply import BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST

STATIC = standard.STATIC


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(standard.content)


@pytest.fixture(scope="module")
def client(server):
    return server.client(STATIC)


def logged(server, number):
    """The line of the error log with a number, and what is behind it."""
    return wait_until(lambda: [line for line in server.log.text().splitlines()
                               if f"{number}: " in line], 2)[-1]


def test_log_says_all_of_it(server, client, subject):
    """Client, algorithms, attributes, rule, and what to do."""
    refused(client.enrol(standard.device_key(), "wrong", subject))
    line = logged(server, "GH0021")
    for part in ("client 127.0.0.1", STATIC, "rule challenge.static", "transaction ",
                 "algorithms sha256/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048",
                 "attributes messageType senderNonce transactionID",
                 "Give the device the challenge of this endpoint."):
        assert part in line, (part, line)
    client.post(b"nothing")
    line = logged(server, "GH0187")
    assert "rule message.der" in line and "Send a DER encoded pkiMessage" in line
    server.get("/scep/acme/nothing/here?operation=GetCACaps")
    line = logged(server, "GH0265")
    assert "client 127.0.0.1" in line and "rule route" in line and "Ask for /scep/<tenant>" in line


# message types

def test_every_unknown_message_type_is_refused(server, client, subject):
    device = standard.device_key()
    csr = Csr(device, subject, CHALLENGE)
    identity = Identity.self_signed(device, subject)
    for number in range(256):
        if str(number) in (PKCSREQ, CERTPOLL):
            continue
        request = client.message(csr, identity, message_type=str(number))
        refused(client.exchange(request))
    assert not issued_to(server, subject)


@pytest.mark.parametrize("message_type", [
    "", "019", "19 ", " 19", "+19", "-19", "0x13", "19.0", "nineteen", "4294967315", "19" * 40,
    der.utf8("19"), der.integer(19), der.octets(b"19"), der.printable("19\x00"), der.ia5("19")],
    ids=repr)
def test_odd_message_types_are_refused(server, client, subject, message_type):
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE),
                             message_type=message_type)
    refused_or_unreadable(client, request)
    assert not issued_to(server, subject)


# attributes

@pytest.mark.parametrize("name", ["transactionID", "senderNonce", "messageType", "contentType",
                                  "messageDigest"])
@pytest.mark.parametrize("fault", ["omit", "duplicate", "double_value"])
def test_attributes_missing_or_twice(server, client, subject, name, fault):
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE), **{fault: {name}})
    refused_or_unreadable(client, request, BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("nonce", [b"", b"1", b"x" * 15, b"x" * 17, b"x" * 4096], ids=len)
def test_nonces_of_other_lengths(server, client, subject, nonce):
    """RFC 8894 3.2.1.5 wants 16 bytes; others are echoed or refused, never cut."""
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE), sender_nonce=nonce)
    response = client.send(request)
    assert response.status in (200, 400), response
    if response.status == 200:
        assert client.read(response, request, len(nonce) == 16).status in ("0", "2")


def test_request_needs_no_recipient_nonce_and_may_have_one(client):
    assert client.enrol(standard.device_key(), CHALLENGE, recipient_nonce=b"n" * 16).succeeded


def test_request_needs_no_signing_time(client):
    assert client.enrol(standard.device_key(), CHALLENGE, signing_time=False).succeeded


def test_unknown_attribute_is_tolerated(client):
    assert client.enrol(standard.device_key(), CHALLENGE,
                        attributes={"1.2.3.4.5": der.utf8("x")}).succeeded


@pytest.mark.parametrize("transaction", [
    "", "x" * 4000, der.octets(b"abc"), der.printable("a\x00b"),
    der.tlv(0x13, b"\xff\xfe"), der.printable("a\nb")],
    ids=["empty", "4000", "octets", "nul", "not-ascii", "newline"])
def test_odd_transaction_ids(server, client, subject, transaction):
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE),
                             transaction=transaction)
    refused_or_unreadable(client, request)
    assert not issued_to(server, subject)


# integrity: whatever goes wrong between decryption and proof of possession looks the same

class WrongKey(Recipient):
    """Names the RA, but what it holds only another key can open."""

    def info(self, content_key):
        other = standard.device_key(9).public_key()
        return 0, der.sequence(
            der.integer(0), Identity(None, self.certificate).issuer_and_serial,
            der.algorithm(der.RSA_ENCRYPTION),
            der.octets(other.encrypt(content_key, padding.PKCS1v15())))


def broken_messages(client, subject):
    device = standard.device_key()
    csr = Csr(device, subject, CHALLENGE)
    return {
        "content key": client.message(csr, envelope_options={"wrong_key": True}),
        "padding": client.message(csr, envelope_options={"bad_padding": True}),
        "transport key": client.message(csr, recipient=WrongKey(client.ra)),
        "oaep": client.message(csr, recipient=Recipient(client.ra, "oaep", "sha256"),
                               envelope_options={"wrong_key": True}),
        "request signature": client.message(Csr(device, subject, CHALLENGE, bad_signature=True)),
        "garbage": client.message(os.urandom(600), Identity.self_signed(device, subject)),
        "empty": client.message(b"", Identity.self_signed(device, subject)),
        "not a request": client.message(b"\x30\x03\x02\x01\x00",
                                        Identity.self_signed(device, subject)),
        "request cut": client.message(csr.der[:-1], Identity.self_signed(device, subject)),
        "bytes behind": client.message(csr.der + b"\x00", Identity.self_signed(device, subject)),
    }


def test_integrity_failures_are_alike(server, client, subject):
    seen = {}
    for name, request in broken_messages(client, subject).items():
        response = client.send(request)
        reply = refused(client.read(response, request), BAD_MESSAGE_CHECK)
        headers = sorted(k for k in response.headers if k != "Date")
        seen[name] = (reply.fail_info, reply.fail_text, reply.digest, len(reply.certificates),
                      tuple(headers))
    assert len(set(seen.values())) == 1, seen
    assert not issued_to(server, subject)


def test_integrity_failures_are_alike_in_the_audit_log(server, client, subject):
    seen = {name: decision(server, refused(client.exchange(request), BAD_MESSAGE_CHECK))
            for name, request in broken_messages(client, subject).items()}
    assert len({(line.get("gh"), line["result"], line.get("rule"), line.get("message"))
                for line in seen.values()}) == 1, seen


def test_bad_message_signature(server, client, subject):
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE), bad_signature=True)
    refused(client.exchange(request), BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def test_no_signer_or_several(server, client, subject):
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    second = Identity.self_signed(standard.device_key(2), "CN=second")
    for options in ({"extra_signers": [second]}, {"certificates": []},
                    {"certificates": [second.certificate]}, {"no_signed_attributes": True}):
        request = client.message(csr, **options)
        refused_or_unreadable(client, request, BAD_REQUEST, BAD_MESSAGE_CHECK)
    request = client.message(csr)
    request.identity = None
    refused_or_unreadable(client, request, BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def test_message_signed_by_a_stranger(server, client, subject):
    """The key that signs a first enrolment is the key that is certified."""
    stranger = Identity.self_signed(standard.device_key(2), subject)
    request = client.message(Csr(standard.device_key(1), subject, CHALLENGE), stranger)
    refused(client.exchange(request), BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def test_request_without_envelope(server, client, subject):
    identity = Identity.self_signed(standard.device_key(), subject)
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    plain = content_info(DATA, der.octets(csr.der))
    for envelope in (None, plain, csr.der, b"", content_info(ENVELOPED_DATA, der.sequence())):
        request = PkiMessage(None, identity, None, envelope=envelope)
        refused_or_unreadable(client, request, BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("recipients", ["other", "ca", "twice", "none", "two"])
def test_recipients(server, client, subject, recipients):
    ra = Recipient(client.ra)
    other = Recipient(Identity.self_signed(standard.device_key(4), "CN=other").certificate)
    ca = Recipient(server.authority.certificate.public_bytes(Encoding.DER))
    chosen = {"other": [other], "ca": [ca], "twice": [ra, ra], "none": [],
              "two": [ra, other]}[recipients]
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE), recipient=chosen)
    refused_or_unreadable(client, request, BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


# algorithms

@pytest.mark.parametrize("cipher", ["3des", "des", "rc2"])
def test_weak_ciphers_are_refused(server, client, subject, cipher):
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, cipher=cipher), BAD_ALG)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("cipher", ["des", "rc2"])
def test_weakest_ciphers_are_refused_everywhere(server, subject, cipher):
    client = server.client(standard.LEGACY)
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, cipher=cipher), BAD_ALG)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_weak_digests_are_refused(server, client, subject, digest):
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, digest=digest), BAD_ALG)
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, csr_options={"digest": digest}),
            BAD_ALG, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def test_legacy_location(server, subject):
    client = server.client(standard.LEGACY, strict=False)
    reply = client.enrol(standard.device_key(), CHALLENGE, subject, cipher="3des", digest="sha1",
                         csr_options={"digest": "sha1"})
    assert reply.succeeded
    assert reply.cipher in ("3des", "aes128")
    assert reply.signature_algorithm == der.RSA_ENCRYPTION
    assert reply.certificate.signature_hash_algorithm.name == "sha256"
    line = decision(server, reply)
    assert "sha1" in line["algorithms"].lower() and "des" in line["algorithms"].lower()
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, digest="md5"), BAD_ALG)


@pytest.mark.parametrize("kind", ["rsa1024-01", "P-192", "secp256k1", "Ed25519", "RSA-2056"])
def test_unlisted_keys_are_refused(server, client, subject, kind):
    device = key(kind) if kind.startswith("rsa") else make_key(kind)
    identity = Identity.self_signed(standard.device_key(), subject)
    if kind.lower().startswith("rsa"):
        identity = Identity.self_signed(device, subject)
    reply = client.exchange(client.message(Csr(device, subject, CHALLENGE), identity))
    refused(reply, BAD_ALG, BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


@pytest.mark.parametrize("kind", ["p256-01", "p384-01", "p521-01"])
def test_elliptic_client_keys_are_refused_before_issuing(server, client, subject, kind):
    """The reply cannot be encrypted to them by key transport."""
    refused(client.enrol(key(kind), CHALLENGE, subject), BAD_ALG)
    assert not issued_to(server, subject)


# what nobody may ask for

EKUS = ["OCSPSigning", "timeStamping", "anyExtendedKeyUsage", "codeSigning", "smartcardLogon",
        "pkinitClient", "pkinitKDC", "certificateRequestAgent"]
SID = "S-1-5-21-1-2-3-500"
NEVER = {
    **{f"eku {name}": [extension("eku", "clientAuth", name)] for name in EKUS},
    **{f"critical eku {name}": [extension("eku", name, critical=True)] for name in EKUS},
    **{f"policy {name}": [extension("applicationPolicies", "clientAuth", name)] for name in EKUS},
    "upn": [extension("san", "UPN:admin@corp.example")],
    "upn behind others": [extension("san", "DNS:a.example", "UPN:admin@corp.example")],
    "sid extension": [extension("sid", SID)],
    "sid name": [extension("san", other_name("1.3.6.1.4.1.311.25.2.1", der.octets(SID.encode())))],
    "sid uri": [extension("san", f"URI:tag:microsoft.com,2022-09-14:sid:{SID}")],
    "sid uri in capitals": [extension("san", f"URI:TAG:Microsoft.com,2022-09-14:SID:{SID}")],
    "ca": [extension("basicConstraints", True, critical=True)],
    "ca with path length": [extension("basicConstraints", True, 0)],
    "keyCertSign": [extension("ku", "digitalSignature", "keyCertSign", critical=True)],
    "cRLSign": [extension("ku", "digitalSignature", "cRLSign", critical=True)],
    "twice: san": [extension("san", "DNS:a.example"), extension("san", "UPN:admin@corp.example")],
    "twice: eku": [extension("eku", "clientAuth"), extension("eku", "codeSigning")],
    "malformed: empty eku": [extension("2.5.29.37", der.sequence())],
    "malformed: eku": [extension("2.5.29.37", b"\x30\x05\x06")],
    "malformed: san": [extension("2.5.29.17", b"\x31\x00")],
}


@pytest.mark.parametrize("path", [STATIC, standard.MANUAL])
@pytest.mark.parametrize("name", ["CN=Test devices CA", "CN=test  devices ca", "CN=devices SCEP RA",
                                  "CN=Test Root", "CN=Test other CA", "CN=other SCEP RA"])
def test_names_of_the_ca(server, subject, path, name):
    """Whoever follows a chain, or picks the RA among certificates, goes by names."""
    client = server.client(path)
    reply = client.enrol(standard.device_key(), CHALLENGE, name)
    refused(reply, BAD_REQUEST)
    assert "GH0549" in reply.fail_text and decision(server, reply)["rule"] == "never.issuer"
    assert client.enrol(standard.device_key(), CHALLENGE, "CN=Test devices CA,O=Example").status \
        in ("0", "3")


@pytest.mark.parametrize("item", NEVER)
def test_never(server, client, subject, item):
    reply = client.enrol(standard.device_key(), CHALLENGE, subject, NEVER[item])
    refused(reply, BAD_REQUEST, *([BAD_MESSAGE_CHECK] if ":" in item else []))
    line = decision(server, reply)
    assert line["result"] == "refused" and line["gh"]
    if item.startswith(("eku ", "upn", "sid", "ca", "policy")):
        assert line["rule"].startswith("never."), line
    assert not issued_to(server, subject)


@pytest.mark.parametrize("item", ["eku codeSigning", "upn", "ca", "sid extension"])
def test_never_in_the_older_attribute(server, client, subject, item):
    """The attribute of Microsoft that also holds extensions."""
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, NEVER[item],
                         csr_options={"extension_attribute": MICROSOFT_EXTENSIONS}),
            BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def test_never_in_both_attributes(server, client, subject):
    hidden = der.sequence(der.oid(MICROSOFT_EXTENSIONS), der.set_of(
        der.sequence(extension("eku", "codeSigning").der)))
    wanted = [extension("eku", "clientAuth")]
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, wanted,
                         csr_options={"attributes": [hidden]}), BAD_REQUEST, BAD_MESSAGE_CHECK)
    assert not issued_to(server, subject)


def test_allowed_items(server, subject):
    client = server.client(standard.ALLOWED)
    for wanted in ([extension("eku", "codeSigning")], [extension("san", "UPN:u@corp.example")],
                   [extension("eku", "clientAuth", "codeSigning"),
                    extension("san", "DNS:a.example", "UPN:u@corp.example")]):
        assert client.enrol(standard.device_key(), CHALLENGE, subject, wanted).succeeded


@pytest.mark.parametrize("item", ["eku OCSPSigning", "eku smartcardLogon", "sid extension", "ca",
                                  "keyCertSign", "policy anyExtendedKeyUsage"])
def test_allowing_one_item_lifts_no_other(server, subject, item):
    refused(server.client(standard.ALLOWED).enrol(standard.device_key(), CHALLENGE, subject,
                                                  NEVER[item]))
    assert not issued_to(server, subject)


