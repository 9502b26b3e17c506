# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Requests about several CAs, signed ones, and such that prefer an algorithm."""

import subprocess

import pytest
from asn1crypto import core as asn1core
from asn1crypto import ocsp as asn1ocsp
from cryptography.hazmat.primitives import serialization

from harness import ocsp
from harness.config import location
from harness.feeder import make_crl
from harness.pki import Authority, certificate, key, write_secret
from harness.server import wait_until

PLACES = "".join([
    "OCSPFastPath /ocsp\n", "AllowEncodedSlashes NoDecode\n", "MergeSlashes Off\n",
    location("/unauthorized", "SetHandler gatehouse-ocsp", "OCSPMixed unauthorized"),
    location("/only", "SetHandler gatehouse-ocsp", "OCSPServe one two"),
])


@pytest.fixture(scope="module")
def server(make_module_server):
    """Three CAs by CRLs that revoke 1; the first has two signers."""
    def content(server):
        (server.root / "run").mkdir(exist_ok=True)
        server.cas = {}
        text = PLACES + ocsp.directory(server)
        requestors = server.root / "requestors.pem"
        requestors.write_bytes(server.authority.root_path.read_bytes()
                               + server.authority.certificate_path.read_bytes())
        for word in ("verify", "require"):
            text += location(f"/{word}", "SetHandler gatehouse-ocsp",
                             f'OCSPRequestSignature {word} "{requestors}"')
        for name in ("one", "two", "three"):
            ca = server.cas[name] = Authority(server.root / "ca", name, "rsa2048-09")
            ca.key = ca.key_source
            (server.root / "run" / f"{name}.crl").write_bytes(make_crl(ca, [1]))
            signers = [ocsp.signer(ca, "p256", "p256-01")]
            if name == "one":
                signers.append(ocsp.signer(ca, "rsa", "rsa2048-03"))
            text += ocsp.section(
                name, f'OCSPCertificate "{ca.certificate_path}"',
                *('OCSPSigner "{}" "{}"'.format(*paths) for paths in signers),
                *(["OCSPResponderID name"] if name == "two" else []),
                f"OCSPSource crl file://{server.root}/run/{name}.crl")
        return text

    server = make_module_server(content, own_modules=ocsp.OWN_MODULES)
    server.allow("GH0763", "GH0553", "GH0554", "GH0561", "GH0562")
    for ca in server.cas.values():
        der = ocsp.request_for(ca, [1])
        wait_until(lambda der=der: all(ocsp.parse(ocsp.post(server, der)).response_status
                                       == ocsp.SUCCESSFUL for _ in range(12)), 10, what="answers")
    return server


def statuses(response):
    data = asn1ocsp.OCSPResponse.load(response.body).response_data
    return [(one["cert_id"]["serial_number"].native, one["cert_status"].name)
            for one in data["responses"]]


@pytest.mark.parametrize("by", [ocsp.post, ocsp.get])
def test_several_cas_at_one_url(server, by):
    for ca in server.cas.values():
        answer = by(server, ocsp.request_for(ca, [1, 2, 3]))
        assert statuses(answer) == [(1, "revoked"), (2, "good"), (3, "good")]
        signer, = ocsp.parse(answer).certificates
        assert signer.issuer == ca.certificate.subject


@pytest.mark.parametrize("by", [ocsp.post, ocsp.get])
@pytest.mark.parametrize("first, second", [("one", "three"), ("three", "one")])
def test_cas_that_others_sign_for(server, by, first, second):
    """The first CA decides who signs; what others sign for is unknown, or all is refused."""
    first, second = server.cas[first], server.cas[second]
    der = ocsp.request_for(first, [2, (second, 1), 1])
    answer = by(server, der)
    assert statuses(answer) == [(2, "good"), (1, "unknown"), (1, "revoked")]
    signer = asn1ocsp.OCSPResponse.load(answer.body).basic_ocsp_response["certs"][0]
    assert signer.issuer.native["common_name"] == f"Test {first.name} CA"
    assert ocsp.error_of(by(server, der, "/unauthorized")) == ocsp.UNAUTHORIZED
    # each by itself is answered there
    for one in (first, second):
        assert statuses(by(server, ocsp.request_for(one, [2, 1]), "/unauthorized")) \
            == [(2, "good"), (1, "revoked")]


