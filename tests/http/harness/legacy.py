# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What a CA issued and revoked before Gatehouse had it."""

import datetime
import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from . import pki

DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM
REVOKED_AT = datetime.datetime(2024, 5, 6, 7, 8, 9)


@functools.lru_cache(None)
def public_key(name):
    return pki.key(name).public_key()


def leaf(authority, serial, subject="imported", days=30, key="rsa2048-02", signer=None):
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(authority.certificate.subject).public_key(public_key(key))
            .serial_number(serial).not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("old.example")]), False)
            .sign(signer or authority.key_source, hashes.SHA256()))


def pem(*certificates):
    return "".join(one.public_bytes(PEM).decode() for one in certificates)


def revoked(serial, reason=None, invalid=None):
    """An entry of a CRL."""
    builder = (x509.RevokedCertificateBuilder().serial_number(serial)
               .revocation_date(REVOKED_AT))
    if reason:
        builder = builder.add_extension(x509.CRLReason(reason), False)
    if invalid:
        builder = builder.add_extension(x509.InvalidityDate(invalid), False)
    return builder.build()


def crl_of(authority, number, *entries, key=None, days=5, more=()):
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateRevocationListBuilder()
               .issuer_name(authority.certificate.subject)
               .last_update(now - datetime.timedelta(days=9))
               .next_update(now + datetime.timedelta(days=days)))
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), False)
    for extension in more:
        builder = builder.add_extension(extension, True)
    for entry in entries:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key or authority.key_source, hashes.SHA256())
