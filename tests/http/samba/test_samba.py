# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Samba as a domain controller of Active Directory: tickets, accounts, groups and templates of one
real directory. ./check --full runs this where Samba can be installed; it takes port 389, which
cannot be chosen."""

import base64
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
from cryptography import x509

from harness import kerberos, wstep
from harness.active_directory import certificate_template, ldif
from harness.config import CRL_AND_CA, issuer, location
from harness.descriptors import AUTHENTICATED, AUTOENROLL, ENROLL, FULL, READ, SYSTEM, descriptor, \
    entry
from harness.server import free_port, port_is_free, wait_until
from test_ocsp_fetching import server_certificate
from test_wstep_kerberos import OPTIONS, WSTEP, XCEP, KerberosClient
from wstep import Fault

PORTS = (389, 636, 3268, 3269)
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("samba", path="/usr/sbin:/usr/bin")
    or not shutil.which("samba-tool") or not all(port_is_free(port) for port in PORTS),
    reason="needs Samba, root, and the ports of LDAP")

SUFFIX = "DC=ad,DC=example"
DENIED = 0x80094012
PROFILE = "wstep-digital-signature-key-encipherment"
SETTINGS = """    server services = ldap, kdc
    krb5 port = {kdc}
    kpasswd port = {kpasswd}
    pid directory = {root}/run
    ncalrpc dir = {root}/ncalrpc
    ntp signd socket directory = {root}/ntp
    winbindd socket directory = {root}/winbind
    log file = {root}/log.%m
    tls certfile = {certificate}
    tls keyfile = {key}
    tls cafile = {ca}
"""


class Domain(kerberos.Realm):
    """AD.EXAMPLE, with alice in PKI in Staff, bob, and the computer PC1."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-samba-"))
        self.root.chmod(0o755)
        self.realm, self.password = "AD.EXAMPLE", "Seeded secret 0f the domain"
        self.port = free_port()
        self.keytab = self.root / "http.keytab"
        self.configuration = self.write("krb5.conf")
        self.process = None
        tls = self.root / "tls"
        tls.mkdir()
        self.certificate, self.key, self.ca = server_certificate(tls)
        os.chmod(self.key, 0o600)
        self.tool("domain", "provision", f"--realm={self.realm}", "--domain=AD", "--server-role=dc",
                  "--dns-backend=NONE", f"--adminpass={self.password}", "--host-name=dc1",
                  "--host-ip=127.0.0.1", f"--targetdir={self.root}",
                  "--option=interfaces=127.0.0.1/8", "--option=bind interfaces only=yes")
        self.smb = self.root / "etc" / "smb.conf"
        self.settle()
        self.start()
        self.fill()
        self.tool("domain", "exportkeytab", "--principal=HTTP/localhost", self.keytab, "-s",
                  self.smb)
        self.keytab.chmod(0o644)

    def tool(self, *arguments):
        done = subprocess.run(["samba-tool", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=600)
        assert done.returncode == 0, done.stdout[-3000:]

    def settle(self):
        """Nothing but LDAP and the KDC, within the folder."""
        text = self.smb.read_text()
        text = re.sub(r"(?m)^\s*(server services|log file|panic action) = .*\n", "", text)
        text = text.replace("[global]\n", "[global]\n" + SETTINGS.format(
            kdc=self.port, kpasswd=free_port(), root=self.root, certificate=self.certificate,
            key=self.key, ca=self.ca), 1)
        self.smb.write_text(text)
        for name in ("run", "ncalrpc", "ntp", "winbind"):
            (self.root / name).mkdir(exist_ok=True)

    def start(self):
        self.process = subprocess.Popen(
            ["samba", "-F", "--no-process-group", "-M", "single", "-s", str(self.smb)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: not port_is_free(636) and not port_is_free(self.port), 60,
                   what="Samba")

    def ldap(self, program, text=None, *arguments):
        done = subprocess.run(
            [program, "-x", "-H", "ldaps://127.0.0.1", "-D", "administrator@ad.example", "-w",
             self.password, *arguments], input=text, text=True, timeout=60, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "LDAPTLS_CACERT": self.ca})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sid(self, name):
        out = self.ldap("ldapsearch", None, "-LLL", "-o", "ldif-wrap=no", "-b", SUFFIX,
                        f"(sAMAccountName={name})", "objectSid")
        return base64.b64decode(re.search(r"objectSid:: (\S+)", out).group(1))

    def account(self, name, kind="user", container="Users", control=512, **attributes):
        return ldif(f"CN={name.rstrip('$')},CN={container},{SUFFIX}", objectClass=kind,
                    sAMAccountName=name, userAccountControl=control,
                    unicodePwd=f'"{self.password}"'.encode("utf-16-le"), **attributes)

    def fill(self):
        text = "".join(self.account(name, userPrincipalName=f"{name}@ad.example")
                       for name in ("alice", "bob", "reader"))
        # AES alone: 0x18 of msDS-SupportedEncryptionTypes
        text += self.account("web", servicePrincipalName="HTTP/localhost",
                             **{"msDS-SupportedEncryptionTypes": 24})
        text += self.account("PC1$", "computer", "Computers", 4096, dNSHostName="pc1.ad.example",
                             servicePrincipalName="HOST/pc1.ad.example")
        text += ldif(f"CN=PKI,CN=Users,{SUFFIX}", objectClass="group", sAMAccountName="PKI",
                     member=f"CN=alice,CN=Users,{SUFFIX}")
        text += ldif(f"CN=Staff,CN=Users,{SUFFIX}", objectClass="group", sAMAccountName="Staff",
                     member=f"CN=PKI,CN=Users,{SUFFIX}")
        self.ldap("ldapadd", text)
        common = (entry(SYSTEM, FULL), entry(AUTHENTICATED, READ))
        staff, computers = self.sid("Staff"), self.sid("Domain Computers")
        templates = certificate_template("Worker", descriptor(
            *common, entry(staff, right=ENROLL), entry(staff, right=AUTOENROLL)))
        templates += certificate_template(
            "Workstation", descriptor(*common, entry(computers, right=ENROLL)),
            flags=0x2023A | 0x40, msPKI_Certificate_Name_Flag=0x18000000)
        self.ldap("ldapadd", templates.replace("dc=example,dc=com", SUFFIX))

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)


