# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Accounts of a directory by certificates: who shows one, and who asks on behalf of another."""

import base64
import datetime
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness import wstep
from harness.active_directory import (PASSWORD, SUFFIX, ActiveDirectory, group, sid, sid_text,
                                      user)
from harness.config import location
from harness.escrow import MODULES, SSL_CHATTER, tls_host
from harness.pki import certificate, key
from harness.standard import device_key
from scep import der
from scep.csr import SID_EXTENSION, extension
from scep.identity import Identity
from test_wstep_certificate import by_tls, refused, request_of
from wstep import Client, Fault
from wstep import envelope as e
from wstep.signature import SignedEnvelope
from wstep.signed import cmc, reg_info, renewal

CERTIFICATE = "/wstep/certificate/services/acme/devices"
POLICIES = "/xcep/certificate/services/acme"
UNSIGNED = "/wstep/certificate/services/beta/devices"
USERS = {name: name + "s" for name in ("alice", "bob", "carol", "dave", "erin", "frank")}
AGENTS = f"cn=Agents,cn=Users,{SUFFIX}"
STAFF = f"cn=Staff,cn=Users,{SUFFIX}"

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH

TEMPLATES = f"""
<CertificateProfile agent base=wstep-digital-signature>
    ProfileExtendedKeyUsage certificateRequestAgent clientAuth
</CertificateProfile>
<CertificateTemplate Employee>
    TemplateProfile wstep-digital-signature
    TemplateSubject cn
    TemplateAltNames upn
    TemplateGroups  "{STAFF}"
    TemplateAgents  "{AGENTS}"
</CertificateTemplate>
<CertificateTemplate Alone>
    TemplateProfile wstep-digital-signature
    TemplateSubject cn
    TemplateUsers   all
</CertificateTemplate>
<CertificateTemplate Agent>
    TemplateProfile agent
    TemplateSubject cn
    TemplateAltNames upn
    TemplateUsers   bob carol erin
</CertificateTemplate>
"""


def entries():
    names = ("alice", "bob", "carol", "dave", "erin")
    return "".join(user(name, relative=1104 + i) for i, name in enumerate(names)) + user(
        "frank", relative=1110, userPrincipalName="other@example.com") + group(
        "Domain Users", [], 513) + group("Agents", [], 1300) + group("Staff", [], 1301)


