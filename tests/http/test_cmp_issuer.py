# Licensed under the Apache License, Version 2.0. See LICENSE.
"""SCEP through a CA behind a CMP server, which is slow, and sometimes wrong or away."""

import os
import signal
import time

import pytest

from harness.checks import decision, issued_to, refused
from harness.cmp import ISSUER, PASSPHRASE, SECRET, CmpRemote, CmpServer, section
from harness.remote import KILLED, MODULES, TROUBLE
from harness.server import Server, wait_until
from harness.standard import STATIC
from scep.reply import BAD_REQUEST


@pytest.fixture(scope="module")
def module_remote(make_module_server, tmp_path_factory):
    cmp = CmpServer(tmp_path_factory.mktemp("cmp"))
    yield CmpRemote(make_module_server, cmp, Wait="2s max-waiting=8").ready()
    cmp.close()


@pytest.fixture
def remote(module_remote):
    module_remote.cmp.clear()
    yield module_remote
    module_remote.cmp.clear()


@pytest.fixture
def cmp(tmp_path):
    made = CmpServer(tmp_path)
    yield made
    made.close()


def one_certificate(remote, reply, subject, state="confirmed"):
    """The reply has the one certificate that the CA has made."""
    assert reply.succeeded, reply
    made = remote.cmp.issued(subject)
    assert made == [(f"{reply.certificate.serial_number:x}", state, -1)], made
    return reply


def wait_issued(remote, subject, *states, seconds=20):
    return wait_until(lambda: [row for row in remote.cmp.issued(subject) if row[1] in states],
                      seconds, 0.2, f"state {states} at the CA")


def in_doubt(remote, subject, *numbers):
    """An enrolment that an operator has to look at; @return its row."""
    remote.server.expect("GH0840")
    first = remote.enrol(subject)
    assert first.pending, first
    row = remote.wait_state(first, "in-doubt")
    text = remote.server.log.text()
    assert all(number in text for number in numbers), text[-2000:]
    assert remote.client().poll(first.request).pending
    return row


def test_issued_while_the_device_waits(remote, subject):
    reply = one_certificate(remote, remote.enrol(subject), subject)
    assert decision(remote.server, reply)["result"] == "issued"
    rows = issued_to(remote.server, subject)
    assert len(rows) == 1 and rows[0]["enrolment"] == remote.row(reply)["id"]
    assert SECRET not in remote.server.log.text()


def test_waiting_at_the_ca(remote, subject):
    """The CA lets the request wait, a restart lies between, and nothing is asked for twice."""
    remote.cmp.fault("p10cr", "wait", 6)
    asked = remote.cmp.count("p10cr")
    first = remote.enrol(subject)
    assert first.pending, first
    polls = wait_until(lambda: remote.cmp.count("pollreq"), 10, what="a poll")
    remote.server.graceful()
    one_certificate(remote, remote.wait(first, 30), subject)
    assert remote.cmp.count("p10cr") == asked + 1
    assert remote.cmp.count("pollreq") >= polls + 1
    assert remote.row(first)["state"] == "issued"


def test_waiting_while_the_worker_is_killed(remote, subject):
    remote.server.allow(*KILLED)
    remote.cmp.fault("p10cr", "wait", 4)
    first = remote.enrol(subject)
    assert first.pending, first
    os.kill(remote.worker(), signal.SIGKILL)
    one_certificate(remote, remote.wait(first, 60), subject)


def test_forgotten_while_waiting(remote, subject):
    remote.cmp.fault("p10cr", "wait", 3)
    remote.cmp.fault("pollreq", "unknown")
    in_doubt(remote, subject, "GH1032")


def test_the_cas_reason_reaches_the_device(remote, subject):
    remote.cmp.fault("p10cr", "reject", "lifetime beyond policy")
    asked = remote.cmp.count("p10cr")
    reply = remote.enrol(subject)
    refused(reply, BAD_REQUEST)
    assert "lifetime beyond policy" in reply.fail_text
    line = decision(remote.server, reply)
    assert line["result"] == "refused" and "lifetime beyond policy" in line["message"]
    assert remote.row(reply)["state"] == "rejected"
    assert remote.cmp.count("p10cr") == asked + 1


