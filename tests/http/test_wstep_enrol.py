# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Certificates by MS-WSTEP, with requests as Windows makes them."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from harness import wstep
from harness.server import wait_until
from scep import der
from scep.csr import EXTENSION_REQUEST, extension
from wstep import Fault
from wstep import envelope as e

TEMPLATE = x509.ObjectIdentifier("1.3.6.1.4.1.311.21.7")


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(wstep.content_with(), **wstep.OPTIONS)


@pytest.fixture
def client(server):
    return wstep.client(server)


def test_issue(server, client):
    """A bare PKCS#10 that is called PKCS7, with line breaks, as Windows sends it."""
    issued = client.issue(wstep.csr())
    certificate = issued.certificate
    assert issued.message == "Issued" and issued.request_id.isdigit()
    assert issued.action == e.ENROLMENT + "/RSTRC/wstep" and issued.stamped
    assert issued.response.startswith(b"\x30")
    assert certificate.subject.rfc4514_string() == "CN=alice"
    assert certificate.issuer == server.authority.certificate.subject
    assert certificate.extensions.get_extension_for_oid(TEMPLATE).value.value == der.sequence(
        der.oid(wstep.TEMPLATE_OID), der.integer(100), der.integer(3))
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.key_encipherment
    assert len(server.certificates()) >= 1


def usages(certificate):
    return {usage.dotted_string for usage in certificate.extensions.get_extension_for_class(
        x509.ExtendedKeyUsage).value}


CLIENT_AUTH, SERVER_AUTH, MAIL = (f"1.3.6.1.5.5.7.3.{n}" for n in (2, 1, 4))


@pytest.mark.parametrize("asked", [(), ("eku", "serverAuth"), ("eku", "clientAuth", "codeSigning")])
def test_usages_are_the_templates(client, asked):
    """Not those that a request asks for, nor none, which would be all."""
    request = wstep.csr(number=8, extensions=[extension(*asked)] if asked else [])
    assert usages(client.issue(request).certificate) == {CLIENT_AUTH}


def test_usages_are_configured(make_server):
    templates = wstep.TEMPLATES.replace("    TemplateSubject     cn\n", (
        "    TemplateSubject     cn\n    TemplateUsages      clientAuth 1.3.6.1.5.5.7.3.4\n"), 1)
    templates = templates.replace("    TemplateMachine     on\n",
                                  "    TemplateMachine     on\n    TemplateUsages request\n")
    client = wstep.client(make_server(wstep.content_with(templates=templates), **wstep.OPTIONS))
    assert usages(client.issue(wstep.csr(number=9)).certificate) == {CLIENT_AUTH, MAIL}
    request = wstep.csr("CN=host-2", 10, template=machine_template(),
                        extensions=[extension("eku", "serverAuth")])
    assert usages(client.issue(request).certificate) == {SERVER_AUTH}


def test_audit(server, client):
    client.issue(wstep.csr(number=2))
    event = server.audit()[-1]
    assert event["protocol"] == "wstep" and event["result"] == "issued"
    assert event["user"] == wstep.USER and event["tenant"] == "acme"
    assert event["issuer"] == "devices"


@pytest.mark.parametrize("value_type", [
    e.ENROLMENT + "#PKCS10", e.WSSE + "#PKCS7", e.ENROLMENT + "#CMC", "nonsense"])
def test_mislabelled(client, value_type):
    assert client.issue(wstep.csr(), {"value_type": value_type}).certificate


def test_attribute_of_pkcs9(client):
    assert client.issue(wstep.csr(number=3, extension_attribute=EXTENSION_REQUEST)).certificate


@pytest.mark.parametrize("usage, profile", [
    (("digitalSignature",), "wstep-digital-signature"),
    (("keyEncipherment",), "wstep-key-encipherment"),
    (("digitalSignature", "keyEncipherment"), "wstep-digital-signature-key-encipherment")])
def test_profile_by_key_usage(server, client, usage, profile):
    issued = client.issue(wstep.csr(number=4, usage=usage))
    mine = [c for c in server.certificates()
            if c["serial"] == f"{issued.certificate.serial_number:x}"
            or c["serial"] == f"0{issued.certificate.serial_number:x}"]
    assert [c["profile"] for c in mine] == [profile]


def test_subject_is_not_the_callers_to_say(client):
    """Without "supplied" in the template."""
    try:
        issued = client.issue(wstep.csr("CN=administrator", 5))
    except Fault as fault:
        assert fault.hresult in (0x80094001, 0x80094014)
    else:
        assert issued.certificate.subject.rfc4514_string() == "CN=alice"


def machine_template():
    return extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Machine".encode("utf-16-be")))