def modify(directory, text):
    subprocess.run(["ldapmodify", "-x", "-H", directory.url(), "-D", f"cn=root,{SUFFIX}", "-w",
                    PASSWORD], input=text, text=True, check=True, timeout=30,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def change(directory, name, attribute, value):
    text = base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
    modify(directory, f"dn: cn={name},cn=Users,{SUFFIX}\nchangetype: modify\n"
                      f"replace: {attribute}\n{attribute}:: {text}\n\n")


@pytest.fixture(scope="module")
def directory():
    made = ActiveDirectory(entries())
    for name, members in (("Agents", ("bob", "erin")), ("Staff", ("alice", "bob", "dave"))):
        modify(made, "".join(f"dn: cn={name},cn=Users,{SUFFIX}\nchangetype: modify\nadd: member\n"
                             f"member: cn={member},cn=Users,{SUFFIX}\n\n" for member in members))
    yield made
    made.close()


def crl(ca, ca_key, revoked=(), days=1):
    now = datetime.datetime.utcnow() - datetime.timedelta(hours=1)
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(
        now - datetime.timedelta(days=10)).next_update(now + datetime.timedelta(days=days))
    for serial in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


class Foreign:
    """A CA that is not ours."""

    def __init__(self, server, name="Foreign", key_name="p256-01"):
        self.key = key(key_name)
        self.name = name
        self.certificate = certificate(name, self.key, name, self.key, 100)
        self.revoked = self.issue(9, upn="alice")
        pem = self.certificate.public_bytes(Encoding.PEM)
        self.path, self.stale = server.root / "ca" / name, server.root / "ca" / f"{name}-stale"
        self.path.write_bytes(pem + crl(self.certificate, self.key,
                                        [self.revoked.parsed.serial_number]))
        self.stale.write_bytes(pem + crl(self.certificate, self.key, days=-1))

    def issue(self, number, upn=None, relative=None, subject="alice", days=30, usage=CLIENT,
              start=None):
        parts = [x509.ExtendedKeyUsage([usage])]
        if upn:
            parts.append(x509.SubjectAlternativeName([x509.OtherName(
                UPN, der.utf8(f"{upn}@example.com"))]))
        if relative:
            value = extension("sid", sid_text(relative)).value
            parts.append(x509.UnrecognizedExtension(x509.ObjectIdentifier(SID_EXTENSION), value))
        made = certificate(subject, device_key(number), self.name, self.key, days, ca=False,
                           start=start, extensions=parts)
        return Identity(device_key(number), made.public_bytes(Encoding.DER))


@pytest.fixture(scope="module")
def server(make_module_server, directory):
    def content(server):
        usual = wstep.content_with(templates=TEMPLATES)(server)
        users = f'AuthUserFile "{wstep.password_file(server, USERS)}"'
        lines = ["SetHandler gatehouse-wstep", "WSTEPTemplates *", "WSTEPTenant acme devices"]
        server.foreign = Foreign(server)
        return ("WSTEPDomain example.com EXAMPLE\n"
                f"WSTEPDirectory {directory.url()} base={SUFFIX} keep=0s\n"
                + usual
                + location("/wstep/usertoken", users)
                + location("/wstep/certificate", *lines, "WSTEPTenant beta devices",
                           f"WSTEPClientCA {server.foreign.path}")
                + location("/wstep/certificate/services/acme", "WSTEPSignatures on")
                + location("/wstep/certificate/services/gamma", "WSTEPTenant gamma devices",
                           f"WSTEPClientCA {server.foreign.stale}")
                + location("/wstep/certificate/services/delta", "WSTEPTenant delta devices",
                           "WSTEPClientCA none")
                + location("/xcep/certificate", lines[0], lines[2]) + tls_host(server, ""))
    made = make_module_server(content, own_modules=("gatehouse", "wstep"),
                              modules=("authn_file", *MODULES))
    made.allow(*SSL_CHATTER)
    return made


def template(name):
    return extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, name.encode("utf-16-be")))


def csr(number, name, subject="CN="):
    return wstep.csr(subject, number, template=template(name), usage=("digitalSignature",))


def caller(server, name):
    return wstep.client(server, user=name, password=USERS[name])


def enrol(server, name, number, of="Employee"):
    issued = caller(server, name).issue(csr(number, of))
    return Identity(device_key(number), issued.certificate.public_bytes(Encoding.DER))


def is_of(certificate, name, relative):
    assert certificate.subject.rfc4514_string() == f"CN={name}"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert f"{name}@example.com".encode() in names.get_values_for_type(x509.OtherName)[0].value
    value = certificate.extensions.get_extension_for_oid(
        x509.ObjectIdentifier(SID_EXTENSION)).value.value
    assert sid_text(relative).encode() in value


# Callers by certificate


def test_account(server):
    """Who shows the certificate of an account may do what the account may."""
    alice = enrol(server, "alice", 1)
    is_of(alice.parsed, "alice", 1104)
    client = by_tls(server, alice)
    is_of(client.issue(csr(2, "Employee")).certificate, "alice", 1104)
    assert set(by_tls(server, alice, POLICIES).policies().policies) == {"Employee", "Alone"}
    refused("GH1438", client.issue, csr(3, "Agent"))
    is_of(client.issue(renewal(request_of(alice, 4, subject="CN=alice",
                                          template=template("Employee")), alice)).certificate,
          "alice", 1104)
    event = server.audit()[-1]
    assert event["user"].startswith("alice")


def test_signed(server):
    """The same by a signature, where that is on."""
    alice = enrol(server, "alice", 1)
    made = SignedEnvelope(e.RST, e.request(e.ISSUE, csr(5, "Employee")), alice)
    is_of(Client.read(Client(server.url(CERTIFICATE)).call(made)).certificate, "alice", 1104)
    refused("GH1488", Client(server.url(UNSIGNED)).call, made)
    # another request under the same signature
    other = str(made).replace(made.parts["body"], made.parts["body"].replace(
        made.body, e.request(e.ISSUE, csr(6, "Employee"))))
    refused("GH1487", Client(server.url(CERTIFICATE)).call, other)


