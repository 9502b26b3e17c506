# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Certificate templates that are in the directory: what they say, and who may have them."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness import wstep
from harness.active_directory import (CONTAINER, PASSWORD, SUFFIX, ActiveDirectory,
                                      certificate_template, group, ldif, period, sid,
                                      template_containers, user)
from harness.descriptors import (AUTHENTICATED, AUTOENROLL, CONTROL_ACCESS, ENROLL, FULL, READ,
                                 SYSTEM, descriptor, entry)
from harness.server import wait_until
from scep.csr import extension
from test_wstep_directory import join
from wstep import Fault
from wstep.client import NAMES

DENIED, UNKNOWN, OLD, UNAVAILABLE = 0x80094012, 0x80094800, 0x80094807, 0x800706BA
PROFILE = "wstep-digital-signature-key-encipherment"
ALICE = f"cn=alice,cn=Users,{SUFFIX}"
STAFF = sid(1301)

PLAIN = descriptor(entry(SYSTEM, FULL), entry(AUTHENTICATED, READ), entry(STAFF, right=ENROLL),
                   entry(sid(1104), right=AUTOENROLL))

# what would be offered to everybody, were it not for one thing
OPEN = descriptor(entry(AUTHENTICATED, right=ENROLL))
UNFIT = {
    "Supplied": {"msPKI_Certificate_Name_Flag": 1},
    "Approval": {"msPKI_Enrollment_Flag": 0x2B},
    "Signed": {"msPKI_RA_Signature": 1},
    "Archived": {"msPKI_Private_Key_Flag": 0x11},
    "Attested": {"msPKI_Private_Key_Flag": 0x2010},
    "Alternate": {"msPKI_Private_Key_Flag": 0x50},
    "Authority": {"flags": 0x2023A | 0x80},
    "Usages": {"pKIExtendedKeyUsage": ["1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.20.2.2"]},
    "Nameless": {"msPKI_Certificate_Name_Flag": 0},
    "Future": {"msPKI_Template_Schema_Version": 5},
    "Endless": {"pKIExpirationPeriod": bytes(8)},
    "Hidden": {"nTSecurityDescriptor": None},
}
NAMES_OF = ["Worker", "Denied", "Both", *UNFIT]


def entries():
    return (user("alice") + user("carol", relative=1106) + group("Domain Users", [], 513)
            + group("PKI", [], 1300) + group("Staff", [], 1301) + template_containers()
            + certificate_template("Worker", PLAIN)
            + certificate_template("Denied", descriptor(
                entry(sid(1104), right=ENROLL, deny=True), entry(AUTHENTICATED, CONTROL_ACCESS)))
            + certificate_template("Both", OPEN)
            + certificate_template("Elsewhere", OPEN)
            + certificate_template("Same", descriptor(entry(sid(1106), right=ENROLL)),
                                   pKIExtendedKeyUsage=["1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.2"])
            + "".join(certificate_template(name, what.pop("nTSecurityDescriptor", OPEN), **what)
                      for name, what in ((n, dict(w)) for n, w in UNFIT.items())))


@pytest.fixture(scope="module")
def directory():
    made = ActiveDirectory(entries())
    join(made, ("PKI", ALICE), ("Staff", f"cn=PKI,cn=Users,{SUFFIX}"))
    yield made
    made.close()


def content(directory):
    def made(server):
        templates = "".join(
            f"<CertificateTemplate {name}>\n    TemplateInDirectory on\n"
            f"    TemplateProfile {PROFILE}\n"
            + ("    TemplateUsers carol\n" if name == "Both" else "")
            + "</CertificateTemplate>\n" for name in [*NAMES_OF, "Missing"])
        templates += """<CertificateProfile two-usages base=wstep-digital-signature-key-encipherment>
    ProfileExtendedKeyUsage clientAuth emailProtection
</CertificateProfile>
<CertificateTemplate Same>
    TemplateInDirectory on
    TemplateProfile     two-usages
</CertificateTemplate>
"""
        text = wstep.content_with(
            "WSTEPDomain example.com EXAMPLE",
            f'WSTEPDirectory {directory.url()} "base={SUFFIX}" keep=0s', templates=templates)(server)
        wstep.password_file(server, {"alice": "a", "carol": "c"})
        return text
    return made


@pytest.fixture(scope="module")
def server(directory, make_module_server):
    return make_module_server(content(directory), **wstep.OPTIONS)


def client(server, path=wstep.XCEP, name="alice"):
    return wstep.client(server, path, name, name[0])


def oid(name):
    return f"1.3.6.1.4.1.311.21.8.1.2.3.{len(name)}.{ord(name[0])}"


def request(name, number=1, minor=7, major=100, **options):
    return wstep.csr(number=number, template=wstep.template_extension(oid(name), major, minor),
                     **options)


