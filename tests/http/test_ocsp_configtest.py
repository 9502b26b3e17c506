# Licensed under the Apache License, Version 2.0. See LICENSE.
"""httpd -t: what a configuration of OCSP cannot mean is refused, with number, file and line."""

import json
import os
import re

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from harness import environment, ocsp
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import Authority

FAST = "OCSPFastPath /ocsp\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A CA that is no issuer, and its signer."""
    class Keys:
        pass

    keys = Keys()
    keys.folder = tmp_path_factory.mktemp("keys")
    keys.authority = Authority(keys.folder, "other", "rsa3072-01")
    keys.certificate, keys.key = ocsp.signer(keys.authority)
    keys.foreign, keys.foreign_key = ocsp.signer(Authority(keys.folder, "third", "rsa3072-01"))
    keys.tls, keys.tls_key = ocsp.signer(keys.authority, "tls", "p384-01", usages=(
        x509.oid.ExtendedKeyUsageOID.SERVER_AUTH,))
    keys.open_key = keys.folder / "open.key"
    keys.open_key.write_bytes(keys.key.read_bytes())
    keys.open_key.chmod(0o644)
    return keys


def configured(make_server, text, keys=None, own_modules=ocsp.OWN_MODULES, **options):
    def content(server):
        values = {"root": server.root}
        if keys:
            values.update(ca=keys.authority.certificate_path, cert=keys.certificate, key=keys.key,
                          foreign=keys.foreign, foreign_key=keys.foreign_key, tls=keys.tls,
                          tls_key=keys.tls_key, open_key=keys.open_key)
        return issuer(server.authority) + CRL_AND_CA + ocsp.directory(server) \
            + text.format(**values)
    return make_server(content, start=False, own_modules=own_modules, **options)


def other(*lines, signer=True, certificate=True):
    """A section for a CA that is no issuer."""
    return ocsp.section("other", *(["OCSPCertificate {ca}"] if certificate else []),
                        *(["OCSPSigner {cert} {key}"] if signer else []), *lines)


def section(*lines):
    return ocsp.section("devices", *lines)


CRL = "OCSPSource crl http://crl.example.com/a.crl"

REFUSED = {
    # number: configuration, and the line that the message has to name
    "GH0588": (FAST + section() + "OCSPMaxCertificates 0\n", "OCSPMaxCertificates"),
    "GH0589": (FAST + section("OCSPNonce off"), "OCSPNonce"),
    "GH0590": (FAST + section() + "OCSPServe devices\nOCSPServe devices\n", "OCSPServe"),
    "GH0591": (FAST + section() + "OCSPServe\n", "OCSPServe"),
    "GH0592": (FAST + section() + "OCSPRequestSignature require\n", "OCSPRequestSignature"),
    "GH0593": (FAST + section() + "OCSPMixed good\n", "OCSPMixed"),
    "GH0594": (section() + "OCSPFastPath /ocsp/\n", "OCSPFastPath"),
    "GH0596": (FAST + section() + "OCSPCache 5\n", "OCSPCache"),
    "GH0597": (FAST + section() + "OCSPSecondLevelKey secret\n", "OCSPSecondLevelKey"),
    "GH0598": (FAST + section() + "OCSPMaxSigning 4 3\n", "OCSPMaxSigning"),
    "GH0600": (FAST + section() + '<LocationMatch "^/x">\nOCSPNonce off\n</LocationMatch>\n',
               "OCSPNonce"),
    "GH0601": (FAST + section() + "OCSPUnknown good\n", "OCSPUnknown"),
    "GH0602": (FAST + section("OCSPUnknown unknown", "OCSPUnknown revoked"), "OCSPUnknown revoked"),
    "GH0603": (FAST + section("OCSPStatus Basic"), "OCSPStatus"),
    "GH0604": (FAST + section("OCSPUnknown bad"), "OCSPUnknown"),
    "GH0605": (FAST + section("OCSPNextUpdate 8"), "OCSPNextUpdate"),
    "GH0606": (FAST + section("OCSPArchiveCutoff never"), "OCSPArchiveCutoff"),
    "GH0607": (FAST + section("OCSPResponderID hash"), "OCSPResponderID"),
    "GH0609": (FAST + "<OCSPAuthority a b>\n</OCSPAuthority>\n", "<OCSPAuthority"),
    "GH0610": (FAST + section("ServerName x"), "ServerName x"),
    "GH0612": (FAST + section() + section(), None),
    "GH0613": (FAST + other(CRL + " interval=x"), "interval=x"),
    "GH0614": (FAST + other(CRL + " often"), " often"),
    "GH0615": (FAST + other("OCSPSource crl ldap://h/x bind=cn=a password=secret"), "bind="),
    "GH0616": (FAST + other(CRL + " colour=red"), "colour="),
    "GH0617": (FAST + section("OCSPSource http://x/"), "OCSPSource"),
    "GH0618": (FAST + section("OCSPSigner auto P-999"), "OCSPSigner"),
    "GH0619": (FAST + section("OCSPSigner auto P-256", "OCSPSigner auto P-256"), "OCSPSigner"),
    "GH0620": (FAST + section("OCSPSigner one"), "OCSPSigner"),
    "GH0621": (FAST + section("OCSPSigner a b passphrase=secret"), "OCSPSigner"),
    "GH0622": (FAST + section('OCSPSigner a "pkcs11:object=x?pin-value=1"'), "OCSPSigner"),
    "GH0623": (section() + '<LocationMatch "^/x">\nSetHandler gatehouse-ocsp\n</LocationMatch>\n',
               "SetHandler gatehouse-ocsp"),
    "GH0624": (section() + location("/x/", "SetHandler gatehouse-ocsp"),
               "SetHandler gatehouse-ocsp"),
    "GH0626": (FAST + section() + "OCSPServe devices others\n", "OCSPServe"),
    "GH0632": (FAST, "OCSPFastPath"),
    "GH0634": (FAST + section() + "OCSPSecondLevel nonesuch:x\n", "OCSPSecondLevel"),
    "GH0635": (FAST + section("OCSPCertificate {ca}"), "OCSPCertificate"),
    "GH0727": (FAST + other(CRL, certificate=False), "<OCSPAuthority other"),
    "GH0728": (FAST + section("OCSPSource store", CRL), "OCSPSource store"),
    "GH0729": (FAST + other("OCSPSource index x.txt", CRL), "OCSPSource index"),
    "GH0730": (FAST + other("OCSPSource serials http://x.example/y"), "OCSPSource serials"),
    "GH0731": (FAST + other(CRL, *["OCSPSource serials http://x.example/y"] * 2),
               "OCSPSource serials"),
    "GH0732": (FAST + other("OCSPSource store"), "OCSPSource store"),
    "GH0733": (FAST + other(), "<OCSPAuthority other"),
    "GH0734": (FAST + section("OCSPStatus basic", "OCSPUnknown good"), "OCSPUnknown"),
    "GH0735": (FAST + section("OCSPStatus CRLProfile"), "OCSPStatus"),
    "GH0739": (FAST + section("OCSPArchiveCutoff crl"), "OCSPArchiveCutoff"),
    "GH0740": (FAST + section("OCSPRetention 1y"), "OCSPRetention"),
    "GH0741": (FAST + other(CRL, "OCSPSigner auto"), "OCSPSigner auto"),
    "GH0742": (FAST + section("OCSPSigner auto profile=none"), "OCSPSigner"),
    "GH0743": (FAST + section("OCSPSigner auto profile=scep-digital-signature"), "OCSPSigner"),
    "GH0746": (FAST + other(CRL, signer=False), "<OCSPAuthority other"),
    "GH0747": (FAST + other(CRL) + other(CRL).replace("other>", "another>", 1),
               "<OCSPAuthority another"),
    "GH0680": (FAST + other("OCSPSource crl http://me:secret@x.example/y"), "OCSPSource"),
}


