# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Replies: CertRep (RFC 8894 3.3.2), checked in full."""

import subprocess
import tempfile

from asn1crypto import cms, core, parser
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding

from . import der
from .identity import hash_of
from .message import CIPHERS, DATA, ENVELOPED_DATA, GETCRL, SCEP, SIGNED_DATA, decrypt, digest_of

SUCCESS, FAILURE, PENDING = "0", "2", "3"
BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_TIME, BAD_CERT_ID = "0", "1", "2", "3", "4"
FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"

SINGLE = {
    "message_type": (SCEP + "2", core.PrintableString),
    "status": (SCEP + "3", core.PrintableString),
    "fail_info": (SCEP + "4", core.PrintableString),
    "sender_nonce": (SCEP + "5", core.OctetString),
    "recipient_nonce": (SCEP + "6", core.OctetString),
    "transaction": (SCEP + "7", core.PrintableString),
    "fail_text": (FAIL_INFO_TEXT, core.UTF8String),
}


class ProtocolError(Exception):
    """The other side broke a rule of the protocol."""


def need(condition, text):
    if not condition:
        raise ProtocolError(text)


def children(content):
    """(first byte, whole element, content) of each element."""
    found, at = [], 0
    while at < len(content):
        _, _, _, header, inner, trailer = parser.parse(content[at:])
        length = len(header) + len(inner) + len(trailer)
        found.append((content[at], content[at:at + length], inner))
        at += length
    return found


def certificates_of(signed_data):
    found = signed_data["certificates"]
    return [choice.chosen.dump() for choice in found] if found else []


def certs_only(content):
    """Certificates of a degenerate SignedData, in the order in which they are sent."""
    info = cms.ContentInfo.load(content, strict=True)
    need(info["content_type"].dotted == SIGNED_DATA, "certs-only is not SignedData")
    signed = info["content"]
    need(len(signed["signer_infos"]) == 0, "certs-only has signers")
    need(len(signed["digest_algorithms"]) == 0, "certs-only has digest algorithms")
    need(signed["encap_content_info"]["content"].native is None, "certs-only has content")
    need(not signed["crls"], "certs-only has CRLs")
    return certificates_of(signed)


def next_certificates(content, ra):
    """Certificates of an answer to GetNextCACert, whose signature is by a certificate."""
    info = cms.ContentInfo.load(content, strict=True)
    need(info["content_type"].dotted == SIGNED_DATA, "the answer is not SignedData")
    signed = info["content"]
    need(len(signed["signer_infos"]) == 1 and ra in certificates_of(signed),
         "the answer is not signed by the RA")
    signer, inner = signed["signer_infos"][0], signed["encap_content_info"]["content"].native
    attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
    digests = {a["type"].dotted: a["values"].dump() for a in signer["signed_attrs"]}
    need(digests["1.2.840.113549.1.9.4"] == der.set_of(der.octets(digest_of("sha256", inner))),
         "messageDigest is wrong")
    x509.load_der_x509_certificate(ra).public_key().verify(
        signer["signature"].native, attributes, padding.PKCS1v15(), hash_of("sha256"))
    return certs_only(inner)


def crl_only(content):
    """The CRL of a degenerate SignedData that has one, and nothing else (RFC 8894 3.4)."""
    info = cms.ContentInfo.load(content, strict=True)
    need(info["content_type"].dotted == SIGNED_DATA, "the CRL is not in SignedData")
    signed = info["content"]
    need(len(signed["signer_infos"]) == 0, "CRL-only has signers")
    need(not certificates_of(signed), "there are certificates beside the CRL")
    need(len(signed["crls"]) == 1, "not one CRL")
    return signed["crls"][0].chosen.dump()


