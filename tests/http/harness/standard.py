# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The configuration that most tests share, and shorthands for its endpoints."""

from .config import CRL_AND_CA, issuer, location
from .pki import Authority, key

STATIC = "/scep/acme/devices/scep-digital-signature-key-encipherment"
ONETIME = "/scep/acme/devices/scep-digital-signature"
ONETIME_SET = "/scep/acme/devices/scep-key-encipherment"
CLOSED = "/scep/acme/devices/scep-non-repudiation"
MANUAL = "/scep/acme/devices/test-manual"
LEGACY = "/scep/acme/devices/test-legacy"
CHAIN = "/scep/acme/devices/test-chain"
FULL_CHAIN = "/scep/acme/devices/test-full-chain"
ALLOWED = "/scep/acme/devices/test-allowed"
BETA = "/scep/beta/devices/scep-digital-signature"

BASE = "scep-digital-signature-key-encipherment"

PROFILES = f"""
<CertificateProfile test-manual base={BASE}>
    ProfileApproval manual
</CertificateProfile>
<CertificateProfile test-legacy base={BASE}>
</CertificateProfile>
<CertificateProfile test-chain base={BASE}>
</CertificateProfile>
<CertificateProfile test-full-chain base={BASE}>
</CertificateProfile>
<CertificateProfile test-allowed base={BASE}>
    ProfileUnlistedExtensions refuse
</CertificateProfile>
<CertificateProfile test-code-signing base=scep-digital-signature>
    ProfileExtendedKeyUsage codeSigning
</CertificateProfile>
<CertificateProfile test-inside base=scep-digital-signature>
    ProfileInternal on
</CertificateProfile>
<CertificateProfile unlisted-profile base=scep-digital-signature>
</CertificateProfile>
"""


def challenge(server):
    return f'SCEPChallenge static "file:{server.secret("challenge")}"'


def content(server):
    other = Authority(server.root / "ca", "other", "rsa3072-01")
    return "".join([
        # all clients of the tests have one address, and many are refused
        "SCEPFailureLimit off\n",
        PROFILES,
        issuer(server.authority),
        issuer(other),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices other",
                 "SCEPTenant beta devices", "SCEPProfiles scep-* test-*"),
        location(STATIC, challenge(server)),
        location(ONETIME, "SCEPChallenge onetime"),
        location(ONETIME_SET, "SCEPChallenge onetime printers"),
        location(MANUAL, challenge(server)),
        location(LEGACY, challenge(server), "SCEPAllow 3des sha1"),
        location(CHAIN, challenge(server), "SCEPReplyChain issuer"),
        location(FULL_CHAIN, challenge(server), "SCEPReplyChain full"),
        location(ALLOWED, challenge(server), "GatehouseAllowRequest codeSigning UPN"),
        location(BETA, "SCEPChallenge onetime"),
        CRL_AND_CA,
    ])


def device_key(number=1):
    """RSA-2048 keys of devices; 11 is the CA's."""
    return key(f"rsa2048-{number:02d}")
