# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Security descriptors as Active Directory writes them (MS-DTYP 2.4.6)."""

import struct
import uuid

ENROLL = uuid.UUID("0e10c968-78fb-11d2-90d4-00c04f79dc55")
AUTOENROLL = uuid.UUID("a05b8cc2-17bc-4802-a710-e7c15ab866a2")
CONTROL_ACCESS, READ, FULL = 0x100, 0x20094, 0xF01FF
EVERYONE = bytes([1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
AUTHENTICATED = bytes([1, 1, 0, 0, 0, 0, 0, 5, 11, 0, 0, 0])
SYSTEM = bytes([1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0])


def entry(sid, mask=CONTROL_ACCESS, right=None, deny=False, flags=0, kind=None):
    """One entry of a list; with a right, of the form that names it."""
    body = struct.pack("<I", mask)
    if right:
        body += struct.pack("<I", 1) + right.bytes_le
    body += sid
    kind = kind if kind is not None else (5 if right else 0) + (1 if deny else 0)
    return struct.pack("<BBH", kind, flags, 4 + len(body)) + body


def descriptor(*entries, control=0x8004):
    acl = b"".join(entries)
    acl = struct.pack("<BBHHH", 4, 0, 8 + len(acl), len(entries), 0) + acl
    owner = SYSTEM
    return struct.pack("<BBHIIII", 1, 0, control, 20, 0, 0, 20 + len(owner)) + owner + acl