def test_cas_of_an_endpoint(server):
    assert ocsp.ask(server, 1, "/only", authority=server.cas["two"])[0] == ocsp.REVOKED
    der = ocsp.request_for(server.cas["three"], [1])
    assert ocsp.error_of(ocsp.post(server, der, "/only")) == ocsp.UNAUTHORIZED


def test_responder_id(server):
    by_key = ocsp.parse(ocsp.post(server, ocsp.request_for(server.cas["one"], [1])))
    assert by_key.responder_key_hash and by_key.responder_name is None
    by_name = ocsp.parse(ocsp.post(server, ocsp.request_for(server.cas["two"], [1])))
    assert by_name.responder_name == by_name.certificates[0].subject
    assert by_name.responder_key_hash is None


def with_extension(ca, oid, value, critical=False):
    request = asn1ocsp.OCSPRequest.load(ocsp.request_for(ca, [1]))
    request["tbs_request"]["request_extensions"] = [
        {"extn_id": oid, "critical": critical, "extn_value": asn1core.ParsableOctetString(value)}]
    return request.dump(force=True)


def test_preferred_signature_algorithms(server):
    """RFC 6960 4.4.7: the client's order among what is there."""
    def preferring(*oids):
        parts = b""
        for oid in oids:
            identifier = asn1core.Sequence(contents=asn1core.ObjectIdentifier(oid).dump())
            parts += asn1core.Sequence(contents=identifier.dump()).dump()
        return with_extension(server.cas["one"], "1.3.6.1.5.5.7.48.1.8",
                              asn1core.Sequence(contents=parts).dump())

    rsa, ecdsa = "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"
    for wanted, got in (((rsa,), rsa), ((ecdsa,), ecdsa), ((rsa, ecdsa), rsa),
                        ((ecdsa, rsa), ecdsa), (("1.3.101.112",), ecdsa)):
        answer = ocsp.parse(ocsp.post(server, preferring(*wanted)))
        assert answer.signature_algorithm_oid.dotted_string == got, wanted
        assert answer.certificate_status == ocsp.REVOKED


def test_extensions(server):
    """What is critical and not known is refused; other things are left alone."""
    for critical in (False, True):
        answer = ocsp.post(server, with_extension(server.cas["one"], "1.2.3.4", b"\x05\x00",
                                                  critical))
        response = ocsp.parse(answer)
        assert (response.response_status == ocsp.SUCCESSFUL) == (not critical)


def signed(server, requestor, ca, tmp_path):
    """By openssl."""
    path, key_path = tmp_path / "requestor.pem", tmp_path / "requestor.key"
    path.write_bytes(requestor.public_bytes(ocsp.PEM))
    write_secret(key_path, key("rsa2048-05").private_bytes(
        ocsp.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    out = tmp_path / "request.der"
    subprocess.run(["openssl", "ocsp", "-issuer", ca.certificate_path, "-serial", "1", "-signer",
                    path, "-signkey", key_path, "-no_nonce", "-reqout", out], check=True,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return out.read_bytes()


def test_signed_requests(server, tmp_path):
    ca, authority = server.cas["one"], server.authority
    requestor = certificate("requestor", key("rsa2048-05"), f"Test {authority.name} CA",
                            authority.key_source, 30, ca=False)
    stranger = certificate("stranger", key("rsa2048-05"), "Test three CA",
                           server.cas["three"].key_source, 30, ca=False)
    good = signed(server, requestor, ca, tmp_path)
    other = signed(server, stranger, ca, tmp_path)
    broken = bytearray(good)
    broken[broken.index(requestor.public_bytes(ocsp.DER)) - 20] ^= 1    # in the signature
    plain = ocsp.request_for(ca, [1])

    def said(der, path):
        answer = ocsp.parse(ocsp.post(server, bytes(der), path))
        return answer.response_status

    assert {said(der, "/ocsp") for der in (good, other, broken, plain)} == {ocsp.SUCCESSFUL}
    for path in ("/verify", "/require"):
        assert said(good, path) == ocsp.SUCCESSFUL
        assert said(broken, path) != ocsp.SUCCESSFUL
        assert said(other, path) != ocsp.SUCCESSFUL
    assert said(plain, "/verify") == ocsp.SUCCESSFUL
    assert said(plain, "/require") == ocsp.SIG_REQUIRED
