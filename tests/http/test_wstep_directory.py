# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Names, groups and disabled accounts of callers, from slapd with accounts as Active Directory has
them."""

import socket
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from harness import wstep
from harness.active_directory import (PASSWORD, READER, SUFFIX, ActiveDirectory, computer, group,
                                      sid_text, user)
from harness.kerberos import Realm
from harness.server import free_port, wait_until
from scep import der
from scep.csr import extension
from test_ocsp_fetching import server_certificate
from test_wstep_kerberos import KerberosClient
from test_wstep_kerberos import OPTIONS as KERBEROS_OPTIONS
from test_wstep_kerberos import WSTEP as KERBEROS_WSTEP
from test_wstep_kerberos import content_with as kerberos_with
from wstep import Fault

UNAVAILABLE, DENIED, DISABLED, NO_MAIL = 0x800706BA, 0x80094012, 0x80094011, 0x80094812
USERS = {"alice": "a", "bob": "b", "carol": "c", "dora": "d", "PC1$": "machine", "nobody": "n"}
ALICE = f"cn=alice,cn=Users,{SUFFIX}"

TEMPLATES = f"""
<CertificateTemplate Person>
    TemplateProfile   wstep-digital-signature-key-encipherment
    TemplateSubject   cn mail
    TemplateAltNames  upn mail
    TemplateGroups    "CN=all, CN=users, {SUFFIX.upper()}"
</CertificateTemplate>
<CertificateTemplate Computer>
    TemplateProfile   wstep-digital-signature-key-encipherment
    TemplateSubject   dns
    TemplateAltNames  dns domain
    TemplateMachine   on
    TemplateGroups    "CN=Domain Computers,CN=Users,{SUFFIX}"
</CertificateTemplate>
<CertificateTemplate Anyone>
    TemplateProfile   wstep-digital-signature
    TemplateSubject   dn
    TemplateUsers     all
</CertificateTemplate>
"""


def entries():
    return (user("alice") + user("bob", relative=1105, userAccountControl=514)
            + user("carol", relative=1106) + user("dora", relative=1107, mail=None)
            + computer("PC1") + group("Domain Users", [], 513)
            + group("Domain Computers", [], 515) + group("PKI", [], 1300)
            + group("Staff", [], 1301) + group("All", [], 1302))


def join(directory, *memberships):
    """Memberships are made while it runs: the overlay then writes memberOf."""
    text = "".join(f"dn: cn={name},cn=Users,{SUFFIX}\nchangetype: modify\nadd: member\n"
                   f"member: {member}\n\n" for name, member in memberships)
    subprocess.run(["ldapmodify", "-x", "-H", directory.url(), "-D", f"cn=root,{SUFFIX}", "-w",
                    PASSWORD], input=text, text=True, check=True, timeout=30,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return server_certificate(tmp_path_factory.mktemp("ad"))


@pytest.fixture(scope="module")
def directory(tls):
    made = ActiveDirectory(entries(), closed=True, certificate=tls[0], key=tls[1])
    join(made, ("PKI", ALICE), ("PKI", f"cn=dora,cn=Users,{SUFFIX}"),
         ("Staff", f"cn=PKI,cn=Users,{SUFFIX}"), ("All", f"cn=Staff,cn=Users,{SUFFIX}"))
    yield made
    made.close()


def content_with(urls, *settings, trust=None, domains=("example.com EXAMPLE",), lines=()):
    def content(server):
        made = wstep.content_with(
            *(f"WSTEPDomain {domain}" for domain in domains),
            f'WSTEPDirectory {" ".join(urls)} "base={SUFFIX}" {" ".join(settings)}'
            + (f' "trust={trust}"' if trust else ""),
            *([f'WSTEPDirectoryBind "{READER}" file:{server.secret("bind")}'] if trust else []),
            *lines, templates=TEMPLATES)
        if trust:
            server.make_secret("bind", PASSWORD)
        text = made(server)
        wstep.password_file(server, USERS)
        return text
    return content


@pytest.fixture(scope="module")
def server(directory, tls, make_module_server):
    """Its first server is not there: the second takes over."""
    urls = [f"ldaps://127.0.0.1:{free_port()}", directory.url("ldaps")]
    return make_module_server(content_with(urls, trust=tls[2]), **wstep.OPTIONS)


def named(name):
    return extension("1.3.6.1.4.1.311.20.2", der.tlv(0x1e, name.encode("utf-16-be")))


def issue(server, name, template, number=1, usage=("digitalSignature", "keyEncipherment"),
          **options):
    client = wstep.client(server, user=name, password=USERS[name.split("\\")[-1].split("@")[0]])
    return client.issue(wstep.csr(number=number, template=named(template), usage=usage,
                                  **options)).certificate


def alternatives(certificate):
    return certificate.extensions.get_extension_for_oid(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value


def sid_of(certificate):
    return certificate.extensions.get_extension_for_oid(
        x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")).value.value


def test_person(server):
    """Names are the directory's, whatever the request says."""
    certificate = issue(server, "alice", "Person", extensions=[
        extension("san", "DNS:dc1.example.com")], subject="CN=administrator")
    assert certificate.subject.rfc4514_string() \
        in ("1.2.840.113549.1.9.1=alice@example.com,CN=alice",)
    names = alternatives(certificate)
    assert names.get_values_for_type(x509.RFC822Name) == ["alice@example.com"]
    assert names.get_values_for_type(x509.DNSName) == []
    others = names.get_values_for_type(x509.OtherName)
    assert [other.type_id.dotted_string for other in others] == ["1.3.6.1.4.1.311.20.2.3"]
    assert others[0].value.endswith(b"alice@example.com")
    assert sid_text(1104).encode() in sid_of(certificate)