def test_template_by_name(client):
    """As version 1 templates are named; the subject is supplied."""
    issued = client.issue(wstep.csr("CN=host-1", 6, template=machine_template()))
    assert issued.certificate.subject.rfc4514_string() == "CN=host-1"


@pytest.mark.parametrize("template, hresult", [
    (wstep.template_extension("1.3.6.1.4.1.99999.7"), 0x80094800),
    (wstep.template_extension(major=99), 0x80094807),
    (extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Bob".encode("utf-16-be"))), 0x80094012)])
def test_refused_templates(client, template, hresult):
    with pytest.raises(Fault) as fault:
        client.issue(wstep.csr(number=7, template=template))
    assert fault.value.hresult == hresult, fault.value
    assert fault.value.status == 500 and fault.value.code == "s:Sender"
    assert fault.value.relates_to and fault.value.number.startswith("GH")


def test_bad_signature(client):
    with pytest.raises(Fault) as fault:
        client.issue(wstep.csr(number=7, bad_signature=True))
    assert fault.value.code == "s:Sender" and fault.value.hresult


def test_never(client):
    """What nobody may ask for."""
    for asked in (extension("san", "UPN:administrator@corp.example"),
                  extension("eku", "smartcardLogon"),
                  extension("basicConstraints", True)):
        try:
            issued = client.issue(wstep.csr("CN=host-2", 8, template=machine_template(),
                                            extensions=[asked]))
        except Fault as fault:
            assert fault.hresult
        else:
            text = issued.certificate.public_bytes(Encoding.DER)
            assert b"administrator" not in text
            assert bytes.fromhex("2b060104018237140202") not in text


@pytest.mark.parametrize("options, number", [
    ({"kind": e.TRUST + "/Renew"}, "GH1363"), ({"kind": "urn:x"}, "GH1364"),
    ({"token_type": "urn:x"}, "GH1362"), ({"token": "%%%"}, "GH1366"), ({"token": ""}, "GH1366"),
    ({"token": None}, "GH1366")])
def test_refused_requests(client, options, number):
    with pytest.raises(Fault) as fault:
        client.request(e.request(**{"token": "AAAA", **options}))
    assert fault.value.number == number and fault.value.status == 500


def test_refused_actions(client):
    for action in ("urn:x", e.TRUST + "/RST/KET", e.GET_POLICIES):
        with pytest.raises(Fault) as fault:
            client.request(e.request(token=wstep.csr()), action=action)
        assert fault.value.number == "GH1365"


def test_query(client):
    """The number of an enrolment tells its certificate to who has enrolled, and to nobody else."""
    issued = client.issue(wstep.csr(number=9))
    assert client.query(issued.request_id).certificate == issued.certificate
    with pytest.raises(Fault):
        client.query("999999999999")
    with pytest.raises(Fault) as fault:
        client.request(e.request(e.QUERY))
    assert fault.value.number == "GH1367"
    other = wstep.Client(client.url, "bob", "bobs")
    with pytest.raises(Fault):
        other.query(issued.request_id)


def test_again(client):
    """The same request gets the same certificate."""
    request = wstep.csr(number=10)
    assert client.issue(request).certificate == client.issue(request).certificate


def test_pending(make_server):
    templates = wstep.TEMPLATES + """
<CertificateProfile by-hand base=wstep-digital-signature>
    ProfileApproval manual
</CertificateProfile>
<CertificateTemplate Careful>
    TemplateProfile by-hand
    TemplateUsers   all
</CertificateTemplate>
"""
    server = make_server(wstep.content_with(templates=templates), **wstep.OPTIONS)
    client = wstep.client(server)
    careful = extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Careful".encode("utf-16-be")))
    pending = client.issue(wstep.csr(number=1, template=careful, usage=("digitalSignature",)))
    assert pending.certificate is None and pending.request_id.isdigit()
    assert pending.reference == f"https://localhost:{server.port}{wstep.WSTEP}"
    assert client.query(pending.request_id).certificate is None
    enrolment = server.ctl_ok("enrolment", "list", "--state", "waiting").objects[0]["id"]
    server.ctl_ok("enrolment", "approve", enrolment)
    certificate = wait_until(lambda: client.query(pending.request_id).certificate, 30)
    assert certificate.subject.rfc4514_string() == "CN=alice"


def test_certificates_only(make_server):
    server = make_server(wstep.content_with(wstep=["WSTEPResponse certificates"]),
                         **wstep.OPTIONS)
    issued = wstep.client(server).issue(wstep.csr())
    listed = pkcs7.load_der_pkcs7_certificates(issued.response)
    assert issued.certificate in listed and server.authority.certificate in listed

