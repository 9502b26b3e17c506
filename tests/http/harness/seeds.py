# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Search for secrets in whatever was written."""

import base64


def forms(secret):
    """How a secret may be written, and what a part of it looks like in base64."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):              # base64 of it within something longer
        padded = base64.b64encode(b"\x00" * shift + raw)
        yield padded[4:-4]


def find(places, secret):
    """@param places pairs of name and bytes @return where it is, and in which form"""
    wanted = [form for form in forms(secret) if len(form) >= 12]
    return [(name, form[:40]) for name, data in places for form in wanted if form in data]


def parts_of(private):
    """What only the private key has: the modulus is in certificates, too. For RSA."""
    numbers = private.private_numbers()
    for number in (numbers.d, numbers.p, numbers.q):
        yield number.to_bytes((number.bit_length() + 7) // 8, "big")[:48]


def files(*folders):
    """Name and bytes of all files below."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                # a file that was made longer than what is in it has zeros at its end
                yield f"{folder.name}/{path.relative_to(folder)}", \
                    path.read_bytes().rstrip(b"\0")
