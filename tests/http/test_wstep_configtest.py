# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What "httpd -t" says of WSTEP's directives, and what the dump has of them."""

import json

import pytest

from harness import wstep
from harness.config import location
from wstep import Fault
from wstep.client import NAMES


def configured(make_server, content):
    server = make_server(content, start=False, **wstep.OPTIONS)
    return server, server.configtest()


GOOD = """
<CertificateTemplate Other>
    TemplateProfile      wstep-digital-signature
    TemplateSchema       3
    TemplateValidity     2y
    TemplateRenewal      4w
    TemplateKeyLength    3072
    TemplateKeyFlags     exportable protect
    TemplateProviders    "Microsoft Software Key Storage Provider"
    TemplateSubject      cn keep
    TemplateAltNames     upn mail
    TemplateFlags        smime remove-old
    TemplateGroups       "CN=Users,DC=corp,DC=example"
    TemplateAgents       none
    TemplateMachine      off
    TemplateAutoEnroll   off
    TemplateDisplayName  Other
</CertificateTemplate>
"""


def test_all_directives(make_server):
    server, result = configured(make_server, wstep.content_with(
        "WSTEPDomain corp.example CORP", "WSTEPDomain sub.corp.example", "WSTEPUserName principal",
        "WSTEPRAProfile scep-digital-signature-key-encipherment", "WSTEPMaxConcurrent 10",
        "WSTEPVerdictLifetime 30s",
        wstep=["WSTEPRenewal by-certificate grace=7d window=30d revoke-old=1d same-key=on",
               "WSTEPRenewalOnly off", "WSTEPResponse cmc", "WSTEPParentDN ou=Users,o=Example",
               "WSTEPPriority 5"],
        xcep=["WSTEPPolicyID {12345678-1234-1234-1234-123456789ABC}", "WSTEPPolicyName Example",
              "WSTEPNextUpdate 4"],
        templates=wstep.TEMPLATES + GOOD))
    assert result.returncode == 0, result.stderr
    server.start()
    told = wstep.client(server, wstep.XCEP, "alice@corp.example")
    assert told.url and server.process
    dumped = json.loads(server.configtest("-D", "DUMP_GATEHOUSE").stdout)["wstep"]
    assert [(d["path"], d["policy"]) for d in dumped] == [(wstep.WSTEP, False), (wstep.XCEP, True)]
    assert dumped[0]["templates"] == ["User", "Machine", "Bob", "Other"]


def test_windows_paths(make_server):
    """A group policy may name the paths that Windows servers have."""
    def content(server):
        path = "/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP"
        return wstep.content_with()(server) + location(
            path, "SetHandler gatehouse-wstep", "WSTEPTenant acme devices",
            "WSTEPAuthProvider file", f'AuthUserFile "{server.root}/users"')

    server = make_server(content, **wstep.OPTIONS)
    client = wstep.client(server, "/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP")
    assert set(client.policies().policies) == {"User", "Machine"}


@pytest.mark.parametrize("line, number", [
    ("WSTEPDomain corp", "GH1378"), ("WSTEPUserName upn", "GH1379"),
    ("WSTEPRAProfile wstep-digital-signature", "GH1470"), ("WSTEPMaxConcurrent 0", "GH1380"),
    ("WSTEPFailureLimit 5", "GH1381"), ("WSTEPVerdictLifetime 1h", "GH1382"),
    ("WSTEPPublicURL http://x", "GH1383"), ("WSTEPPublicURL https://x/y", "GH1383"),
    ("TemplateOID 1.2.3", "GH1384"), ("WSTEPDirectory dc1", "GH1473"),
    ("WSTEPDirectory ldaps://dc1 node=0", "GH1473"),
    ("WSTEPDirectory ldaps://dc1 referrals=11", "GH1473"),
    ("WSTEPDirectoryBind reader secret", "GH1474"), ("WSTEPTenant acme devices", "not allowed here"),
    ("WSTEPDomain a.example\nWSTEPDomain b.example", "GH1399")])
def test_server_level(make_server, line, number):
    _, result = configured(make_server, wstep.content_with(line))
    assert result.returncode != 0 and number in result.stderr, result.stderr


@pytest.mark.parametrize("line, number", [
    ("WSTEPTenant acme", "GH1373"), ("WSTEPTenant acme none", "GH1395"),
    ("WSTEPTemplates none", ""), ("WSTEPAuthProvider misspelt", "GH1393"),
    ("WSTEPRenewal by-password", "GH1374"), ("WSTEPRenewal by-certificate grace=x", "GH1374"),
    ("WSTEPResponse pkcs7", "GH1375"), ("WSTEPPriority 0", "GH1376"),
    ("WSTEPPolicyID 1234", "GH1377"), ("WSTEPNextUpdate 0", "GH1376"),
    ("WSTEPClientCA /etc/hostname", "GH1489"), ("WSTEPClientCA /etc/hostname crl", "GH1491"),
    ("WSTEPClientCA /nowhere/ca.pem", "No such file"), ("WSTEPClientCA none", ""),
    ("WSTEPClientCA ca/devices.pem", "GH1489"), ("WSTEPClientCA ca/devices.pem no-crl", ""),
    ("WSTEPSignatures on", "")])
