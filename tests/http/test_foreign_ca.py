# Licensed under the Apache License, Version 2.0. See LICENSE.
"""CAs that were not made here: what they may look like, and what they must be able to do."""

import json
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from harness import environment, standard
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import Authority, certificate, key, write_secret
from harness.server import CHALLENGE

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER

class OpensslAuthority(Authority):
    """What "openssl req -x509" makes: a root that has no keyUsage."""

    def __init__(self, directory, encoding=PEM):
        super().__init__(directory, "plain", "rsa3072-01")
        config = directory / "openssl.cnf"
        config.write_text("[req]\ndistinguished_name = dn\nx509_extensions = v3_ca\n[dn]\n[v3_ca]\n"
                          "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid:always\n"
                          "basicConstraints = critical, CA:TRUE\n")
        self.root_path = directory / "plain.root.pem"
        subprocess.run(["openssl", "req", "-x509", "-config", config, "-key", self.key_path, "-out",
                        self.root_path, "-subj", "/CN=Existing CA", "-days", "1000"], check=True)
        self.certificate = self.root = x509.load_pem_x509_certificate(self.root_path.read_bytes())
        self.certificate_path = directory / "plain.ca"
        self.certificate_path.write_bytes(self.certificate.public_bytes(encoding))
        self.certificate_path.chmod(0o644)

    def section(self):
        return (f'<Issuer devices>\n    IssuerCertificate "{self.certificate_path}"\n'
                f'    IssuerKey "{self.key_path}"\n    IssuerCRL delay=1s\n</Issuer>\n')


def imported(*arguments):
    return subprocess.run(
        [environment.gatehousectl(), "--json", "ca", "import", "--issuer", "old",
         *(str(argument) for argument in arguments)], text=True, check=False, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment.variables())


