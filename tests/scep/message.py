# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Requests: pkiMessage (RFC 8894 3.1, 3.2) around pkcsPKIEnvelope, in CMS (RFC 5652)."""

import datetime
import os
import subprocess
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import Hash

from . import der
from .identity import hash_of, name, sign

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
ENVELOPED_DATA = "1.2.840.113549.1.7.3"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
SCEP = "2.16.840.1.113733.1.9."

CERTREP, RENEWALREQ, UPDATEREQ, PKCSREQ = "3", "17", "18", "19"
CERTPOLL, GETCERT, GETCRL = "20", "21", "22"

# name: (OID, key length, block length)
CIPHERS = {
    "aes128": ("2.16.840.1.101.3.4.1.2", 16, 16),
    "aes192": ("2.16.840.1.101.3.4.1.22", 24, 16),
    "aes256": ("2.16.840.1.101.3.4.1.42", 32, 16),
    "3des": ("1.2.840.113549.3.7", 24, 8),
    "des": ("1.3.14.3.2.7", 8, 8),
    "rc2": ("1.2.840.113549.3.2", 16, 8),
}

MGF1 = "1.2.840.113549.1.1.8"


def pad(data, block):
    count = block - len(data) % block
    return data + bytes([count]) * count


def encrypt(cipher, key, iv, padded):
    if cipher == "rc2":
        return subprocess.run(
            ["openssl", "enc", "-e", "-rc2-cbc", "-provider", "legacy", "-provider", "default",
             "-nopad", "-K", key.hex(), "-iv", iv.hex()],
            input=padded, stdout=subprocess.PIPE, check=True).stdout
    algorithm = algorithms.AES if cipher.startswith("aes") else algorithms.TripleDES
    encryptor = Cipher(algorithm(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def decrypt(cipher, key, iv, data):
    algorithm = algorithms.AES if cipher.startswith("aes") else algorithms.TripleDES
    decryptor = Cipher(algorithm(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(data) + decryptor.finalize()
    if not padded or not 1 <= padded[-1] <= CIPHERS[cipher][2] \
            or padded[-padded[-1]:] != bytes([padded[-1]]) * padded[-1]:
        raise ValueError("padding of the content is wrong")
    return padded[:-padded[-1]]


@dataclass
class Recipient:
    """Whom a request is encrypted to, and how its key travels."""

    certificate: bytes
    transport: str = "pkcs1"            # or "oaep"
    oaep_digest: str = "sha1"
    oaep_mgf_digest: str = None         # as oaep_digest
    oaep_parameters: bool = True        # False: the AlgorithmIdentifier has none
    identifier: str = "issuer"          # or "ski"
    wrong_serial: bool = False

    def info(self, key):
        certificate = x509.load_der_x509_certificate(self.certificate)
        public = certificate.public_key()
        if self.transport == "oaep":
            digest, mask = self.oaep_digest, self.oaep_mgf_digest or self.oaep_digest
            wrapped = public.encrypt(key, padding.OAEP(padding.MGF1(hash_of(mask)),
                                                       hash_of(digest), None))
            parameters = der.sequence(
                der.explicit(0, der.algorithm(der.DIGESTS[digest])),
                der.explicit(1, der.algorithm(MGF1, der.algorithm(der.DIGESTS[mask]))))
            if digest == mask == "sha1":
                parameters = der.sequence()
            algorithm = der.algorithm(der.RSAES_OAEP,
                                      parameters if self.oaep_parameters else None)
        else:
            wrapped = public.encrypt(key, padding.PKCS1v15())
            algorithm = der.algorithm(der.RSA_ENCRYPTION)
        if self.identifier == "ski":
            ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
            version, rid = 2, der.implicit(0, der.octets(ski.value.digest))
        else:
            version, rid = 0, der.sequence(
                certificate.issuer.public_bytes(),
                der.integer(certificate.serial_number + (1 if self.wrong_serial else 0)))
        return version, der.sequence(der.integer(version), rid, algorithm, der.octets(wrapped))


def enveloped(content, recipients, cipher="aes128", wrong_key=False, bad_padding=False,
              cipher_oid=None):
    """EnvelopedData for a Recipient or several."""
    if isinstance(recipients, Recipient):
        recipients = [recipients]
    oid, key_length, block = CIPHERS[cipher]
    key, iv = os.urandom(key_length), os.urandom(block)
    padded = pad(content, block)
    if bad_padding:
        padded = padded[:-1] + b"\x00"
    data = encrypt(cipher, key, iv, padded)
    if wrong_key:
        key = os.urandom(key_length)
    infos = [recipient.info(key) for recipient in recipients]
    parameters = der.octets(iv)
    if cipher == "rc2":
        parameters = der.sequence(der.integer(58), der.octets(iv))
    return der.sequence(
        der.integer(max([version for version, _ in infos], default=0)),
        der.set_of(*(info for _, info in infos)),
        der.sequence(der.oid(DATA), der.algorithm(cipher_oid or oid, parameters),
                     der.tlv(0x80, data)))


def content_info(oid, content):
    return der.sequence(der.oid(oid), der.explicit(0, content))


def issuer_and_serial(issuer, serial):
    """Content of GetCert and GetCRL (RFC 8894 3.3.4)."""
    return der.sequence(name(issuer), der.integer(serial))


def issuer_and_subject(issuer, subject):
    """Content of CertPoll (RFC 8894 3.3.3)."""
    return der.sequence(name(issuer), name(subject))


def issuer_and_serial(issuer, serial):
    """Content of GetCert and GetCRL (RFC 8894 3.3.4)."""
    return der.sequence(name(issuer), der.integer(serial))


@dataclass
class PkiMessage:
    """A request. Everything has a proper default; every member may be made wrong."""

    content: bytes                      # PKCS#10, IssuerAndSubject, ...; None: no envelope at all
    identity: object
    recipient: object
    password: str = None                # what the reply is encrypted with, if it is no key
    message_type: object = PKCSREQ      # text, DER, or None
    transaction: object = None          # text or DER
    sender_nonce: object = None
    recipient_nonce: bytes = None
    cipher: str = "aes128"
    digest: str = "sha256"
    signature_oid: str = None           # rsaEncryption
    omit: set = field(default_factory=set)          # names of attributes
    duplicate: set = field(default_factory=set)     # attributes that are there twice
    double_value: set = field(default_factory=set)  # attributes with two values
    attributes: dict = field(default_factory=dict)  # OID: DER of a value, added
    extra_signers: list = field(default_factory=list)
    certificates: list = None           # DER; default: those of the signers
    envelope: bytes = None              # ready-made ContentInfo
    envelope_options: dict = field(default_factory=dict)
    bad_signature: bool = False
    signing_time: bool = True
    no_signed_attributes: bool = False
    digest_algorithms: list = None      # DER of those that SignedData lists; default: the signer's

    def __post_init__(self):
        if self.transaction is None:
            self.transaction = os.urandom(16).hex()
        if self.sender_nonce is None:
            self.sender_nonce = os.urandom(16)
        self._der = None

    @property
    def der(self):
        if self._der is None:
            self._der = self._build()
        return self._der

    def _attribute(self, label, oid, value):
        if label in self.omit:
            return []
        values = [value]
        if label in self.double_value:
            values.append(der.octets(b"another") if value[0] == 4 else der.printable("20"))
        attribute = der.sequence(der.oid(oid), der.set_of(*values))
        return [attribute] * (2 if label in self.duplicate else 1)

    def signed_attributes(self, message_digest):
        def text(value):
            return value if isinstance(value, bytes) else der.printable(value)

        now = datetime.datetime.utcnow().strftime("%y%m%d%H%M%SZ").encode()
        parts = self._attribute("contentType", CONTENT_TYPE, der.oid(DATA))
        parts += self._attribute("messageDigest", MESSAGE_DIGEST, der.octets(message_digest))
        if self.signing_time:
            parts += self._attribute("signingTime", SIGNING_TIME, der.tlv(0x17, now))
        if self.message_type is not None:
            parts += self._attribute("messageType", SCEP + "2", text(self.message_type))
        parts += self._attribute("transactionID", SCEP + "7", text(self.transaction))
        parts += self._attribute("senderNonce", SCEP + "5", der.octets(self.sender_nonce))
        if self.recipient_nonce is not None:
            parts += self._attribute("recipientNonce", SCEP + "6",
                                     der.octets(self.recipient_nonce))
        for oid, value in self.attributes.items():
            parts += self._attribute(oid, oid, value)
        return der.set_of(*parts)

    def _signer_info(self, identity, encapsulated):
        digest = digest_of(self.digest, encapsulated)
        attributes = self.signed_attributes(digest)
        signed = encapsulated if self.no_signed_attributes else attributes
        signature = bytearray(sign(identity.key, signed, self.digest))
        if self.bad_signature:
            signature[-1] ^= 1
        if self.signature_oid:
            algorithm = der.algorithm(self.signature_oid)
        elif hasattr(identity.key, "curve"):
            algorithm = der.algorithm(der.ECDSA_SIGNATURES[self.digest], None)
        else:
            algorithm = der.algorithm(der.RSA_ENCRYPTION)
        return der.sequence(
            der.integer(1), identity.issuer_and_serial, der.algorithm(der.DIGESTS[self.digest]),
            b"" if self.no_signed_attributes else der.implicit(0, attributes), algorithm,
            der.octets(bytes(signature)))

    def _build(self):
        encapsulated = self.envelope
        if encapsulated is None and self.content is not None:
            encapsulated = content_info(ENVELOPED_DATA, enveloped(
                self.content, self.recipient, self.cipher, **self.envelope_options))
        signers = ([self.identity] if self.identity else []) + self.extra_signers
        certificates = self.certificates
        if certificates is None:
            certificates = [signer.certificate for signer in signers]
        listed = self.digest_algorithms
        if listed is None:
            listed = [der.algorithm(der.DIGESTS[self.digest])]
        body = b"" if encapsulated is None else der.explicit(0, der.octets(encapsulated))
        signed_data = der.sequence(
            der.integer(1), der.set_of(*listed),
            der.sequence(der.oid(DATA), body),
            der.implicit(0, der.set_of(*certificates)) if certificates else b"",
            der.set_of(*(self._signer_info(signer, encapsulated or b"") for signer in signers)))
        return content_info(SIGNED_DATA, signed_data)


def digest_of(digest, data):
    context = Hash(hash_of(digest))
    context.update(data)
    return context.finalize()
