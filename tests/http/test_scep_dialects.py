# Licensed under the Apache License, Version 2.0. See LICENSE.
"""How clients differ from each other: the messages of Windows, macOS, sscep, Cisco, Juniper."""

import base64
import datetime
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from harness import standard
from harness.checks import decision, issued_to, refused
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import PEM, certificate, key, write_secret
from harness.server import CHALLENGE, free_port
from scep import Csr, Identity, Recipient, der, extension, transport
from scep.csr import EXTENSION_REQUEST, MICROSOFT_EXTENSIONS, Extension
from scep.identity import private_pem
from scep.message import ENVELOPED_DATA, PKCSREQ, RENEWALREQ, content_info, enveloped
from scep.reply import BAD_ALG, certs_only

STATIC = standard.STATIC
WINDOWS = "/scep/acme/devices/test-windows"

PROFILES = f"""
<CertificateProfile test-windows base={standard.BASE}>
    ProfileUnlistedExtensions strip
</CertificateProfile>
"""


def content(server):
    (server.root / "ca" / "tls.pem").write_bytes(certificate(
        "localhost", key("rsa2048-09"), "Test Root", key("p256-01"), 30, ca=False).public_bytes(PEM))
    write_secret(server.root / "ca" / "tls.key", private_pem(key("rsa2048-09")))
    server.tls_port = free_port()
    challenge = standard.challenge(server)
    return "".join([
        "SCEPFailureLimit off\n", standard.PROFILES, PROFILES, issuer(server.authority),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 "SCEPProfiles scep-* test-*"),
        location(STATIC, challenge),
        location(WINDOWS, challenge, "SCEPRenewal by-certificate"),
        location(standard.CHAIN, challenge, "SCEPReplyChain issuer"),
        CRL_AND_CA, f"""
Listen 127.0.0.1:{server.tls_port}
<VirtualHost 127.0.0.1:{server.tls_port}>
    SSLEngine on
    SSLCertificateFile "{server.root}/ca/tls.pem"
    SSLCertificateKeyFile "{server.root}/ca/tls.key"
</VirtualHost>
"""])


@pytest.fixture(scope="module")
def server(make_module_server):
    made = make_module_server(content, modules=("ssl",))
    made.allow("AH01873", "AH01882")    # mod_ssl misses a session cache, and its own OpenSSL
    return made


@pytest.fixture
def client(server):
    return server.client(STATIC)


# Windows: OAEP, attributes of Microsoft in the request, extensions in the self-signed certificate

AUTHORITY_KEY_ID, SUBJECT_KEY_ID = "2.5.29.35", "2.5.29.14"
RENEWAL_CERTIFICATE = "1.3.6.1.4.1.311.13.1"


def attribute(dotted, *values):
    return der.sequence(der.oid(dotted), der.set_of(*values))


def bmp(text):
    return der.tlv(0x1e, text.encode("utf-16-be"))


def windows_attributes(renewed=None):
    """szOID_OS_VERSION, szOID_REQUEST_CLIENT_INFO, szOID_ENROLLMENT_CSP_PROVIDER; and
    szOID_RENEWAL_CERTIFICATE, if there is one to be renewed."""
    return [
        attribute("1.3.6.1.4.1.311.13.2.3", der.ia5("10.0.22631.2")),
        attribute("1.3.6.1.4.1.311.21.20", der.sequence(
            der.integer(5), der.utf8("pc.corp.example"), der.utf8("CORP\\SYSTEM"),
            der.utf8("DMClient.exe"))),
        attribute("1.3.6.1.4.1.311.13.2.2", der.sequence(
            der.integer(1), bmp("Microsoft Software Key Storage Provider"), der.bits(b""))),
    ] + ([attribute(RENEWAL_CERTIFICATE, renewed)] if renewed else [])