@pytest.mark.parametrize("name", ["EXAMPLE\\PC1$", "PC1$@example.com", "PC1$"])
def test_machine(server, name):
    certificate = issue(server, name, "Computer", 2)
    assert certificate.subject.rfc4514_string() == "CN=pc1.example.com"
    assert alternatives(certificate).get_values_for_type(x509.DNSName) \
        == ["pc1.example.com", "example.com"]
    assert sid_text(1201).encode() in sid_of(certificate)


def test_distinguished_name(server):
    certificate = issue(server, "carol", "Anyone", 3, usage=("digitalSignature",))
    assert certificate.subject.rfc4514_string().lower() == f"cn=carol,cn=users,{SUFFIX}"


def refused(server, name, template, **options):
    with pytest.raises(Fault) as fault:
        issue(server, name, template, 4, **options)
    return fault.value


def test_groups(server):
    """Alice is in a group that is in a group of the template's; carol is in none."""
    assert refused(server, "carol", "Person").hresult == DENIED
    assert refused(server, "alice", "Computer").hresult == DENIED

    def told(name):
        return set(wstep.client(server, wstep.XCEP, name, USERS[name]).policies().policies)

    assert told("alice") == {"Person", "Anyone"}
    assert told("carol") == {"Anyone"}
    assert told("PC1$") == {"Computer", "Anyone"}


def test_disabled_and_unknown(server):
    """Who knows the password of an account that is disabled does not get anything."""
    for name, number in (("bob", "GH1432"), ("nobody", "GH1408")):
        fault = refused(server, name, "Anyone", usage=("digitalSignature",))
        assert fault.number == number and fault.hresult == DISABLED and fault.code == "s:Sender"
        with pytest.raises(Fault) as told:
            wstep.client(server, wstep.XCEP, name, USERS[name]).policies()
        assert told.value.number == number


def test_missing_attribute(server):
    fault = refused(server, "dora", "Person")
    assert fault.hresult == NO_MAIL and "mail" in fault.reason


def test_no_password_in_logs(server):
    issue(server, "alice", "Person", 5)
    for path in (server.error_log_path, server.audit_path):
        assert PASSWORD not in path.read_text()


def test_directory_is_down(directory, make_server):
    """A fault of the server: clients go on to the next URL."""
    second = ActiveDirectory(entries())
    try:
        server = make_server(content_with([second.url()], "keep=0s", "deadline=5s"),
                             **wstep.OPTIONS)
        server.allow("GH1406")
        assert issue(server, "alice", "Anyone", usage=("digitalSignature",))
        second.stop()
        fault = refused(server, "alice", "Anyone", usage=("digitalSignature",))
        assert fault.hresult == UNAVAILABLE and fault.code == "s:Receiver" and fault.status == 500
        with pytest.raises(Fault) as told:
            wstep.client(server, wstep.XCEP, "alice", "a").policies()
        assert told.value.hresult == UNAVAILABLE or told.value.code == "s:Receiver"
        second.start()
        wait_until(lambda: server_answers(server), 60, 0.3, what="the directory to be asked again")
    finally:
        second.close()


