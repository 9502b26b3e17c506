# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Messages with a WS-Security signature by X.509, as Windows signs them; everything can be otherwise."""

import base64
import uuid
from xml.etree import ElementTree

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from scep.identity import sign
from scep.message import digest_of

from .envelope import SOAP, ADDRESSING, WSSE, WSU, X509V3, XSI, Envelope, moment

DSIG = "http://www.w3.org/2000/09/xmldsig#"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
ENCRYPTION = "http://www.w3.org/2001/04/xmlenc#"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
BASE64 = WSSE.replace("wssecurity-secext", "soap-message-security") + "#Base64Binary"

DIGESTS = {"sha1": DSIG + "sha1", "sha256": ENCRYPTION + "sha256", "sha384": MORE + "sha384",
           "sha512": ENCRYPTION + "sha512"}


def canonical(fragment, prefix="s"):
    """Exclusive canonicalisation of a fragment that stands below the envelope. What ElementTree makes
    (C14N 2.0 without options) is the same where no name space has two prefixes."""
    names = {prefix: SOAP, "a": ADDRESSING, "u": WSU, "o": WSSE}
    declared = " ".join(f'xmlns:{name}="{uri}"' for name, uri in names.items())
    text = ElementTree.canonicalize(f"<w {declared}>{fragment}</w>")
    return text[3:-4].encode()


def method_of(key, digest):
    if digest == "sha1":
        return DSIG + "rsa-sha1"
    return MORE + ("ecdsa-" if hasattr(key, "curve") else "rsa-") + digest


def raw_signature(key, data, digest):
    """XML has r and s side by side where certificates have a sequence."""
    made = sign(key, data, digest)
    if not hasattr(key, "curve"):
        return made
    size = (key.curve.key_size + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(made))


class SignedEnvelope(Envelope):
    """identity signs. cover: what is signed, of "body", "timestamp", "to", "action", "token"."""

    def __init__(self, action, body, identity, cover=("timestamp", "body"), digest="sha256",
                 method=None, digest_method=None, transform=f'<Transform Algorithm="{EXCLUSIVE}"/>',
                 form=f'<CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>', key_info=None,
                 references="", **options):
        # one prefix for one name space, for canonical()
        body = body.replace(f'a:Id="" xmlns:a="{WSU}"', 'u:Id=""')
        super().__init__(action, body, **options)
        self.identity = identity
        self.cover = cover
        self.digest = digest
        self.method = method or method_of(identity.key, digest)
        self.digest_method = digest_method or DIGESTS[digest]
        self.transform = transform
        self.form = form
        self.references = references
        self.token_id = f"uuid-{uuid.uuid4()}-1"
        self.key_info = key_info or self.usual_key_info
        p = self.prefix
        self.parts = {
            "timestamp": f'<u:Timestamp u:Id="_0"><u:Created>{moment(self.created)}</u:Created>'
                         f'<u:Expires>{moment(self.created + self.lifetime)}</u:Expires>'
                         '</u:Timestamp>',
            "body": f'<{p}:Body u:Id="_1" xmlns:xsi="{XSI}" '
                    f'xmlns:xsd="http://www.w3.org/2001/XMLSchema">{body}</{p}:Body>',
            "action": f'<a:Action {p}:mustUnderstand="1" u:Id="_2">{action}</a:Action>',
            "to": f'<a:To {p}:mustUnderstand="1" u:Id="_3">{self.to}</a:To>',
            "token": f'<o:BinarySecurityToken u:Id="{self.token_id}" ValueType="{X509V3}" '
                     f'EncodingType="{BASE64}">'
                     f'{base64.b64encode(identity.certificate).decode()}</o:BinarySecurityToken>'}
        self.ids = {"timestamp": "_0", "body": "_1", "action": "_2", "to": "_3",
                    "token": self.token_id}
        self.signature = self.sign()

    @property
    def usual_key_info(self):
        return (f'<KeyInfo><o:SecurityTokenReference><o:Reference ValueType="{X509V3}" '
                f'URI="#{self.token_id}"/></o:SecurityTokenReference></KeyInfo>')

    def reference(self, uri, data):
        value = base64.b64encode(digest_of(self.digest, data)).decode()
        return (f'<Reference URI="{uri}"><Transforms>{self.transform}</Transforms>'
                f'<DigestMethod Algorithm="{self.digest_method}"/>'
                f'<DigestValue>{value}</DigestValue></Reference>')

    def sign(self):
        references = "".join(
            self.reference("#" + self.ids[name], canonical(self.parts[name], self.prefix))
            for name in self.cover)
        info = (f'<SignedInfo>{self.form}<SignatureMethod Algorithm="{self.method}"/>'
                f'{references}{self.references}</SignedInfo>')
        signed = canonical(info.replace("<SignedInfo>", f'<SignedInfo xmlns="{DSIG}">', 1))
        value = base64.b64encode(raw_signature(self.identity.key, signed, self.digest)).decode()
        return (f'<Signature xmlns="{DSIG}">{info}<SignatureValue>{value}</SignatureValue>'
                f'{self.key_info}</Signature>')

    @property
    def security(self):
        return (f'<o:Security {self.prefix}:mustUnderstand="1" xmlns:o="{WSSE}">'
                f'{self.parts["timestamp"]}{self.parts["token"]}{self.signature}</o:Security>')

    def __str__(self):
        p = self.prefix
        return (
            f'<{p}:Envelope xmlns:{p}="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:u="{WSU}">'
            f'<{p}:Header>{self.parts["action"]}<a:MessageID>{self.message_id}</a:MessageID>'
            f'<a:ReplyTo><a:Address>{ADDRESSING}/anonymous</a:Address></a:ReplyTo>'
            f'{self.parts["to"]}{self.headers}{self.security}</{p}:Header>'
            f'{self.parts["body"]}</{p}:Envelope>')
