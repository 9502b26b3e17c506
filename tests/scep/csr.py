# Licensed under the Apache License, Version 2.0. See LICENSE.
"""PKCS#10 requests (RFC 2986) with whatever one wants in them."""

import ipaddress
from dataclasses import dataclass, field

from asn1crypto import core

from . import der
from .identity import name, public_der, sign, signature_algorithm

EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"
MICROSOFT_EXTENSIONS = "1.3.6.1.4.1.311.2.1.14"

EKU = {
    "serverAuth": "1.3.6.1.5.5.7.3.1", "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3", "emailProtection": "1.3.6.1.5.5.7.3.4",
    "timeStamping": "1.3.6.1.5.5.7.3.8", "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    "anyExtendedKeyUsage": "2.5.29.37.0", "smartcardLogon": "1.3.6.1.4.1.311.20.2.2",
    "pkinitClient": "1.3.6.1.5.2.3.4", "pkinitKDC": "1.3.6.1.5.2.3.5",
    "certificateRequestAgent": "1.3.6.1.4.1.311.20.2.1",
}

KEY_USAGE = ["digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment",
             "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"]

UPN = "1.3.6.1.4.1.311.20.2.3"
SID_EXTENSION = "1.3.6.1.4.1.311.25.2"
APPLICATION_POLICIES = "1.3.6.1.4.1.311.21.10"


@dataclass
class Extension:
    oid: str
    value: bytes
    critical: bool = False

    @property
    def der(self):
        critical = der.boolean(True) if self.critical else b""
        return der.sequence(der.oid(self.oid), critical, der.octets(self.value))


def general_name(text):
    """"DNS:a", "email:a@b", "IP:1.2.3.4", "URI:x", "UPN:u@x", "RID:1.2", "dirName:CN=a", or DER."""
    if isinstance(text, bytes):
        return text
    kind, value = text.split(":", 1)
    if kind == "UPN":
        return other_name(UPN, der.utf8(value))
    if kind == "IP":
        return der.tlv(0x87, ipaddress.ip_address(value).packed)
    if kind == "RID":
        return der.tlv(0x88, core.ObjectIdentifier(value).contents)
    if kind == "dirName":
        return der.explicit(4, name(value))
    return der.tlv({"email": 0x81, "DNS": 0x82, "URI": 0x86}[kind], value.encode())


def other_name(dotted, value):
    return der.tlv(0xa0, der.oid(dotted) + der.explicit(0, value))


def extension(kind, *values, critical=False):
    """"san", "eku", "ku", "basicConstraints" (ca[, pathlen]), "policies", "applicationPolicies",
    "sid", or a dotted OID with its DER value."""
    if kind == "san":
        return Extension("2.5.29.17", der.sequence(*map(general_name, values)), critical)
    if kind == "eku":
        return Extension("2.5.29.37",
                         der.sequence(*(der.oid(EKU.get(v, v)) for v in values)), critical)
    if kind == "ku":
        return Extension("2.5.29.15", core.BitString(
            tuple(1 if bit in values else 0 for bit in KEY_USAGE[:max(
                [KEY_USAGE.index(v) for v in values], default=-1) + 1])).dump(), critical)
    if kind == "basicConstraints":
        flags = der.boolean(True) if values and values[0] else b""
        length = der.integer(values[1]) if len(values) > 1 else b""
        return Extension("2.5.29.19", der.sequence(flags, length), critical)
    if kind == "policies":
        return Extension("2.5.29.32", der.sequence(*(der.sequence(der.oid(v)) for v in values)),
                         critical)
    if kind == "applicationPolicies":
        return Extension(APPLICATION_POLICIES, der.sequence(
            *(der.sequence(der.oid(EKU.get(v, v))) for v in values)), critical)
    if kind == "sid":
        value = der.sequence(other_name("1.3.6.1.4.1.311.25.2.1", der.octets(values[0].encode())))
        return Extension(SID_EXTENSION, value, critical)
    return Extension(kind, values[0], critical)


@dataclass
class Csr:
    key: object
    subject: object = "CN=device"
    challenge: object = None            # text, DER of a string, or a list of them
    extensions: list = field(default_factory=list)
    attributes: list = field(default_factory=list)      # DER of further attributes
    digest: str = "sha256"
    extension_attribute: str = EXTENSION_REQUEST
    bad_signature: bool = False
    public: bytes = None                # another SubjectPublicKeyInfo than the key's
    version: int = 0

    @property
    def info(self):
        attributes = list(self.attributes)
        challenges = self.challenge if isinstance(self.challenge, list) else [self.challenge]
        for challenge in challenges:
            if challenge is None:
                continue
            if isinstance(challenge, str):
                challenge = der.utf8(challenge)
            attributes.append(der.sequence(der.oid(CHALLENGE_PASSWORD), der.set_of(challenge)))
        if self.extensions:
            attributes.append(der.sequence(
                der.oid(self.extension_attribute),
                der.set_of(der.sequence(*(e.der for e in self.extensions)))))
        return der.sequence(der.integer(self.version), name(self.subject),
                            self.public or public_der(self.key),
                            der.implicit(0, der.set_of(*attributes)))

    @property
    def der(self):
        info = self.info
        signature = bytearray(sign(self.key, info, self.digest))
        if self.bad_signature:
            signature[-1] ^= 1
        return der.sequence(info, signature_algorithm(self.key, self.digest),
                            der.bits(bytes(signature)))
