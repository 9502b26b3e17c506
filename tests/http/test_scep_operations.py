# Licensed under the Apache License, Version 2.0. See LICENSE.
"""GetCACaps, GetCACert, which paths exist, and what HTTP may look like."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from harness import standard
from harness.checks import one_line
from harness.config import location
from harness.pki import PEM
from harness.server import CHALLENGE
from scep import Client, Csr, Identity, transport
from scep.reply import certs_only

STATIC = standard.STATIC


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(standard.content)


@pytest.fixture(scope="module")
def client(server):
    return server.client(STATIC)


def operation(server, path, name, message=None, **options):
    target = transport.operation_target(server.url(path), name, message)
    return transport.request(server.url(path), target=target, **options)


def exists(server, path):
    return operation(server, path, "GetCACaps").status == 200


# GetCACaps

def test_caps(server):
    response = operation(server, STATIC, "GetCACaps")
    assert response.status == 200
    assert response.type.split(";")[0] == "text/plain"
    assert int(response.headers["Content-Length"]) == len(response.body)
    assert b"\r" not in response.body
    words = response.body.decode("ascii").split("\n")
    if words[-1] == "":
        words.pop()
    for word in ("AES", "POSTPKIOperation", "SHA-256", "SHA-512", "SCEPStandard"):
        assert word in words
    for word in ("DES3", "SHA-1", "Renewal", "GetNextCACert"):
        assert word not in words        # not served here, so not promised
    assert len(set(words)) == len(words)


def test_caps_legacy(server):
    words = server.client(standard.LEGACY).caps()
    assert "DES3" in words and "SHA-1" in words and "AES" in words


@pytest.mark.parametrize("message", ["0", "acme", "devices", "%20", "a" * 300])
def test_ca_identifier_is_ignored(server, message):
    assert operation(server, STATIC, "GetCACaps", message).status == 200
    assert operation(server, STATIC, "GetCACert", message).status == 200


def test_request_id(server):
    first = operation(server, STATIC, "GetCACaps", headers={"X-Request-Id": "mine"})
    second = operation(server, STATIC, "GetCACaps")
    assert first.headers["X-Request-Id"] and first.headers["X-Request-Id"] != "mine"
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


# GetCACert

def test_ca_certificates(server):
    response = operation(server, STATIC, "GetCACert")
    assert response.status == 200
    assert response.type == "application/x-x509-ca-ra-cert"
    assert int(response.headers["Content-Length"]) == len(response.body)
    ra, ca, *chain = [x509.load_der_x509_certificate(der) for der in certs_only(response.body)]
    authority = server.authority
    assert ca.public_bytes(PEM) == authority.certificate.public_bytes(PEM)
    assert [c.public_bytes(PEM) for c in chain] in ([], [authority.root.public_bytes(PEM)])
    usage = ra.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.key_encipherment
    assert not usage.key_cert_sign and not usage.crl_sign
    assert isinstance(ra.public_key(), rsa.RSAPublicKey)
    assert ra.public_key().public_numbers() != ca.public_key().public_numbers()
    assert not ra.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert ra.issuer == ca.subject
    ca.public_key().verify(ra.signature, ra.tbs_certificate_bytes, padding.PKCS1v15(),
                           ra.signature_hash_algorithm)


def test_ra_is_shared_by_children_and_survives_restart(make_server):
    server = make_server(standard.content)
    seen = {operation(server, STATIC, "GetCACert").body for _ in range(20)}
    assert len(seen) == 1
    server.graceful()
    seen |= {operation(server, STATIC, "GetCACert").body for _ in range(10)}
    server.restart()
    seen |= {operation(server, STATIC, "GetCACert").body for _ in range(10)}
    assert len(seen) == 1


def test_ra_of_each_issuer_is_its_own(server):
    path = "/scep/acme/other/scep-digital-signature"
    ra = server.client(path).ra
    assert ra != server.client(STATIC).ra
    issuer = x509.load_der_x509_certificate(ra).issuer
    assert issuer == server.client(path).ca.subject


# the router

@pytest.mark.parametrize("tail", ["", "/", "/nop", "/nop/", "/pkiclient.exe", "/pkiclient.exe/",
                                  "/cgi-bin/pkiclient.exe", "/mscep.dll/pkiclient.exe",
                                  "/nop/pkiclient.exe"])
def test_tails_that_are_absorbed(server, tail):
    assert exists(server, STATIC + tail)


@pytest.mark.parametrize("tail", [
    "/intune", "/intune/", "/mdm", "/mdm/", "/Nop", "/NOP", "/nop/nop", "/nop/x",
    "/pkiclient", "/PKICLIENT.EXE", "/cgi-bin", "/cgi-bin/", "/mscep.dll", "/mscep.dll/",
    "/mscep.dll/pkiclient.exe/x", "/x", "/index.html", "/cgi-bin/pkiclient.exe/intune", "/..", "/%2e%2e", "/%00", "/nop%00", ";nop", "/%2F", "%2F", "%2Fnop", "/intune/nop"])
def test_tails_that_do_not_exist(server, tail):
    response = operation(server, STATIC + tail, "GetCACaps")
    assert response.status in ((404, 400) if "%00" in tail else (404,)), response


@pytest.mark.parametrize("path", [
    "/scep", "/scep/", "/scep/acme", "/scep/acme/devices", "/scep/acme/devices/",
    "/scep/ACME/devices/scep-digital-signature",
    "/scep/acme/Devices/scep-digital-signature",
    "/scep/acme/devices/SCEP-digital-signature",
    "/SCEP/acme/devices/scep-digital-signature",
    "/scep/nobody/devices/scep-digital-signature",
    "/scep/acme/nothing/scep-digital-signature",
    "/scep/beta/other/scep-digital-signature",
    "/scep/acme/devices/scep-unknown",
    "/scep/acme/devices/unlisted-profile",
    "/scep/acme/devices/test-inside",
    "/scep/acme/devices/basic-sub-ca",
    "/scep/acme/devices/test-code-signing",
    "/scep/acme/devices/scep-*",
    "/scep/acme/devices/intune",
    "/scep/acme/devices/mdm",
    "/scep/acme/mdm",
    "/scep/acme//scep-digital-signature",
    "/scep//devices/scep-digital-signature",
    "/scep/acme/devices/" + "a" * 65,
    "/scep/acme/devices/scep.digital.signature",
    "/scep/acme/devices/scep%20digital",
])
def test_paths_that_do_not_exist(server, path):
    response = operation(server, path, "GetCACaps")
    assert response.status == 404, response
    message = base64.b64encode(b"\x30\x00").decode()
    assert operation(server, path, "PKIOperation", message).status == 404


@pytest.mark.parametrize("path", [
    "/%73cep/acme/devices/scep-digital-signature-key-encipherment",
    "/scep/%61cme/devices/scep-digital-signature-key-encipherment",
    "/scep/acme/devices/scep-digital-signature%2Dkey-encipherment",
    "//scep/acme/devices/scep-digital-signature-key-encipherment",
    "/scep//acme///devices/scep-digital-signature-key-encipherment",
    "/scep/./acme/devices/scep-digital-signature-key-encipherment",
    "/scep/acme/x/../devices/scep-digital-signature-key-encipherment",
])
def test_settings_follow_the_router_not_the_spelling(server, path):
    """However a path is written: it is the endpoint with its challenge, or it does not exist."""
    if not exists(server, path):
        return
    client = server.client(path)
    refused = client.enrol(standard.device_key(), "wrong challenge")
    assert refused.failed and refused.fail_info == "2"
    granted = client.enrol(standard.device_key(), CHALLENGE)
    assert granted.succeeded


def test_privileged_profile_named_in_full(make_server):
    def content(server):
        return standard.content(server) + location(
            "/scep/acme/devices/test-code-signing", "SCEPProfiles test-code-signing",
            standard.challenge(server))

    server = make_server(content)
    reply = server.client("/scep/acme/devices/test-code-signing").enrol(
        standard.device_key(), CHALLENGE)
    assert reply.succeeded
    usage = reply.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [oid.dotted_string for oid in usage] == ["1.3.6.1.5.5.7.3.3"]


# methods, sizes, versions of HTTP

@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "FOO"])
def test_methods(server, method):
    response = operation(server, STATIC, "PKIOperation", method=method)
    assert response.status in (405, 501), response
    if response.status == 405:
        assert {"GET", "POST"} <= {m.strip() for m in response.headers["Allow"].split(",")}


@pytest.mark.parametrize("name", ["GetCACaps", "GetCACert"])
def test_head(server, name):
    plain = operation(server, STATIC, name)
    head = operation(server, STATIC, name, method="HEAD")
    assert head.status == 200 and head.body == b""
    assert head.type == plain.type


def test_body_too_large(server, client):
    response = client.post(b"\x30" * (1 << 20))
    assert response.status == 413, response


def test_body_too_large_chunked(server, client):
    chunk = b"10000\r\n" + b"\x30" * 0x10000 + b"\r\n"
    response = client.post(chunk * 16 + b"0\r\n\r\n", length=False, headers={
        "Content-Type": "application/x-pki-message", "Transfer-Encoding": "chunked"})
    assert response.status == 413, response


@pytest.mark.parametrize("query", [
    "", "operation=", "operation=Nothing", "operation=getcacaps", "message=x", "operation",
    "operation=PKIOperation&message=!!!!", "operation=PKIOperation&message=%zz",
    "operation=PKIOperation&message=AAA", "operation=PKIOperation&message=A%00A=",
    "operation=PKIOperation&message=" + "MAA=" * 3])
def test_what_cannot_be_read_is_400(server, query):
    response = transport.request(server.url(STATIC), target=STATIC + ("?" + query if query else ""))
    assert response.status == 400, response
    one_line(response)


@pytest.mark.parametrize("body", [
    b"", b"\x00", b"hello", b"\x30\x00", b"\x30\x80\x00\x00", b"\x30\x84\xff\xff\xff\xff",
    b"\x30" * 200, base64.b64encode(b"\x30\x00")])
def test_body_that_is_no_message_is_400(client, body):
    response = client.post(body)
    assert response.status == 400, response
    one_line(response)


def test_message_with_bytes_behind_it_is_400(client):
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    assert client.post(request.der + b"\x00").status == 400


def test_http_1_0_without_host(client):
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    response = client.post(request.der, version="HTTP/1.0", host=False)
    assert response.status == 200
    assert int(response.headers["Content-Length"]) == len(response.body)
    assert client.read(response, request).succeeded
    response = client.get(request.der, version="HTTP/1.0", host=False)
    assert client.read(response, request).succeeded


@pytest.mark.parametrize("headers", [
    {}, {"Content-Type": "application/octet-stream"}, {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/x-pki-message", "Expect": "100-continue"}])
def test_post_content_types(client, headers):
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    response = client.post(request.der, headers=headers)
    assert client.read(response, request).succeeded


def test_post_chunked(client):
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(request.der), request.der)
    response = client.post(body, length=False, headers={"Transfer-Encoding": "chunked"})
    assert client.read(response, request).succeeded


@pytest.mark.parametrize("escaping", ["full", "raw", "equals", "lines", "blanks"])
def test_get_escapings(server, escaping):
    client = Client(server.url(STATIC), "GET")
    for _ in range(4):                  # base64 has "+" and "/" in nearly every message
        request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
        assert client.exchange(request, escaping).succeeded


@pytest.mark.parametrize("size", [9000, 30000, 60000])
def test_long_request_line(server, size):
    """A GET beyond httpd's default limit of 8190 bytes."""
    client = Client(server.url(STATIC), "GET")
    csr = Csr(standard.device_key(), challenge=CHALLENGE)
    filler = [standard_certificate(size)]
    identity = None
    request = client.message(csr, identity)
    request.certificates = [request.identity.certificate] + filler
    text = transport.text_of(request.der, "raw")
    assert size <= len(text) <= 65000
    assert client.exchange(request, "raw").succeeded


def standard_certificate(size):
    """A certificate that is large because of its subject."""
    wanted = (size - 2800) * 3 // 4 + 200
    names = ",".join("OU=" + "x" * 60 for _ in range(max(1, wanted // 2 // 71)))
    return Identity.self_signed(standard.device_key(2), names + ",CN=large").certificate


def test_request_line_beyond_the_limit(server):
    response = operation(server, STATIC, "PKIOperation", "A" * 70000)
    assert response.status in (400, 414), response
    assert server.client(STATIC).caps()