@pytest.mark.parametrize("kind,value", [("unavailable", "-"), ("status", 404), ("status", 429)])
def test_not_now(remote, subject, kind, value):
    """Nothing was done, so it is asked for again."""
    remote.server.allow(*TROUBLE)
    remote.cmp.fault("p10cr", kind, value)
    asked = remote.cmp.count("p10cr")
    first = remote.enrol(subject)
    assert first.pending, first
    one_certificate(remote, remote.wait(first, 30), subject)
    assert remote.cmp.count("p10cr") == asked + 2


@pytest.mark.parametrize("kind,number", [
    ("lost", "GH0804"), ("garbage", "GH1038"), ("status", "GH1038"), ("unprotected", "GH1041"),
    ("failure", "GH1457")])
def test_nobody_knows(remote, subject, kind, number):
    """No answer that can be trusted: an operator decides, and it is never sent again by itself."""
    remote.cmp.fault("p10cr", kind, 500)
    asked = remote.cmp.count("p10cr")
    row = in_doubt(remote, subject, number)
    assert remote.cmp.count("p10cr") == asked + 1
    remote.server.ctl_ok("enrolment", "cancel", row["id"])


@pytest.mark.parametrize("kind", ["key", "issuer", "usage"])
def test_wrong_certificate(remote, subject, kind):
    """It is not confirmed, and never handed out."""
    remote.cmp.fault("p10cr", kind)
    in_doubt(remote, subject, "GH0780")
    states = [row[1] for row in remote.cmp.issued(subject)]
    assert states and set(states) <= {"rejected", "revoked"}
    assert not issued_to(remote.server, subject)
    if kind == "usage":
        # of this CA and for this key: it is withdrawn, whatever the CA makes of the rejection
        wait_issued(remote, subject, "revoked")


def test_confirmation_without_answer(remote, subject):
    remote.server.expect("GH1048")
    remote.cmp.fault("certconf", "lost")
    one_certificate(remote, remote.enrol(subject), subject)


def test_refused_confirmation(remote, subject):
    remote.cmp.fault("certconf", "reject", "too late")
    in_doubt(remote, subject, "GH1039")
    wait_issued(remote, subject, "revoked")


def test_changes_of_status(remote, subject):
    reply = one_certificate(remote, remote.enrol(subject), subject)
    serial = f"{reply.certificate.serial_number:x}"

    def change(*command):
        remote.server.ctl_ok("cert", command[0], serial, "--issuer", ISSUER, *command[1:])

    change("hold")
    assert wait_issued(remote, subject, "held")[0][2] == 6
    change("release")
    assert wait_issued(remote, subject, "released")[0][2] == 8
    change("revoke", "--reason", "keyCompromise")
    assert wait_issued(remote, subject, "revoked")[0][2] == 1


def test_revocation_that_is_refused(remote, subject):
    reply = one_certificate(remote, remote.enrol(subject), subject)
    remote.server.expect("GH0846")
    remote.cmp.fault("rr", "lost")
    remote.cmp.fault("rr", "reject", "not by you")
    asked = remote.cmp.count("rr")
    remote.server.ctl_ok("cert", "revoke", f"{reply.certificate.serial_number:x}", "--issuer",
                         ISSUER)
    # the first answer was lost: asked again, it is revoked there already
    wait_issued(remote, subject, "revoked")
    wait_until(lambda: remote.cmp.count("rr") == asked + 2, 20, what="the second revocation")
    wait_until(lambda: "not by you" in remote.server.log.text(), 20, what="the CA's reason")


def test_issuer_test(remote):
    assert remote.server.ctl_ok("issuer", "test", ISSUER)
    remote.server.allow("GH0843", "GH0844")
    remote.cmp.fault("genm", "status", 403, 5)
    result = remote.server.ctl("issuer", "test", ISSUER)
    assert result.status == 1 and "GH1037" in result.out + result.err, result
    remote.cmp.clear()
    remote.server.ctl_ok("issuer", "test", ISSUER)


def test_a_server_that_hangs_delays_nobody(make_server, cmp, subject):
    """Those that hang have threads of their own; the local issuer and the status go on."""
    remote = CmpRemote(make_server, cmp, Wait="0s",
                       Limits="rate=100 timeout=8s concurrent=4").ready()
    remote.server.expect("GH0840")
    remote.server.allow(*TROUBLE)
    cmp.fault("p10cr", "hang", times=4)
    replies = [remote.enrol(f"{subject},OU={number}") for number in range(4)]
    assert all(reply.pending for reply in replies)
    wait_until(lambda: cmp.count("p10cr") >= 4, 10, what="requests that hang")
    begin = time.monotonic()
    assert remote.enrol(subject, client=remote.server.client(STATIC)).succeeded
    remote.server.ctl_ok("issuer", "test", ISSUER)
    assert time.monotonic() - begin < 7
    for reply in replies:
        remote.wait_state(reply, "in-doubt", seconds=30)


