# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Profiles with manual approval: pending, approved, denied."""

import pytest

from harness import standard
from harness.checks import decision, issued_to, new_challenge, refused
from harness.config import location
from harness.server import CHALLENGE, wait_until
from scep import Csr, Identity, extension
from scep.reply import BAD_CERT_ID, BAD_REQUEST

ONETIME_MANUAL = "/scep/acme/devices/test-manual-onetime"


def content(server):
    return standard.content(server) + f"""
<CertificateProfile test-manual-onetime base={standard.BASE}>
    ProfileApproval manual
</CertificateProfile>
""" + location(ONETIME_MANUAL, "SCEPChallenge onetime")


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content)


@pytest.fixture(scope="module")
def client(server):
    return server.client(standard.MANUAL)


def ask(client, subject, number=1, challenge=CHALLENGE):
    reply = client.enrol(standard.device_key(number), challenge, subject)
    assert reply.pending, reply
    return reply


def row_of(server, reply):
    rows = [row for row in server.ctl_ok("enrolment", "list").objects
            if row["transaction"] == reply.request.transaction]
    assert len(rows) == 1, rows
    return rows[0]


def test_pending_then_approved(server, client, subject):
    first = ask(client, subject)
    line = decision(server, first)
    assert line["event"] == "enrol" and line["result"] == "pending"
    row = row_of(server, first)
    assert row["state"] == "waiting" and row["protocol"] == "scep" and row["tenant"] == "acme"
    assert row["issuer"] == "devices" and row["profile"] == "test-manual" and row["created"]
    assert subject.split(",")[0] in row["subject"] and not row["serial"]
    assert client.poll(first.request).pending
    assert client.exchange(first.request).pending       # the request itself, sent again
    assert not issued_to(server, subject)
    server.ctl_ok("enrolment", "approve", row["id"])
    final = client.wait(first.request, 5)
    assert final.succeeded, final
    assert final.certificate.public_key().public_numbers() == \
        standard.device_key().public_key().public_numbers()
    rows = issued_to(server, subject)
    assert len(rows) == 1 and rows[0]["enrolment"] == row["id"]
    after = row_of(server, first)
    assert after["state"] == "issued" and after["serial"] == rows[0]["serial"]
    assert client.poll(first.request).issued == final.issued
    assert client.exchange(first.request).issued == final.issued
    events = [line["event"] for line in wait_until(lambda: [
        line for line in server.audit() if line.get("transaction") == first.request.transaction
        and line["event"] == "approve"], 5, what="the approval in the audit log")]
    assert events == ["approve"]
    assert [line for line in server.audit() if line.get("serial") == rows[0]["serial"]]


def test_approved_within_a_second(server, client, subject):
    first = ask(client, subject)
    server.ctl_ok("enrolment", "approve", row_of(server, first)["id"])
    assert client.wait(first.request, 1.5, 0.05).succeeded


def test_denied(server, client, subject):
    first = ask(client, subject)
    row = row_of(server, first)
    server.ctl_ok("enrolment", "deny", row["id"], "--reason", "not our device")
    reply = refused(client.poll(first.request), BAD_REQUEST)
    assert "not our device" in reply.fail_text
    refused(client.exchange(first.request), BAD_REQUEST)
    assert row_of(server, first)["state"] == "denied"
    assert not issued_to(server, subject)
    result = server.ctl("enrolment", "approve", row["id"])
    assert result.status == 1 and "GH" in result.err


def test_decisions_are_final(server, client, subject):
    first = ask(client, subject)
    row = row_of(server, first)
    server.ctl_ok("enrolment", "approve", row["id"])
    assert client.wait(first.request, 5).succeeded
    for verb in ("approve", "deny"):
        assert server.ctl("enrolment", verb, row["id"]).status == 1
    assert server.ctl("enrolment", "approve", "0" * 32).status == 3
    assert server.ctl("enrolment", "show", "0" * 32).status == 3
    assert server.ctl("enrolment", "approve").status == 2


