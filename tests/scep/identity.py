# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Keys, and the certificates under which a client signs its messages."""

import datetime
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from . import der

ATTRIBUTES = {
    "CN": "2.5.4.3", "surname": "2.5.4.4", "serialNumber": "2.5.4.5", "C": "2.5.4.6",
    "L": "2.5.4.7", "S": "2.5.4.8", "O": "2.5.4.10", "OU": "2.5.4.11", "GN": "2.5.4.42",
    "UID": "0.9.2342.19200300.100.1.1", "DC": "0.9.2342.19200300.100.1.25",
    "E": "1.2.840.113549.1.9.1",
}


def name(pairs):
    """DER Name from "CN=a,O=b" or from (attribute, text) pairs, in the order as written."""
    if isinstance(pairs, bytes):
        return pairs
    if isinstance(pairs, str):
        pairs = [part.split("=", 1) for part in pairs.split(",") if part]
    rdns = []
    for attribute, text in pairs:
        kind = der.utf8
        if attribute in ("C", "serialNumber"):
            kind = der.printable
        elif attribute in ("DC", "E"):
            kind = der.ia5
        rdns.append(der.tlv(0x31, der.sequence(der.oid(ATTRIBUTES.get(attribute, attribute)),
                                               kind(text))))
    return der.sequence(*rdns)


def load_key(path, password=None):
    with open(path, "rb") as file:
        return serialization.load_pem_private_key(file.read(), password)


def make_key(kind):
    """"RSA-2048", "P-256", "Ed25519", ..."""
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curve = {"P-192": ec.SECP192R1, "P-256": ec.SECP256R1, "P-384": ec.SECP384R1,
             "P-521": ec.SECP521R1, "secp256k1": ec.SECP256K1}[kind]
    return ec.generate_private_key(curve())


def public_der(key):
    return key.public_key().public_bytes(serialization.Encoding.DER,
                                         serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def hash_of(digest):
    return {"md5": hashes.MD5, "sha1": hashes.SHA1, "sha224": hashes.SHA224,
            "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}[digest]()


def sign(key, data, digest):
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hash_of(digest))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, ec.ECDSA(hash_of(digest)))


def signature_algorithm(key, digest):
    """AlgorithmIdentifier of a signature as certificates and PKCS#10 requests name it."""
    if isinstance(key, rsa.RSAPrivateKey):
        return der.algorithm(der.RSA_SIGNATURES[digest])
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return der.algorithm(der.ED25519, None)
    return der.algorithm(der.ECDSA_SIGNATURES[digest], None)


class Identity:
    """A key with the certificate that a message is signed under."""

    def __init__(self, key, certificate):
        self.key = key
        self.certificate = certificate      # DER
        self.parsed = x509.load_der_x509_certificate(certificate)

    @classmethod
    def self_signed(cls, key, subject="CN=scep client", digest="sha256", days=1, start=None,
                    serial=None, public=None, extensions=()):
        """A throw-away certificate, as RFC 8894 2.3 has it; public puts another key into it.
        extensions: Extension elements, see csr.py"""
        now = start or (datetime.datetime.utcnow() - datetime.timedelta(minutes=5))
        end = now + datetime.timedelta(days=days)
        if serial is None:
            serial = int.from_bytes(os.urandom(8), "big") | (1 << 62)
        stamp = "%y%m%d%H%M%SZ"
        issuer = name(subject)
        signature = signature_algorithm(key, digest)
        tbs = der.sequence(
            der.explicit(0, der.integer(2)), der.integer(serial), signature, issuer,
            der.sequence(der.tlv(0x17, now.strftime(stamp).encode()),
                         der.tlv(0x17, end.strftime(stamp).encode())),
            issuer, public or public_der(key),
            der.explicit(3, der.sequence(*(e.der for e in extensions))) if extensions else b"")
        return cls(key, der.sequence(tbs, signature, der.bits(sign(key, tbs, digest))))

    @property
    def issuer_and_serial(self):
        return der.sequence(self.parsed.issuer.public_bytes(),
                            der.integer(self.parsed.serial_number))
