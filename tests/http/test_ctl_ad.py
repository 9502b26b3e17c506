# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl ad export: its LDIF is loaded into slapd with the schema of Active Directory for it."""

import base64
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

import pytest

from harness import wstep
from harness.directory import program

BASE = "DC=corp,DC=example"
SERVICES = f"CN=Public Key Services,CN=Services,CN=Configuration,{BASE}"

# Active Directory keeps certificates as bytes: none of it is like what slapd brings.
# Syntaxes: 15 text, 27 integer, 40 bytes
SCHEMA = {
    "flags": (27, 1), "revision": (27, 1), "displayName": (15, 1), "pKIDefaultKeySpec": (27, 1),
    "pKIMaxIssuingDepth": (27, 1), "pKIExpirationPeriod": (40, 1), "pKIOverlapPeriod": (40, 1),
    "pKIKeyUsage": (40, 1), "pKIExtendedKeyUsage": (15, 0), "pKICriticalExtensions": (15, 0),
    "pKIDefaultCSPs": (15, 0), "msPKI-RA-Signature": (27, 1), "msPKI-Enrollment-Flag": (27, 1),
    "msPKI-Private-Key-Flag": (27, 1), "msPKI-Certificate-Name-Flag": (27, 1),
    "msPKI-Minimal-Key-Size": (27, 1), "msPKI-Template-Schema-Version": (27, 1),
    "msPKI-Template-Minor-Revision": (27, 1), "msPKI-Cert-Template-OID": (15, 1),
    "msPKI-Certificate-Application-Policy": (15, 0), "dNSHostName": (15, 1),
    "cACertificateDN": (15, 1), "certificateTemplates": (15, 0),
    "msPKI-Enrollment-Servers": (15, 0), "dc": (15, 1), "cACertificate": (40, 0),
    "authorityRevocationList": (40, 0), "certificateRevocationList": (40, 0),
}
CLASSES = {
    "domain": ("dc", ()),
    "container": ("cn", ()),
    "certificationAuthority": ("cn $ cACertificate $ authorityRevocationList $ "
                               "certificateRevocationList", ()),
    "pKICertificateTemplate": ("cn", tuple(
        name for name in SCHEMA if name.startswith("pKI") or name.startswith("msPKI")
        and name != "msPKI-Enrollment-Servers") + ("flags", "displayName", "revision")),
    "msPKI-Enterprise-Oid": ("cn", ("flags", "displayName", "msPKI-Cert-Template-OID")),
    "pKIEnrollmentService": ("cn", ("displayName", "flags", "dNSHostName", "cACertificate",
                                    "cACertificateDN", "certificateTemplates",
                                    "msPKI-Enrollment-Servers")),
}
RULES = {15: "caseIgnoreMatch", 27: "integerMatch", 40: "octetStringMatch"}

TEMPLATES = wstep.TEMPLATES + """
<CertificateProfile client base=wstep-digital-signature>
    ProfileExtendedKeyUsage clientAuth
</CertificateProfile>
<CertificateTemplate Rich>
    TemplateProfile      client
    TemplateDisplayName  "A r\u00efch one"
    TemplateValidity     2y
    TemplateRenewal      4w
    TemplateKeyLength    3072
    TemplateKeyFlags     exportable
    TemplateProviders    "Microsoft Software Key Storage Provider" "Another"
    TemplateSubject      dn
    TemplateGroups       "CN=Users,DC=corp,DC=example"
</CertificateTemplate>
"""


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(wstep.content_with(templates=TEMPLATES, wstep=["WSTEPPriority 3"]),
                              start=False, **wstep.OPTIONS)


def schema():
    lines = []
    for number, (name, (syntax, single)) in enumerate(SCHEMA.items()):
        lines.append(f"attributetype ( 1.3.6.1.4.1.99999.5.{number + 1} NAME '{name}' EQUALITY "
                     f"{RULES[syntax]} SYNTAX 1.3.6.1.4.1.1466.115.121.1.{syntax}"
                     f"{' SINGLE-VALUE' if single else ''} )")
    for number, (name, (must, may)) in enumerate(CLASSES.items()):
        lines.append(f"objectclass ( 1.3.6.1.4.1.99999.6.{number + 1} NAME '{name}' SUP top "
                     f"STRUCTURAL MUST ( {must} ) MAY ( {' $ '.join(may + ('description',))} ) )")
    return "\n".join(lines) + "\n"