def named_lines(text):
    return {int(number) for number in re.findall(r"(?:line |httpd\.conf:)(\d+)", text)}


@pytest.mark.parametrize("number", list(REFUSED))
def test_refused(make_server, keys, number):
    text, line = REFUSED[number]
    server = configured(make_server, text, keys)
    result = server.configtest()
    assert result.returncode != 0 and f"{number}: " in result.stderr, result.stderr
    if line:
        wanted = {at for at, one in enumerate(server.conf.read_text().splitlines(), 1)
                  if line in one}
        assert wanted & named_lines(result.stderr), (line, result.stderr)
    assert "secret@" not in result.stderr


@pytest.mark.parametrize("status, lines", [
    ("basic", [CRL]), ("CRLProfile", ["OCSPSource index x"]),
    ("CRLProfile", [CRL, "OCSPSource serials http://x.example/y"]),
    ("SNListProfile", [CRL]), ("nextUpdate", [CRL])])
def test_status_profiles_demand_their_sources(make_server, keys, status, lines):
    result = configured(make_server, FAST + other(f"OCSPStatus {status}", *lines), keys).configtest()
    assert result.returncode != 0 and "GH0735" in result.stderr, result.stderr


@pytest.mark.parametrize("status, lines", [
    ("basic", ["OCSPSource index x"]), ("nextUpdate", ["OCSPSource index x"]),
    ("archiveCutOff", ["OCSPSource index x"]),
    ("archiveCutOffWithNextUpdate", ["OCSPSource index x"]), ("CRLProfile", [CRL]),
    ("CRLProfileWithArchiveCutOff", [CRL]),
    ("SNListProfile", [CRL, "OCSPSource serials http://x.example/y"]),
    ("SNListProfileWithArchiveCutOff", [CRL, "OCSPSource serials http://x.example/y"])])
def test_status_profiles(make_server, keys, status, lines):
    server = configured(make_server, FAST + other(f"OCSPStatus {status}", *lines), keys)
    result = server.configtest()
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("signer", ["{foreign} {foreign_key}", "{tls} {tls_key}", "{cert} {tls_key}",
                                    "{cert} {open_key}", "{cert} /nonesuch"])