def test_security_identifier_counts(server, directory):
    """A principal name may pass to somebody else; the certificate stays its owner's."""
    dave = enrol(server, "dave", 1)
    change(directory, "dave", "userPrincipalName", "gone@example.com")
    change(directory, "frank", "userPrincipalName", "dave@example.com")
    issued = by_tls(server, dave).issue(csr(2, "Alone"))
    assert issued.certificate.subject.rfc4514_string() == "CN=dave"
    change(directory, "frank", "userPrincipalName", "other@example.com")
    change(directory, "dave", "userPrincipalName", "dave@example.com")


def test_disabled(server, directory):
    dave = enrol(server, "dave", 3)
    change(directory, "dave", "userAccountControl", "514")
    refused("GH1483", by_tls(server, dave).issue, csr(2, "Alone"))
    refused("GH1483", by_tls(server, dave).issue, renewal(request_of(
        dave, 4, subject="CN=dave", template=template("Employee")), dave))
    change(directory, "dave", "userAccountControl", "512")
    assert by_tls(server, dave).issue(csr(2, "Alone")).certificate


def test_gone(server, directory):
    """The account does not exist any more: its certificate shows nobody."""
    dave = enrol(server, "dave", 5)
    change(directory, "dave", "objectSid", "gone")
    with pytest.raises(Fault) as fault:
        by_tls(server, dave).issue(csr(6, "Alone"))
    assert fault.value.hresult == 0x8007052E
    change(directory, "dave", "objectSid", sid(1107))


# Certificates of others


@pytest.mark.parametrize("names, account", [
    ({"upn": "alice"}, ("alice", 1104)), ({"relative": 1104, "subject": "x"}, ("alice", 1104)),
    ({"relative": 1105, "upn": "alice"}, ("bob", 1105))])
def test_foreign(server, names, account):
    """The names of a CA that is trusted are believed, the stronger one first."""
    holder = server.foreign.issue(8, **names)
    is_of(by_tls(server, holder).issue(csr(10, "Employee")).certificate, *account)


def test_foreign_refused(server):
    foreign = server.foreign
    token = csr(2, "Alone")
    refused("GH1434", by_tls(server, foreign.issue(8)).issue, token)
    refused("GH1490", by_tls(server, foreign.revoked).issue, token)
    past = datetime.datetime.utcnow() - datetime.timedelta(days=9)
    old = foreign.issue(8, upn="alice", start=past, days=2)     # TLS would refuse that before
    refused("GH1490", Client(server.url(CERTIFICATE)).call,
            SignedEnvelope(e.RST, e.request(e.ISSUE, token), old))
    other = Foreign(server, "Other", "p384-01")
    refused("GH1479", by_tls(server, other.issue(8, upn="alice")).issue, token)
    # who calls himself like the CA
    twin = Foreign(server, "Foreign", "p384-01")
    with pytest.raises(Fault) as fault:
        by_tls(server, twin.issue(8, upn="alice")).issue(token)
    assert fault.value.hresult == 0x8007052E


def test_foreign_elsewhere(server):
    """A CRL that is over lets nobody in, and a location may trust nobody."""
    alice = server.foreign.issue(8, upn="alice")
    for tenant, number in (("gamma", "GH1490"), ("delta", "GH1479")):
        path = f"/wstep/certificate/services/{tenant}/devices"
        refused(number, by_tls(server, alice, path).issue, csr(2, "Alone"))


def test_check(server):
    """gatehousectl tells of the CRL that is over, and of the other one that soon is."""
    told = [one for one in server.ctl("check").objects if one["name"] == "wstep.client-ca"]
    assert {(one["verdict"], one["gh"]) for one in told} == {("error", "GH1492"),
                                                             ("warning", "GH1492")}


def test_foreign_usage(server):
    """By a signature, for TLS would have refused it before."""
    other = server.foreign.issue(8, upn="alice", usage=ExtendedKeyUsageOID.EMAIL_PROTECTION)
    made = SignedEnvelope(e.RST, e.request(e.ISSUE, csr(5, "Employee")), other)
    refused("GH1490", Client(server.url(CERTIFICATE)).call, made)


# On behalf of others


