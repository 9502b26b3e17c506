# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Messages that are signed instead of showing a certificate by TLS: what is accepted, and signature
wrapping."""

import re
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from harness import wstep
from harness.config import location
from harness.pki import key
from harness.standard import device_key
from scep import der
from scep.csr import extension
from scep.identity import Identity
from wstep import Client, Fault
from wstep import envelope as e
from wstep.signature import DSIG, ENCRYPTION, EXCLUSIVE, MORE, SignedEnvelope
from wstep.signed import cmc, renewal, renewed_attribute

CERTIFICATE = "/wstep/certificate/services/acme/devices"
POLICIES = "/xcep/certificate/services/acme"
MACHINE = extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Machine".encode("utf-16-be")))
CURVE = """
<CertificateTemplate Curve>
    TemplateProfile     wstep-digital-signature
    TemplateSubject     supplied
    TemplateUsers       all
    TemplateKeyLength   256
</CertificateTemplate>
"""
FORM = ("GH1485", "GH1486", "GH1487")


def content(server):
    lines = ["SetHandler gatehouse-wstep", "WSTEPTenant acme devices"]
    return (wstep.content_with(templates=wstep.TEMPLATES + CURVE)(server)
            + location("/wstep/certificate", *lines, "WSTEPTemplates *", "WSTEPSignatures on")
            + location("/xcep/certificate", *lines, "WSTEPSignatures on"))


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content, **wstep.OPTIONS)


@pytest.fixture(scope="module")
def holder(server):
    return enrol(server, 1, "CN=holder")


def enrol(server, number, subject):
    issued = wstep.client(server).issue(wstep.csr(subject, number, template=MACHINE))
    return Identity(device_key(number), issued.certificate.public_bytes(Encoding.DER))


def request_of(identity, number=2):
    return wstep.csr(identity.parsed.subject.rfc4514_string(), number, template=MACHINE,
                     attributes=[renewed_attribute(identity.certificate)])


def body_of(identity, number=2):
    return e.request(e.ISSUE, renewal(request_of(identity, number), identity))


def message(identity, body=None, **options):
    return SignedEnvelope(e.RST, body or body_of(identity), identity, **options)


def client(server, path=CERTIFICATE):
    return Client(server.url(path))


def send(server, text, path=CERTIFICATE):
    return client(server, path).call(str(text))


def refused(server, text, *numbers, path=CERTIFICATE):
    with pytest.raises(Fault) as fault:
        send(server, text, path)
    assert fault.value.number in (numbers or FORM), fault.value
    return fault.value


# What is accepted


def test_renewal(server, holder):
    issued = Client.read(send(server, message(holder)))
    assert issued.certificate.subject == holder.parsed.subject


@pytest.mark.parametrize("cover", [("body", "timestamp"), ("timestamp", "to", "body"),
                                   ("action", "to", "timestamp", "token", "body")])
def test_covered(server, holder, cover):
    assert Client.read(send(server, message(holder, cover=cover))).certificate


@pytest.mark.parametrize("digest", ["sha384", "sha512"])
def test_digests(server, holder, digest):
    assert Client.read(send(server, message(holder, digest=digest))).certificate


def test_prefixes(server, holder):
    """Prefixes are free, and so is white space between headers."""
    text = str(message(holder, prefix="SOAP-ENV")).replace("</a:MessageID>", "</a:MessageID>\r\n ")
    assert Client.read(send(server, text)).certificate


def test_inclusive_namespaces(server, holder):
    transform = (f'<Transform Algorithm="{EXCLUSIVE}"><InclusiveNamespaces xmlns="{EXCLUSIVE}" '
                 'PrefixList=""/></Transform>')
    assert Client.read(send(server, message(holder, transform=transform))).certificate


def test_policies(server, holder):
    made = SignedEnvelope(e.GET_POLICIES, e.get_policies(), holder)
    root = send(server, made, POLICIES)
    assert b"Machine" in ElementTree.tostring(root)


# Who signs


def test_stranger(server):
    """The signature is right, and who has made it is nobody."""
    stranger = Identity.self_signed(device_key(3), "CN=holder")
    fault = refused(server, message(stranger), "GH1479")
    assert fault.hresult == 0x8007052E


def test_revoked(server):
    other = enrol(server, 4, "CN=revoked")
    server.ctl_ok("cert", "revoke", f"{other.parsed.serial_number:x}")
    refused(server, message(other), "GH1480")


def test_stolen_certificate(server, holder):
    """The certificate is ours, the key is not its own."""
    thief = Identity(device_key(3), holder.certificate)
    refused(server, SignedEnvelope(e.RST, body_of(holder), thief), "GH1487")


def test_signs_another_renewal(server, holder):
    """Who signs the message is who signs the request in it."""
    other = enrol(server, 5, "CN=other")
    refused(server, message(holder, body_of(other)), "GH1439")
    body = e.request(e.ISSUE, cmc(request_of(other), device_key(2), other))
    refused(server, message(holder, body), "GH1439")


def test_holder_without_name(server, holder):
    refused(server, message(holder, e.request(e.ISSUE, wstep.csr("CN=x", 2, template=MACHINE))),
            "GH1434")


def test_off(make_server):
    def off(server):
        return wstep.content_with()(server) + location(
            "/wstep/certificate", "SetHandler gatehouse-wstep", "WSTEPTenant acme devices",
            "WSTEPTemplates *")
    made = make_server(off, **wstep.OPTIONS)
    refused(made, message(enrol(made, 1, "CN=off")), "GH1488")


# Time


def test_time(server, holder):
    refused(server, message(holder, created=-1200), "GH1357")
    refused(server, message(holder, created=1200), "GH1357")


# Signature wrapping. Each takes a message that was signed, and has another request read.

WRAPPER = '<x:Wrapper xmlns:x="urn:x">{}</x:Wrapper>'


class Wrapping:
    def __init__(self, signed, evil):
        self.signed = signed
        self.body = signed.parts["body"]
        self.stamp = signed.parts["timestamp"]
        self.evil = evil
        self.text = str(signed)

    def evil_body(self, ids=""):
        return self.body.replace(self.signed.body, self.evil).replace(' u:Id="_1"', ids)

    def in_header(self):
        """1: the signed body below a header that nobody knows."""
        return self.text.replace(self.body, self.evil_body()).replace(
            "<o:Security ", WRAPPER.format(self.body) + "<o:Security ", 1)

    def same_id(self):
        """2: the same, and both bodies have the Id."""
        return self.text.replace(self.body, self.evil_body(' u:Id="_1"')).replace(
            "<o:Security ", WRAPPER.format(self.body) + "<o:Security ", 1)

    def in_security(self):
        """3: within the security header."""
        return self.text.replace(self.body, self.evil_body(' u:Id="_9"')).replace(
            "</o:Security>", self.body + "</o:Security>", 1)

    def in_object(self):
        """4: in an Object of the signature."""
        return self.text.replace(self.body, self.evil_body()).replace(
            "</Signature>", f"<Object>{self.body}</Object></Signature>", 1)

    def in_body(self):
        """5: beside the other request in the body that is read."""
        evil = self.evil_body().replace("</s:Body>", self.body + "</s:Body>")
        return self.text.replace(self.body, evil)

    def in_request(self):
        """6: within the other request."""
        evil = self.evil_body().replace("</RequestSecurityToken>",
                                        self.body + "</RequestSecurityToken>")
        return self.text.replace(self.body, evil)

    def whole_envelope(self):
        """7: the whole signed message within the header of another one."""
        security = self.signed.security
        inner = self.text.replace(security, "")
        return self.text.replace(self.body, self.evil_body()).replace(
            "<o:Security ", WRAPPER.format(inner) + "<o:Security ", 1)

    def second_signature(self):
        """8: another security header, for another role, with the signed parts."""
        role = self.signed.security.replace(
            "<o:Security ", '<o:Security s:role="urn:other" ', 1)
        plain = ('<o:Security s:mustUnderstand="1" xmlns:o="%s">%s</o:Security>'
                 % (e.WSSE, self.stamp.replace(' u:Id="_0"', "")))
        return self.text.replace(self.signed.security, role + plain).replace(
            self.body, self.evil_body() + self.body)

    def timestamp(self):
        """9: an old message with a new time."""
        fresh = self.stamp.replace('u:Id="_0"', 'u:Id="_8"')
        return self.text.replace(self.stamp, fresh + WRAPPER.format(self.stamp))

    def timestamp_in_header(self):
        """10: the same, with the signed time below a header."""
        fresh = self.stamp.replace('u:Id="_0"', 'u:Id="_8"')
        return self.text.replace(self.stamp, fresh).replace(
            "<o:Security ", WRAPPER.format(self.stamp) + "<o:Security ", 1)

    def plain_id(self):
        """11: the body that is read has the Id without a name space."""
        return self.text.replace(self.body, self.evil_body(' Id="_1"')).replace(
            "<o:Security ", WRAPPER.format(self.body) + "<o:Security ", 1)

    def xml_id(self):
        """12: or as xml:id, which libxml2 knows by itself."""
        return self.text.replace(self.body, self.evil_body(' xml:id="_1"')).replace(
            "<o:Security ", WRAPPER.format(self.body) + "<o:Security ", 1)

    def other_case(self):
        """13: or as ID in a name space of its own."""
        return self.text.replace(
            self.body, self.evil_body(' y:ID="_1" xmlns:y="urn:y"')).replace(
            "<o:Security ", WRAPPER.format(self.body) + "<o:Security ", 1)


@pytest.mark.parametrize("shape", [n for n in vars(Wrapping) if n[0] != "_" and n != "evil_body"])
def test_wrapping(server, holder, shape):
    evil = e.request(e.ISSUE, wstep.csr("CN=evil", 6, template=MACHINE))
    before = len(server.certificates())
    text = getattr(Wrapping(message(holder), evil), shape)()
    assert text != str(message(holder))
    # some are no envelope of SOAP with one header, one body and one element in it
    fault = refused(server, text, *FORM, "GH1350", "GH1353", "GH1360")
    assert fault.status == 500
    assert len(server.certificates()) == before


def test_duplicate_id(server, holder):
    """Of any two elements, whether they are signed or not."""
    text = str(message(holder)).replace("<a:MessageID>", '<a:MessageID u:Id="_0">')
    refused(server, text, "GH1486")
    text = str(message(holder)).replace(
        "<o:Security ", '<x:X xmlns:x="urn:x" u:Id="7"/><x:Y xmlns:x="urn:x" Id="7"/><o:Security ')
    refused(server, text, "GH1486")


# What was changed


@pytest.mark.parametrize("change", [
    ("CertificateTemplate", None), ("<u:Created>2", "<u:Created>1"),
    ("<TokenType>", "<TokenType><!-- -->"), ("Issue</RequestType>", "Issue </RequestType>"),
    ("<DigestValue>", "<DigestValue>AAAA"), ("<SignatureValue>", "<SignatureValue>AAAA"),
    ("<SignedInfo>", '<SignedInfo Id="x">')])
def test_changed(server, holder, change):
    old, new = change
    if new is None:
        old, new = "<RequestSecurityToken ", '<RequestSecurityToken Context="x" '
    text = str(message(holder)).replace(old, new, 1)
    if old == "<TokenType>":
        # a comment is not signed, and changes nothing that is read: text with one is refused
        with pytest.raises(Fault):
            send(server, text)
        return
    refused(server, text, "GH1487", "GH1357", "GH1356")


def test_prefix_means_another(server, holder):
    """A prefix that is declared anew changes what is signed."""
    text = str(message(holder)).replace(
        f'<RequestSecurityToken  xmlns="{e.TRUST}">',
        f'<RequestSecurityToken  xmlns="{e.TRUST}" xmlns:u="urn:x" u:y="1">', 1)
    assert "urn:x" in text
    refused(server, text, "GH1487")


# What is not covered, and forms that are not accepted


@pytest.mark.parametrize("cover", [(), ("body",), ("timestamp",), ("timestamp", "to", "action"),
                                   ("timestamp", "body", "body"), ("timestamp",) * 9 + ("body",)])
def test_not_covered(server, holder, cover):
    refused(server, message(holder, cover=cover), "GH1485")


def test_unsigned(server, holder):
    made = message(holder)
    refused(server, str(made).replace(made.signature, ""), "GH1484")
    refused(server, str(made).replace(made.parts["timestamp"], ""), "GH1485")
    refused(server, str(made).replace(made.parts["token"], ""), "GH1485")
    refused(server, str(made).replace(made.signature, made.signature * 2), "GH1360")


XPATH = ('<Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">'
         '<XPath>true()</XPath></Transform>')
XSLT = ('<Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"><x:stylesheet '
        'version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform"/></Transform>')


@pytest.mark.parametrize("transform", [
    "", XPATH, XSLT, f'<Transform Algorithm="{DSIG}enveloped-signature"/>',
    f'<Transform Algorithm="{DSIG}base64"/>', f'<Transform Algorithm="{EXCLUSIVE}WithComments"/>',
    '<Transform Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>',
    f'<Transform Algorithm="{EXCLUSIVE}"/>' + XPATH,
    f'<Transform Algorithm="{EXCLUSIVE}"/><Transform Algorithm="{EXCLUSIVE}"/>'])
def test_transforms(server, holder, transform):
    refused(server, message(holder, transform=transform), "GH1485")


@pytest.mark.parametrize("options", [
    {"digest": "sha1"}, {"digest_method": DSIG + "sha1"}, {"method": DSIG + "rsa-sha1"},
    {"method": DSIG + "hmac-sha1"}, {"method": MORE + "hmac-sha256"},
    {"method": DSIG + "dsa-sha1"}, {"method": MORE + "rsa-md5"}, {"method": "urn:x"},
    {"digest_method": ENCRYPTION + "ripemd160"},
    {"form": '<CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"'
             '/>'}])
def test_algorithms(server, holder, options):
    refused(server, message(holder, **options), "GH1485")


@pytest.mark.parametrize("uri", [
    "", "#", "#xpointer(/)", "#xpointer(id('_1'))", "http://127.0.0.1:1/x", "file:///etc/passwd",
    "cid:x", "#_1&#10;_0", "#nothing", "#_1')|id('_0"])
def test_references(server, holder, uri):
    made = message(holder)
    more = made.reference(uri, b"")
    refused(server, message(holder, references=more), "GH1485")
    # and in the place of the body's
    text = str(made).replace('URI="#_1"', f'URI="{uri}"')
    refused(server, text, "GH1485")


def key_infos(made):
    token = "".join(made.parts["token"].split(">")[1].split("<")[0])
    reference = re.search("<o:SecurityTokenReference>.*</o:SecurityTokenReference>",
                          made.usual_key_info).group()
    return {
        "none": "<KeyInfo/>",
        "x509": f"<KeyInfo><X509Data><X509Certificate>{token}</X509Certificate></X509Data></KeyInfo>",
        "value": "<KeyInfo><KeyValue><RSAKeyValue><Modulus>AQAB</Modulus><Exponent>AQAB</Exponent>"
                 "</RSAKeyValue></KeyValue></KeyInfo>",
        "name": "<KeyInfo><KeyName>holder</KeyName></KeyInfo>",
        "retrieval": '<KeyInfo><RetrievalMethod URI="http://127.0.0.1:1/"/></KeyInfo>',
        "both": f"<KeyInfo>{reference}<KeyName>x</KeyName></KeyInfo>",
        "two": f"<KeyInfo>{reference}{reference}</KeyInfo>",
        "body": made.usual_key_info.replace(made.token_id, "_1"),
        "external": made.usual_key_info.replace("#" + made.token_id, "http://127.0.0.1:1/"),
        "identifier": "<KeyInfo><o:SecurityTokenReference><o:KeyIdentifier>AAAA</o:KeyIdentifier>"
                      "</o:SecurityTokenReference></KeyInfo>"}


@pytest.mark.parametrize("kind", ["none", "x509", "value", "name", "retrieval", "both", "two",
                                  "body", "external", "identifier"])
def test_key_info(server, holder, kind):
    made = message(holder)
    text = str(made).replace(made.key_info, key_infos(made)[kind])
    assert text != str(made)
    refused(server, text, "GH1485")


def test_token_elsewhere(server, holder):
    """A certificate in the body, of the same Id or named by KeyInfo, is none of the signature."""
    made = message(holder)
    token = made.parts["token"].replace(
        "<o:BinarySecurityToken", f'<o:BinarySecurityToken xmlns:o="{e.WSSE}"')
    text = str(made).replace("<o:Security ", token + "<o:Security ", 1)
    refused(server, text, "GH1486")
    text = text.replace(made.parts["token"], "")
    refused(server, text, "GH1485")


def test_tokens(server, holder):
    """What is no certificate with a key that is accepted."""
    made = message(holder)
    token = made.parts["token"]
    for other in (token.replace("#X509v3", "#X509PKIPathv1"), re.sub(">[^<]+<", "><", token),
                  re.sub(">[^<]+<", ">AAAA<", token),
                  re.sub(">[^<]+<", ">" + "A" * 40000 + "<", token)):
        refused(server, str(made).replace(token, other), "GH1485")


def test_many(server, holder):
    """Nothing is left behind in a process."""
    for _ in range(5):
        assert send(server, message(holder)) is not None
        refused(server, str(message(holder)).replace("<DigestValue>", "<DigestValue>AAAA"),
                "GH1487")


def test_elliptic(server):
    """A key on a curve signs as well, and has its certificate renewed."""
    template = extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Curve".encode("utf-16-be")))

    def request(name, *attributes):
        return wstep.Csr(key(name), "CN=curve", extensions=[template, extension(
            "ku", "digitalSignature", critical=True)], attributes=list(attributes)).der

    issued = wstep.client(server).issue(request("p256-01"))
    old = Identity(key("p256-01"), issued.certificate.public_bytes(Encoding.DER))
    token = renewal(request("p384-01", renewed_attribute(old.certificate)), old)
    assert Client.read(send(server, message(old, e.request(e.ISSUE, token)))).certificate