def windows_extensions():
    """What certreq asks for beside names and usages."""
    return [
        extension("ku", "digitalSignature", "keyEncipherment", critical=True),
        extension("san", "DNS:pc.corp.example"),
        extension("1.3.6.1.4.1.311.21.7", der.sequence(
            der.oid("1.3.6.1.4.1.311.21.8.1234567.2"), der.integer(100), der.integer(3))),
        extension("1.2.840.113549.1.9.15", der.sequence(
            der.sequence(der.oid("2.16.840.1.101.3.4.1.42")))),
        extension(SUBJECT_KEY_ID, der.octets(b"k" * 20)),
    ]


def windows_identity(device, **options):
    """The certificate of the exchange, with a critical authorityKeyIdentifier."""
    identifier = der.sequence(der.implicit(0, der.octets(b"i" * 20)))
    return Identity.self_signed(device, "CN=SCEP Protocol Certificate", extensions=[
        Extension(AUTHORITY_KEY_ID, identifier, True),
        extension("ku", "digitalSignature", "keyEncipherment", critical=True),
        extension("eku", "clientAuth", "1.3.6.1.4.1.311.20.2.1", critical=True)], **options)


IDENTITIES = {
    "usual": {},
    "negative serial": {"serial": -7},
    "serial 0": {"serial": 0},
    "long serial": {"serial": (1 << 191) + 5},
    "expired": {"start": datetime.datetime(2001, 2, 3)},
    "not yet valid": {"start": datetime.datetime.utcnow() + datetime.timedelta(days=3)},
}


@pytest.mark.parametrize("oaep", ["sha1", "sha256"])
@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.filterwarnings("ignore")           # cryptography about such serial numbers
def test_windows(server, subject, oaep, identity):
    device, client = standard.device_key(), server.client(WINDOWS)
    signer = windows_identity(device, **IDENTITIES[identity])
    recipient = Recipient(client.ra, "oaep", oaep)
    for where in (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS):
        reply = client.enrol(
            device, der.printable(CHALLENGE), subject, windows_extensions(),
            csr_options={"attributes": windows_attributes(), "extension_attribute": where},
            identity=signer, recipient=recipient, cipher="aes256")
        assert reply.succeeded, reply
        assert reply.cipher == "aes256"
        names = reply.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["pc.corp.example"]
        assert reply.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier).value.digest != b"k" * 20
        got = {e.oid.dotted_string for e in reply.certificate.extensions}
        assert "1.3.6.1.4.1.311.21.7" in got, "profiles for SCEP take the template"


@pytest.mark.parametrize("kind", [RENEWALREQ, PKCSREQ])
@pytest.mark.parametrize("oaep", ["sha1", "sha256"])
def test_windows_renewal(server, subject, kind, oaep):
    """The old certificate signs, and is in the request once more."""
    client = server.client(WINDOWS)
    first = client.enrol(standard.device_key(1), CHALLENGE, subject)
    csr = Csr(standard.device_key(2), subject, attributes=windows_attributes(first.issued))
    request = client.message(csr, Identity(standard.device_key(1), first.issued),
                             Recipient(client.ra, "oaep", oaep), message_type=kind)
    reply = client.exchange(request)
    assert reply.succeeded, reply
    assert decision(server, reply)["event"] == "renew"
    assert len(issued_to(server, subject)) == 2


def test_certificate_in_a_request_proves_nothing(server, subject):
    """Who has seen a certificate can put it into szOID_RENEWAL_CERTIFICATE."""
    client = server.client(WINDOWS)
    first = client.enrol(standard.device_key(1), CHALLENGE, subject)
    for kind in (RENEWALREQ, PKCSREQ):
        csr = Csr(standard.device_key(2), subject, attributes=windows_attributes(first.issued))
        refused(client.exchange(client.message(csr, message_type=kind)))
    assert len(issued_to(server, subject)) == 1


def test_mask_of_another_digest(client):
    """SHA-256 with MGF1 of SHA-1: what Java makes of OAEPWithSHA-256AndMGF1Padding."""
    recipient = Recipient(client.ra, "oaep", "sha256", oaep_mgf_digest="sha1")
    assert client.enrol(standard.device_key(), CHALLENGE, recipient=recipient).succeeded


