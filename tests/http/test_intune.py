# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Intune-SCEP: devices whose requests Microsoft Intune permits, against a stand-in of it."""

import os
import subprocess
import time

import pytest

from harness import cloud as clouds, remote, standard
from harness.checks import decision, issued_to, refused
from harness.cloud import (GATEWAY, LOCAL, SECRETS, Managed, check_success, connection,
                           start_intune)
from harness.config import location
from harness.remote import FRESH, start_gateway
from harness.server import CHALLENGE, wait_until
from intune import INTUNE, INTUNE_APP
from scep import extension
from scep.reply import BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_TIME

LENIENT = "/scep/acme/devices/intune-digital-signature"
CERTIFIED = "/scep/acme/devices/intune-key-encipherment"
ELSEWHERE = "/scep/acme/devices/intune-non-repudiation"
HELLO = "/scep/acme/devices/test-hello"
OTHER_INTUNE = "0000000b-1111-2222-3333-000000000000"
# what the log may have while Intune is away: that is tested apart
TROUBLE = ("GH0944",)


def more(cloud):
    """Connections and locations beside the first."""
    def made(server):
        return "".join([
            "<CertificateProfile test-hello base=intune-digital-signature-key-encipherment>\n"
            "</CertificateProfile>\n",
            connection(server, cloud, "lenient", notify="lenient"),
            connection(server, cloud, "certified", secrets=(), tenant="fabrikam",
                       credential=clouds.credential(server, cloud, "fabrikam")),
            connection(server, cloud, "elsewhere", tenant="tailspin",
                       endpoints=f"authority={cloud.url} graph={cloud.url} graph-version=beta "
                                 f"application={OTHER_INTUNE} "
                                 "resource=https://api.manage.example.com"),
            location(f"{LENIENT}/intune", "SCEPIntune lenient"),
            location(f"{CERTIFIED}/intune", "SCEPIntune certified"),
            location(f"{ELSEWHERE}/intune", "SCEPIntune elsewhere"),
            location(f"{HELLO}/intune", "SCEPIntune cloud",
                     "GatehouseAllowRequest UPN smartcardLogon"),
        ])
    return made


@pytest.fixture(scope="module")
def module_managed(make_module_server, tmp_path_factory):
    cloud = start_intune(tmp_path_factory.mktemp("intune"), ("contoso", "fabrikam", "tailspin"))
    gateway = start_gateway(tmp_path_factory.mktemp("gateway"))
    made = Managed(make_module_server, cloud, gateway, more(cloud), secrets=(0, 1))
    made.server.allow("GH0209", "GH0210", "GH0782")
    wait_until(lambda: made.server.get(f"{GATEWAY}/intune?operation=GetCACert").status == 200, 60,
               0.3, "the RA's certificate")
    time.sleep(1.2)     # a child that had none yet looks again a second later
    yield made
    gateway.close()
    cloud.close()
    cloud.check()


@pytest.fixture
def managed(module_managed):
    cloud = module_managed.cloud
    cloud.faults.clear()
    module_managed.gateway.faults.clear()
    cloud.graph_version, cloud.intune_app, cloud.intune = "v1.0", INTUNE_APP, INTUNE
    yield module_managed
    cloud.faults.clear()
    module_managed.gateway.faults.clear()


def test_issued_here(managed, subject):
    reply = managed.issued(subject)
    told = managed.told(reply)
    check_success(told["success"], reply.issued, "devices")
    assert told["success"]["certificateRequest"] == told["request"] and "failure" not in told
    assert managed.row(reply)["state"] == "issued"
    line = decision(managed.server, reply)
    assert line["result"] == "issued" and line["rule"] == "challenge.intune"
    assert len(issued_to(managed.server, subject)) == 1
    # the same again: Intune is not asked
    calls = len(managed.cloud.calls_of("validate"))
    assert managed.client().exchange(reply.request).issued == reply.issued
    assert managed.client().poll(reply.request).issued == reply.issued
    assert len(managed.cloud.calls_of("validate")) == calls