def test_policies(server):
    """What the directory says of a template is told to who may have it."""
    told = client(server).policies()
    assert set(told.policies) == {"Worker"}
    worker = told.policies["Worker"]
    assert worker.oid == oid("Worker")
    assert worker.text("revision/majorRevision") == "100"
    assert worker.text("revision/minorRevision") == "7"
    assert worker.text("certificateValidity/validityPeriodSeconds") == str(365 * 86400)
    assert worker.text("certificateValidity/renewalPeriodSeconds") == str(42 * 86400)
    assert worker.text("permission/enroll") == worker.text("permission/autoEnroll") == "true"
    assert worker.text("subjectNameFlags") == str(0x42000000)
    assert worker.text("privateKeyAttributes/minimalKeyLength") == "2048"
    providers = worker.node.findall("x:attributes/x:privateKeyAttributes/x:cryptoProviders/"
                                    "x:provider", NAMES)
    assert [p.text for p in providers] == ["Microsoft Enhanced Provider",
                                           "Microsoft Base Provider"]
    # carol is in no group that may; what Denied denies to alice is hers
    assert set(client(server, name="carol").policies().policies) \
        == {"Denied", "Both", "Same"}
    assert client(server, name="carol").policies().policies["Both"].text(
        "permission/autoEnroll") == "false"


def test_reasons(server):
    mark = server.log.size()
    client(server).policies()
    text = server.log.text(mark)
    for name in [*UNFIT, "Missing"]:
        assert f"GH1501: template {name} of the directory is not offered" in text, name


def test_issue(server):
    certificate = client(server, wstep.WSTEP).issue(request("Worker")).certificate
    assert certificate.subject.rfc4514_string() == "CN=alice"
    assert b"alice@example.com" in certificate.public_bytes(Encoding.DER)


def test_extended_key_usages(server):
    """In any order those of the profile."""
    certificate = client(server, wstep.WSTEP, "carol").issue(request("Same", 6)).certificate
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {usage.dotted_string for usage in usages} == {"1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4"}


@pytest.mark.parametrize("name, user_name, hresult", [
    ("Worker", "carol", DENIED), ("Denied", "alice", DENIED), ("Both", "alice", DENIED),
    ("Elsewhere", "alice", UNKNOWN), *((name, "carol", UNKNOWN) for name in UNFIT)])
def test_refused(server, name, user_name, hresult):
    with pytest.raises(Fault) as fault:
        client(server, wstep.WSTEP, user_name).issue(
            request(name, 2, subject="CN=administrator",
                    extensions=[extension("san", "UPN:administrator@example.com")]))
    assert fault.value.hresult == hresult, fault.value


def change(directory, name, **attributes):
    text = f"dn: cn={name},{CONTAINER}\nchangetype: modify\n"
    for key, value in attributes.items():
        body = ldif("x", **{key: value}).splitlines()[1]
        text += f"replace: {key}\n{body}\n-\n"
    subprocess.run(["ldapmodify", "-x", "-H", directory.url(), "-D", f"cn=root,{SUFFIX}", "-w",
                    PASSWORD], input=text, text=True, check=True, timeout=30,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_changes(server, directory):
    """A new version, and permission that is taken away, count with the next request."""
    change(directory, "Worker", revision=101, pKIOverlapPeriod=period(7 * 86400))
    told = client(server).policies().policies["Worker"]
    assert told.text("revision/majorRevision") == "101"
    assert told.text("certificateValidity/renewalPeriodSeconds") == str(7 * 86400)
    with pytest.raises(Fault) as fault:
        client(server, wstep.WSTEP).issue(request("Worker", 3))
    assert fault.value.hresult == OLD
    change(directory, "Worker", nTSecurityDescriptor=descriptor(entry(SYSTEM, FULL)))
    assert "Worker" not in client(server).policies().policies
    with pytest.raises(Fault) as fault:
        client(server, wstep.WSTEP).issue(request("Worker", 4, major=101))
    assert fault.value.hresult == DENIED
    change(directory, "Worker", nTSecurityDescriptor=PLAIN, revision=100)


def test_directory_is_down(server, directory):
    """Nothing is offered by what was known before."""
    server.allow("GH1406")
    directory.stop()
    try:
        for path in (wstep.XCEP, wstep.WSTEP):
            with pytest.raises(Fault) as fault:
                one = client(server, path)
                one.policies() if path == wstep.XCEP else one.issue(request("Worker", 5))
            assert fault.value.code == "s:Receiver"
    finally:
        directory.start()

    def back():
        try:
            return client(server).policies().policies
        except Fault:
            return None

    assert "Worker" in wait_until(back, 60, 0.3, what="the directory to be asked again")


def test_configtest(make_server):
    result = make_server(wstep.content_with(templates=wstep.TEMPLATES + (
        f"<CertificateTemplate X>\nTemplateInDirectory on\nTemplateProfile {PROFILE}\n"
        "</CertificateTemplate>\n")), start=False, **wstep.OPTIONS).configtest()
    assert result.returncode != 0 and "GH1502" in result.stderr