def test_signers_that_do_not_fit(make_server, keys, signer):
    server = configured(make_server, FAST + other(CRL, "OCSPSigner " + signer, signer=False), keys)
    result = server.configtest()
    assert result.returncode != 0 and re.search(r"GH\d{4}: ", result.stderr), result.stderr
    assert named_lines(result.stderr)


def test_folder(make_server):
    for mode, owner, number in ((0o770, environment.run_as()[:2], "GH0631"),
                                (0o750, (0, 0), "GH0630")):
        server = configured(make_server, FAST + section())
        path = server.root / "run" / "ocsp"
        path.mkdir()
        os.chown(path, *owner)
        path.chmod(mode)
        result = server.configtest()
        if environment.IS_ROOT or number == "GH0631":
            assert result.returncode != 0 and number in result.stderr, result.stderr
    server = configured(make_server, FAST + section())
    server.conf.write_text(server.conf.read_text().replace("/run/ocsp", "/none/ocsp"))
    assert "GH0628" in server.configtest().stderr


WARNED = {
    "GH0625": section() + location("/x", "SetHandler gatehouse-ocsp"),
    "GH0633": section(),
    "GH0737": FAST + section("OCSPUnknown good"),
    "GH0738": FAST + section("OCSPMaxStale off"),
    "GH0736": FAST + other(CRL, "OCSPUnknown unknown"),
    "GH0765": FAST + section("OCSPNextUpdate off", "OCSPUnknownNextUpdate 2m"),
}


@pytest.mark.parametrize("number", list(WARNED))
def test_warned(make_server, keys, number):
    result = configured(make_server, WARNED[number], keys).configtest()
    assert result.returncode == 0 and f"{number}: " in result.stderr, result.stderr
    assert named_lines(result.stderr)


def test_no_warning_where_slashes_are_let_through(make_server):
    text = section() + "AllowEncodedSlashes NoDecode\n" + location("/x",
                                                                   "SetHandler gatehouse-ocsp")
    result = configured(make_server, text).configtest()
    assert result.returncode == 0 and "GH0625" not in result.stderr, result.stderr


def test_module_order(make_server):
    for order in (("ocsp", "gatehouse", "scep"), ("gatehouse", "scep", "ocsp")):
        result = configured(make_server, FAST + section(), own_modules=order).configtest()
        assert result.returncode == 0, result.stderr
    result = configured(make_server, FAST, own_modules=("ocsp",))
    result.conf.write_text(result.conf.read_text().split("GatehouseStore")[0] + FAST)
    assert "GH0750" in result.configtest().stderr


def test_dump(make_server, keys):
    server = configured(make_server, FAST + section("OCSPUnknown revoked", "OCSPNextUpdate 8h",
                                                       "OCSPUnknownNextUpdate 2m")
                        + other(CRL, "OCSPResponderID name", "OCSPRetention 1d")
                        + location("/x", "SetHandler gatehouse-ocsp"), keys)
    result = server.configtest("-D", "DUMP_GATEHOUSE")
    dumped = json.loads(result.stdout.splitlines()[-1])["ocsp"]
    one, two = dumped["authorities"]
    assert dumped["directory"] == f"{server.root}/run/ocsp"
    assert one["name"] == one["issuer"] == "devices" and one["sources"][0]["kind"] == "store"
    assert [signer["kind"] for signer in one["signers"]] == ["P-256", "RSA-2048"]
    assert one["unknown"] == "revoked" and one["next_update"] == 28800 and one["max_stale"] == 600
    assert one["unknown_next_update"] == 120 and two["unknown_next_update"] == 60
    assert two["issuer"] is None and two["sources"][0]["url"] == "http://crl.example.com/a.crl"
    assert two["next_update"] == "crl" and two["unknown"] == "good" and two["retention"] == 86400
    assert two["signers"][0]["key"] == str(keys.key) and two["responder_id"] == "name"
    assert {(path["path"], path["fast"]) for path in dumped["endpoints"]} == {("/ocsp", True),
                                                                             ("/x", False)}


@pytest.mark.parametrize("endpoint, expected", [
    ("OCSPFastPath /ocsp\n", True), ("OCSPFastPath /status\n", False),
    ("OCSPFastPath /ocsp\nOCSPServe other\n", False),
    ("AllowEncodedSlashes NoDecode\n" + location("/ocsp", "SetHandler gatehouse-ocsp"), True),
    ("AllowEncodedSlashes NoDecode\n" + location("/ocsp", "SetHandler gatehouse-ocsp",
                                                 "OCSPServe other"), False)])
def test_address_in_certificates(make_server, endpoint, expected):
    def content(server):
        other_ca = Authority(server.root / "ca", "other", "rsa3072-01")
        return (ocsp.content(server, endpoint=endpoint)
                + issuer(other_ca)
                + ocsp.section("other", 'OCSPSigner "{}" "{}"'.format(*ocsp.signer(other_ca))))
    server = make_server(content, own_modules=ocsp.OWN_MODULES)
    leaf = ocsp.enrol(server)
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    found = [one.access_location.value for one in access
             if one.access_method == AuthorityInformationAccessOID.OCSP]
    assert found == ([server.url("/ocsp")] if expected else [])
