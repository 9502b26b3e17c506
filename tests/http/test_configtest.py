# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What "httpd -t" says of a configuration that would not work: file, line, reason."""

import datetime
import json
import os
import re

import pytest

from harness import environment, standard
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import PEM, Authority, certificate, key, write_secret
from harness.server import Server
from scep.identity import private_pem

STATIC = standard.STATIC


@pytest.fixture(scope="module")
def server():
    """Never started: its files are what configurations name."""
    made = Server(standard.content)
    other = Authority(made.root / "ca", "other", "rsa3072-01")
    Authority(made.root / "ca", "expired", "rsa2048-09", days=10,
              start=datetime.datetime(2025, 1, 1))
    made.other = other
    loose = write_secret(made.secret("loose"), "a challenge")
    loose.chmod(0o644)
    key_file = write_secret(made.root / "ca" / "loose.key", private_pem(key("rsa2048-11")))
    key_file.chmod(0o640)
    write_secret(made.secret("empty"), "")
    write_secret(made.secret("short-key"), "0123456789abcdef")
    write_secret(made.root / "ca" / "rubbish.pem", "this is no PEM\n")
    leaf = made.root / "ca" / "leaf.pem"
    leaf.write_bytes(certificate("leaf", key("rsa2048-11"), "Test Root", key("p256-01"), 100,
                                 ca=False).public_bytes(PEM))
    no_crl = ca(made) / "no-crl.pem"
    no_crl.write_bytes(certificate("Test devices CA", key("rsa2048-11"), "Test Root",
                                   key("p256-01"), 1000, pathlen=0,
                                   crl_sign=False).public_bytes(PEM))
    yield made
    made.close()


def base(server, more=""):
    return standard.PROFILES + issuer(server.authority) + location(
        "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
        "SCEPProfiles scep-* test-*") + location(STATIC, challenge(server)) + more


def issuer_lines(server, **changes):
    """An <Issuer> with some directives changed; None leaves one out."""
    lines = {"IssuerCertificate": f'"{server.authority.certificate_path}"',
             "IssuerKey": f'"{server.authority.key_path}"',
             "IssuerChain": f'"{server.authority.root_path}"', **changes}
    body = "".join(f"    {name} {value}\n" for name, value in lines.items() if value is not None)
    return f"<Issuer devices>\n{body}</Issuer>\n"


def ca(server):
    return server.root / "ca"


def challenge(server):
    return standard.challenge(server)


PROFILE_INTUNE = """<CertificateProfile intune base=scep-digital-signature>
    ProfileAlias cloud
</CertificateProfile>
"""

