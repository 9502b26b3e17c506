# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Credentials for S/MIME as providers upload them, skeletons and devices."""

import base64
import datetime
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (BestAvailableEncryption, Encoding,
                                                          NoEncryption, pkcs12)
from cryptography.x509.oid import NameOID

from .pki import key


def base64_of(data):
    return base64.b64encode(data).decode()


def key_usage(**usages):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: usages.get(name, False) for name in names})


SIGNING = {"digital_signature": True, "content_commitment": True}
ENCRYPTION = {"key_encipherment": True}


def smime_certificate(mail, key_name, usages, days=30, start=None):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mail.split("@")[0])])
    begin = start or datetime.datetime.utcnow() - datetime.timedelta(hours=1)
    return (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key(key_name).public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mail)]), False)
            .add_extension(key_usage(**usages), True).sign(key(key_name), hashes.SHA256()))


class Credential:
    """A certificate with its key, and its PKCS#12."""

    def __init__(self, usages, key_name, mail="ann@example.com", password=None, **options):
        self.certificate = smime_certificate(mail, key_name, usages, **options)
        self.key_name = key_name
        self.password = password
        self.sha256 = self.certificate.fingerprint(hashes.SHA256()).hex()
        protection = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        self.pkcs12 = pkcs12.serialize_key_and_certificates(
            b"smime", key(key_name), self.certificate, None, protection)

    def element(self):
        if self.password is None:
            return base64_of(self.pkcs12)
        return {"pkcs12": base64_of(self.pkcs12), "password": self.password}


def signing(key_name="rsa2048-01", **options):
    return Credential(SIGNING, key_name, **options)


def encryption(key_name="rsa2048-02", **options):
    return Credential(ENCRYPTION, key_name, **options)


def new_pair():
    return {"device_uuid": str(uuid.uuid4()), "user_uuid": str(uuid.uuid4())}


def upload_of(pair, **uses):
    return {**pair, "smime_certificates": {use: [one.element() if isinstance(one, Credential)
                                                 else one for one in credentials]
                                           for use, credentials in uses.items()}}


def query_of(pair):
    return "?" + "&".join(f"{name}={value}" for name, value in pair.items())


class Device:
    """A device with a certificate of a CA of devices; issuer NULL: self-signed."""

    def __init__(self, device_uuid, issuer=None, key_name="rsa2048-03", name=None):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or device_uuid)])
        begin = datetime.datetime.utcnow() - datetime.timedelta(hours=1)
        self.key_name = key_name
        self.certificate = (x509.CertificateBuilder().subject_name(subject)
                            .issuer_name(issuer.certificate.subject if issuer else subject)
                            .public_key(key(key_name).public_key())
                            .serial_number(x509.random_serial_number())
                            .not_valid_before(begin)
                            .not_valid_after(begin + datetime.timedelta(days=30))
                            .add_extension(x509.BasicConstraints(False, None), True)
                            .add_extension(key_usage(digital_signature=True,
                                                     key_encipherment=True), True)
                            .sign(key(issuer.key_name if issuer else key_name), hashes.SHA256()))
        self.der = self.certificate.public_bytes(Encoding.DER)


def skeleton_of(pair, device, text="{{escrow.signing[0].thumbprint}}", **more):
    return {"profile_uuid": str(uuid.uuid4()), **pair, "format": "text",
            "skeleton": base64_of(text.encode()),
            "recipient_certificate": base64_of(device.der), **more}
