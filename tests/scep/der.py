# Licensed under the Apache License, Version 2.0. See LICENSE.
"""DER, written element by element."""

from asn1crypto import core

NULL = b"\x05\x00"


def tlv(tag, content):
    length = len(content)
    if length < 0x80:
        head = bytes([tag, length])
    else:
        octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
        head = bytes([tag, 0x80 | len(octets)]) + octets
    return head + content


def sequence(*parts):
    return tlv(0x30, b"".join(parts))


def set_of(*parts):
    """A SET OF in DER order."""
    return tlv(0x31, b"".join(sorted(parts)))


def integer(value):
    return core.Integer(value).dump()


def oid(dotted):
    return core.ObjectIdentifier(dotted).dump()


def octets(value):
    return tlv(0x04, value)


def bits(value, unused=0):
    return tlv(0x03, bytes([unused]) + value)


def boolean(value):
    return tlv(0x01, b"\xff" if value else b"\x00")


def printable(text):
    return tlv(0x13, text.encode("ascii"))


def utf8(text):
    return tlv(0x0c, text.encode())


def ia5(text):
    return tlv(0x16, text.encode("ascii"))


def explicit(number, content):
    return tlv(0xa0 | number, content)


def implicit(number, element):
    """The element under a context tag; whether it is constructed stays as it was."""
    return bytes([0x80 | number | (element[0] & 0x20)]) + element[1:]


def algorithm(dotted, parameters=NULL):
    """AlgorithmIdentifier; parameters None leaves them out."""
    return sequence(oid(dotted), parameters or b"")


DIGESTS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}

RSA_SIGNATURES = {
    "md5": "1.2.840.113549.1.1.4",
    "sha1": "1.2.840.113549.1.1.5",
    "sha224": "1.2.840.113549.1.1.14",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}

ECDSA_SIGNATURES = {
    "sha1": "1.2.840.10045.4.1",
    "sha224": "1.2.840.10045.4.3.1",
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}

RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
RSAES_OAEP = "1.2.840.113549.1.1.7"
ED25519 = "1.3.101.112"
