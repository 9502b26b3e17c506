# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Servers that answer OCSP, and clients that ask them."""

import base64
import hashlib
import os
import subprocess
import time
import types
from urllib.parse import quote

from asn1crypto import core as asn1core
from asn1crypto import ocsp as asn1ocsp
from asn1crypto import x509 as asn1x509
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from scep import transport

from . import pki
from .config import CRL_AND_CA, issuer, location
from .server import CHALLENGE, wait_until
from .standard import STATIC, challenge, device_key

DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM
REQUEST = "application/ocsp-request"
RESPONSE = "application/ocsp-response"
OWN_MODULES = ("gatehouse", "scep", "ocsp")
GOOD, REVOKED, UNKNOWN = (ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED,
                          ocsp.OCSPCertStatus.UNKNOWN)
SUCCESSFUL = ocsp.OCSPResponseStatus.SUCCESSFUL
MALFORMED = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
TRY_LATER = ocsp.OCSPResponseStatus.TRY_LATER
SIG_REQUIRED = ocsp.OCSPResponseStatus.SIG_REQUIRED
UNAUTHORIZED = ocsp.OCSPResponseStatus.UNAUTHORIZED


# configuration

def signer(authority, name="ocsp-signer", key_name="p256-01", days=30, nocheck=True,
           usages=(ExtendedKeyUsageOID.OCSP_SIGNING,)):
    """A certificate for signing answers, of the CA: paths of certificate and key."""
    extensions = [x509.ExtendedKeyUsage(usages)] + ([x509.OCSPNoCheck()] if nocheck else [])
    key = pki.key(key_name)
    certificate = pki.certificate(name, key, f"Test {authority.name} CA", authority.key_source,
                                  days, ca=False, extensions=extensions)
    path = authority.directory / f"{authority.name}-{name}.pem"
    path.write_bytes(certificate.public_bytes(PEM))
    key_path = pki.write_secret(path.with_suffix(".key"), key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path, key_path


def section(name, *lines):
    return f"<OCSPAuthority {name}>\n" + "".join(f"    {line}\n" for line in lines) \
        + "</OCSPAuthority>\n"


def directory(server):
    return f'OCSPDirectory "{server.root}/run/ocsp"\n'


def base(server):
    """What a server with an issuer has that devices can enrol from."""
    return "".join([
        "SCEPFailureLimit off\n", issuer(server.authority),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 "SCEPProfiles scep-*"),
        location(STATIC, challenge(server)), CRL_AND_CA])


def content(server, *lines, endpoint="OCSPFastPath /ocsp\n", signer_line=None):
    """An issuer and its authority, with a P-256 signer from files.
    lines: more of the authority's; endpoint: a text, or a function that gets the server"""
    if callable(endpoint):
        endpoint = endpoint(server)
    if signer_line is None:
        signer_line = 'OCSPSigner "{}" "{}"'.format(*signer(server.authority))
    return (base(server) + directory(server) + endpoint
            + section("devices", *([signer_line] if signer_line else []), *lines))


def make(make_server, *lines, endpoint="OCSPFastPath /ocsp\n", signer_line=None, ready=True,
         **options):
    """Makes and starts such a server, and waits until it answers."""
    options.setdefault("own_modules", OWN_MODULES)
    server = make_server(lambda one: content(one, *lines, endpoint=endpoint,
                                             signer_line=signer_line), **options)
    if ready:
        wait_ready(server)
    return server


def wait_ready(server, path="/ocsp", seconds=10, settled=0.5):
    """Until the first index is there, and a signer, in each child: which of them answers is chance,
    so none may say anything else for a while."""
    since = []

    def answers():
        response = post(server, request_for(server.authority, [1]), path=path)
        if response.status != 200 or parse(response).response_status != SUCCESSFUL:
            since.clear()
            return False
        since.append(time.monotonic())
        return since[-1] - since[0] >= settled
    server.allow("GH0763", "GH0554", "GH0561", "GH0562")
    wait_until(answers, seconds, what="answers of all children")


def enrol(server, subject="CN=device,O=Example", number=1):
    """A certificate of the server's issuer, by SCEP."""
    reply = server.client(STATIC).enrol(device_key(number), CHALLENGE, subject)
    assert reply.succeeded, reply
    return reply.certificate


# requests

