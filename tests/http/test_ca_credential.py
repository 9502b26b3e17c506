# Licensed under the Apache License, Version 2.0. See LICENSE.
"""By which credential a CA gateway knows us: one that was enrolled there, and is renewed."""

import datetime
import os

import pytest
from cryptography import x509

from harness import remote, standard
from harness.remote import Remote, start_gateway, succeeded
from harness.server import wait_until

OWN = "est-digital-signature"
ENROLLED = f"profile={OWN}"


@pytest.fixture
def gateway(tmp_path):
    made = start_gateway(tmp_path, trust_issued=True)
    yield made
    made.close()
    made.check()


def make(make_server, gateway, enrolled=ENROLLED, **options):
    return Remote(make_server, gateway, enrolled=enrolled, **options)


def peer(call):
    return x509.load_der_x509_certificate(call.peer)


def own(gateway):
    """What the CA has issued for us as a client of the gateway."""
    return [issued for issued in gateway.issued() if issued.profile == OWN]


def used(gateway, serial, since=0):
    """Calls with a certificate."""
    return [call for call in gateway.calls[since:]
            if call.peer and peer(call).serial_number == serial]


def wait_used(gateway, number=1):
    """Waits until the certificate of that number is in use. @return it"""
    issued = wait_until(lambda: own(gateway)[number - 1:], 40, 0.3, "an own certificate")[0]
    wait_until(lambda: used(gateway, issued.serial), 40, 0.3, "its use")
    return issued


def test_enrolled_and_renewed_under_load(make_server, gateway, subject):
    """No enrolment is lost when a key of our own takes the file's place, nor when it is renewed."""
    gateway.lifetimes[OWN] = (40, 50)           # due after twenty seconds
    remote = make(make_server, gateway).ready()
    first = wait_used(gateway)
    file_key = gateway.tls.client("gatehouse")[1].public_key()
    assert first.certificate.subject.rfc4514_string() == "CN=gatehouse"
    assert first.certificate.public_key() != file_key
    gateway.lifetimes[OWN] = (0, 86400)
    done = 0

    def renewed():
        nonlocal done
        done += 1
        name = subject.replace("CN=", f"CN={done}-")
        succeeded(remote, remote.enrol(name), name)
        return own(gateway)[1:] and used(gateway, own(gateway)[1].serial)

    wait_until(renewed, 60, 0.2, "the use of the second one")
    second = own(gateway)[1]
    assert datetime.datetime.utcnow() < first.certificate.not_valid_after
    assert second.spki != first.spki and len(own(gateway)) == 2
    since = len(gateway.calls)
    succeeded(remote, remote.enrol(subject), subject)
    call, = [call for call in gateway.calls[since:] if call.endpoint == "enroll"]
    assert peer(call).serial_number == second.serial
    assert remote.server.log.text().count("GH1069") == 2
    # it lies in the store: a server that starts uses it from the beginning, whatever has become of
    # the file
    remote.server.stop()
    gateway.tls.credential(os.path.basename(gateway.credential), days=1,
                           start=datetime.datetime.utcnow() - datetime.timedelta(days=3))
    since = len(gateway.calls)
    remote.server.start()
    remote.ready()
    wait_until(lambda: used(gateway, second.serial, since), 20, 0.3, "a call")
    assert all(peer(call).serial_number == second.serial for call in gateway.calls[since:])
    state, = remote.server.ctl_ok("issuer", "test", "corporate").objects
    assert state["up"] and state["credential_end"].startswith(
        second.certificate.not_valid_after.strftime("%Y-%m-%dT%H:%M"))


def test_one_that_is_not_accepted(make_server, gateway, subject):
    """A name that nobody has registered: the file's stays in use, and nothing is refused."""
    remote = make(make_server, gateway, ENROLLED + " subject=CN=stranger").ready()
    remote.server.expect("GH1068")
    wait_until(lambda: "GH1068" in remote.server.log.text(), 40, 0.3, "the warning")
    succeeded(remote, remote.enrol(subject), subject)
    assert "GH0827" in remote.server.log.text() and "GH1069" not in remote.server.log.text()
    gateway.clients["stranger"] = "integrator"


def test_one_that_is_withdrawn(make_server, gateway, subject):
    """Taken off the gateway's list while it is in use, or revoked: the one before is used again."""
    remote = make(make_server, gateway).ready()
    remote.server.allow("GH0843")
    issued = wait_used(gateway)
    gateway.banned.add(issued.serial)
    reply = remote.enrol(subject)
    if reply.pending:
        reply = remote.wait(reply, 60)
    succeeded(remote, reply, subject)
    assert "GH1069" in remote.server.log.text()


