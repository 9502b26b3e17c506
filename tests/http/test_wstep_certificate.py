# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Callers by the certificate that they show by TLS, and renewals, with that and without a caller."""

import datetime
import http.client
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from harness import wstep
from harness.config import CRL_AND_CA, issuer, location
from harness.escrow import MODULES, SSL_CHATTER, tls_host
from harness.pki import Authority, write_secret
from harness.server import wait_until
from harness.standard import device_key
from scep import der
from scep.csr import extension
from scep.identity import Identity, private_pem
from wstep import Client, Fault
from wstep import envelope as e
from wstep.signed import cmc, reg_info, renewal, renewed_attribute

CERTIFICATE = "/wstep/certificate/services/acme/devices"
POLICIES = "/xcep/certificate/services/acme"
ANONYMOUS = "/wstep/anonymous/services/acme/devices"
MACHINE = extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Machine".encode("utf-16-be")))
BRIEF = """
<CertificateProfile brief base=wstep-digital-signature>
    ProfileValidity 2s
</CertificateProfile>
<CertificateTemplate Brief>
    TemplateProfile brief
    TemplateSubject supplied
    TemplateUsers   all
</CertificateTemplate>
"""
OWN = ("gatehouse", "wstep", "escrow")


def content(server):
    other = Authority(server.root / "ca", "other", "rsa3072-01")
    lines = ["SetHandler gatehouse-wstep", "WSTEPTenant acme devices", "WSTEPTemplates *",
             "ThumbprintSource header X-Client-Cert nginx"]
    return (wstep.content_with(templates=wstep.TEMPLATES + BRIEF)(server) + issuer(other)
            + location("/wstep/certificate", *lines)
            + location("/xcep/certificate", *lines[:2], lines[3])
            + location("/wstep/anonymous", *lines[:3], "WSTEPRenewal by-certificate grace=1h")
            + location("/wstep/anonymous/services/beta", "WSTEPTenant beta devices",
                       "WSTEPRenewal by-certificate")
            + location("/wstep/usertoken/services/beta", "WSTEPTenant beta devices")
            + location("/wstep/usertoken", "WSTEPTenant beta other", "WSTEPTenant acme other")
            + "ThumbprintTrustedProxy 127.0.0.2\n" + tls_host(server, ""))


@pytest.fixture(scope="module")
def server(make_module_server):
    made = make_module_server(content, own_modules=OWN, modules=("authn_file", *MODULES))
    made.allow(*SSL_CHATTER)
    return made


def identity_of(issued, number):
    return Identity(device_key(number), issued.certificate.public_bytes(Encoding.DER))


def enrol(server, number, subject="CN=host-1", path=wstep.WSTEP):
    """A certificate that names no account."""
    return identity_of(wstep.client(server, path).issue(
        wstep.csr(subject, number, template=MACHINE)), number)


def by_tls(server, identity=None, path=CERTIFICATE):
    """A client that shows a certificate."""
    made = ssl._create_unverified_context()
    if identity:
        pem, pem_key = server.root / "ca" / "client.pem", server.root / "ca" / "client.key"
        pem.write_bytes(identity.parsed.public_bytes(Encoding.PEM))
        write_secret(pem_key, private_pem(identity.key))
        made.load_cert_chain(str(pem), str(pem_key))
    return Client(f"https://localhost:{server.tls_port}{path}", context=made)


def anonymous(server, path=ANONYMOUS):
    return Client(server.url(path))


def request_of(identity, number, name_it=True, subject=None, template=MACHINE):
    """PKCS#10 with another key that renews a certificate."""
    attributes = [renewed_attribute(identity.certificate)] if name_it else []
    return wstep.csr(subject or identity.parsed.subject.rfc4514_string(), number,
                     template=template, attributes=attributes)


def refused(number, call, *arguments, **options):
    with pytest.raises(Fault) as fault:
        call(*arguments, **options)
    assert fault.value.number == number and fault.value.status == 500, fault.value
    return fault.value


