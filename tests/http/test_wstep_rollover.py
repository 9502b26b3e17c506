# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A CA that hands over to another one: Windows is told of the new one, renews, and nothing is lost."""

import base64
import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness import wstep
from harness.config import issuer
from harness.pki import Authority
from harness.server import wait_until
from harness.standard import device_key
from scep import Identity, der
from scep.csr import extension
from wstep import signed
from wstep.client import NAMES

TEMPLATES = wstep.TEMPLATES + """
<CertificateProfile by-hand base=wstep-digital-signature>
    ProfileApproval manual
</CertificateProfile>
<CertificateTemplate Careful>
    TemplateProfile by-hand
    TemplateUsers   all
</CertificateTemplate>
"""
LIFE = 8


def content_with(when):
    def content(server):
        server.successor = Authority(server.root / "ca", "successor", "rsa3072-01",
                                     root_key="p384-01")
        first = issuer(server.authority)
        text = wstep.content_with(templates=TEMPLATES)(server)
        return text.replace(first, first.replace(
            "</Issuer>", f"    IssuerNext successor from={when:%Y-%m-%dT%H:%M:%SZ}\n</Issuer>")
            + issuer(server.successor))
    return content


def told(server):
    """Certificates of the CAs that policies tell of."""
    policies = wstep.client(server, wstep.XCEP).policies()
    return [x509.load_der_x509_certificate(base64.b64decode(
        ca.findtext("x:certificate", None, NAMES))).subject for ca in policies.cas.values()]


def named(template):
    return extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, template.encode("utf-16-be")))


def test_takes_over(make_server):
    when = datetime.datetime.utcnow() + datetime.timedelta(seconds=LIFE)
    server = make_server(content_with(when), **wstep.OPTIONS)
    client = wstep.client(server)
    former, new = server.authority.certificate.subject, server.successor.certificate.subject
    pending = client.issue(wstep.csr(number=1, template=named("Careful"),
                                     usage=("digitalSignature",)))
    old = client.issue(wstep.csr(number=2)).certificate
    assert old.issuer == former and told(server) == [former]
    wait_until(lambda: datetime.datetime.utcnow() > when + datetime.timedelta(seconds=1),
               LIFE + 10)

    assert told(server) == [new]
    issued = client.issue(wstep.csr(number=3))
    assert issued.certificate.issuer == new
    # what was asked for before is found, and comes from where it was asked for
    enrolment = server.ctl_ok("enrolment", "list", "--state", "waiting").objects[0]["id"]
    server.ctl_ok("enrolment", "approve", enrolment)
    certificate = wait_until(lambda: client.query(pending.request_id).certificate, 30)
    assert certificate.issuer == former
    renewed = client.issue(signed.renewal(wstep.csr(number=4), Identity(
        device_key(2), old.public_bytes(Encoding.DER))))
    assert renewed.certificate.issuer == new
    assert renewed.certificate.subject == old.subject