def test_issued_by_a_ca_elsewhere(managed, subject):
    reply = managed.enrol(subject, path=GATEWAY)
    if reply.pending:
        reply = managed.wait(reply, GATEWAY)
    assert reply.succeeded, reply
    check_success(managed.told(reply)["success"], reply.issued, "CA1001")
    assert managed.row(reply)["state"] == "issued"


def test_tokens_and_places_are_kept(managed, subject):
    managed.issued(subject)
    before = {kind: len(managed.cloud.calls_of(kind)) for kind in ("token", "discovery")}
    managed.issued(subject + "2")
    assert {kind: len(managed.cloud.calls_of(kind)) for kind in before} == before
    # a token that is not accepted any more, and a service that has moved
    with managed.cloud.lock:
        managed.cloud.tokens.clear()
    managed.issued(subject + "3")
    managed.cloud.move()
    reply = managed.enrol(subject + "4")
    assert (managed.wait(reply) if reply.pending else reply).succeeded


@pytest.mark.parametrize("code, fail_info", [
    ("ChallengeExpired", BAD_TIME), ("ChallengeInvalidTimestamp", BAD_TIME),
    ("ChallengeDecryptionError", BAD_MESSAGE_CHECK),
    ("SignatureValidationFailed", BAD_MESSAGE_CHECK), ("SubjectNameMismatch", BAD_REQUEST),
    ("ScepProfileNoLongerTargetedToTheClient", BAD_REQUEST), ("Unknown", BAD_REQUEST),
    ("SomethingNew", BAD_REQUEST)])
def test_refusals(managed, subject, code, fail_info):
    reply = managed.enrol(subject, f"code={code}")
    refused(reply, fail_info)
    assert f"Intune says {code}: " in reply.fail_text
    assert managed.row(reply)["state"] == "rejected"
    assert not issued_to(managed.server, subject)
    assert decision(managed.server, reply)["result"] == "refused"
    refused(managed.client().exchange(reply.request), fail_info)


def test_no_challenge_and_weak_requests(managed, subject):
    calls = len(managed.cloud.calls_of("validate"))
    client = managed.client()
    refused(client.enrol(next(FRESH), None, subject), BAD_REQUEST)
    reply = client.enrol(next(FRESH), "ok-1", subject, csr_options={"digest": "sha1"})
    assert reply.failed, reply
    assert len(managed.cloud.calls_of("validate")) == calls


def test_flows_are_apart(managed, subject):
    """Intune's challenges are of no use elsewhere, nor are others there."""
    refused(managed.enrol(subject, CHALLENGE), BAD_MESSAGE_CHECK)
    client = managed.server.client(standard.STATIC)
    refused(client.enrol(next(FRESH), "ok-1", subject), BAD_REQUEST)
    for path in (f"{standard.STATIC}/intune", f"{standard.STATIC}/intune/pkiclient.exe",
                 f"{LOCAL}/intune/x", f"{LOCAL}/intune/intune", f"{LOCAL}/Intune",
                 "/scep/acme/devices/intune"):
        assert managed.server.get(path + "?operation=GetCACaps").status == 404, path
    # without challenge of its own, the plain endpoint refuses everybody
    refused(managed.server.client(LOCAL).enrol(next(FRESH), "ok-1", subject), BAD_REQUEST)
    assert not issued_to(managed.server, subject)


def test_operations(managed):
    for path in (f"{LOCAL}/intune", f"{LOCAL}/intune/", f"{LOCAL}/intune/pkiclient.exe"):
        caps = managed.server.get(f"{path}?operation=GetCACaps")
        assert caps.status == 200 and b"POSTPKIOperation" in caps.body
        assert managed.server.get(f"{path}?operation=GetCACert").status == 200
        answer = managed.server.get(f"{path}?operation=GetNextCACert")
        assert answer.status == 404 and b"GH0439" in answer.body    # no successor is announced


