# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Servers with mod_wstep, and requests as Windows makes them."""

import base64
import hashlib

from scep import der
from scep.csr import MICROSOFT_EXTENSIONS, Csr, extension
from wstep import Client

from .config import CRL_AND_CA, issuer, location
from .standard import device_key

USER, PASSWORD = "alice", "pass & <word> \u00e4"
TEMPLATE_OID = "1.3.6.1.4.1.99999.1.100"
WSTEP = "/wstep/usertoken/services/acme/devices"
XCEP = "/xcep/usertoken/services/acme"

TEMPLATES = f"""
<CertificateTemplate User>
    TemplateOID         {TEMPLATE_OID}
    TemplateVersion     100.3
    TemplateDisplayName "A user"
    TemplateProfile     wstep-digital-signature digitalSignature
    TemplateProfile     wstep-key-encipherment keyEncipherment
    TemplateProfile     wstep-digital-signature-key-encipherment digitalSignature keyEncipherment
    TemplateSubject     cn
    TemplateUsers       all
    TemplateAutoEnroll  on
</CertificateTemplate>
<CertificateTemplate Machine>
    TemplateProfile     wstep-digital-signature-key-encipherment
    TemplateSubject     supplied
    TemplateMachine     on
    TemplateUsers       all
</CertificateTemplate>
<CertificateTemplate Bob>
    TemplateProfile     wstep-digital-signature
    TemplateUsers       bob
</CertificateTemplate>
"""


def password_file(server, users=None):
    """As htpasswd -s writes it."""
    path = server.root / "users"
    path.write_text("".join(
        f"{name}:{{SHA}}{base64.b64encode(hashlib.sha1(word.encode()).digest()).decode()}\n"
        for name, word in (users or {USER: PASSWORD, "bob": "bobs"}).items()))
    return path


def content_with(*lines, wstep=(), xcep=(), templates=TEMPLATES, ahead="WSTEPFailureLimit off\n"):
    """A server that is told that TLS has ended before it."""
    def content(server):
        users = f'AuthUserFile "{password_file(server)}"'
        return "".join([
            "ServerName https://localhost\n", f"WSTEPPublicURL https://localhost:{server.port}\n",
            ahead, *(line + "\n" for line in lines), templates, issuer(server.authority),
            location("/wstep/usertoken", "SetHandler gatehouse-wstep", "WSTEPTenant acme devices",
                     "WSTEPTemplates *", "WSTEPAuthProvider file", users, *wstep),
            location("/xcep/usertoken", "SetHandler gatehouse-wstep", "WSTEPTenant acme devices",
                     "WSTEPAuthProvider file", users, *xcep),
            CRL_AND_CA])
    return content


OPTIONS = {"own_modules": ("gatehouse", "wstep"), "modules": ("authn_file",)}


def client(server, path=WSTEP, user=USER, password=PASSWORD):
    return Client(server.url(path), user, password)


def template_extension(oid=TEMPLATE_OID, major=100, minor=3):
    return extension("1.3.6.1.4.1.311.21.7",
                     der.sequence(der.oid(oid), der.integer(major), der.integer(minor)))


def csr(subject="CN=", number=1, template=None, usage=("digitalSignature", "keyEncipherment"),
        extensions=(), **options):
    """A PKCS#10 request with a template, as certreq makes it."""
    return Csr(device_key(number), subject or "",
               extensions=[template or template_extension(), extension("ku", *usage, critical=True),
                           *extensions],
               extension_attribute=options.pop("extension_attribute", MICROSOFT_EXTENSIONS),
               **options).der