def server_answers(server):
    try:
        return wstep.client(server, wstep.XCEP, "alice", "a").policies()
    except Fault as fault:
        assert fault.code == "s:Receiver"
        return None


def test_cap_of_the_node(make_server):
    """A directory that hangs holds as many requests as the node permits; others are told at once."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        url = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        server = make_server(content_with([url], "node=1", "deadline=5s", "connect=5s"),
                             **wstep.OPTIONS)
        server.allow("GH1406")
        numbers = []

        def ask():
            with pytest.raises(Fault) as fault:
                wstep.client(server, wstep.XCEP, "alice", "a").policies()
            assert fault.value.code == "s:Receiver"
            numbers.append(fault.value.number)

        first = threading.Thread(target=ask)
        first.start()
        silent.settimeout(30)
        connection = silent.accept()[0]
        ask()
        assert numbers == ["GH1405"]
        connection.close()
        first.join()
        assert numbers == ["GH1405", "GH1406"]


def test_with_kerberos(directory, tls, make_server):
    """A machine with its ticket gets the names that the directory has of it."""
    realm = Realm(("PC1$", "alice"))
    try:
        def content(server):
            server.make_secret("bind", PASSWORD)
            return kerberos_with(realm, ahead=(
                f"WSTEPDomain example.com EXAMPLE\n"
                f'WSTEPDirectory {directory.url("ldaps")} "base={SUFFIX}" "trust={tls[2]}"\n'
                f'WSTEPDirectoryBind "{READER}" file:{server.secret("bind")}\n'
                f"{TEMPLATES}"))(server)

        server = make_server(content, **KERBEROS_OPTIONS)
        client = KerberosClient(server, KERBEROS_WSTEP, realm.caller("PC1$"))
        issued = client.issue(wstep.csr(template=named("Computer")))
        assert issued.certificate.subject.rfc4514_string() == "CN=pc1.example.com"
        assert server.audit()[-1]["user"] == "PC1$@EXAMPLE.COM"
        with pytest.raises(Fault) as fault:
            KerberosClient(server, KERBEROS_WSTEP, realm.caller("alice")).issue(
                wstep.csr(template=named("Computer")))
        assert fault.value.hresult == DENIED
    finally:
        realm.close()


@pytest.fixture(scope="module")
def by_principal(make_module_server):
    """Passwords are checked by the directory, of whoever has the user principal name."""
    def account(name, relative, principal):
        return user(name, relative=relative, userPrincipalName=principal,
                    userPassword=f"of {name}")

    made = ActiveDirectory(
        account("Administrator", 500, None) + account("mallory", 1400, "administrator@example.com")
        + account("asmith", 1401, "anna@example.com") + account("bob", 1402, "bob@example.com"))
    provider = ("WSTEPAuthProvider ldap",
                f'AuthLDAPURL "{made.url()}/{SUFFIX}?userPrincipalName?sub"')

    def content(server):
        return wstep.content_with(
            "WSTEPDomain example.com EXAMPLE", "WSTEPUserName principal",
            f'WSTEPDirectory {made.url()} "base={SUFFIX}"', templates=TEMPLATES,
            wstep=provider)(server)

    yield make_module_server(content, own_modules=("gatehouse", "wstep"),
                             modules=("authn_file", "ldap", "authnz_ldap"))
    made.close()


def logged_on(server, name, password):
    return wstep.client(server, user=name, password=password).issue(
        wstep.csr(template=named("Anyone"), usage=("digitalSignature",))).certificate


@pytest.mark.parametrize("name", ["administrator@example.com", "EXAMPLE\\Administrator",
                                  "Administrator"])
def test_principal_of_another(by_principal, name):
    """Who has given himself the name of another gets nothing with his own password."""
    with pytest.raises(Fault) as fault:
        logged_on(by_principal, name, "of mallory")
    assert fault.value.number == "GH1522" and "cn=" not in fault.value.reason.lower()
    assert "cn=mallory" in by_principal.error_log_path.read_text().lower()


def test_principal(by_principal):
    certificate = logged_on(by_principal, "anna@example.com", "of asmith")
    assert sid_text(1401).encode() in sid_of(certificate)
    assert sid_text(1402).encode() in sid_of(logged_on(by_principal, "bob", "of bob"))
    with pytest.raises(Fault) as fault:
        logged_on(by_principal, "anna@example.com", "of bob")
    assert fault.value.number == "GH1402"