def test_down_then_there(managed, subject):
    """Nothing is issued meanwhile, and nothing waits in vain."""
    managed.server.allow(*TROUBLE)
    fault = managed.cloud.faults.add("status", on="validate", code=503)
    first = managed.enrol(subject)
    assert first.pending, first
    assert managed.row(first)["state"] in ("submitted", "retry")
    assert fault.hits and not issued_to(managed.server, subject)
    managed.cloud.faults.clear()
    final = managed.wait(first)
    assert final.succeeded, final
    assert len(issued_to(managed.server, subject)) == 1
    assert managed.told(first)["success"]


@pytest.mark.parametrize("kind", ["drop", "malformed"])
def test_answers_that_say_nothing(managed, subject, kind):
    managed.server.allow(*TROUBLE)
    managed.cloud.faults.add(kind, on="validate", times=1)
    reply = managed.enrol(subject)
    final = managed.wait(reply) if reply.pending else reply
    assert final.succeeded, final
    assert len(issued_to(managed.server, subject)) == 1


@pytest.mark.parametrize("kind, on, options", [
    ("hang", "validate", {}), ("half", "validate", {}), ("hang", "token", {}),
    ("half", "token", {}),
    ("status", "validate", {"code": 429, "retry_after": 2}),
    ("status", "token", {"code": 429, "retry_after": 2})])
def test_services_that_do_not_answer(managed, subject, kind, on, options):
    """Nothing is issued until Intune has permitted it, and no other request waits for that."""
    managed.server.allow(*TROUBLE)
    with managed.cloud.lock:
        managed.cloud.tokens.clear()
    fault = managed.cloud.faults.add(kind, on=on, times=1, **options)
    reply = managed.enrol(subject)
    begin = time.monotonic()
    assert managed.server.get("/ca/devices.cer").status == 200 and time.monotonic() - begin < 5
    assert fault.hits
    final = managed.wait(reply) if reply.pending else reply
    assert final.succeeded, final
    assert len(issued_to(managed.server, subject)) == 1
    assert managed.told(final if not reply.pending else reply)["success"]


def test_success_is_not_taken(managed, subject):
    """Strict: nothing is handed out, and the certificate is revoked."""
    managed.server.expect("GH0946")
    managed.cloud.faults.add("code", on="success", times=1, value="SignatureValidationFailed")
    reply = managed.enrol(subject)
    final = managed.wait(reply) if reply.pending else reply
    refused(final, BAD_MESSAGE_CHECK)
    assert not reply.issued
    made = issued_to(managed.server, subject)
    assert [one["status"] for one in made] == ["revoked"]
    assert managed.row(reply)["state"] == "rejected"
    refused(managed.client().exchange(reply.request), BAD_MESSAGE_CHECK)


def test_success_is_told_again(managed, subject):
    """Until Intune has taken it, the device waits."""
    managed.server.allow(*TROUBLE)
    managed.cloud.faults.add("status", on="success", code=500)
    reply = managed.enrol(subject)
    assert reply.pending, reply
    assert managed.row(reply)["state"] == "confirming"
    managed.cloud.faults.clear()
    final = managed.wait(reply)
    assert final.succeeded and managed.told(reply)["success"]
    assert managed.row(reply)["state"] == "issued"


def test_lenient(managed, subject):
    """Handed out at once, and told later."""
    managed.server.allow(*TROUBLE)
    fault = managed.cloud.faults.add("status", on="success", code=500)
    reply = managed.issued(subject, path=LENIENT)
    assert fault.hits and "success" not in managed.told(reply)
    managed.cloud.faults.clear()
    wait_until(lambda: managed.told(reply).get("success"), 30, 0.2, "the notification")
    check_success(managed.told(reply)["success"], reply.issued, "devices")


