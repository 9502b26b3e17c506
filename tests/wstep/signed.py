# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Requests that an old certificate or an enrolment agent signs, as Windows makes them."""

import hashlib

from scep import der
from scep.identity import public_der, sign
from scep.message import CONTENT_TYPE, DATA, MESSAGE_DIGEST, SIGNED_DATA, content_info, digest_of

PKI_DATA = "1.3.6.1.5.5.7.12.2"
REG_INFO = "1.3.6.1.5.5.7.7.18"
RENEWED = "1.3.6.1.4.1.311.13.1"


def renewed_attribute(certificate):
    """The attribute of a PKCS#10 request that names the certificate to be renewed."""
    return der.sequence(der.oid(RENEWED), der.set_of(certificate))


def key_id(key):
    """SHA-1 of the key, by which a signer without certificate is named."""
    return hashlib.sha1(public_der(key)).digest()


def signer_info(content, content_type, key, name, version, digest="sha256", spoil=False):
    attributes = der.set_of(
        der.sequence(der.oid(CONTENT_TYPE), der.set_of(der.oid(content_type))),
        der.sequence(der.oid(MESSAGE_DIGEST), der.set_of(der.octets(digest_of(digest, content)))))
    signature = bytearray(sign(key, attributes, digest))
    if spoil:
        signature[-1] ^= 1
    algorithm = der.algorithm(der.ECDSA_SIGNATURES[digest], None) if hasattr(key, "curve") \
        else der.algorithm(der.RSA_ENCRYPTION)
    return der.sequence(der.integer(version), name, der.algorithm(der.DIGESTS[digest]),
                        der.implicit(0, attributes), algorithm, der.octets(bytes(signature)))


def by_certificate(content, content_type, identity, **options):
    return signer_info(content, content_type, identity.key, identity.issuer_and_serial, 1,
                       **options)


def signed_data(content, content_type, signers, certificates, digest="sha256"):
    return content_info(SIGNED_DATA, der.sequence(
        der.integer(3), der.set_of(der.algorithm(der.DIGESTS[digest])),
        der.sequence(der.oid(content_type), der.explicit(0, der.octets(content))),
        der.implicit(0, der.set_of(*certificates)) if certificates else b"",
        der.set_of(*signers)))


def renewal(request, identity, digest="sha256", **options):
    """PKCS#10 in CMS that the old certificate signs."""
    return signed_data(request, DATA, [by_certificate(request, DATA, identity, digest=digest,
                                                      **options)],
                       [identity.certificate], digest)


def reg_info(**values):
    text = "&".join(f"{name}={value}" for name, value in values.items())
    return der.sequence(der.integer(2), der.oid(REG_INFO), der.set_of(der.octets(text.encode())))


def cmc(request, key, identity=None, controls=(), digest="sha256", possession=True, **options):
    """A full CMC request: the new key signs, and perhaps an old certificate or an agent."""
    tagged = der.implicit(0, der.sequence(der.integer(1), request))
    content = der.sequence(der.sequence(*controls), der.sequence(tagged), der.sequence(),
                           der.sequence())
    signers = []
    if possession:
        signers.append(signer_info(content, PKI_DATA, key,
                                   der.implicit(0, der.octets(key_id(key))), 3))
    if identity:
        signers.append(by_certificate(content, PKI_DATA, identity, digest=digest, **options))
    return signed_data(content, PKI_DATA, signers, [identity.certificate] if identity else [],
                       digest)