@pytest.mark.parametrize("options", [
    {"oaep_parameters": False}, {"oaep_digest": "sha224"}, {"oaep_mgf_digest": "sha224"}], ids=str)
def test_oaep_that_is_refused(server, client, subject, options):
    """Absent parameters crashed OpenSSL before 3.0.20 (CVE-2026-28390)."""
    children = set(server.children())
    recipient = Recipient(client.ra, "oaep", **options)
    reply = client.enrol(standard.device_key(), CHALLENGE, subject, recipient=recipient)
    refused(reply, BAD_ALG)
    assert decision(server, reply)["rule"] == "message.transport"
    assert not issued_to(server, subject) and set(server.children()) == children


def test_only_the_ra_can_be_encrypted_to(client):
    """Windows and macOS take the first certificate with keyEncipherment."""
    first, *others = [x509.load_der_x509_certificate(c) for c in client.certificates]
    usage = first.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_encipherment and usage.digital_signature
    assert others and not any(c.extensions.get_extension_for_class(
        x509.KeyUsage).value.key_encipherment for c in others)


@pytest.mark.parametrize("way", ["pkcs1", "oaep"])
@pytest.mark.parametrize("identifier", ["issuer", "ski"])
def test_encrypted_to_all_certificates(server, client, way, identifier):
    """Some clients encrypt to everything that GetCACert gives."""
    recipients = [Recipient(c, way, identifier=identifier) for c in client.certificates
                  if isinstance(x509.load_der_x509_certificate(c).public_key(), rsa.RSAPublicKey)]
    assert len(recipients) >= 2
    for order in (recipients, recipients[::-1]):
        assert client.enrol(standard.device_key(), CHALLENGE, recipient=order).succeeded


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_signature_algorithm_names_the_digest(client, digest):
    """shaXWithRSAEncryption instead of rsaEncryption (RFC 5754 3.2); answered as always."""
    reply = client.enrol(standard.device_key(), CHALLENGE, digest=digest,
                         signature_oid=der.RSA_SIGNATURES[digest])
    assert reply.succeeded and reply.signature_algorithm == der.RSA_ENCRYPTION


def test_signature_algorithm_of_another_digest(server, client, subject):
    refused(client.enrol(standard.device_key(), CHALLENGE, subject, digest="sha256",
                         signature_oid=der.RSA_SIGNATURES["sha512"]), BAD_ALG)
    assert not issued_to(server, subject)


# queries

def every_character_escaped(text):
    return "".join(f"%{ord(c):02x}" for c in text)


QUERIES = {
    "message first": "message={}&operation=PKIOperation",
    "something else, too": "x=1&operation=PKIOperation&y&message={}&z=",
    "empty parts": "&&operation=PKIOperation&&message={}&",
    "escaped name of the operation": "operation=PKI%4Fperation&message={}",
    "parameters that only look like it": "xoperation=a&operation=PKIOperation&messages=b&message={}",
}
ENCODINGS = {
    "full": lambda data: transport.text_of(data, "full"),
    "small hexadecimal digits": lambda data: transport.text_of(data, "raw").replace(
        "+", "%2b").replace("/", "%2f").replace("=", "%3d"),
    "plus raw": lambda data: transport.text_of(data, "raw").replace("/", "%2F"),
    "slash raw": lambda data: transport.text_of(data, "raw").replace("+", "%2B"),
    "everything": lambda data: every_character_escaped(base64.b64encode(data).decode()),
    "CR LF": lambda data: transport.text_of(data, "lines").replace("%0A", "%0D%0A"),
    "no padding": lambda data: transport.text_of(data, "unpadded"),
}


@pytest.mark.parametrize("query", QUERIES)
def test_order_of_parameters(server, client, query):
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    target = STATIC + "?" + QUERIES[query].format(transport.text_of(request.der))
    response = transport.request(server.url(STATIC), target=target)
    assert client.read(response, request).succeeded