def test_lenient_is_no_refusal(managed, subject):
    """What Intune says no to is not handed out in either mode, and it is not asked again."""
    managed.server.expect("GH0946")
    fault = managed.cloud.faults.add("code", on="success", value="SignatureValidationFailed")
    reply = managed.enrol(subject, path=LENIENT)
    final = managed.wait(reply, LENIENT) if reply.pending else reply
    refused(final, BAD_MESSAGE_CHECK)
    assert [one["status"] for one in issued_to(managed.server, subject)] == ["revoked"]
    assert fault.hits == 1
    managed.cloud.faults.clear()


def test_the_ca_refuses(managed, subject):
    """Intune learns of what failed after it had said yes."""
    managed.gateway.faults.add("error", on="enroll", times=1, code="cagw-4027",
                               message="lifetime beyond policy")
    reply = managed.enrol(subject, path=GATEWAY)
    refused(managed.wait(reply, GATEWAY) if reply.pending else reply, BAD_REQUEST)
    told = wait_until(lambda: managed.told(reply).get("failure"), 15, 0.2, "the notification")
    assert told["hResult"] == 0xa0000001 and "lifetime beyond policy" in told["errorDescription"]
    assert "success" not in managed.told(reply)


def test_second_secret(managed, subject):
    """The one that was made before the first ended is used by itself."""
    managed.server.expect("GH0940")
    contoso = managed.cloud.tenants["contoso"]
    contoso.secret = SECRETS[1]
    with managed.cloud.lock:
        managed.cloud.tokens.clear()
    try:
        reply = managed.enrol(subject)
        assert (managed.wait(reply) if reply.pending else reply).succeeded
    finally:
        contoso.secret = SECRETS[0]


def test_certificate_instead_of_secret(managed, subject):
    managed.cloud.tenants["fabrikam"].secret = None
    reply = managed.issued(subject, path=CERTIFIED)
    assert managed.told(reply, "fabrikam")["success"]
    assert not managed.told(reply)      # tenants share nothing


def test_another_cloud(managed, subject):
    """All five endpoints are others; the scope has one slash."""
    cloud = managed.cloud
    cloud.graph_version, cloud.intune_app = "beta", OTHER_INTUNE
    cloud.intune, cloud.scope_form = "https://api.manage.example.com/", "single"
    try:
        reply = managed.enrol(subject, path=ELSEWHERE)
        assert reply.succeeded, reply
        assert managed.told(reply, "tailspin")["success"]
    finally:
        cloud.scope_form = "any"


def test_windows_hello(managed, subject):
    """Log-on by smart card and a UPN pass where the location allows them, and nowhere else."""
    asked = [extension("eku", "clientAuth", "smartcardLogon"),
             extension("san", "UPN:user@corp.example")]
    reply = managed.issued(subject, path=HELLO, extensions=asked)
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-text"],
                          input=reply.issued, capture_output=True, check=True).stdout.decode()
    assert "Smartcard Login" in text or "1.3.6.1.4.1.311.20.2.2" in text, text
    assert "user@corp.example" in text or "1.3.6.1.4.1.311.20.2.3" in text, text
    refused(managed.enrol(subject, extensions=asked), BAD_REQUEST)


def test_no_secret_is_told(managed, subject):
    challenge = "ok-" + os.urandom(16).hex()
    managed.issued(subject, challenge=challenge)
    refused(managed.enrol(subject, "code=SubjectNameMismatch"), BAD_REQUEST)
    server = managed.server
    said = server.log.text() + server.audit_path.read_text() \
        + server.configtest("-D", "DUMP_GATEHOUSE").stdout
    tokens = list(managed.cloud.tokens)
    assert tokens
    for secret in (challenge, *SECRETS, *tokens):
        assert secret not in said
    for pid in server.children():
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            assert not any(secret.encode() in file.read() for secret in SECRETS)