def on_behalf(number, agent, name="EXAMPLE\\alice", of="Employee", **options):
    return cmc(csr(number, of, options.pop("subject", "CN=")), device_key(number), agent,
               controls=[reg_info(requestername=name)] if name else [], **options)


@pytest.fixture(scope="module")
def agent(server):
    return enrol(server, "bob", 7, "Agent")


def test_agent(server, agent):
    """The certificate is the other one's, whatever the request says."""
    for number, name in ((8, "EXAMPLE\\alice"), (9, "alice@example.com")):
        issued = caller(server, "bob").issue(on_behalf(number, agent, name,
                                                       subject="CN=administrator"))
        is_of(issued.certificate, "alice", 1104)
    event = server.audit()[-1]
    assert event["user"] == "bob" and "alice" in event["message"]


def test_agent_for_several(server, agent):
    """The same request for another account is another one, and none of the agent's own."""
    client = caller(server, "bob")
    is_of(client.issue(csr(12, "Employee")).certificate, "bob", 1105)
    is_of(client.issue(on_behalf(12, agent)).certificate, "alice", 1104)
    is_of(client.issue(on_behalf(12, agent, "dave@example.com")).certificate, "dave", 1107)
    is_of(client.issue(csr(12, "Employee")).certificate, "bob", 1105)


def test_agent_by_certificate(server, agent):
    """The agent shows the certificate that he signs requests with, and no other one."""
    is_of(by_tls(server, agent).issue(on_behalf(10, agent)).certificate, "alice", 1104)
    plain = enrol(server, "bob", 1)
    refused("GH1439", by_tls(server, plain).issue, on_behalf(10, agent))


def test_without_usage(server):
    """An ordinary certificate signs for nobody else: that is a renewal of its own."""
    plain = enrol(server, "bob", 1)
    issued = caller(server, "bob").issue(on_behalf(2, plain))
    is_of(issued.certificate, "bob", 1105)


def test_not_an_agent(server, agent):
    """Whose certificate has the usage, and who is in none of the groups."""
    carol = enrol(server, "carol", 3, "Agent")
    refused("GH1437", caller(server, "carol").issue, on_behalf(4, carol))
    # nor does it help to sign with the certificate of who is
    refused("GH1437", caller(server, "carol").issue, on_behalf(4, agent))


@pytest.mark.parametrize("name, number", [
    (None, "GH1437"), ("", "GH1437"), ("OTHER\\alice", "GH1437"), ("a\\b\\c", "GH1437"),
    ("EXAMPLE\\carol", "GH1438"), ("EXAMPLE\\nobody", None)])
def test_for_whom(server, agent, name, number):
    """Who is not named, not known, or may not have it himself."""
    with pytest.raises(Fault) as fault:
        caller(server, "bob").issue(on_behalf(5, agent, name))
    assert number is None or fault.value.number == number, fault.value


def test_two_names(server, agent):
    token = cmc(csr(5, "Employee"), device_key(5), agent, controls=[
        reg_info(requestername="EXAMPLE\\alice"), reg_info(requestername="EXAMPLE\\dave")])
    refused("GH1437", caller(server, "bob").issue, token)


def test_template_without_agents(server, agent):
    refused("GH1437", caller(server, "bob").issue, on_behalf(5, agent, of="Alone"))


def test_agent_of_others(server, agent):
    """The usage alone says nothing: the certificate has to be one of ours, and valid."""
    stranger = Identity.self_signed(device_key(6), "CN=bob", extensions=[
        extension("eku", "1.3.6.1.4.1.311.20.2.1")])
    with pytest.raises(Fault) as fault:
        caller(server, "bob").issue(on_behalf(5, stranger))
    assert fault.value.hresult == 0x80094809
    thief = Identity(device_key(6), agent.certificate)
    refused("GH1415", caller(server, "bob").issue, on_behalf(5, thief))
    with pytest.raises(Fault):
        caller(server, "bob").issue(on_behalf(5, agent, digest="sha1"))


def test_revoked_agent(server):
    erin = enrol(server, "erin", 6, "Agent")
    server.ctl_ok("cert", "revoke", f"{erin.parsed.serial_number:x}")
    with pytest.raises(Fault) as fault:
        caller(server, "erin").issue(on_behalf(5, erin))
    assert fault.value.hresult == 0x80094809
