# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Configuration profiles: made for a user, installed by a device as Apple's do."""

import hashlib
import plistlib
import re
import subprocess
import uuid
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness import standard
from harness.checks import refused
from harness.config import location
from harness.pki import PEM, Authority, certificate, key, write_secret
from harness.server import Server
from harness.web import PASSWORDS, ask, audited, basic, make_users, names_line, page_lines, problem
from scep import Client, Csr, extension, transport
from scep.identity import private_pem
from scep.reply import certs_only

SIGNING = "/scep/acme/devices/scep-digital-signature"
ENCRYPTION = "/scep/acme/devices/test-encryption"
WITH_UPN = "/scep/acme/devices/test-upn"
SHORT = {"C": "C", "L": "L", "ST": "S", "O": "O", "OU": "OU", "CN": "CN"}
NAMES = {"rfc822Name": "email", "dNSName": "DNS", "uniformResourceIdentifier": "URI",
         "ntPrincipalName": "UPN"}


def content(server):
    make_users(server)
    signer = certificate("Profile signer", key("rsa2048-08"), "Test Root", key("p256-01"), 30,
                         ca=False)
    (server.root / "ca" / "signer.pem").write_bytes(
        signer.public_bytes(PEM) + server.authority.root.public_bytes(PEM))
    write_secret(server.root / "ca" / "signer.key", private_pem(key("rsa2048-08")))

    def page(path, target, *lines):
        return location(path, "SetHandler gatehouse-scep-profile", *basic(server),
                        f"SCEPChallengeFor acme devices {target}", *lines)

    return standard.content(server) + f"""
<CertificateProfile test-encryption base={standard.BASE}>
    ProfileKeyUsage keyEncipherment
    ProfileKeys RSA-3072 RSA-4096
</CertificateProfile>
<CertificateProfile test-upn base={standard.BASE}>
</CertificateProfile>
""" + "".join([
        location(ENCRYPTION, "SCEPChallenge onetime"),
        location(WITH_UPN, "SCEPChallenge onetime laptops", "GatehouseAllowRequest UPN"),
        page("/profile", "scep-digital-signature"),
        page("/full", "test-upn laptops",
             'SCEPProfileSubject "CN=%{REMOTE_USER},OU=A\\, B,UID=%{tolower:%{REMOTE_USER}},'
             '2.5.4.65=x%{REMOTE_USER},O=Example & <Sons>,C=DE"',
             "SCEPProfileAltName email %{REMOTE_USER}@example.com",
             "SCEPProfileAltName DNS %{REMOTE_USER}.example.com",
             "SCEPProfileAltName dns other.example.com",
             "SCEPProfileAltName uri urn:user:%{REMOTE_USER}",
             "SCEPProfileAltName upn %{REMOTE_USER}@corp.example.com",
             'SCEPProfileOrganization "Sons & <Sons>"'),
        page("/encryption", "test-encryption", "SCEPChallengePermit \"%{REMOTE_USER} != 'guest'\""),
        page("/signed", "scep-digital-signature",
             f'SCEPProfileSigner "{server.root}/ca/signer.pem" "{server.root}/ca/signer.key"'),
        page("/header", "scep-digital-signature", 'SCEPProfileSubject "CN=%{unescape:%{HTTP:X-Name}},O=Example"',
             "SCEPProfileAltName email %{HTTP:X-Mail}"),
    ])


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content, modules=PASSWORDS, loglevel="trace8")