@pytest.mark.parametrize("form", ["pkcs7", "cmc"])
@pytest.mark.parametrize("who", ["certificate", "anonymous"])
def test_renewal(server, form, who):
    """The names stay, the key is another one."""
    number = 1 + ["pkcs7", "cmc"].index(form)
    old = enrol(server, number, f"CN={form}-{who}")
    request = request_of(old, 3)
    token = renewal(request, old) if form == "pkcs7" else cmc(request, device_key(3), old)
    client = by_tls(server, old) if who == "certificate" else anonymous(server)
    issued = client.issue(token)
    assert issued.certificate.subject == old.parsed.subject
    assert issued.certificate.public_key().public_numbers() == \
        device_key(3).public_key().public_numbers()
    assert client.issue(token).certificate == issued.certificate
    event = [one for one in server.audit() if one["event"] == "renew"][-1]
    assert event["result"] == "issued"


def test_caller_is_not_a_user(server):
    """A certificate that names no account renews itself, and does nothing else."""
    holder = enrol(server, 4, "CN=nobody")
    refused("GH1434", by_tls(server, holder).issue, wstep.csr("CN=more", 5, template=MACHINE))
    policies = by_tls(server, holder, POLICIES).policies()
    assert set(policies.policies) == {"Machine"}
    assert any(uri.text == "8" for uri in policies.root.iter(
        f"{{{e.POLICY}}}clientAuthentication"))


def test_no_certificate(server):
    refused("GH1484", by_tls(server).issue, wstep.csr("CN=x", 5, template=MACHINE))
    refused("GH1484", by_tls(server, path=POLICIES).policies)
    # a password does not help where a certificate is asked for
    client = by_tls(server)
    client.user, client.password = wstep.USER, wstep.PASSWORD
    refused("GH1484", client.issue, wstep.csr("CN=x", 5, template=MACHINE))


def test_stranger(server):
    stranger = Identity.self_signed(device_key(6), "CN=nobody")
    fault = refused("GH1479", by_tls(server, stranger).issue, renewal(request_of(stranger, 5),
                                                                      stranger))
    assert fault.hresult == 0x8007052E and fault.code == "s:Sender"
    # of the same number as one of ours
    ours = enrol(server, 4, "CN=double")
    twin = Identity.self_signed(device_key(6), "CN=double", serial=ours.parsed.serial_number)
    refused("GH1479", by_tls(server, twin).issue, renewal(request_of(twin, 5), twin))


def test_of_another_tenant(server):
    """The same template of another CA and tenant."""
    other = enrol(server, 7, "CN=beta", "/wstep/usertoken/services/beta/other")
    refused("GH1479", by_tls(server, other).issue, renewal(request_of(other, 5), other))
    with pytest.raises(Fault):
        anonymous(server).issue(renewal(request_of(other, 5), other))


@pytest.mark.parametrize("change", ["hold", "revoke"])
def test_revoked(server, change):
    holder = enrol(server, 4, f"CN={change}")
    server.ctl_ok("cert", change, f"{holder.parsed.serial_number:x}")
    token = renewal(request_of(holder, 5), holder)
    refused("GH1480", by_tls(server, holder).issue, token)
    refused("GH1480", by_tls(server, holder, POLICIES).policies)
    with pytest.raises(Fault) as fault:
        anonymous(server).issue(token)
    assert fault.value.hresult == 0x8009400E


def test_shows_another(server):
    """Who calls is who has signed the request."""
    one, two = enrol(server, 4, "CN=one"), enrol(server, 7, "CN=two")
    refused("GH1439", by_tls(server, one).issue, renewal(request_of(two, 5), two))
    refused("GH1439", by_tls(server, one).issue, cmc(request_of(two, 5), device_key(5), two))


def test_renewed_is_signer(server):
    """The certificate that the PKCS#10 names has signed, no other one."""
    one, two = enrol(server, 4, "CN=named"), enrol(server, 7, "CN=signs")
    refused("GH1416", anonymous(server).issue, renewal(request_of(one, 5), two))
    refused("GH1416", anonymous(server).issue, cmc(request_of(one, 5), device_key(5), two))
    # named, and signed by nobody but the new key
    refused("GH1416", anonymous(server).issue, cmc(request_of(one, 5), device_key(5)))


def test_bad_signatures(server):
    old = enrol(server, 4, "CN=signatures")
    request = request_of(old, 5)
    client = anonymous(server)
    refused("GH1415", client.issue, renewal(request, old, spoil=True))
    refused("GH1415", client.issue, renewal(request, old, digest="sha1"))
    refused("GH1415", client.issue, cmc(request, device_key(5), old, spoil=True))
    # who says that it is his is another one
    thief = Identity(device_key(6), old.certificate)
    refused("GH1415", client.issue, renewal(request, thief))