def test_location_level(make_server, line, number):
    _, result = configured(make_server, wstep.content_with(wstep=[line]))
    assert (result.returncode != 0) == bool(number) and number in result.stderr, result.stderr


@pytest.mark.parametrize("lines, number", [
    ("TemplateOID 2.25.329800735698586629295641978511506172918", "GH1386"),
    ("TemplateOID 1.2.4294967296", "GH1386"), ("TemplateVersion 3", "GH1386"),
    ("TemplateSchema 4", "GH1386"), ("TemplateValidity 1", "GH1386"),
    ("TemplateKeyLength 1", "GH1386"), ("TemplateKeyFlags hidden", "GH1387"),
    ("TemplateSubject all", "GH1387"), ("TemplateAltNames all", "GH1387"),
    ("TemplateFlags all", "GH1387"), ("TemplateProfile other", "GH1387"),
    ("TemplateRenewal 2y", "GH1427"), ("TemplateUsages everything", "GH1387"),
    ("TemplateAltNames supplied", "GH1427"),
    ("TemplateSubject supplied\nTemplateAltNames upn", "GH1427"),
    ("TemplateRenewal 0s", "GH1386"), ("TemplateMachine on\nTemplateMachine off", "GH1385")])
def test_templates(make_server, lines, number):
    _, result = configured(make_server, wstep.content_with(
        templates=f"<CertificateTemplate X>\nTemplateProfile wstep-digital-signature\n{lines}\n"
                  f"</CertificateTemplate>\n"))
    assert result.returncode != 0 and number in result.stderr, result.stderr


@pytest.mark.parametrize("user", ["PARTNER\\alice", "alice@partner.example", "a/b"])
def test_users_of_other_domains(make_server, user):
    _, result = configured(make_server, wstep.content_with(
        "WSTEPDomain example.com EXAMPLE",
        templates=f"<CertificateTemplate X>\nTemplateProfile wstep-digital-signature\n"
                  f"TemplateUsers bob {user}\n</CertificateTemplate>\n"))
    assert result.returncode != 0 and "GH1520" in result.stderr, result.stderr


@pytest.mark.parametrize("section, number", [
    ("<CertificateTemplate>\n</CertificateTemplate>", "GH1389"),
    ('<CertificateTemplate "a b">\n</CertificateTemplate>', "GH1389"),
    ("<CertificateTemplate X>\n</CertificateTemplate>", "GH1390"),
    ("<CertificateTemplate X>\nTemplateProfile none\n</CertificateTemplate>", "GH1392"),
    ("<CertificateTemplate User>\nTemplateProfile x\n</CertificateTemplate>", "GH1391")])
def test_sections(make_server, section, number):
    _, result = configured(make_server, wstep.content_with(
        templates=wstep.TEMPLATES + section + "\n"))
    assert result.returncode != 0 and number in result.stderr, result.stderr


@pytest.mark.parametrize("path, number", [
    ("/wstep/usertoken/", "GH1372"), ("/elsewhere", "GH1372"), ("/wstep/*", "GH1371"),
    ("/xcep/ntlm", "GH1398"), ("/wstep/certificate", "GH1398")])
def test_locations(make_server, path, number):
    def content(server):
        return wstep.content_with()(server) + location(path, "WSTEPTenant acme devices")

    _, result = configured(make_server, content)
    assert result.returncode != 0 and number in result.stderr, result.stderr


def test_nobody_knows_users(make_server):
    def content(server):
        return wstep.content_with()(server).replace("WSTEPAuthProvider file", "")

    _, result = configured(make_server, content)
    assert "GH1394" in result.stderr, result.stderr


def test_no_templates(make_server):
    def content(server):
        return wstep.content_with()(server).replace("WSTEPTemplates *", "WSTEPTemplates none")

    _, result = configured(make_server, content)
    assert "GH1396" in result.stderr, result.stderr


def test_anonymous(make_server):
    """Is there where a location says so, and for renewals alone."""
    def wide(server):
        return wstep.content_with()(server) + location("/wstep", "SetHandler gatehouse-wstep",
                                                       "WSTEPTenant acme devices")

    server, result = configured(make_server, wide)
    dumped = server.configtest("-D", "DUMP_GATEHOUSE").stdout
    assert result.returncode == 0 and "anonymous" not in dumped, result.stderr

    def said(server):
        return wstep.content_with()(server) + location(
            "/wstep/anonymous", "SetHandler gatehouse-wstep", "WSTEPTenant acme devices",
            "WSTEPTemplates *")

    server = make_server(said, **wstep.OPTIONS)
    told = wstep.client(server, wstep.XCEP).policies()
    uris = {u.findtext("x:clientAuthentication", None, NAMES):
            u.findtext("x:renewalOnly", None, NAMES)
            for u in told.policies["User"].cas[0].findall("x:uris/x:cAURI", NAMES)}
    assert uris == {"4": "false", "1": "true"}
    with pytest.raises(Fault):
        wstep.client(server, "/wstep/anonymous/services/acme/devices", None).issue(wstep.csr())