class Device:
    """An iPhone or a Mac that installs a profile: what it looks at, and what it sends."""

    def __init__(self, plist):
        self.profile = plistlib.loads(plist, fmt=plistlib.FMT_XML)
        assert plist.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC '
                                b'"-//Apple//DTD PLIST 1.0//EN" '
                                b'"http://www.apple.com/DTDs/PropertyList-1.0.dtd">')
        assert self.profile["PayloadType"] == "Configuration"
        self.payloads = self.profile["PayloadContent"]
        identifiers = [one["PayloadIdentifier"] for one in (self.profile, *self.payloads)]
        self.uuids = {uuid.UUID(one["PayloadUUID"]) for one in (self.profile, *self.payloads)}
        assert len(set(identifiers)) == len(self.uuids) == len(identifiers)
        for one in (self.profile, *self.payloads):
            assert one["PayloadVersion"] == 1 and one["PayloadDisplayName"]
        self.scep, = [one["PayloadContent"] for one in self.payloads
                      if one["PayloadType"] == "com.apple.security.scep"]
        self.roots = self.certificates("root")
        self.intermediates = self.certificates("pkcs1")

    def certificates(self, kind):
        return [x509.load_der_x509_certificate(one["PayloadContent"]) for one in self.payloads
                if one["PayloadType"] == f"com.apple.security.{kind}"]

    def get(self, operation, message):
        return transport.request(self.scep["URL"], target=transport.operation_target(
            self.scep["URL"], operation, quote(message)))

    def authority(self):
        """The end of the chains of GetCACert, compared with the fingerprint; and the RA."""
        response = self.get("GetCACert", self.scep["Name"])
        assert response.status == 200, response
        found = [x509.load_der_x509_certificate(der)
                 for der in certificates_of(response)]
        ends, ra = set(), []
        for leaf in found:
            end, length = leaf, 1
            while True:
                above = [one for one in found if one.subject == end.issuer and one != end]
                if end.subject == end.issuer or not above:
                    break
                end, length = above[0], length + 1
            if length > 1:
                ends.add(hashlib.sha1(end.public_bytes(Encoding.DER)).digest())
                usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
                if usage.digital_signature and usage.key_encipherment:
                    ra.append(leaf)
        assert len(self.scep["CAFingerprint"]) in (16, 20)
        assert ends == {self.scep["CAFingerprint"]}
        return ra[0]

    def subject(self):
        pairs = []
        for rdn in self.scep["Subject"]:
            (name, value), = rdn
            assert name in SHORT or re.fullmatch(r"\d+(\.\d+)+", name), name
            pairs.append((SHORT.get(name, name), value))
        return pairs

    def extensions(self):
        names = []
        for kind, values in self.scep.get("SubjectAltName", {}).items():
            values = [values] if isinstance(values, str) else values
            names += [f"{NAMES[kind]}:{value}" for value in values]
        usage = [name for bit, name in ((1, "digitalSignature"), (4, "keyEncipherment"))
                 if self.scep["Key Usage"] & bit]
        return [extension("ku", *usage, critical=True),
                *([extension("san", *names)] if names else [])]

    def enrol(self, device_key, subject=None, extensions=None):
        """GetCACaps, GetCACert and PKIOperation, by GET, with the base64 as it is."""
        assert self.scep["Key Type"] == "RSA" and self.scep["Keysize"] == device_key.key_size
        caps = self.get("GetCACaps", self.scep["Name"])
        assert caps.status == 200 and b"AES" in caps.body and b"SHA-256" in caps.body
        client = Client(self.scep["URL"], method="GET")
        assert client.ra == self.authority().public_bytes(Encoding.DER)
        csr = Csr(device_key, self.subject() if subject is None else subject,
                  self.scep["Challenge"], self.extensions() if extensions is None else extensions)
        message = client.message(csr)
        while "+" not in transport.text_of(message.der, "raw"):
            message = client.message(csr)
        return client.exchange(message, escaping="raw")


def certificates_of(response):
    assert response.type == "application/x-x509-ca-ra-cert"
    return certs_only(response.body)


def install(response):
    assert response.status == 200, response
    assert response.type == "application/x-apple-aspen-config"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Disposition"] == 'attachment; filename="devices.mobileconfig"'
    return Device(response.body)


def text_of(name):
    return [attribute.value for attribute in name]


def test_device_enrols(server):
    response = ask(server, "/profile", user="mdm")
    device = install(response)
    assert device.scep["URL"] == server.url(SIGNING) and device.scep["Name"] == "devices"
    assert device.subject() == [("CN", "mdm")]
    assert device.scep["Key Usage"] == 1 and device.scep["KeyIsExtractable"] is False
    assert (device.scep["Retries"], device.scep["RetryDelay"]) == (3, 10)
    assert "SubjectAltName" not in device.scep and "PayloadOrganization" not in device.profile
    assert [one.subject for one in device.roots] == [server.authority.root.subject]
    assert device.intermediates == [server.authority.certificate]
    line = audited(server, response)
    assert (line["event"], line["protocol"], line["user"], line["subject"], line["result"]) == (
        "challenge", "profile", "mdm", "CN=mdm", "done")
    reply = device.enrol(standard.device_key())
    assert reply.succeeded and text_of(reply.certificate.subject) == ["mdm"]
    refused(device.enrol(standard.device_key(2)))