def message_with(client, characters):
    """One that has these in its base64."""
    while True:
        request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
        if all(c in base64.b64encode(request.der).decode() for c in characters):
            return request


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(server, client, encoding):
    request = message_with(client, "+/=" if encoding != "no padding" else "+/")
    target = f"{STATIC}?operation=PKIOperation&message={ENCODINGS[encoding](request.der)}"
    response = transport.request(server.url(STATIC), target=target)
    assert client.read(response, request).succeeded


@pytest.mark.parametrize("query", [
    "operation=PKIOperation&message={}&message={}", "operation=PKIOperation&operation=GetCACert",
    "message={}&operation=PKIOperation&operation=PKIOperation", "message={}"])
def test_parameters_that_contradict(server, client, subject, query):
    request = client.message(Csr(standard.device_key(), subject, CHALLENGE))
    target = STATIC + "?" + query.replace("{}", transport.text_of(request.der))
    assert transport.request(server.url(STATIC), target=target).status == 400
    assert not issued_to(server, subject)


@pytest.mark.parametrize("query", [
    "message=acme&operation=GetCACert", "operation=GetCACert", "operation=GetCACert&message=",
    "operation=GetCACert&message=a%20b%2F", "operation=GetCACert&message=%zz"])
def test_certificates_with_any_message(server, query):
    response = transport.request(server.url(STATIC), target=f"{STATIC}?{query}")
    assert response.status == 200 and certs_only(response.body)


# BER, as Bouncy Castle and with it clients in Java write it: of indefinite length, texts in pieces

def elements(data):
    """The elements that stand one behind the other: tag, contents, all of it."""
    found = []
    while data:
        length, at = data[1], 2
        if length & 0x80:
            at += length & 0x7f
            length = int.from_bytes(data[2:at], "big")
        found.append((data[0], data[at:at + length], data[:at + length]))
        data = data[at + length:]
    return found


def indefinite(tag, *parts):
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def pieces(tag, data, size):
    return indefinite(tag, *(der.octets(data[at:at + size]) for at in range(0, len(data), size)))


def ber_envelope(content_info, size):
    (_, inside, _), = elements(content_info)
    (*_, kind), (_, explicit, _) = elements(inside)
    (_, enveloped_data, _), = elements(explicit)
    (*_, version), (*_, recipients), (_, encrypted, _) = elements(enveloped_data)
    (*_, data_kind), (*_, cipher), (_, data, _) = elements(encrypted)
    return indefinite(0x30, kind, indefinite(0xa0, indefinite(
        0x30, version, recipients,
        indefinite(0x30, data_kind, cipher, pieces(0xa0, data, size)))))


def ber_message(message, size):
    (_, inside, _), = elements(message)
    (*_, kind), (_, explicit, _) = elements(inside)
    (_, signed, _), = elements(explicit)
    (*_, version), (*_, digests), (_, enclosed, _), (_, certificates, _), (*_, signers) = \
        elements(signed)
    (*_, data_kind), (_, octets, _) = elements(enclosed)
    (_, content, _), = elements(octets)
    return indefinite(0x30, kind, indefinite(0xa0, indefinite(
        0x30, version, digests, indefinite(0x30, data_kind, indefinite(
            0xa0, pieces(0x24, content, size))), indefinite(0xa0, certificates), signers)))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("size", [1000, 7])
def test_indefinite_lengths(server, subject, method, size):
    client = server.client(STATIC, method=method)
    csr = Csr(standard.device_key(), subject, CHALLENGE)
    envelope = ber_envelope(content_info(ENVELOPED_DATA, enveloped(csr.der, Recipient(client.ra))),
                            size)
    request = client.message(csr, envelope=envelope)
    request._der = ber_message(request.der, size)
    reply = client.exchange(request)
    assert reply.succeeded, reply
    assert client.exchange(request).issued == reply.issued
    # the capture of it is read as well
    captured = server.root / "captured"
    captured.write_bytes(request.der)
    assert server.ctl_ok("scep", "explain", captured).objects