def test_other_names(server):
    """A renewal changes nothing but the key."""
    old = enrol(server, 4, "CN=before")
    issued = anonymous(server).issue(renewal(request_of(old, 5, subject="CN=administrator"), old))
    assert issued.certificate.subject == old.parsed.subject


def test_other_template(server):
    old = enrol(server, 4, "CN=template")
    fault = refused("GH1446", anonymous(server).issue,
                    renewal(request_of(old, 5, template=wstep.template_extension()), old))
    assert fault.hresult == 0x8009400E


def test_anonymous_does_nothing_else(server):
    client = anonymous(server)
    refused("GH1434", client.issue, wstep.csr("CN=new", 5, template=MACHINE))
    refused("GH1434", client.issue, cmc(wstep.csr("CN=new", 5, template=MACHINE), device_key(5)))
    self_signed = Identity.self_signed(device_key(5), "CN=new")
    with pytest.raises(Fault):
        client.issue(renewal(request_of(self_signed, 5), self_signed))


def test_controls(server):
    """RegInfo names the template, as certreq may have it."""
    old = enrol(server, 4, "CN=reginfo")
    request = request_of(old, 5)
    token = cmc(request, device_key(5), old,
                controls=[reg_info(CertificateTemplate="Machine", rmd="host-1")])
    assert anonymous(server).issue(token).certificate.subject == old.parsed.subject


def by_header(server, holder, token):
    client = Client(server.url(CERTIFICATE))
    return (client, client.envelope(e.RST, e.request(e.ISSUE, token)),
            holder.parsed.public_bytes(Encoding.PEM).decode().replace("\n", " "))


def from_proxy(server, holder, token):
    """Sent from the address of a proxy that is trusted. @return status and body"""
    _, message, pem = by_header(server, holder, token)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60,
                                            source_address=("127.0.0.2", 0))
    connection.request("POST", CERTIFICATE, str(message).encode(), {
        "Content-Type": "application/soap+xml; charset=utf-8", "X-Client-Cert": pem})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_by_proxy(server):
    """A header counts from who is trusted, and from nobody else."""
    holder = enrol(server, 4, "CN=proxied")
    token = renewal(request_of(holder, 5), holder)
    client, message, pem = by_header(server, holder, token)
    response = client.send(message, headers={"X-Client-Cert": pem})
    assert response.status == 500 and b"GH1484" in response.body
    status, body = from_proxy(server, holder, token)
    assert status == 200, body


def test_without_escrow(make_server):
    """mod_ssl alone is enough."""
    def alone(server):
        return (wstep.content_with()(server)
                + location("/wstep/certificate", "SetHandler gatehouse-wstep",
                           "WSTEPTenant acme devices", "WSTEPTemplates *")
                + tls_host(server, "    SSLOptions +ExportCertData\n"))
    server = make_server(alone, own_modules=("gatehouse", "wstep"),
                         modules=("authn_file", *MODULES))
    server.allow(*SSL_CHATTER)
    old = enrol(server, 1, "CN=alone")
    issued = by_tls(server, old).issue(renewal(request_of(old, 2), old))
    assert issued.certificate.subject == old.parsed.subject
    refused("GH1484", by_tls(server).issue, renewal(request_of(old, 2), old))


def test_past_its_end(server):
    """A grace lets the old certificate vouch for a new one, and nobody log in with it."""
    template = extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Brief".encode("utf-16-be")))
    tokens = {}
    for number, tenant in ((1, "acme"), (2, "beta")):
        issued = wstep.client(server, f"/wstep/usertoken/services/{tenant}/devices").issue(
            wstep.csr("CN=brief", number, template=template, usage=("digitalSignature",)))
        old = identity_of(issued, number)
        tokens[tenant] = old, renewal(wstep.csr(
            "CN=brief", 3, template=template, usage=("digitalSignature",),
            attributes=[renewed_attribute(old.certificate)]), old)
    wait_until(lambda: datetime.datetime.utcnow() > old.parsed.not_valid_after
               + datetime.timedelta(seconds=1), 30)
    old, token = tokens["acme"]
    status, body = from_proxy(server, old, token)
    assert status == 500 and b"GH1481" in body
    assert anonymous(server).issue(token).certificate.subject == old.parsed.subject
    with pytest.raises(Fault) as fault:
        anonymous(server, "/wstep/anonymous/services/beta/devices").issue(tokens["beta"][1])
    assert fault.value.hresult == 0x8009400E