def test_profiles_are_new_each_time(server):
    one, other = (install(ask(server, "/profile")) for _ in range(2))
    assert not one.uuids & other.uuids
    assert one.scep["Challenge"] != other.scep["Challenge"]
    # the same identifiers: the newer one takes the place of the older
    assert one.profile["PayloadIdentifier"] == other.profile["PayloadIdentifier"]


def test_subject_and_names(server):
    device = install(ask(server, "/full", user="mdm"))
    assert device.profile["PayloadOrganization"] == "Sons & <Sons>"
    assert device.subject() == [
        ("C", "DE"), ("O", "Example & <Sons>"), ("2.5.4.65", "xmdm"),
        ("0.9.2342.19200300.100.1.1", "mdm"), ("OU", "A, B"), ("CN", "mdm")]
    assert device.scep["SubjectAltName"] == {
        "rfc822Name": "mdm@example.com", "dNSName": ["mdm.example.com", "other.example.com"],
        "uniformResourceIdentifier": "urn:user:mdm", "ntPrincipalName": "mdm@corp.example.com"}
    assert device.scep["URL"] == server.url(WITH_UPN) and device.scep["Key Usage"] == 5
    reply = device.enrol(standard.device_key())
    assert reply.succeeded, reply
    names = reply.certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mdm.example.com", "other.example.com"]


def test_other_subject(server):
    device = install(ask(server, "/profile", user="mdm"))
    refused(device.enrol(standard.device_key(), [("CN", "other")]))
    refused(device.enrol(standard.device_key(2), [("CN", "mdm"), ("O", "Example")]))
    refused(device.enrol(standard.device_key(3), []))
    assert device.enrol(standard.device_key(4)).succeeded


def test_names_that_the_profile_does_not_have(server):
    device = install(ask(server, "/profile", user="mdm"))
    refused(device.enrol(standard.device_key(), extensions=[extension("san", "DNS:a.example")]))
    assert device.enrol(standard.device_key(2)).succeeded
    device = install(ask(server, "/full", user="mdm"))
    refused(device.enrol(standard.device_key(), extensions=[]))
    refused(device.enrol(standard.device_key(2),
                         extensions=[extension("san", "email:mdm@example.com")]))


def test_key_of_the_profile(server):
    device = install(ask(server, "/encryption"))
    assert device.scep["Keysize"] == 4096 and device.scep["Key Usage"] == 4
    reply = device.enrol(key("rsa4096-01"))
    assert reply.succeeded, reply


def test_permission(server):
    response = ask(server, "/encryption", user="guest")
    problem(response, 403, "GH0520")
    assert audited(server, response)["protocol"] == "profile"
    assert ask(server, "/profile", user=None).status == 401
    problem(ask(server, "/profile", "POST", b""), 405, "GH0519")
    problem(ask(server, "/profile", "POST", b"x" * 100), 405, "GH0519")


def header(server, name, mail="a@example.com"):
    return ask(server, "/header", headers={"X-Name": quote(name), "X-Mail": mail})


@pytest.mark.parametrize("name", [
    "a,CN=admin", "a+CN=admin", "a\\", '"a"', "<b>&amp;", "a=b;c", "#0401", "]]>", "M\u00fcller",
    "%{REMOTE_USER}"])
def test_values_are_values(server, name):
    """Nobody brings attributes, or elements of XML, along in his name."""
    device = install(header(server, name))
    assert device.subject() == [("O", "Example"), ("CN", name)]
    reply = device.enrol(standard.device_key())
    assert reply.succeeded, reply
    assert text_of(reply.certificate.subject) == ["Example", name]