@pytest.fixture
def forest():
    """A folder with slapd.conf and the containers that each forest has."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-ad-"))
    (root / "db").mkdir()
    (root / "ad.schema").write_text(schema())
    (root / "slapd.conf").write_text(
        f"include {root}/ad.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        f'database mdb\nsuffix "{BASE}"\ndirectory "{root}/db"\nmaxsize 16777216\n'
        f'rootdn "cn=root,{BASE}"\n')
    text = f"dn: {BASE}\nobjectClass: domain\ndc: corp\n\n"
    parts = SERVICES.split(",")[:3]
    for i in (2, 1, 0):
        text += container(",".join(parts[i:]) + f",{BASE}")
    for name in ("Certificate Templates", "Enrollment Services", "OID"):
        text += container(f"CN={name},{SERVICES}")
    tool(root, "slapadd", text)
    yield root
    shutil.rmtree(root)


def container(dn):
    return f"dn: {dn}\nobjectClass: container\ncn: {dn.split(',')[0][3:]}\n\n"


def tool(root, name, text=None, **options):
    done = subprocess.run([program(name), "-f", str(root / "slapd.conf"),
                           *options.pop("arguments", [])], input=text, text=True, timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parse(text):
    """Records of LDIF by distinguished name: lists of values by attribute."""
    records = {}
    for block in text.replace("\n ", "").split("\n\n"):
        record = {}
        for line in block.splitlines():
            if line.startswith("#") or line == "-":
                continue
            name, _, value = line.partition(":")
            data = base64.b64decode(value[1:].strip()) if value.startswith(":") \
                else value.strip().encode()
            record.setdefault(name, []).append(data)
        if record:
            records[record.pop("dn")[0].decode()] = record
    return records


def export(server, *arguments):
    result = server.ctl("ad", "export", "--base", BASE, *arguments, as_json=False)
    assert result.status == 0, result.err
    return result.out


def test_loaded(server, forest):
    """All of it is taken by a directory with the schema, and is there afterwards."""
    written = export(server, "--ntauth", "new")
    # slapadd takes objects, not changes
    tool(forest, "slapadd", written.replace("changetype: add\n", ""))
    found = {name.lower(): r for name, r in parse(tool(forest, "slapcat")).items()}
    for name, record in parse(written).items():
        for attribute, values in record.items():
            if attribute != "changetype":
                assert sorted(found[name.lower()][attribute]) == sorted(values), (name, attribute)


def test_service(server):
    written = export(server)
    records = parse(written)
    certificate = server.authority.certificate
    name, service = next((n, r) for n, r in records.items() if "Enrollment Services" in n)
    url = f"https://localhost:{server.port}{wstep.WSTEP}"
    assert name.endswith(f",CN=Enrollment Services,{SERVICES}")
    assert service["msPKI-Enrollment-Servers"] == [f"3\n4\n0\n{url}\n0".encode()]
    assert service["certificateTemplates"] == [b"User", b"Machine", b"Bob", b"Rich"]
    assert service["dNSHostName"] == [b"localhost"]
    assert service["cACertificateDN"] == [certificate.subject.rfc4514_string().encode()]
    assert url in written.split("dn:", 1)[0] or f"# {'  ' + url}" in written
    # in the forest already: the certificate is added to those that are there
    ntauth = records[f"CN=NTAuthCertificates,{SERVICES}"]
    assert ntauth["changetype"] == [b"modify"] and ntauth["add"] == [b"cACertificate"]
    assert ntauth["cACertificate"] == service["cACertificate"]


def test_template(server):
    written = export(server)
    rich = parse(written)[f"CN=Rich,CN=Certificate Templates,{SERVICES}"]
    day = 24 * 3600 * 10000000
    assert rich["pKIExpirationPeriod"] == [struct.pack("<q", -730 * day)]
    assert rich["pKIOverlapPeriod"] == [struct.pack("<q", -28 * day)]
    assert rich["msPKI-Certificate-Name-Flag"] == [b"-2147483648"]
    assert rich["msPKI-Private-Key-Flag"] == [b"16"]
    assert rich["msPKI-Minimal-Key-Size"] == [b"3072"]
    assert rich["pKIKeyUsage"] == [b"\x80\x00"] and rich["pKICriticalExtensions"] == [b"2.5.29.15"]
    assert rich["pKIDefaultCSPs"] == [b"1,Microsoft Software Key Storage Provider", b"2,Another"]
    assert rich["displayName"] == ["A r\u00efch one".encode()]
    assert rich["pKIExtendedKeyUsage"] == [b"1.3.6.1.5.5.7.3.2"]
    assert rich["msPKI-Certificate-Application-Policy"] == [b"1.3.6.1.5.5.7.3.2"]
    assert "Grant Read and Enroll at this object to:\n#   CN=Users,DC=corp,DC=example" in written
    user = parse(written)[f"CN=User,CN=Certificate Templates,{SERVICES}"]
    assert user["msPKI-Cert-Template-OID"] == [wstep.TEMPLATE_OID.encode()]
    assert (user["revision"], user["msPKI-Template-Minor-Revision"]) == ([b"100"], [b"3"])
    assert int(user["flags"][0]) == 0x20020 and "Authenticated Users" in written
    oids = [r for n, r in parse(written).items() if f",CN=OID,{SERVICES}" in n]
    assert wstep.TEMPLATE_OID.encode() in [r["msPKI-Cert-Template-OID"][0] for r in oids]
    assert len(oids) == 4 and {r["flags"][0] for r in oids} == {b"1"}


def test_options(server):
    assert parse(export(server, "--host", "pki.corp.example"))
    assert b"pki.corp.example" in [
        r["dNSHostName"][0] for r in parse(export(server, "--host", "pki.corp.example")).values()
        if "dNSHostName" in r]
    for arguments, number, code in (
            (["ad", "export"], "GH1505", 2), (["ad", "export", "--base", "corp"], "GH1505", 2),
            (["ad", "export", "--base", BASE, "--ntauth", "old"], "GH1506", 2),
            (["ad", "export", "--base", BASE, "--tenant", "other"], "GH1507", 3)):
        result = server.ctl(*arguments, as_json=False)
        assert number in result.err and result.status == code, result.err


def test_without_wstep(make_server):
    from harness.config import issuer
    server = make_server(lambda s: issuer(s.authority), start=False)
    result = server.ctl("ad", "export", "--base", BASE, as_json=False)
    assert "GH1507" in result.err and result.status != 0


def test_of_the_directory(make_server):
    """A template that the directory has already is named by the service, and not written."""
    templates = wstep.TEMPLATES + """