class Opened:
    """What is in an envelope for one recipient."""

    def __init__(self, envelope, identity, strict=True):
        info = cms.ContentInfo.load(envelope, strict=True)
        need(info["content_type"].dotted == ENVELOPED_DATA, "the envelope is not EnvelopedData")
        data = info["content"]
        need(len(data["recipient_infos"]) == 1, "the envelope has several recipients")
        key = self._unwrap(data["recipient_infos"][0].chosen, identity)
        encrypted = data["encrypted_content_info"]
        need(encrypted["content_type"].dotted == DATA, "encrypted content is not data")
        algorithm = encrypted["content_encryption_algorithm"]
        oid = algorithm["algorithm"].dotted
        names = [name for name, (known, _, _) in CIPHERS.items() if known == oid]
        need(names, f"cipher {oid}")
        self.cipher = names[0]
        self.content = decrypt(self.cipher, key, algorithm["parameters"].native,
                               self._pieces(encrypted, strict))

    def _unwrap(self, recipient, identity):
        rid = recipient["rid"].chosen
        need(isinstance(rid, cms.IssuerAndSerialNumber) and rid.dump() ==
             identity.issuer_and_serial, "the envelope is for another certificate")
        algorithm = recipient["key_encryption_algorithm"]
        self.transport = algorithm["algorithm"].dotted
        scheme = padding.PKCS1v15()
        if self.transport == der.RSAES_OAEP:
            digest = hash_of(algorithm["parameters"]["hash_algorithm"]["algorithm"].native)
            scheme = padding.OAEP(padding.MGF1(digest), digest, None)
        else:
            need(self.transport == der.RSA_ENCRYPTION, f"key transport {self.transport}")
        return identity.key.decrypt(recipient["encrypted_key"].native, scheme)

    @staticmethod
    def _pieces(encrypted, strict):
        first, _, content = children(encrypted.contents)[2]
        if first == 0x80:
            return content
        need(first == 0xa0 and not strict, "the encrypted content is in pieces")
        return b"".join(piece for _, _, piece in children(content))


class OpenedByPassword:
    """What is in an envelope for who knows a password, as OpenSSL opens it."""

    def __init__(self, envelope, password):
        info = cms.ContentInfo.load(envelope, strict=True)
        need(info["content_type"].dotted == ENVELOPED_DATA, "the envelope is not EnvelopedData")
        recipients = info["content"]["recipient_infos"]
        need([r.name for r in recipients] == ["pwri"], "the envelope is not for a password alone")
        self.cipher, self.transport = None, "pwri"
        with tempfile.NamedTemporaryFile() as file:
            file.write(envelope)
            file.flush()
            self.content = subprocess.run(
                ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", file.name,
                 "-pwri_password", password], stdout=subprocess.PIPE, check=True).stdout


