# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Requests of Intune for revocation; and what the configuration of its connections may say."""

import datetime
import os
import signal
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509.oid import NameOID

from harness import cloud as clouds, pki, remote, standard
from harness.checks import issued_to
from harness.cloud import LOCAL, Managed, connection, start_intune
from harness.config import location
from harness.remote import FRESH
from harness.server import CHALLENGE, wait_until


@pytest.fixture(scope="module")
def module_managed(make_module_server, tmp_path_factory):
    cloud = start_intune(tmp_path_factory.mktemp("intune"))
    made = Managed(make_module_server, cloud, revocation='"* * * * * ?" maxRequests=500')
    yield made
    made.server.allow("GH0944")         # it goes on asking
    cloud.close()
    cloud.check()


@pytest.fixture
def managed(module_managed):
    module_managed.cloud.faults.clear()
    yield module_managed
    module_managed.cloud.faults.clear()


def enrolled(managed, subject):
    """(serial, issuer) as Intune was told."""
    reply = managed.enrol(subject)
    assert (managed.wait(reply) if reply.pending else reply).succeeded
    told = managed.told(reply)["success"]
    return told["certificateSerialNumber"], told["issuingCertificateAuthority"]


def result(managed, context, seconds=30):
    def found():
        with managed.cloud.lock:
            return [one for one in managed.cloud.tenants["contoso"].results
                    if one["requestContext"] == context]
    return wait_until(found, seconds, 0.2, "a result")[0]


def test_revoked(managed, subject):
    serial, issuer = enrolled(managed, subject)
    context = managed.cloud.add_revocation(serial, issuer)
    assert result(managed, context) == {"requestContext": context, "succeeded": True,
                                        "errorCode": "None", "errorMessage": None}
    made = issued_to(managed.server, subject)
    assert [(one["status"], one["reason"]) for one in made] == [("revoked",
                                                                 "cessationOfOperation")]
    again = managed.cloud.add_revocation(serial, issuer)
    assert result(managed, again)["succeeded"]
    assert issued_to(managed.server, subject) == made


def test_what_it_may_not_revoke(managed, subject):
    """Certificates that others have had issued are none of its business."""
    client = managed.server.client(standard.STATIC)
    assert client.enrol(next(FRESH), CHALLENGE, subject).succeeded
    foreign = issued_to(managed.server, subject)[0]["serial"].upper()
    own, issuer = enrolled(managed, subject.replace("O=", "OU=own,O="))
    wanted = {
        managed.cloud.add_revocation(foreign, issuer): "NotSupportedError",
        managed.cloud.add_revocation("0123456789ABCDEF", issuer): "CertificateNotFoundError",
        managed.cloud.add_revocation(own, "CN=somebody else"): "CertificateNotFoundError",
        managed.cloud.add_revocation("no number", issuer): "ParameterDataInvalidError",
    }
    for context, code in wanted.items():
        told = result(managed, context)
        assert told["errorCode"] == code and told["succeeded"] is False and told["errorMessage"]
    assert {one["status"] for one in issued_to(managed.server, subject)} == {"good"}


def test_killed_between_revoking_and_telling(managed, subject):
    """What was revoked is told as that, by another worker; an enrolment that was with Intune goes
    on, and there is one certificate."""
    managed.server.allow("GH0944", *remote.KILLED)
    serial, issuer = enrolled(managed, subject)
    fault = managed.cloud.faults.add("no", on="upload")
    context = managed.cloud.add_revocation(serial, issuer)
    wait_until(lambda: issued_to(managed.server, subject)[0]["status"] == "revoked", 30, 0.2,
               "the revocation")
    wait_until(lambda: fault.hits, 30, 0.2, "an upload")
    managed.cloud.faults.add("late", on="validate", times=1, seconds=4)
    other = subject.replace("CN=", "CN=pending-")
    pending = managed.enrol(other)
    assert pending.pending
    os.kill(managed.worker(), signal.SIGKILL)
    managed.cloud.faults.clear()
    assert result(managed, context, 60)["errorCode"] == "None"
    assert managed.wait(pending, seconds=60).succeeded
    assert len(issued_to(managed.server, other)) == 1


@pytest.mark.parametrize("code", [403, 404])
def test_refused_and_asked_less_often(managed, subject, code):
    """The application lacks a permission, or there is no such service: Intune and Entra ID are not
    asked every second for that; and when it is mended, all goes on."""
    managed.server.allow("GH0944")         # what is lacking is said
    serial, issuer = enrolled(managed, subject)
    fault = managed.cloud.faults.add("status", on="download", code=code)
    wait_until(lambda: fault.hits, 20, 0.1, "a download")
    before = len(managed.cloud.calls)
    time.sleep(8)
    # pauses of at least one, two and four seconds, and two tries at each of the polls
    assert len(managed.cloud.calls) - before <= 3 * 6
    managed.cloud.faults.clear()
    assert result(managed, managed.cloud.add_revocation(serial, issuer), 60)["succeeded"]


def test_one_of_all_asks(managed):
    """At each time one worker asks, once."""
    def asked():
        return len(managed.cloud.calls_of("download"))

    before, begin = asked(), time.monotonic()
    wait_until(lambda: asked() >= before + 2, 30, 0.2, "two downloads")
    time.sleep(2)
    assert asked() - before <= time.monotonic() - begin + 2


# configuration

SERVES = ("SetHandler gatehouse-scep", "SCEPTenant acme devices", "SCEPProfiles intune-*")
FULL = """<IntuneConnection c>
    IntuneTenant contoso.example
    IntuneApplication 0b1d2f3a-1111-4222-8333-444455556666
    IntuneSecret file:%s
%s</IntuneConnection>
"""


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    from harness.server import Server
    made = Server("", modules=remote.MODULES)
    yield made
    made.close()