def request_for(authority, serials, digest="sha1", nonce=None, nonce_der=None):
    """DER of a request about serial numbers of a CA, or several: serials of [(authority, serial)]
    have their own.
    digest: "sha1", "sha256", "sha384", "sha512"; nonce: bytes; nonce_der: extnValue as it is"""
    pairs = [pair if isinstance(pair, tuple) else (authority, pair) for pair in serials]
    requests = [{"req_cert": certid(one, serial, digest)} for one, serial in pairs]
    tbs = {"request_list": requests}
    if nonce is not None:
        nonce_der = asn1core.OctetString(nonce).dump()
    if nonce_der is not None:
        tbs["request_extensions"] = [{"extn_id": "nonce", "critical": False,
                                      "extn_value": asn1core.ParsableOctetString(nonce_der)}]
    return asn1ocsp.OCSPRequest({"tbs_request": tbs}).dump()


def certid(authority, serial, digest="sha1"):
    certificate = asn1x509.Certificate.load(authority.certificate.public_bytes(DER))
    name = certificate.subject.dump()
    key = bytes(certificate.public_key["public_key"])
    return {"hash_algorithm": {"algorithm": digest},
            "issuer_name_hash": hashlib.new(digest, name).digest(),
            "issuer_key_hash": hashlib.new(digest, key).digest(), "serial_number": serial}


def post(server, der, path="/ocsp", content_type=REQUEST, headers=None, **options):
    headers = dict(headers or {})
    if content_type:
        headers["Content-Type"] = content_type
    return transport.request(server.url(path), "POST", body=der, headers=headers, **options)


def get(server, der, path="/ocsp", text=None, **options):
    """text: what stands behind the path, if it is not base64 with %-escapes"""
    if text is None:
        text = quote(base64.b64encode(der).decode(), safe="")
    return transport.request(server.url(), target=f"{path}/{text}", **options)


def parse(response):
    assert response.type == RESPONSE, response
    return ocsp.load_der_ocsp_response(response.body)


def status_of(response):
    """(status, reason) of an answer about one certificate."""
    answer = parse(response)
    assert answer.response_status == SUCCESSFUL, answer.response_status
    return answer.certificate_status, answer.revocation_reason


def ask(server, serial, path="/ocsp", by=post, digest="sha1", authority=None, **options):
    """The status of a serial number, and its reason if it is revoked."""
    der = request_for(authority or server.authority, [serial], digest)
    return status_of(by(server, der, path=path, **options))


def wait_for(server, serial, status, seconds=2, **options):
    """Until a serial number has a status."""
    return wait_until(lambda: ask(server, serial, **options)[0] == status, seconds,
                      what=f"{status.name} of {serial:x}")


def wait_until_answered(server, serial, status, seconds=10, **options):
    """As wait_for(), while there may be errors; nothing but that status is ever answered."""
    def answered():
        response = post(server, request_for(server.authority, [serial]), **options)
        if parse(response).response_status != SUCCESSFUL:
            return False
        assert status_of(response)[0] == status
        return True

    return wait_until(answered, seconds, what=f"{status.name} of {serial:x}")


def error_of(response):
    answer = parse(response)
    assert answer.response_status != SUCCESSFUL
    return answer.response_status


def openssl(server, *arguments, path="/ocsp", authority=None, verify=True):
    """openssl ocsp: its exit status and output."""
    authority = authority or server.authority
    command = ["openssl", "ocsp", "-issuer", authority.certificate_path, "-url",
               server.url(path), "-timeout", "20", *map(str, arguments)]
    if verify:
        command += ["-CAfile", authority.root_path, "-verify_other", authority.certificate_path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=60)
    return types.SimpleNamespace(status=done.returncode, text=done.stdout)


def random_serial():
    return int.from_bytes(os.urandom(15), "big") | 1 << 120


def wait_for_answer(server, serial, status, seconds, bad=(GOOD,), authority=None):
    """Until a serial number has a status; until then, errors are answered or others than the bad."""
    def look():
        answer = parse(post(server, request_for(authority or server.authority, [serial])))
        if answer.response_status != SUCCESSFUL:
            return False
        assert answer.certificate_status not in bad, answer.certificate_status
        return answer.certificate_status == status
    wait_until(look, seconds, what=f"{status.name} of {serial:x}")
