# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The SCEP client of these tests itself: OpenSSL understands what it writes."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from harness.pki import certificate, key, write_secret
from scep import Csr, Identity, PkiMessage, Recipient, extension
from scep.identity import private_pem

RA_KEY = "rsa2048-07"


@pytest.fixture(scope="module")
def ra(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ra")
    made = certificate("RA", key(RA_KEY), "Root", key("p256-01"), 10, ca=False)
    (folder / "ra.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    write_secret(folder / "ra.key", private_pem(key(RA_KEY)))
    return folder, made.public_bytes(serialization.Encoding.DER)


def openssl(*command, **options):
    result = subprocess.run(["openssl", *map(str, command)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, check=False, **options)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


def unwrap(ra, request):
    folder, _ = ra
    (folder / "message").write_bytes(request.der)
    envelope = openssl("cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in",
                       folder / "message")
    (folder / "envelope").write_bytes(envelope)
    return openssl("cms", "-decrypt", "-binary", "-inform", "DER", "-in", folder / "envelope",
                   "-inkey", folder / "ra.key", "-recip", folder / "ra.pem")


@pytest.mark.parametrize("options", [
    {}, {"cipher": "aes192"}, {"cipher": "aes256", "digest": "sha512"}, {"cipher": "3des"},
    {"digest": "sha384"}, {"digest": "sha1"}], ids=str)
def test_openssl_reads_messages(ra, options):
    device = key("rsa2048-01")
    csr = Csr(device, "CN=device,O=Example", "secret", [extension("san", "DNS:a.example")])
    request = PkiMessage(csr.der, Identity.self_signed(device), Recipient(ra[1]), **options)
    assert unwrap(ra, request) == csr.der


@pytest.mark.parametrize("recipient", [
    {"transport": "oaep"}, {"transport": "oaep", "oaep_digest": "sha256"},
    {"transport": "oaep", "oaep_digest": "sha512"}, {"identifier": "ski"}], ids=str)
def test_openssl_opens_envelopes(ra, recipient):
    request = PkiMessage(b"content", Identity.self_signed(key("rsa2048-01")),
                         Recipient(ra[1], **recipient))
    assert unwrap(ra, request) == b"content"


@pytest.mark.parametrize("name", ["rsa2048-01", "rsa4096-01", "p256-01", "p521-01"])
def test_openssl_verifies_requests(name):
    device = key(name)
    csr = Csr(device, "CN=device", "secret", [
        extension("san", "DNS:a.example", "UPN:u@corp.example", "IP:192.0.2.1"),
        extension("eku", "clientAuth", "codeSigning"),
        extension("ku", "digitalSignature", "keyCertSign", critical=True),
        extension("basicConstraints", True, 0)])
    text = openssl("req", "-inform", "DER", "-noout", "-text", "-verify", input=csr.der).decode()
    for expected in ("DNS:a.example", "UPN", "IP Address:192.0.2.1", "Code Signing",
                     "Digital Signature, Certificate Sign", "CA:TRUE, pathlen:0", "challengePassword"):
        assert expected in text
    spoilt = Csr(device, "CN=device", bad_signature=True)
    assert subprocess.run(["openssl", "req", "-inform", "DER", "-noout", "-verify"],
                          input=spoilt.der, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False).stderr.find(b"failure") >= 0


def test_self_signed_certificates_are_well_formed():
    identity = Identity.self_signed(key("rsa2048-01"), "CN=device,O=Example", serial=7)
    parsed = x509.load_der_x509_certificate(identity.certificate)
    assert parsed.serial_number == 7 and parsed.subject == parsed.issuer