@pytest.mark.parametrize("name, mail, status, number", [
    ("", "a@example.com", 403, "GH0532"), ("a", "", 403, "GH0532"),
    ("a" * 65, "a@example.com", 400, "GH0502"), ("a\x01b", "a@example.com", 400, "GH0502"),
    (b"\xff\xfe", "a@example.com", 400, "GH0502"), ("a", "no address", 400, "GH0127"),
    ("a", "a@example.com,b@example.com", 400, "GH0127"),
], ids=["no name", "no mail", "long", "control", "UTF-8", "mail", "two"])
def test_values_that_cannot_be(server, name, mail, status, number):
    response = header(server, name, mail)
    problem(response, status, number)
    assert audited(server, response)["result"] == "refused"     # no challenge was made


def test_signed_profile(server, tmp_path):
    response = ask(server, "/signed")
    assert response.status == 200 and response.type == "application/x-apple-aspen-config"
    (tmp_path / "signed").write_bytes(response.body)
    verified = subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-in", tmp_path / "signed", "-CAfile",
         server.authority.root_path, "-purpose", "any", "-certsout", tmp_path / "certificates"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert verified.returncode == 0, verified.stderr
    device = Device(verified.stdout)
    certificates = (tmp_path / "certificates").read_text()
    assert certificates.count("BEGIN CERTIFICATE") == 2
    assert device.enrol(standard.device_key()).succeeded


def test_challenges_are_in_no_log(server):
    challenges = [install(ask(server, path)).scep["Challenge"] for path in ("/profile", "/full")]
    everything = b"".join(path.read_bytes() for folder in ("log", "store", "run")
                          for path in (server.root / folder).rglob("*") if path.is_file())
    assert b"/profile" in everything
    for challenge in challenges:
        assert challenge.encode() not in everything
        assert bytes.fromhex(challenge) not in everything


FOR = "SCEPChallengeFor acme devices scep-digital-signature"
BAD = {
    "wildcard": (("SCEPChallengeFor acme devices scep-digital-*",), "SCEPChallengeFor", "GH0535"),
    "no RSA": (("SCEPChallengeFor acme devices test-ec",), "SCEPChallengeFor", "GH0536"),
    "subject without attribute": ((FOR, 'SCEPProfileSubject "%{REMOTE_USER}"'),
                                  "SCEPProfileSubject", "GH0516"),
    "subject with an unknown attribute": ((FOR, 'SCEPProfileSubject "X=%{REMOTE_USER}"'),
                                          "SCEPProfileSubject", "GH0516"),
    "subject with an empty value": ((FOR, 'SCEPProfileSubject "CN=%{REMOTE_USER},O="'),
                                    "SCEPProfileSubject", "GH0516"),
    "subject that is no expression": ((FOR, 'SCEPProfileSubject "CN=%{REMOTE_USER"'),
                                      "SCEPProfileSubject", "GH0514"),
    "subject twice": ((FOR, "SCEPProfileSubject CN=a", "SCEPProfileSubject CN=b"),
                      "SCEPProfileSubject CN=b", "GH0511"),
    "type of name": ((FOR, "SCEPProfileAltName ip %{REMOTE_ADDR}"), "SCEPProfileAltName",
                     "GH0517"),
    "signer missing": ((FOR, "SCEPProfileSigner none.pem none.key"), "SCEPProfileSigner",
                       "none.pem"),
    "signer with another key": ((FOR, "SCEPProfileSigner ca/devices.pem ca/other.key"),
                                "SCEPProfileSigner", "GH0508"),
    "signer on a token": ((FOR, "SCEPProfileSigner ca/devices.pem pkcs11:token=a"),
                          "SCEPProfileSigner", "GH0507"),
}


@pytest.fixture(scope="module")
def unstarted():
    made = Server(standard.content, modules=PASSWORDS)
    Authority(made.root / "ca", "other", "rsa3072-01")
    yield made
    made.close()


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration(unstarted, name):
    lines, place, reason = BAD[name]
    unstarted.configure(standard.content(unstarted) + """
<CertificateProfile test-ec base=scep-digital-signature>
    ProfileKeys P-256
</CertificateProfile>
""" + location("/scep/acme/devices/test-ec", "SCEPChallenge onetime")
        + page_lines(*lines, handler="profile"))
    result = unstarted.configtest()
    text = result.stderr + result.stdout
    assert result.returncode != 0 and reason in text, text
    assert names_line(unstarted, result, place), text