@pytest.mark.parametrize("encoding", [PEM, DER], ids=["PEM", "DER"])
def test_without_key_usage(make_server, subject, tmp_path, encoding):
    """Without the extension a CA may sign everything (RFC 5280 6.1.4 (n))."""
    authority = OpensslAuthority(tmp_path, encoding)
    with pytest.raises(x509.ExtensionNotFound):
        authority.certificate.extensions.get_extension_for_class(x509.KeyUsage)
    result = imported(authority.certificate_path, authority.key_path)
    assert result.returncode == 0, result
    assert json.loads(result.stdout)["subject"] == "CN=Existing CA"
    server = make_server(lambda s: authority.section() + location(
        "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices", "SCEPProfiles scep-*")
        + location(standard.STATIC, standard.challenge(s)) + CRL_AND_CA)
    reply = server.client(standard.STATIC).enrol(standard.device_key(), CHALLENGE, subject=subject)
    assert reply.succeeded, reply
    leaf, crl = tmp_path / "leaf.pem", tmp_path / "crl.pem"
    leaf.write_bytes(x509.load_der_x509_certificate(reply.issued).public_bytes(PEM))
    crl.write_bytes(x509.load_der_x509_crl(server.crl()).public_bytes(PEM))
    # -x509_strict asks for the extension
    verified = subprocess.run(["openssl", "verify", "-crl_check", "-CRLfile", crl, "-CAfile",
                               authority.root_path, leaf], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert verified.returncode == 0, verified.stdout


def test_rubbish_is_not_called_a_key(tmp_path):
    rubbish = tmp_path / "rubbish.der"
    rubbish.write_bytes(b"\x30\x03\x02\x01\x05")
    rubbish.chmod(0o644)
    result = imported(rubbish, write_secret(tmp_path / "key", "nothing"))
    assert result.returncode == 1 and "GH0101" in result.stderr, result


def test_crls_must_be_possible(tmp_path):
    """A CA that may not sign CRLs is found before it has issued anything."""
    authority = Authority(tmp_path, "old", "rsa3072-01")
    authority.certificate_path.write_bytes(certificate(
        "Test old CA", key("rsa3072-01"), "Test Root", key("p256-01"), 100, pathlen=0,
        crl_sign=False).public_bytes(PEM))
    result = imported(authority.certificate_path, authority.key_path, "--chain",
                      authority.root_path)
    assert result.returncode == 1 and "GH0440" in result.stderr, result
    assert "cRLSign" in result.stderr
    # without its key, it is only published here
    assert imported(authority.certificate_path, "--chain", authority.root_path).returncode == 0


# what certificates say of CRLs and CAs

def served(server):
    server.configure(server.content)
    result = server.configtest()
    assert result.returncode == 0, result.stderr
    return {number for number in ("GH0451", "GH0452") if number in result.stderr}


@pytest.mark.parametrize("text, missing", [
    ("", {"GH0451", "GH0452"}),
    (location("/crl", "SetHandler gatehouse-crl"), {"GH0452"}),
    (location("/ca", "SetHandler gatehouse-ca"), {"GH0451"}),
    (CRL_AND_CA, set()),
    (location("/crls", "SetHandler gatehouse-crl") + location("/ca/devices.cer",
                                                              "SetHandler gatehouse-ca"),
     {"GH0451"}),
    ('<LocationMatch "^/crl/[a-z]+\\.(crl|pem)$">\n    SetHandler gatehouse-crl\n</LocationMatch>\n'
     '<Location ~ "^/ca/[a-z]+\\.pem$">\n    SetHandler gatehouse-ca\n</Location>\n', {"GH0452"}),
    (location("/c*", "SetHandler gatehouse-crl") + location("/pki/ca", "SetHandler gatehouse-ca"),
     {"GH0451", "GH0452"}),
    (location("/c*/*", "SetHandler gatehouse-crl") + location("/", "SetHandler gatehouse-ca"),
     set()),
], ids=["nothing", "no CA", "no CRL", "both", "another path", "patterns", "patterns that fail",
        "patterns that hold"])
def test_addresses_that_nothing_serves(make_server, text, missing):
    server = make_server(lambda s: issuer(s.authority) + text, start=False)
    assert served(server) == missing


def test_addresses_below_a_path(make_server):
    """A proxy may take away what the public URL has before /crl, or leave it."""
    for prefix in ("", "/pki"):
        server = make_server(lambda s, prefix=prefix: issuer(
            s.authority, extra="    GatehousePublicURL http://pki.example.com/pki\n") + location(
                f"{prefix}/crl", "SetHandler gatehouse-crl") + location(
                    f"{prefix}/ca", "SetHandler gatehouse-ca"), start=False)
        assert served(server) == set()


def test_addresses_are_said_at_a_start(make_server):
    server = make_server(lambda s: issuer(s.authority), start=False)
    server.expect("GH0451", "GH0452")
    server.start()
    assert f"{server.public_url}/crl/devices.crl" in server.log.text()


def test_offline_issuers_sign_nothing(make_server):
    """Nobody has promised its CRL here."""
    server = make_server(lambda s: f'<Issuer root>\n    IssuerBackend offline\n'
                         f'    IssuerCertificate "{s.authority.root_path}"\n</Issuer>\n',
                         start=False)
    assert served(server) == set()


def test_what_the_ca_certificate_says(make_server, tmp_path):
    """ca init writes the root's addresses below our public URL into the issuing CA."""
    authority = Authority(tmp_path, "devices")

    def named(url):
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{url}/crl/root.crl")],
                                       None, None, None)
        access = x509.AccessDescription(x509.AuthorityInformationAccessOID.CA_ISSUERS,
                                        x509.UniformResourceIdentifier(f"{url}/ca/root.cer"))
        authority.certificate_path.write_bytes(certificate(
            "Test devices CA", key("rsa2048-11"), "Test Root", key("p256-01"), 1000, pathlen=0,
            extensions=(x509.CRLDistributionPoints([point]),
                        x509.AuthorityInformationAccess([access]))).public_bytes(PEM))

    def verdicts(*root):
        lines = "".join(f"    {line}\n" for line in ("IssuerBackend offline", *root))
        server.configure(issuer(authority) + CRL_AND_CA + (
            f'<Issuer root>\n    IssuerCertificate "{authority.root_path}"\n{lines}</Issuer>\n'
            if root else ""))
        return [(row["verdict"], row["gh"], row["message"]) for row in server.ctl("check").objects
                if row["name"] == "addresses.devices"]

    server = make_server("", start=False, authority=authority)
    named(server.public_url)
    crl, access = (f"{server.public_url}/{path}" for path in ("crl/root.crl", "ca/root.cer"))
    told = verdicts()
    assert [row[:2] for row in told] == [("warning", "GH0453")] * 2
    assert crl in told[0][2] and access in told[1][2]
    told = verdicts("IssuerCRL publish=1h")
    assert [row[:2] for row in told] == [("warning", "GH0453")] and crl in told[0][2]
    [(verdict, _, _)] = verdicts(f'IssuerCRL file="{tmp_path}/root.crl"')
    assert verdict == "ok"
    named("http://elsewhere.example")
    assert verdicts() == []
    authority.certificate_path.write_bytes(authority.certificate.public_bytes(PEM))
    assert verdicts() == []