def test_killed_before_the_answer(make_server, cmp, subject):
    """Exactly one certificate, and whether the device gets it is an operator's matter."""
    remote = CmpRemote(make_server, cmp, Wait="0s").ready()
    remote.server.expect("GH0840")
    remote.server.allow(*KILLED)
    cmp.fault("p10cr", "late", 3)
    first = remote.enrol(subject)
    wait_until(lambda: cmp.issued(subject), 10, what="a certificate at the CA")
    os.kill(remote.worker(), signal.SIGKILL)
    remote.wait_state(first, "in-doubt", seconds=60)
    assert len(cmp.issued(subject)) == 1


def test_signed_messages(make_server, cmp, subject):
    """Signed with the key of IssuerCredential, with a template of what was authorised."""
    def credential(server):
        return (f'"{cmp.credential}" '
                f'passphrase=file:{server.make_secret("ra", PASSPHRASE)}')

    remote = CmpRemote(make_server, cmp, CMP="message=ir", Credential=credential).ready()
    one_certificate(remote, remote.enrol(subject), subject)
    assert cmp.count("p10cr") == 0 and cmp.count("ir") >= 2


def test_over_tls(make_server, tmp_path, subject):
    cmp = CmpServer(tmp_path, tls=True)
    try:
        remote = CmpRemote(make_server, cmp, Trust=f'"{cmp.tls.ca_path}"').ready()
        one_certificate(remote, remote.enrol(subject), subject)
    finally:
        cmp.close()


@pytest.mark.parametrize("directives,number,line", [
    ({"Backend": "cmp"}, "GH1060", "IssuerBackend"),
    ({"Backend": "cmp http://127.0.0.1/cmp ca=CA1"}, "GH1060", "IssuerBackend"),
    ({"Backend": "cmp ldap://127.0.0.1/cmp"}, "GH1061", "IssuerBackend"),
    ({"Backend": "cmp http://127.0.0.1"}, "GH1061", "IssuerBackend"),
    ({"Backend": "cmp http://user:hidden-secret@127.0.0.1/cmp"}, "GH1061", "IssuerBackend"),
    ({"Backend": "cagw https://127.0.0.1/cagw ca=CA1"}, "GH1062", "IssuerCMP"),
    ({"Backend": "local"}, "GH0875", "IssuerCMP"),
    ({"CMP": "secret=hidden-secret ref=a"}, "GH1052", "IssuerCMP"),
    ({"CMP": "message=kur"}, "GH1052", "IssuerCMP"),
    ({"CMP": "sender=nobody"}, "GH1052", "IssuerCMP"),
    ({"CMP": "ref=a"}, "GH1053", "IssuerCMP"),
    ({"CMP": None}, "GH1058", "IssuerBackend"),
    ({"CMP": 'ref=a secret=file:{short}'}, "GH1054", "IssuerCMP"),
    ({"CMP": 'ref=a secret=file:{long} trust={folder}/root.pem'}, "GH1059", "IssuerCMP"),
    ({"CMP": 'ref=a secret=file:/nowhere'}, "GH0001", "IssuerCMP"),
    ({"Credential": "enrolled profile=basic-tls-client from={folder}/ra.p12 "
                    "passphrase=file:{passphrase}"}, "GH1063", "IssuerCredential"),
    ({"Search": "on lag=5s"}, "GH1055", "IssuerSearch"),
    ({"Events": "on"}, "GH1056", "IssuerEvents"),
    ({"Trust": "system"}, "GH1057", "IssuerTrust"),
])
def test_configtest(module_remote, directives, number, line):
    server = Server(modules=MODULES)
    try:
        words = {"short": server.make_secret("short", "seven77"),
                 "long": server.make_secret("long", "long enough"),
                 "passphrase": server.make_secret("ra", PASSPHRASE),
                 "folder": module_remote.cmp.folder}
        said = {key: value.format(**words) if value else None for key, value in directives.items()}
        server.configure(section(server, module_remote.cmp, **said))
        result = server.configtest()
        assert result.returncode != 0, result.stderr
        assert number in result.stderr and line in result.stderr, result.stderr
        assert "hidden-secret" not in result.stderr.replace("http://user:hidden-secret@", "")
    finally:
        server.close()