def test_credential_that_is_not_rsa(idle, tmp_path):
    """Found before the worker meets it, and with it all other issuers."""
    key = pki.key("p256-01")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "application")])
    now = datetime.datetime.utcnow()
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(7).not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=9)).sign(key, hashes.SHA256()))
    path = tmp_path / "application.p12"
    path.write_bytes(pkcs12.serialize_key_and_certificates(
        b"application", key, made, None, BestAvailableEncryption(b"passphrase")))
    path.chmod(0o600)
    secret = idle.make_secret("p", "passphrase")
    idle.configure(lambda s: "".join([
        clouds.config.issuer(s.authority), remote.worker_path(s),
        f"<IntuneConnection c>\n    IntuneTenant contoso.example\n"
        "    IntuneApplication 0b1d2f3a-1111-4222-8333-444455556666\n"
        f"    IntuneCredential {path} passphrase=file:{secret}\n</IntuneConnection>\n",
        location("/scep", *SERVES), location(f"{LOCAL}/intune", "SCEPIntune c")]))
    tested = idle.configtest()
    assert tested.returncode and "GH1459" in tested.stderr, tested.stderr


@pytest.mark.parametrize("line, number", [
    ("IntuneTenant other.example", "GH0962"),
    ("IntuneSecret secret", "GH0967"),
    ("IntuneSecret file:%(secret)s expires=tomorrow", "GH0967"),
    ("IntuneSecret file:%(secret)s\nIntuneSecret file:%(secret)s", "GH0966"),
    ("IntuneSecret file:/nonexistent", "GH0001"),
    ("IntuneCredential /nonexistent.p12", "GH0"),
    ("IntuneCredential a.p12 secret", "GH0968"),
    ("IntuneEndpoints authority=http://login.example.com/", "GH0969"),
    ("IntuneEndpoints application=intune", "GH0969"),
    ("IntuneEndpoints where=https://a", "GH0969"),
    ('IntuneRevocation "0 0/15 * * *"', "GH0970"),
    ('IntuneRevocation "0 0 0 31 2 ?"', "GH0971"),
    ('IntuneRevocation "0 0 * * * ?" maxRequests=501', "GH0972"),
    ("IntuneNotify perhaps", "GH0973"),
    ("IntuneTrust /nonexistent.pem", "GH"),
    ("IntuneProxy ftp://proxy", "GH0975"),
    ("IntuneProxy http://user:pa55w0rd@proxy", "GH0975"),
    ("IntuneLimits concurrent=0", "GH0976"),
    ("IntuneLimits deadline=1s", "GH0976"),
    ("SCEPIntune c", "GH0960"),
])
def test_directives(idle, line, number):
    secret = idle.make_secret("s", "a client secret")
    idle.configure(lambda s: "".join([
        clouds.config.issuer(s.authority), remote.worker_path(s),
        FULL % (secret, "    " + line % {"secret": secret} + "\n"),
        location("/scep", *SERVES), location(f"{LOCAL}/intune", "SCEPIntune c")]))
    tested = idle.configtest()
    assert tested.returncode and number in tested.stderr, tested.stderr
    assert "pa55w0rd" not in tested.stderr and "a client secret" not in tested.stderr


@pytest.mark.parametrize("content, number", [
    ("<IntuneConnection>\n</IntuneConnection>\n", "GH0958"),
    ("<IntuneConnection a.b>\n</IntuneConnection>\n", "GH0958"),
    ("<IntuneConnection c>\n</IntuneConnection>\n<IntuneConnection c>\n</IntuneConnection>\n",
     "GH0959"),
    ("<IntuneConnection c>\n</IntuneConnection>\n", "GH0980"),
    ("<IntuneConnection c>\nIntuneTenant t\nIntuneApplication x\n</IntuneConnection>\n", "GH0965"),
    ("<IntuneConnection c>\nIntuneTenant a/b\n</IntuneConnection>\n", "GH0964"),
    ("<IntuneConnection c>\nIntuneTenant t\n"
     "IntuneApplication 0b1d2f3a-1111-4222-8333-444455556666\n</IntuneConnection>\n", "GH0981"),
    ("IntuneTenant t\n", "GH0961"),
    (location(f"{LOCAL}/intune", "SCEPIntune nowhere"), "GH0984"),
    (location(f"{LOCAL}/intune", "SCEPIntune a", "SCEPIntune b"), "GH0963"),
    (location(f"{LOCAL}/intune", "SCEPChallenge onetime"), "GH0985"),
    (location(f"{LOCAL}/intune", "SCEPAllow none"), "GH0251"),
    (location(f"{LOCAL}/intune", "SCEPRenewal by-certificate"), "GH0986"),
])
def test_sections(idle, content, number):
    idle.configure(lambda s: clouds.config.issuer(s.authority) + remote.worker_path(s)
                   + location("/scep", *SERVES) + content)
    tested = idle.configtest()
    assert tested.returncode and number in tested.stderr, tested.stderr


def test_warnings(idle):
    secret = idle.make_secret("s", "a client secret")
    idle.configure(lambda s: clouds.config.issuer(s.authority) + remote.worker_path(s)
                   + location("/scep", *SERVES)
                   + FULL % (f"{secret} expires=2020-01-31", ""))
    tested = idle.configtest()
    assert not tested.returncode, tested.stderr
    assert "GH0977" in tested.stderr and "GH0983" in tested.stderr