# name: (configuration, text of the line that is at fault, what the reason must speak of)
BAD = {
    # issuers
    "key readable by others": lambda s: (
        issuer_lines(s, IssuerKey=ca(s) / "loose.key"), "IssuerKey", "loose.key"),
    "key of another certificate": lambda s: (
        issuer_lines(s, IssuerKey=s.other.key_path), "IssuerKey", "match|fit|belong"),
    "key missing": lambda s: (
        issuer_lines(s, IssuerKey=ca(s) / "none.key"), "IssuerKey", "none.key"),
    "no key": lambda s: (issuer_lines(s, IssuerKey=None), "<Issuer devices>", "IssuerKey"),
    "no certificate": lambda s: (
        issuer_lines(s, IssuerCertificate=None), "<Issuer devices>", "IssuerCertificate"),
    "certificate missing": lambda s: (
        issuer_lines(s, IssuerCertificate=ca(s) / "none.pem"), "IssuerCertificate", "none.pem"),
    "certificate is rubbish": lambda s: (
        issuer_lines(s, IssuerCertificate=ca(s) / "rubbish.pem"), "IssuerCertificate",
        "rubbish.pem"),
    "certificate is no CA's": lambda s: (
        issuer_lines(s, IssuerCertificate=ca(s) / "leaf.pem"), "IssuerCertificate", "CA"),
    "certificate expired": lambda s: (
        issuer_lines(s, IssuerCertificate=ca(s) / "expired.pem",
                     IssuerKey=ca(s) / "expired.key"), "IssuerCertificate", "expired|ended|valid"),
    "chain leads elsewhere": lambda s: (
        issuer_lines(s, IssuerChain=ca(s) / "leaf.pem"), "IssuerChain", "chain|issue"),
    "unknown back end": lambda s: (
        issuer_lines(s, IssuerBackend="cloud"), "IssuerBackend", "cloud"),
    "PIN in the URI": lambda s: (
        issuer_lines(s, IssuerKey='"pkcs11:token=ca;object=x?pin-value=1234"'),
        "IssuerKey", "pin-value"),
    "issuer twice": lambda s: (issuer_lines(s) * 2, "<Issuer devices>", "devices"),
    "two issuers with one key": lambda s: (
        issuer(s.authority) + "\n" + issuer_lines(s).replace("devices>", "again>"),
        "IssuerCertificate", "GH0450.*again.*devices"),
    "CA that may not sign CRLs": lambda s: (
        issuer_lines(s, IssuerCertificate=ca(s) / "no-crl.pem"), "IssuerCertificate",
        "GH0440.*cRLSign"),
    "issuer with a bad name": lambda s: (
        issuer_lines(s).replace("<Issuer devices>", '<Issuer "de vices">'),
        '<Issuer "de vices">', "name"),
    "CRL option unknown": lambda s: (
        issuer_lines(s, IssuerCRL="valid=7d"), "IssuerCRL", "valid"),
    "CRL without unit": lambda s: (
        issuer_lines(s, IssuerCRL="validity=7"), "IssuerCRL", "7"),
    "CRL shorter than its interval": lambda s: (
        issuer_lines(s, IssuerCRL="validity=1h publish=2h"), "IssuerCRL",
        "validity|publish"),
    # profiles
    "unknown base": lambda s: (
        base(s, "<CertificateProfile x base=nothing>\n</CertificateProfile>\n"),
        "<CertificateProfile x", "nothing"),
    "profile twice": lambda s: (
        base(s, "<CertificateProfile test-legacy>\n</CertificateProfile>\n"),
        "<CertificateProfile test-legacy", "test-legacy"),
    "bases in a circle": lambda s: (
        base(s, "<CertificateProfile x base=y>\n</CertificateProfile>\n"
                     "<CertificateProfile y base=x>\n</CertificateProfile>\n"),
        "<CertificateProfile", "x|y"),
    "unknown key usage": lambda s: (
        base(s, "<CertificateProfile x>\nProfileKeyUsage everything\n"
                     "</CertificateProfile>\n"), "ProfileKeyUsage", "everything"),
    "bad duration": lambda s: (
        base(s, "<CertificateProfile x>\nProfileValidity 365\n</CertificateProfile>\n"),
        "ProfileValidity", "365"),
    # server level
    "password of the database": lambda s: (
        'GatehouseStore "pgsql:host=pg1 user=me password=seed-3f8a"\n' + base(s),
        "GatehouseStore .pgsql", "passfile="),
    "password of the database in a URL": lambda s: (
        "GatehouseStore pgsql:postgresql://me:seed-3f8a@pg1/gatehouse\n" + base(s),
        "GatehouseStore pgsql", "passfile="),
    "no folder for the store": lambda s: (
        f'GatehouseStore "sqlite3:{s.root}/nowhere/gatehouse.db"\n' + base(s),
        "GatehouseStore .*nowhere", "GH0072.*nowhere"),
    "unknown store": lambda s: (
        'GatehouseStore "oracle:x"\n' + issuer(s.authority), "GatehouseStore", "sqlite3:"),
    "store not absolute": lambda s: (
        'GatehouseStore "sqlite3:gatehouse.db"\n' + issuer(s.authority),
        "GatehouseStore", "absolute|path"),
    "sealing key too short": lambda s: (
        f'GatehouseSealingKey file:{s.secret("short-key")}\n' + base(s),
        "GatehouseSealingKey", "64"),
    "sealing key inline": lambda s: (
        f"GatehouseSealingKey {'ab' * 32}\n" + base(s), "GatehouseSealingKey",
        "file:|exec:"),
    "public URL with a slash at the end": lambda s: (
        "GatehousePublicURL http://pki.example/\n" + base(s), "GatehousePublicURL",
        "slash|/"),
    "public URL that is none": lambda s: (
        "GatehousePublicURL pki.example\n" + base(s), "GatehousePublicURL", "http"),
    # SCEP
    "slash at the end": lambda s: (
        base(s, location("/scep/acme/devices/scep-key-encipherment/", challenge(s))),
        '<Location "/scep/acme/devices/scep-key-encipherment/">|SCEPChallenge', "slash"),
    "LocationMatch": lambda s: (
        base(s, f'<LocationMatch "^/scep/acme">\n{challenge(s)}\n</LocationMatch>\n'),
        "<LocationMatch|SCEPChallenge", "LocationMatch|regular|pattern"),
    "Location with a tilde": lambda s: (
        base(s, f'<Location ~ "^/scep/acme">\n{challenge(s)}\n</Location>\n'),
        "<Location ~|SCEPChallenge", "regular|pattern|LocationMatch"),
    "slash at the end of what is not ours": lambda s: (
        base(s, location(f"{STATIC}/", "Require all denied")), f'<Location "{STATIC}/">',
        "GH0253.*slash"),
    "slash at the end of a tenant": lambda s: (
        base(s, location("/scep/acme/", "Require all denied")), '<Location "/scep/acme/">',
        "GH0253.*slash"),
    "slash at the end of an allowance": lambda s: (
        base(s, location(f"{STATIC}/", "GatehouseAllowRequest none")), "GatehouseAllowRequest",
        "GH0448.*slash"),
    "handler elsewhere": lambda s: (
        base(s, location("/foo", "SetHandler gatehouse-scep")), "SetHandler gatehouse-scep",
        "GH0445.*/foo"),
    "handler elsewhere, with a similar name": lambda s: (
        base(s, location("/scepter", "SetHandler gatehouse-scep")), "SetHandler gatehouse-scep",
        "GH0445.*/scepter"),
    "reserved tenant": lambda s: (
        base(s, location("/scep/intune", "SCEPTenant intune devices")), "SCEPTenant intune",
        "GH0446.*intune"),
    "the other reserved tenant": lambda s: (
        base(s, location("/scep/mdm", "SCEPTenant mdm devices")), "SCEPTenant mdm",
        "GH0446.*mdm"),
    "reserved profile": lambda s: (
        PROFILE_INTUNE + base(s, location("/scep/acme", "SCEPProfiles scep-* intune")),
        "SCEPProfiles scep-\\* intune", "GH0447.*intune"),
    "reserved profile by its alias": lambda s: (
        PROFILE_INTUNE + base(s, location("/scep/acme", "SCEPProfiles scep-* cloud")),
        "SCEPProfiles scep-\\* cloud", "GH0447.*intune"),
    "reserved profile by a pattern": lambda s: (
        PROFILE_INTUNE + base(s, location("/scep/acme", "SCEPProfiles scep-* in*")),
        "SCEPProfiles scep-\\* in\\*", "GH0447.*intune"),
    "unknown issuer": lambda s: (
        base(s, location("/scep/zeta", "SCEPTenant zeta nothing")), "SCEPTenant", "nothing"),
    "unknown profile": lambda s: (
        base(s, location("/scep/acme", "SCEPProfiles nothing")), "SCEPProfiles", "nothing"),
    "wildcard that matches nothing": lambda s: (
        base(s, location("/scep/acme", "SCEPProfiles nothing-*")), "SCEPProfiles", "nothing-"),
    "internal profile": lambda s: (
        base(s, location("/scep/acme", "SCEPProfiles test-inside")), "SCEPProfiles", "test-inside"),
    "another folder": lambda s: (
        base(s, location("/enrol", "SCEPProfiles scep-*")), "SCEPProfiles", "/scep"),
    "location twice": lambda s: (
        base(s, location(STATIC, "SCEPAllow sha1")), "SCEPAllow", "already|together"),
    "SCEPReplyChain twice": lambda s: (
        base(s, location(standard.ONETIME, "SCEPReplyChain leaf", "SCEPReplyChain full")),
        "SCEPReplyChain", "twice"),
    "static challenge for every profile": lambda s: (
        standard.PROFILES + issuer(s.authority) + location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles scep-*", challenge(s)), "SCEPChallenge",
        "static"),
    "static challenge for a tenant": lambda s: (
        base(s, location("/scep/acme", challenge(s))), "SCEPChallenge", "static"),
    "static challenge for an issuer": lambda s: (
        base(s, location("/scep/acme/devices", challenge(s))), "SCEPChallenge", "static"),
    "static challenge inline": lambda s: (
        base(s, location(standard.ONETIME, "SCEPChallenge static secret")),
        "SCEPChallenge", "file:|exec:"),
    "static challenge readable by others": lambda s: (
        base(s, location(standard.ONETIME,
                              f"SCEPChallenge static file:{s.secret('loose')}")),
        "SCEPChallenge", "loose"),
    "static challenge missing": lambda s: (
        base(s, location(standard.ONETIME,
                              f"SCEPChallenge static file:{s.secret('none')}")),
        "SCEPChallenge", "none"),
    "static challenge empty": lambda s: (
        base(s, location(standard.ONETIME,
                              f"SCEPChallenge static file:{s.secret('empty')}")),
        "SCEPChallenge", "empty"),
    "no challenge without saying insecure": lambda s: (
        base(s, location(standard.ONETIME, "SCEPChallenge none")), "SCEPChallenge",
        "insecure"),
    "unknown challenge provider": lambda s: (
        base(s, location(standard.ONETIME, "SCEPChallenge telepathy")), "SCEPChallenge",
        "onetime"),
    "unknown algorithm": lambda s: (
        base(s, location(standard.ONETIME, "SCEPAllow rot13")), "SCEPAllow", "rot13"),
    "single DES": lambda s: (
        base(s, location(standard.ONETIME, "SCEPAllow des")), "SCEPAllow", "des"),
    "unknown chain": lambda s: (
        base(s, location(standard.ONETIME, "SCEPReplyChain some")), "SCEPReplyChain",
        "some"),
    "reserved name": lambda s: (
        base(s, location("/scep/acme/devices/intune", challenge(s))),
        "intune|SCEPChallenge", "intune"),
    "path with an unknown profile": lambda s: (
        base(s, location("/scep/acme/devices/scep-misspelt", challenge(s))),
        "scep-misspelt|SCEPChallenge", "scep-misspelt"),
    "path with an unknown issuer": lambda s: (
        base(s, location("/scep/acme/devicez/scep-digital-signature", challenge(s))),
        "devicez|SCEPChallenge", "devicez"),
    "unknown item allowed": lambda s: (
        base(s, location(standard.ONETIME, "GatehouseAllowRequest everything")),
        "GatehouseAllowRequest", "everything"),
    "CA certificates allowed": lambda s: (
        base(s, location(standard.ONETIME, "GatehouseAllowRequest CA")),
        "GatehouseAllowRequest", "CA"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration(server, name):
    content, place, reason = BAD[name](server)
    server.configure(content)
    result = server.configtest()
    text = result.stderr + result.stdout
    assert result.returncode != 0, text
    assert re.search(reason, text), text
    assert str(server.conf) in text, text
    lines = server.conf.read_text().splitlines()
    suspects = [number for number, line in enumerate(lines, 1) if re.search(place, line)]
    named = {int(number) for number in re.findall(r"(?:line |httpd\.conf:)(\d+)", text)}
    assert named & set(suspects), f"named {named}, expected one of {suspects}\n{text}"


def without(server, *directives):
    text = "".join(line + "\n" for line in server.conf.read_text().splitlines()
                   if not line.startswith(directives))
    server.conf.write_text(text)


@pytest.mark.parametrize("directive, reason", [
    ("GatehouseSealingKey", "GatehouseSealingKey"), ("GatehouseStore", "GatehouseStore"),
    ("GatehousePublicURL", "GatehousePublicURL")])
def test_something_missing(server, directive, reason):
    server.configure(base(server))
    without(server, directive)
    result = server.configtest()
    assert result.returncode != 0
    assert reason in result.stderr and "GH0" in result.stderr, result.stderr


def test_a_missing_sealing_key_has_a_place(server):
    server.configure(base(server))
    without(server, "GatehouseSealingKey")
    lines = server.conf.read_text().splitlines()
    expected = 1 + lines.index("    SCEPTenant acme devices")
    assert f"GH0257: {server.conf}:{expected}: " in server.configtest().stderr


def test_a_missing_ra_profile_has_a_place(server):
    server.profiles = False
    try:
        server.configure("<CertificateProfile x>\n    ProfileKeyUsage digitalSignature\n"
                         "</CertificateProfile>\n" + issuer(server.authority) + location(
                             "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                             "SCEPProfiles x"))
    finally:
        server.profiles = True
    lines = server.conf.read_text().splitlines()
    expected = 1 + lines.index("    SCEPTenant acme devices")
    assert f"GH0254: {server.conf}:{expected}: " in server.configtest().stderr


def test_secrets_are_not_repeated(server):
    for name in ("password of the database", "password of the database in a URL"):
        server.configure(BAD[name](server)[0])
        result = server.configtest()
        assert "seed-3f8a" not in result.stderr + result.stdout


def test_folder_that_children_cannot_write(server):
    """Found before they try, without making anything."""
    folder = server.root / "closed"
    folder.mkdir()
    folder.chmod(0o755 if environment.IS_ROOT else 0o555)
    server.configure(base(server))
    server.conf.write_text(server.conf.read_text().replace(
        server.store_uri, f"sqlite3:{folder}/gatehouse.db"))
    result = server.configtest()
    assert result.returncode != 0 and "GH0074" in result.stderr, result.stderr
    assert str(folder) in result.stderr and str(server.conf) in result.stderr
    assert list(folder.iterdir()) == []
    ctl = server.ctl("cert", "list")
    assert ctl.status == 4 and "GH0074" in ctl.err, ctl
    assert server.ctl("urls").status == 0           # needs no store
    os.chown(folder, *environment.run_as()[:2])
    folder.chmod(0o750)
    assert server.configtest().returncode == 0
    ctl = server.ctl("cert", "list")
    assert ctl.status == 4 and "GH0416" in ctl.err, ctl


def test_key_matters_for_the_message(server):
    """Each message has a number of its own and says what to do."""
    server.configure(issuer_lines(server, IssuerKey=server.other.key_path))
    assert re.search(r"GH\d{4}", server.configtest().stderr)


def test_good_configuration(server):
    server.configure(standard.content)
    result = server.configtest()
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip().endswith("Syntax OK")
    assert list((server.root / "store").iterdir()) == []    # a test changes nothing
    assert not server.audit_path.exists()


def test_no_challenge_is_warned_of(server):
    server.configure(base(server, location(standard.ONETIME, "SCEPChallenge none insecure")))
    result = server.configtest()
    assert result.returncode == 0
    assert len(re.findall(r"GH\d{4}.*insecure", result.stderr)) == 1, result.stderr


def test_short_request_line_is_warned_of(server):
    server.configure(base(server))
    without(server, "LimitRequestLine")
    result = server.configtest()
    assert result.returncode == 0
    assert "LimitRequestLine" in result.stderr and "65536" in result.stderr


def test_dump(server):
    server.configure(standard.content)
    result = server.configtest("-D", "DUMP_GATEHOUSE")
    assert result.returncode == 0, result.stderr
    dump = json.loads(result.stdout)
    assert dump["store"] == server.store_uri and dump["public_url"] == server.public_url
    assert dump["sealing"] is True and dump["node"] == "test-node"
    assert {i["name"] for i in dump["issuers"]} == {"devices", "other"}
    static = [s for s in dump["scep"] if s["path"] == STATIC]
    assert len(static) == 1 and static[0]["challenges"] == ["static"]
    assert static[0]["tenant"] == "acme" and static[0]["issuer"] == "devices"
    legacy = [s for s in dump["scep"] if s["path"] == standard.LEGACY]
    assert sorted(legacy[0]["algorithms"]) == ["3des", "sha1"]
    assert server.secret("challenge").read_text() not in result.stdout
    assert server.sealing_key not in result.stdout


def test_httpd_does_not_start(server):
    server.configure(BAD["key readable by others"](server)[0])
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    assert "loose.key" in server.stderr() + server.log.text()
    server.log.problems()


def test_ctl_without_a_good_configuration(server):
    server.configure(BAD["unknown issuer"](server)[0])
    result = server.ctl("cert", "list")
    assert result.status == 1 and "nothing" in result.err


def test_crl_handlers_need_an_issuer(server):
    """Nothing to serve is not an error: any issuer may be added later."""
    server.configure(CRL_AND_CA)
    assert server.configtest().returncode == 0