<CertificateTemplate Theirs>
    TemplateInDirectory  on
    TemplateProfile      wstep-digital-signature
</CertificateTemplate>
"""
    server = make_server(wstep.content_with(
        "WSTEPDomain corp.example CORP",
        "WSTEPDirectory ldaps://dc.corp.example base=DC=corp,DC=example",
        templates=templates), start=False, **wstep.OPTIONS)
    records = parse(export(server))
    service = next(r for n, r in records.items() if "Enrollment Services" in n)
    assert b"Theirs" in service["certificateTemplates"]
    assert len([n for n in records if "Certificate Templates" in n]) == 3


def test_urls(server):
    found = {(u["kind"], u["url"]) for u in server.ctl_ok("urls").objects}
    base = f"https://localhost:{server.port}"
    assert {("wstep", base + wstep.WSTEP), ("xcep", base + wstep.XCEP)} <= found


def verdicts(server):
    return {v["name"]: v for v in server.ctl("check").objects}


def test_check(make_server):
    """The harness has a template by which everybody supplies the subject."""
    server = make_server(wstep.content_with(), **wstep.OPTIONS)
    wstep.client(server).issue(wstep.csr())
    found = verdicts(server)
    assert found["wstep.Machine"]["gh"] == "GH1508"
    assert found["wstep.Machine"]["verdict"] == "warning"
    assert not {"wstep", "wstep.User", "wstep.Bob"} & set(found)
    assert found["ra.devices.wstep"]["verdict"] == "ok"
    server.stop()
    server.make_secret("sealing-key", os.urandom(32).hex())
    assert verdicts(server)["ra.devices.wstep"]["gh"] == "GH1510"


def test_check_withdrawn(make_server):
    server = make_server(wstep.content_with(), **wstep.OPTIONS)
    issued = wstep.client(server).issue(wstep.csr())
    mine = f"{issued.certificate.serial_number:032x}"
    signer = [c["serial"] for c in server.certificates() if c["serial"] != mine]
    server.ctl_ok("cert", "revoke", signer[0])
    assert verdicts(server)["ra.devices.wstep"]["gh"] == "GH1509"