# whole exchanges, as they go over the wire

def test_macos(server, client, subject):
    """GET with "+" and "/" as they are, caps and CA certificates asked with a CA identifier."""
    for name in ("GetCACaps", "GetCACert"):
        target = transport.operation_target(server.url(STATIC + "/"), name, "CA%20name")
        assert transport.request(server.url(STATIC), target=target).status == 200
    request = message_with(client, "+/")
    target = transport.operation_target(server.url(STATIC + "/"), "PKIOperation",
                                        transport.text_of(request.der, "raw"))
    reply = client.read(transport.request(server.url(STATIC), target=target, headers={
        "User-Agent": "mdmclient/1.0", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}), request)
    assert reply.succeeded and len(reply.inner) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("host", [True, False])
def test_sscep(server, client, method, host):
    """HTTP/1.0; base64 in lines, or a POST without Content-Type."""
    url = server.url(STATIC + "/pkiclient.exe")
    request = client.message(Csr(standard.device_key(), challenge=CHALLENGE))
    if method == "GET":
        target = transport.operation_target(url, "PKIOperation",
                                            transport.text_of(request.der, "lines"))
        response = transport.request(url, target=target, version="HTTP/1.0", host=host)
    else:
        response = transport.request(url, "POST", body=request.der, version="HTTP/1.0", host=host,
                                     target=transport.operation_target(url, "PKIOperation"))
    assert int(response.headers["Content-Length"]) == len(response.body)
    assert "Transfer-Encoding" not in response.headers
    assert client.read(response, request).succeeded


def test_cisco(server):
    """The issuer's certificate is in the reply, and the router's, though longer, before it."""
    client = server.client(standard.CHAIN, leaf_only=False)
    request = client.message(Csr(standard.device_key(), [
        ("serialNumber", "FTX1234ABCD"), ("1.2.840.113549.1.9.2", "router.example.com")],
        CHALLENGE, [extension("ku", "digitalSignature", "keyEncipherment", critical=True)]))
    for _ in range(2):                  # the second time it comes from the store
        target = transport.operation_target(
            server.url(standard.CHAIN + "/pkiclient.exe"), "PKIOperation",
            transport.text_of(request.der))
        response = transport.request(server.url(standard.CHAIN), target=target,
                                     version="HTTP/1.0", host=False)
        reply = client.read(response, request)
        assert reply.succeeded, reply
        authority = server.authority.certificate.public_bytes(Encoding.DER)
        assert reply.inner[1:] == [authority]
        assert len(reply.issued) > len(authority), "DER would not sort it first"
        assert reply.certificate.public_key().public_numbers() == \
            standard.device_key().public_key().public_numbers()


def test_juniper(server, client, subject):
    """The device's certificate alone, by default."""
    names = [extension("san", "IP:192.0.2.1", "DNS:fw.example.com", "email:fw@example.com")]
    reply = client.enrol(standard.device_key(), CHALLENGE, subject + ",DC=example,DC=com", names)
    assert reply.succeeded and reply.inner == [reply.issued]


# TLS

def test_no_client_certificate_is_asked_for(server):
    """macOS cannot renew, and Windows does not begin, where the server asks for one."""
    asked = []
    context = ssl.create_default_context(cafile=str(server.authority.root_path))
    context.check_hostname = False
    context._msg_callback = lambda connection, direction, version, kind, message, data: \
        asked.append(getattr(message, "name", message))
    request = f"GET {STATIC}?operation=GetCACert HTTP/1.0\r\n\r\n".encode()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.minimum_version = context.maximum_version = version
        asked.clear()
        with socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as plain, \
                context.wrap_socket(plain) as connection:
            connection.sendall(request)
            answer = b""
            while data := connection.recv(65536):
                answer += data
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
        assert "SERVER_HELLO" in asked and "CERTIFICATE_REQUEST" not in asked, asked
