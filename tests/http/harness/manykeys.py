# Licensed under the Apache License, Version 2.0. See LICENSE.
"""As many RSA-2048 keys as one likes, without the time that it takes to make them: products of
primes of the keys of the pool. For tests alone: whoever has two of them has all."""

import itertools
import math

from cryptography.hazmat.backends import default_backend
from cryptography.hazmat.primitives.asymmetric import rsa

from . import pki

EXPONENT = 65537
POOL = 12


def _primes():
    for number in itertools.count(1):
        key = pki.key(f"rsa2048-{number:02d}") if number <= POOL \
            else rsa.generate_private_key(EXPONENT, 2048)
        private = key.private_numbers()
        assert private.public_numbers.e == EXPONENT
        yield private.p
        yield private.q


def _combine(p, q):
    d = pow(EXPONENT, -1, math.lcm(p - 1, q - 1))
    return _load(rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(EXPONENT, p * q)))


def _load(numbers):
    """That the primes are primes is not checked again, which takes longer than all else."""
    try:
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except TypeError:                   # before version 39
        backend = default_backend()
        backend._rsa_skip_check_key = True
        try:
            return numbers.private_key()
        finally:
            backend._rsa_skip_check_key = False


def make_keys():
    """All keys that can be made so; none is of the pool itself."""
    primes = []
    for place, prime in enumerate(_primes()):
        for other in range(place - 1 if place % 2 else place):
            modulus = prime * primes[other]
            if modulus.bit_length() == 2048:
                yield _combine(prime, primes[other])
        primes.append(prime)