@pytest.fixture(scope="module")
def domain():
    made = Domain.__new__(Domain)
    try:
        made.__init__()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def server(domain, make_module_server):
    def content(server):
        server.environment = domain.of_httpd()
        server.make_secret("bind", domain.password)
        kerberos_ = ["SetHandler gatehouse-wstep", "WSTEPTenant acme devices", "WSTEPTemplates *",
                     "AuthType GSSAPI", f"GssapiCredStore keytab:{domain.keytab}",
                     "GssapiAllowedMech krb5", "Require valid-user"]
        templates = "".join(
            f"<CertificateTemplate {name}>\n    TemplateInDirectory on\n"
            f"    TemplateProfile {PROFILE}\n</CertificateTemplate>\n"
            for name in ("Worker", "Workstation"))
        return "".join([
            "ServerName https://localhost\n", "WSTEPDomain ad.example AD\n",
            f'WSTEPDirectory ldaps://127.0.0.1 "base={SUFFIX}" "trust={domain.ca}"\n',
            f"WSTEPDirectoryBind reader@ad.example file:{server.secret('bind')}\n",
            templates, f"""<CertificateTemplate Group>
    TemplateProfile {PROFILE}
    TemplateGroups  "CN=Staff,CN=Users,{SUFFIX}"
</CertificateTemplate>
""", issuer(server.authority), location("/wstep/kerberos", *kerberos_),
            location("/xcep/kerberos", *kerberos_), CRL_AND_CA])

    return make_module_server(content, **OPTIONS)


def oid(name):
    return f"1.3.6.1.4.1.311.21.8.1.2.3.{len(name)}.{ord(name[0])}"


def request(name, number):
    return wstep.csr(number=number, template=wstep.template_extension(oid(name), 100, 7))


def test_person(domain, server):
    """Of a group of a group: by the template's own descriptor, and by TemplateGroups."""
    alice = domain.caller("alice")
    told = KerberosClient(server, XCEP, alice).policies().policies
    assert set(told) == {"Worker", "Group"}
    assert told["Worker"].text("permission/autoEnroll") == "true"
    certificate = KerberosClient(server, WSTEP, alice).issue(request("Worker", 1)).certificate
    assert certificate.subject.rfc4514_string() == "CN=alice"
    sid = certificate.extensions.get_extension_for_oid(
        x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")).value.value
    relative = int.from_bytes(domain.sid("alice")[-4:], "little")
    assert f"-{relative}".encode() in sid and b"S-1-5-21-" in sid
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value.endswith(b"alice@ad.example") for name in names] == [True]


def test_nobody(domain, server):
    bob = domain.caller("bob")
    assert not KerberosClient(server, XCEP, bob).policies().policies
    with pytest.raises(Fault) as fault:
        KerberosClient(server, WSTEP, bob).issue(request("Worker", 2))
    assert fault.value.hresult == DENIED


def test_machine(domain, server):
    """By its primary group."""
    machine = domain.caller("PC1$")
    assert set(KerberosClient(server, XCEP, machine).policies().policies) == {"Workstation"}
    certificate = KerberosClient(server, WSTEP, machine).issue(
        request("Workstation", 3)).certificate
    assert certificate.subject.rfc4514_string() == "CN=pc1.ad.example"