class CertRep:
    """A reply as received; verify() says whether it deserves trust."""

    def __init__(self, data):
        info = cms.ContentInfo.load(data, strict=True)
        need(info["content_type"].dotted == SIGNED_DATA, "the reply is not SignedData")
        self.signed = info["content"]
        need(len(self.signed["signer_infos"]) == 1, "the reply must have one signer")
        self.signer = self.signed["signer_infos"][0]
        self.digest = self.signer["digest_algorithm"]["algorithm"].native
        self.signature_algorithm = self.signer["signature_algorithm"]["algorithm"].dotted
        self.certificates = certificates_of(self.signed)
        self.attributes = {}
        for attribute in self.signer["signed_attrs"]:
            oid = attribute["type"].dotted
            need(oid not in self.attributes, f"attribute {oid} is there twice")
            values = core.SetOf.load(attribute["values"].dump(), spec=core.Any)
            need(len(values) == 1, f"attribute {oid} has {len(values)} values")
            self.attributes[oid] = values[0].dump()
        for name, (oid, kind) in SINGLE.items():
            value = self.attributes.get(oid)
            setattr(self, name, None if value is None else kind.load(value, strict=True).native)
        content = self.signed["encap_content_info"]["content"]
        self.envelope = None if content.native is None else content.native
        self.issued = None              # DER of the certificate, once verified
        self.crl = None                 # of an answer to GetCRL
        self.inner = []
        self.cipher = None
        self.transport = None

    @property
    def succeeded(self):
        return self.status == SUCCESS

    @property
    def pending(self):
        return self.status == PENDING

    @property
    def failed(self):
        return self.status == FAILURE

    def __repr__(self):
        return f"CertRep(status={self.status}, fail_info={self.fail_info}, {self.fail_text!r})"

    def verify(self, request, ra, leaf_only=True, strict=True, echo=True):
        """Checks the reply against its request and the RA certificate that GetCACert told.
        strict: also what clients forgive in one server or another.
        echo: transactionID and nonce must come back; else, as the request had none that could be
        used, they may be missing, but still not be others."""
        need(self.signed["version"].native == "v1", "SignedData is not version 1")
        if strict:
            need(self.digest in ("sha256", "sha384", "sha512"), f"digest {self.digest}")
            need(self.signature_algorithm == der.RSA_ENCRYPTION,
                 f"signatureAlgorithm is {self.signature_algorithm}")
        need([a["algorithm"].native for a in self.signed["digest_algorithms"]] == [self.digest],
             "digestAlgorithms does not list the signer's digest")
        need(ra in self.certificates, "the RA certificate is not in the reply")
        self._check_signature(x509.load_der_x509_certificate(ra))
        self._check_attributes(request, echo)
        if self.succeeded:
            need(self.fail_info is None and self.fail_text is None, "failInfo with SUCCESS")
            need(self.envelope is not None, "SUCCESS without pkcsPKIEnvelope")
            opened = Opened(self.envelope, request.identity, strict) if request.password is None \
                else OpenedByPassword(self.envelope, request.password)
            self.cipher, self.transport = opened.cipher, opened.transport
            if request.message_type == GETCRL:
                self.crl = crl_only(opened.content)
                return self
            self.inner = certs_only(opened.content)
            need(self.inner, "no certificate in the reply")
            self.issued = self.inner[0]
            need(not leaf_only or len(self.inner) == 1, f"{len(self.inner)} certificates")
        else:
            need(not self.envelope, "pkcsPKIEnvelope without SUCCESS")
            need((self.fail_info is not None) == self.failed, "failInfo must go with FAILURE only")
        return self

    def _check_signature(self, ra):
        sid = self.signer["sid"].chosen
        need(isinstance(sid, cms.IssuerAndSerialNumber), "the signer is not named by issuer")
        need(sid["serial_number"].native == ra.serial_number
             and sid["issuer"].dump() == ra.issuer.public_bytes(), "the signer is not the RA")
        raw = self.signer["signed_attrs"].dump()
        attributes = b"\x31" + raw[1:]
        members = [m.dump() for m in core.SetOf.load(attributes, spec=core.Any)]
        need(members == sorted(members), "signed attributes are not in DER order")
        try:
            ra.public_key().verify(self.signer["signature"].native, attributes,
                                   padding.PKCS1v15(), hash_of(self.digest))
        except Exception as error:
            raise ProtocolError("the signature of the reply does not verify") from error

    def _check_attributes(self, request, echo):
        content_type = self.attributes.get("1.2.840.113549.1.9.3")
        need(content_type == der.oid(DATA), "contentType is not data")
        expected = digest_of(self.digest, self.envelope or b"")
        need(self.attributes.get("1.2.840.113549.1.9.4") == der.octets(expected),
             "messageDigest is wrong")
        need("1.2.840.113549.1.9.5" in self.attributes, "signingTime is missing")
        need(self.message_type == "3", f"messageType is {self.message_type}")
        need(self.status in (SUCCESS, FAILURE, PENDING), f"pkiStatus is {self.status}")
        missing = () if echo else (None,)
        need(self.transaction in (request.transaction, *missing), "transactionID differs")
        need(self.recipient_nonce in (request.sender_nonce, *missing), "recipientNonce differs")
        need(self.sender_nonce is not None and len(self.sender_nonce) == 16,
             "senderNonce is not 16 bytes")

    @property
    def certificate(self):
        """What was issued, parsed."""
        return x509.load_der_x509_certificate(self.issued)
