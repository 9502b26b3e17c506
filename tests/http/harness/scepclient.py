# Licensed under the Apache License, Version 2.0. See LICENSE.
"""scepclient of micromdm with AES.

Debian 12's scepclient 2.1.0 can encrypt with AES, but has no option for it: the variable that selects
the cipher in its PKCS#7 library stays at its initial value, single DES, which Gatehouse never accepts.
A copy is made in which every load of that variable is a load of the number that means AES-128-CBC.
"""

import re
import shutil
import struct

AES_128_CBC = 1

# pkcs7.Encrypt: load the variable into rdx; compare it with 1; branch; test for 0; branch
SELECTION = re.compile(rb"\x48\x8b\x15(....)\x48\x83\xfa\x01\x7f.\x48\x85\xd2\x74", re.S)
# mov of a variable into one of eight registers
LOAD = re.compile(rb"\x48\x8b([\x05\x0d\x15\x1d\x25\x2d\x35\x3d])(....)", re.S)


def text_section(data):
    """(address, offset, size) of .text."""
    table, = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3a)
    sections = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    strings = sections[names][4]
    for name, _, _, address, offset, length in sections:
        if data[strings + name:].startswith(b".text\0"):
            return address, offset, length
    raise AssertionError("scepclient has no .text")


def with_aes(path):
    """Writes the copy. @return its path"""
    with open(shutil.which("scepclient"), "rb") as file:
        data = bytearray(file.read())
    address, offset, length = text_section(data)
    text = bytes(data[offset:offset + length])
    found = SELECTION.findall(text)
    assert len(found) == 1, "this scepclient is another one: does it use AES by itself?"
    match = SELECTION.search(text)

    def target(start, displacement):
        return address + start + 7 + struct.unpack("<i", displacement)[0]

    variable = target(match.start(), match[1])
    patched = 0
    for load in LOAD.finditer(text):
        if target(load.start(), load[2]) == variable:
            register = load[1][0] >> 3
            data[offset + load.start():offset + load.end()] = \
                bytes([0xb8 + register]) + struct.pack("<I", AES_128_CBC) + b"\x90\x90"
            patched += 1
    assert patched >= 2, patched
    path.write_bytes(data)
    path.chmod(0o755)
    return path
