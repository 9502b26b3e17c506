# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A root and an issuing CA made from prebuilt keys, and checks of what they issue."""

import datetime
import functools
import os
import pathlib
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from scep import load_key

from .environment import KEYS

PEM = serialization.Encoding.PEM


@functools.lru_cache(None)
def key(name):
    """A key of the pool: "rsa2048-01", "p256-01", ..."""
    return load_key(KEYS / f"{name}.pem")


def write_secret(path, data):
    """A file for the eyes of its owner only."""
    path = pathlib.Path(path)
    if isinstance(data, str):
        data = data.encode()
    if path.exists():
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path


def certificate(subject, subject_key, issuer, issuer_key, days, pathlen=None, ca=True, start=None,
                crl_sign=True, extensions=()):
    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = start or (datetime.datetime.utcnow() - datetime.timedelta(hours=1))
    public = subject_key.public_key()
    builder = (x509.CertificateBuilder()
               .subject_name(name(subject)).issuer_name(name(issuer)).public_key(public)
               .serial_number(x509.random_serial_number())
               .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=days))
               .add_extension(x509.BasicConstraints(ca, pathlen if ca else None), True)
               .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca,
                                            ca and crl_sign, False, False), True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False))
    if subject != issuer:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
            issuer_key.public_key()), False)
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """Files of a two-tier CA: <name>-root.pem, <name>.pem, <name>.key."""

    def __init__(self, directory, name="devices", key_name="rsa2048-11", root_key="p256-01",
                 days=1000, passphrase=None, start=None):
        self.directory = pathlib.Path(directory)
        self.name = name
        self.key_source = key(key_name)
        root = key(root_key)
        self.root = certificate("Test Root", root, "Test Root", root, 7300)
        self.certificate = certificate(f"Test {name} CA", self.key_source, "Test Root", root, days,
                                       pathlen=0, start=start)
        self.root_path = self._public(f"{name}-root.pem", self.root)
        self.certificate_path = self._public(f"{name}.pem", self.certificate)
        encryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase.encode())
        self.key_path = write_secret(self.directory / f"{name}.key", self.key_source.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, encryption))

    def _public(self, name, value):
        path = self.directory / name
        path.write_bytes(value.public_bytes(PEM))
        return path


def verify_chain(leaf_der, authority, *options, crl=None):
    """What "openssl verify" says of a certificate: (exit status, output)."""
    with_crl = []
    leaf = authority.directory / f"verify-{os.urandom(4).hex()}.pem"
    leaf.write_bytes(x509.load_der_x509_certificate(leaf_der).public_bytes(PEM))
    try:
        if crl is not None:
            crl_path = leaf.with_suffix(".crl")
            crl_path.write_bytes(crl)
            with_crl = ["-crl_check", "-CRLfile", str(crl_path)]
        result = subprocess.run(
            ["openssl", "verify", "-x509_strict", *with_crl, *options, "-CAfile",
             str(authority.root_path), "-untrusted", str(authority.certificate_path), str(leaf)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return result.returncode, result.stdout
    finally:
        leaf.unlink()
        if crl is not None:
            crl_path.unlink()