@pytest.mark.parametrize("words,number", [
    ("", "GH1065"), ("profile=nobody", "GH1066"), (ENROLLED + " key=P-111", "GH1066"),
    (ENROLLED + " passphrase=secret", "GH1064"), (ENROLLED + " profile=again", "GH1064"),
])
def test_configuration(make_server, gateway, words, number):
    remote = make(make_server, gateway, words or " ", start=False)
    checked = remote.server.configtest()
    assert number in checked.stderr and checked.returncode != 0, checked
    assert "secret" not in checked.stderr


def test_sealing_key_is_needed(make_server, gateway):
    remote = make(make_server, gateway, start=False)
    text = remote.server.content
    remote.server.configure("".join(line for line in text.splitlines(True)
                                    if not line.startswith("GatehouseSealingKey")))
    checked = remote.server.configtest()
    if "GatehouseSealingKey" in text:
        assert "GH1067" in checked.stderr and checked.returncode != 0, checked


# other keys of our own whose certificates the CA makes

RA = "scep-digital-signature-key-encipherment"
DUE_SOON = (40, 50)                             # after two thirds of that, in twenty seconds


def rounds(remote, purpose):
    """Certificates that were issued for one purpose of ours."""
    return [row for row in remote.server.ctl_ok("enrolment", "list").objects
            if row["protocol"] == "internal" and row["state"] == "issued"
            and row["transaction"].startswith(purpose)]


def test_ra_is_renewed_under_load(make_server, gateway, subject):
    """Devices get their certificates while the RA's key is renewed, and after it."""
    gateway.lifetimes[RA] = DUE_SOON
    remote = Remote(make_server, gateway).ready()
    gateway.lifetimes.clear()
    assert len(rounds(remote, "scep-ra/")) == 1
    done = 0
    after = 12

    def renewed():
        nonlocal done, after
        done += 1
        name = subject.replace("CN=", f"CN={done}-")
        succeeded(remote, remote.enrol(name), name)
        after -= len(rounds(remote, "scep-ra/")) > 1
        return after == 0

    wait_until(renewed, 90, 0.1, "the second one, and devices that enrol with it")
    assert len(rounds(remote, "scep-ra/")) == 2


# one that nobody has renewed

EXPIRED = "branch"
EXPIRED_PATH = f"/scep/acme/{EXPIRED}/{remote.PROFILE}"


def with_expired_issuer(gateway, server):
    ended = gateway.tls.credential("ended.p12", days=1,
                                   start=datetime.datetime.utcnow() - datetime.timedelta(days=3))
    secret = server.make_secret("gateway", remote.PASSPHRASE)
    text = remote.content(gateway)(server)
    return "".join([
        text.replace(f"SCEPTenant acme {remote.ISSUER}",
                     f"SCEPTenant acme {EXPIRED} {remote.ISSUER}"),
        remote.issuer(server, gateway, EXPIRED, ca="acme~devices",
                      credential=f'"{ended}" passphrase=file:{secret}'),
        remote.location(EXPIRED_PATH, standard.challenge(server)),
        remote.location("/health", "SetHandler gatehouse-health"),
    ])


def test_one_that_has_ended_keeps_nobody_else_from_work(make_server, gateway, subject):
    """httpd starts and says so, its issuer's requests wait, and others are served."""
    made = Remote(lambda _, **options: make_server(
        lambda server: with_expired_issuer(gateway, server), **options), gateway)
    server = made.server
    server.expect("GH0796")
    server.allow("GH0782", "GH0790", "GH0854", *remote.TROUBLE)
    made.ready()
    succeeded(made, made.enrol(subject), subject)
    assert server.get(f"{EXPIRED_PATH}?operation=GetCACert").status == 503
    state, = server.ctl("issuer", "test", EXPIRED).objects
    assert not state["up"] and "GH0796" in state["failure"], state
    verdict, = [row for row in server.ctl("check").objects if row["name"] == f"gateway.{EXPIRED}"]
    assert verdict["gh"] == "GH0858" and "GH0796" in verdict["message"], verdict
    wait_until(lambda: b"GH0796" in server.get("/health").body, 20, 0.5, "word of it by health")
    row, = wait_until(lambda: [row for row in server.ctl_ok("enrolment", "list").objects
                               if row["issuer"] == EXPIRED and row["state"] == "retry"], 20, 0.3,
                      "a request that waits")
    assert "GH0796" in str(row["job"]), row
    assert not [call for call in gateway.calls if call.peer and peer(call).not_valid_after
                < datetime.datetime.utcnow()]
