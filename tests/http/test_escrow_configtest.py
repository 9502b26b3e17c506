# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What "httpd -t" says of the escrow's directives and the provider's, each with its number."""

import pytest

from harness import config
from harness.config import location
from harness.escrow import MODULES, OWN_MODULES, Identity

GOOD = "EscrowProvide event=148 issuer=devices signing=smime-non-repudiation " \
       "encryption=smime-key-encipherment"
DOMAINS = "EscrowMailDomains example.com\n"


def configtest(make_server, text, **options):
    """@return what it complains about"""
    made = make_server(text, own_modules=OWN_MODULES, modules=MODULES, start=False, **options)
    tested = made.configtest()
    assert tested.returncode != 0, tested.stderr
    return tested.stderr


@pytest.mark.parametrize("text, number", [
    ("EscrowMaxBody 10", "GH1222"),
    ("EscrowMaxBody 1M", "GH1222"),
    ("EscrowMaxCredentials 0", "GH1223"),
    ("EscrowRetention forever", "GH1224"),
    ("EscrowRetention -1", "GH1224"),
    ("EscrowRecipient anybody", "GH1225"),
    ("EscrowProfileLife 0", "GH1226"),
    ("EscrowPKCS12 newest", "GH1227"),
    ("EscrowKeyTransport rsa", "GH1228"),
    ("EscrowProfileSigner a.pem a.key secret", "GH1342"),
    ("EscrowProfileSigner a.pem pkcs11:token=a 1234", "GH1342"),
    ("EscrowVaultKey a file:/x\nEscrowVaultKey a file:/y", "GH1168"),
    ("\n".join(f"EscrowVaultKey k{number} file:/x" for number in range(17)), "GH1169"),
    (f"{GOOD} colour=red", "GH1294"),
    (f"{GOOD} key-size=1024", "GH1294"),
    (f"{GOOD} signing-per=group", "GH1294"),
    (f"{GOOD} event=149", "GH1294"),
    ("EscrowProvide event=148 issuer=devices", "GH1295"),
    ("EscrowMailDomains .example.com", "GH1296"),
    ("EscrowMailDomains *.", "GH1296"),
    ("EscrowMailDomains example..com", "GH1296"),
    ("EscrowMailDomains ada@example.com", "GH1296"),
    ("<Location /x>\nEscrowEventHMAC X-Signature secret\n</Location>", "GH1297"),
])
def test_directives(make_server, text, number):
    """One by itself; with file and line."""
    said = configtest(make_server, text + "\n")
    assert number in said and "httpd.conf" in said, said
    assert "1234" not in said


def provider(*lines, vault=True):
    def content(server):
        vault_line = f'EscrowVaultKey k1 file:{server.make_secret("vault", "5e" * 32)}\n'
        return config.issuer(server.authority) + (vault_line if vault else "") \
            + "".join(line + "\n" for line in lines)
    return content


@pytest.mark.parametrize("lines, number", [
    ((GOOD.replace("smime-non-repudiation", "nothing"), DOMAINS), "GH1300"),
    ((GOOD + " key-size=4096", "<CertificateProfile narrow base=smime-key-encipherment>\n"
      "ProfileKeys RSA-2048\n</CertificateProfile>",
      GOOD.replace("148", "149").replace("smime-key-encipherment", "narrow") + " key-size=4096",
      DOMAINS), "GH1301"),
    ((GOOD.replace("encryption=smime-key-encipherment", "encryption=smime-non-repudiation"),
      DOMAINS), "GH1302"),
    ((GOOD.replace("signing=smime-non-repudiation", "signing=smime-key-encipherment"), DOMAINS),
     "GH1302"),
    ((GOOD, GOOD, DOMAINS), "GH1303"),
    ((GOOD.replace("devices", "nobody"), DOMAINS), "GH1304"),
    ((GOOD,), "GH1305"),
])
def test_provider(make_server, lines, number):
    said = configtest(make_server, provider(*lines))
    assert number in said and "httpd.conf:" in said, said


def test_provider_without_vault(make_server):
    assert "GH1312" in configtest(make_server, provider(GOOD, DOMAINS, vault=False))


def test_secret_of_events(make_server):
    """One that can be guessed, and one that is not there."""
    def content(server):
        secret = server.make_secret("short", "fifteen bytes..")
        return location("/v1/events", f"EscrowEventHMAC X-Signature file:{secret}")

    said = configtest(make_server, content)
    assert "GH1299" in said and "fifteen bytes" not in said
    assert "GH0001" in configtest(make_server, location(
        "/v1/events", "EscrowEventHMAC X-Signature file:/nowhere/secret"))


def test_uem_without_vault(make_server):
    assert "GH1277" in configtest(
        make_server, "<UEM demo>\nUEMURL https://uem.example.com/a\n</UEM>\n")


def test_proxy_of_another_kind(make_server, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "socks5://somebody:secret@127.0.0.1:1080")
    said = configtest(make_server, "<UEM demo>\nUEMURL https://uem.example.com/a\nUEMProxy env\n"
                                   "</UEM>\n")
    assert "GH1283" in said and "somebody" not in said


def test_files_of_certificates(make_server):
    """EscrowDeviceCA and EscrowProfileSigner name files that are what they should be."""
    def device_ca(server):
        device = Identity(server.root / "ca", "no-ca", "p256-01")
        return f'EscrowDeviceCA "{device.path}"\n'

    def signer(server):
        one = Identity(server.root / "ca", "one", "p256-01")
        other = Identity(server.root / "ca", "other", "rsa2048-01")
        return f'EscrowProfileSigner "{one.path}" "{other.key_path}"\n'

    assert "GH1129" in configtest(make_server, device_ca)
    assert "GH1134" in configtest(make_server, signer)
    assert "GH" in configtest(make_server, 'EscrowDeviceCA "/nowhere/ca.pem"\n')
    assert "GH" in configtest(make_server, 'EscrowProfileSigner "/nowhere/a.pem" "/nowhere/a.key"\n')


def test_without_the_base_module(make_server):
    server = make_server("", own_modules=("escrow",), start=False)
    server.conf.write_text(config.frame(server) + "EscrowMaxBody 2048\n")
    tested = server.configtest()
    assert tested.returncode != 0 and "GH1148" in tested.stderr, tested.stderr