def test_show_and_list(server, client, subject):
    first = ask(client, subject)
    row = row_of(server, first)
    shown = server.ctl_ok("enrolment", "show", row["id"]).object
    assert all(shown[name] == value for name, value in row.items())
    waiting = server.ctl_ok("enrolment", "list", "--state", "waiting").objects
    assert row["id"] in [r["id"] for r in waiting]
    assert {r["state"] for r in waiting} == {"waiting"}
    human = server.ctl_ok("enrolment", "list", as_json=False).out
    assert row["id"] in human
    assert server.ctl("enrolment", "list", "--state", "nonsense").status == 2


def test_poll_by_strangers(server, client, subject):
    """Neither another key nor another endpoint sees a waiting enrolment."""
    first = ask(client, subject)
    other = Identity.self_signed(standard.device_key(2), subject)
    refused(client.poll(first.request, identity=other), BAD_REQUEST, BAD_CERT_ID)
    elsewhere = server.client(standard.STATIC)
    refused(elsewhere.poll(first.request), BAD_REQUEST, BAD_CERT_ID)
    server.ctl_ok("enrolment", "approve", row_of(server, first)["id"])
    assert client.wait(first.request, 5).succeeded
    refused(client.poll(first.request, identity=other), BAD_REQUEST, BAD_CERT_ID)


def test_other_request_under_a_waiting_transaction(server, client, subject):
    first = ask(client, subject)
    refused(client.enrol(standard.device_key(), CHALLENGE, subject,
                         [extension("san", "DNS:other.example")],
                         transaction=first.request.transaction))
    server.ctl_ok("enrolment", "approve", row_of(server, first)["id"])
    final = client.wait(first.request, 5)
    assert final.succeeded
    assert "other.example" not in str(issued_to(server, subject)[0]["sans"])


def test_wrong_challenge_never_waits(server, client, subject):
    before = len(server.ctl_ok("enrolment", "list").objects)
    refused(client.enrol(standard.device_key(), "wrong", subject))
    assert len(server.ctl_ok("enrolment", "list").objects) == before


def test_onetime_challenge_is_used_by_the_waiting_enrolment(server, subject):
    client = server.client(ONETIME_MANUAL)
    challenge = new_challenge(server, profile="test-manual-onetime")
    first = ask(client, subject, challenge=challenge)
    refused(client.enrol(standard.device_key(2), challenge, subject))
    assert client.exchange(first.request).pending
    server.ctl_ok("enrolment", "approve", row_of(server, first)["id"])
    assert client.wait(first.request, 5).succeeded


def test_what_was_approved_is_what_is_issued(server, client, subject):
    """A poll cannot bring other contents than those that an operator has seen."""
    first = ask(client, subject)
    server.ctl_ok("enrolment", "approve", row_of(server, first)["id"])
    poll = client.poll_message(first.request)
    poll.content = Csr(standard.device_key(), "CN=admin", CHALLENGE).der
    client.exchange(poll)
    final = client.wait(first.request, 5)
    assert final.succeeded
    assert subject.split(",")[0] in final.certificate.subject.rfc4514_string()


@pytest.mark.parametrize("how", ["stop", "kill", "graceful"])
def test_restart_between(make_server, how, subject):
    server = make_server(content)
    client = server.client(standard.MANUAL)
    one, two, three = ask(client, subject, 1), ask(client, subject, 2), ask(client, subject, 3)
    if how == "graceful":
        server.graceful()
        server.ctl_ok("enrolment", "approve", row_of(server, one)["id"])
    else:
        if how == "stop":
            server.stop()
        else:
            server.kill_all()
            server.allow("AH00098")
        server.ctl_ok("enrolment", "approve", row_of(server, one)["id"])    # while nothing runs
        server.start()
    server.ctl_ok("enrolment", "deny", row_of(server, two)["id"])
    assert client.wait(one.request, 5).succeeded
    assert client.poll(two.request).failed
    assert client.poll(three.request).pending
