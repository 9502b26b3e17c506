# Licensed under the Apache License, Version 2.0. See LICENSE.
"""SCEP through a CA that is elsewhere, slow, and sometimes wrong or away."""

import os
import pathlib
import signal
import threading
import time

import pytest

from harness.checks import decision, issued_to, refused
from harness.remote import FRESH, ID, TROUBLE, Remote, elsewhere, start_gateway, succeeded
from harness.server import CHALLENGE, wait_until
from scep.reply import BAD_REQUEST
from standintls import PASSPHRASE


@pytest.fixture(scope="module")
def module_remote(make_module_server, tmp_path_factory):
    gateway = start_gateway(tmp_path_factory.mktemp("gateway"))

    def make(content, start=True, **options):
        return make_module_server(content, **options)

    yield Remote(make, gateway, wait="2s max-waiting=8").ready()
    gateway.close()


@pytest.fixture
def remote(module_remote):
    gateway = module_remote.gateway
    gateway.faults.clear()
    gateway.latency, gateway.rate, gateway.events_lag = 0.0, None, 0.0
    yield module_remote
    gateway.faults.clear()
    gateway.latency = 0.0
    gateway.check()


@pytest.fixture
def gateway(tmp_path):
    made = start_gateway(tmp_path)
    yield made
    made.close()
    made.check()


class Enrolling(threading.Thread):
    """An enrolment that runs beside the test."""

    def __init__(self, remote, subject):
        super().__init__(daemon=True)
        self.remote, self.subject, self.key = remote, subject, next(FRESH)
        self.reply = self.failure = None
        self.start()

    def run(self):
        begin = time.monotonic()
        try:
            self.reply = self.remote.enrol(self.subject, self.key)
        except Exception as failure:
            self.failure = failure
        self.took = time.monotonic() - begin

    def result(self):
        self.join(30)
        assert self.reply is not None, self.failure
        return self.reply


# one after the other

def test_issued_while_the_device_waits(remote, subject):
    remote.gateway.latency = 0.5
    begin = time.monotonic()
    reply = succeeded(remote, remote.enrol(subject), subject)
    assert 0.5 <= time.monotonic() - begin < 2
    line = decision(remote.server, reply)
    assert line["event"] == "enrol" and line["result"] == "issued"
    assert line["issuer"] == "corporate" and line["serial"]
    row = remote.row(reply)
    assert row["state"] == "issued"
    rows = issued_to(remote.server, subject)
    assert len(rows) == 1 and rows[0]["enrolment"] == row["id"]
    assert remote.client().poll(reply.request).issued == reply.issued


def test_slower_than_the_device_waits(remote, subject):
    remote.gateway.latency = 3.0
    begin = time.monotonic()
    first = remote.enrol(subject)
    assert first.pending, first
    assert 1.8 <= time.monotonic() - begin < 2.9
    assert decision(remote.server, first)["result"] == "pending"
    assert remote.row(first)["state"] == "submitted"
    again = remote.client().exchange(first.request)     # the request itself, sent again
    assert again.pending or again.succeeded
    final = succeeded(remote, remote.wait(first), subject)
    assert remote.row(first)["state"] == "issued"
    assert remote.client().exchange(first.request).issued == final.issued
    assert remote.client().poll(first.request).issued == final.issued


@pytest.mark.parametrize("fault", [
    {"kind": "status", "code": 400}, {"kind": "error", "code": "cagw-4027",
                                      "message": "lifetime extension beyond policy"}])
def test_the_cas_reason_reaches_the_device(remote, subject, fault):
    remote.gateway.faults.add(on="enroll", times=1, **fault)
    posts = remote.posts()
    reply = remote.enrol(subject)
    refused(reply, BAD_REQUEST)
    reason = fault.get("message", "injected: status 400")
    assert reason in reply.fail_text
    assert "ca-7.internal" not in reply.fail_text
    line = decision(remote.server, reply)
    assert line["result"] == "refused" and reason in line["message"]
    assert remote.row(reply)["state"] == "rejected"
    time.sleep(1.5)
    assert remote.posts() == posts + 1                  # a no is final
    assert not remote.at_ca(subject)
    refused(remote.client().poll(reply.request), BAD_REQUEST)
    assert "ca-7.internal" not in remote.server.log.text()
    remote.server.allow("GH0822", "GH0823", "GH0824", "GH0825", "GH0826", "GH0827", "GH0828")


def test_too_many_requests(remote, subject):
    remote.gateway.faults.add("status", on="enroll", times=1, code=429, retry_after=3)
    reply = remote.enrol(subject)
    first, = remote.gateway.calls_of("enroll")[-1:]
    succeeded(remote, remote.wait(reply), subject)
    last = remote.gateway.calls_of("enroll")[-1]
    assert last is not first and last.begin - first.end >= 2.8


@pytest.mark.parametrize("kind,options", [
    ("failed", {"code": 500}), ("failed", {"code": 502}), ("failed", {"code": 503}),
    ("failed", {"code": 503, "bare": True}), ("lost", {}), ("half", {}),
    ("malformed", {}), ("deaf", {}), ("late", {"seconds": 5})])
def test_found_at_the_ca_when_the_answer_is_lost(remote, subject, kind, options):
    remote.gateway.faults.add(kind, on="enroll", times=1, **options)
    posts = remote.posts()
    first = remote.enrol(subject)
    assert not first.failed, first
    succeeded(remote, remote.wait(first, 40), subject)
    assert remote.posts() == posts + 1


def test_another_certificate_of_the_same_key(remote, subject):
    """It was asked for in another transaction, and is not taken for this one's, nor withdrawn."""
    key = next(FRESH)
    first = remote.enrol(subject, key)
    assert first.succeeded, first
    for kind, options in (("lost", {}), ("status", {"code": 500})):
        remote.gateway.faults.add(kind, on="enroll", times=1, **options)
        second = remote.enrol(subject, key)
        final = remote.wait(second, 40) if second.pending else second
        assert final.succeeded, final
        serials = [f"{issued.serial:x}" for issued in remote.at_ca(subject)]
        assert f"{final.certificate.serial_number:x}" == serials[-1]
        assert len(set(serials)) == len(serials) == (2 if kind == "lost" else 3)
    assert {issued.status for issued in remote.at_ca(subject)} == {"normal"}


@pytest.mark.parametrize("kind,options", [
    ("status", {"code": 500}), ("status", {"code": 504, "bare": True}),
    ("status", {"code": 503}), ("drop", {}),
    ("hang", {})])
def test_sent_again_when_it_is_surely_not_there(remote, subject, kind, options):
    remote.gateway.faults.add(kind, on="enroll", times=1, **options)
    posts = remote.posts()
    first = remote.enrol(subject)
    assert not first.failed, first
    succeeded(remote, remote.wait(first, 40), subject)
    assert remote.posts() == posts + 2


def test_events_that_lag(remote, subject):
    """What the CA does not tell of yet is not taken for something that is not there."""
    remote.gateway.events_lag = 1.0
    remote.gateway.faults.add("lost", on="enroll", times=1)
    posts = remote.posts()
    succeeded(remote, remote.wait(remote.enrol(subject), 40), subject)
    assert remote.posts() == posts + 1


def test_its_own_event_cannot_be_read(remote, subject):
    """What may be there is not asked for a second time; once it can be read it is handed out."""
    gateway = remote.gateway
    gateway.faults.add("lost", on="enroll", times=1)
    with gateway.lock:
        gateway.bad_certificates = {len(gateway.cas[ID].events)}
    posts = remote.posts()
    first = remote.enrol(subject)
    assert first.pending, first
    wait_until(lambda: remote.row(first).get("gh") == "GH1323"
               or "GH1323" in remote.server.log.text(), 20, 0.3, "the reason")
    # longer than it may take until the CA would tell of it
    time.sleep(7)
    assert remote.posts() == posts + 1 and remote.client().poll(first.request).pending
    gateway.bad_certificates = set()
    succeeded(remote, remote.wait(first, 40), subject)
    assert remote.posts() == posts + 1


def test_pages_of_events_that_fail(remote, subject):
    """A search goes on with the page that failed, however many there are."""
    gateway = remote.gateway
    for number in range(220):
        elsewhere(gateway, number)
    bad = gateway.faults.add("status", on="events", share=0.5, code=502)
    gateway.faults.add("lost", on="enroll", times=1)
    posts = remote.posts()
    succeeded(remote, remote.wait(remote.enrol(subject), 60), subject)
    assert remote.posts() == posts + 1 and bad.hits


@pytest.mark.parametrize("serial", [True, False])
def test_accepted_and_issued_later(remote, subject, serial):
    remote.gateway.faults.add("accepted", on="enroll", times=1, delay=3.0, serial=serial)
    posts = remote.posts()
    first = remote.enrol(subject)
    assert first.pending, first
    succeeded(remote, remote.wait(first, 40), subject)
    assert remote.posts() == posts + 1


@pytest.mark.parametrize("kind", ["short-dates", "fractions", "no-chain"])
def test_manners_of_gateways(remote, subject, kind):
    remote.gateway.faults.add(kind, on="enroll", times=1)
    succeeded(remote, remote.enrol(subject), subject)


def test_an_answer_too_many(remote, subject):
    """What came behind an answer is not the answer to the next request."""
    remote.gateway.faults.add("repeat", on="enroll", times=3)
    posts = remote.posts()
    for number in range(5):
        name = subject.replace("device", f"repeat{number}")
        begin = time.monotonic()
        succeeded(remote, remote.enrol(name), name)
        assert time.monotonic() - begin < 1.9   # it was not found by a search
    assert remote.posts() == posts + 5


@pytest.mark.parametrize("kind", ["other-key", "other-issuer", "forged-issuer", "more-usages",
                                  "more-names", "other-subject", "past", "ca"])
def test_a_wrong_certificate_is_never_handed_out(remote, subject, kind):
    remote.gateway.faults.add(kind, on="enroll", times=1)
    remote.server.allow(*TROUBLE)
    before = len(remote.gateway.issued())
    posts = remote.posts()
    first = remote.enrol(subject)
    assert first.pending, first
    row = remote.wait_state(first, "in-doubt")
    time.sleep(1)
    assert remote.client().poll(first.request).pending
    assert remote.posts() == posts + 1
    wrong = remote.gateway.issued()[before]
    assert f"{wrong.serial:x}" not in str(remote.server.certificates())
    assert "GH0780" in remote.server.log.text()
    assert row["id"] in str(remote.server.ctl_ok("enrolment", "list", "--state",
                                                 "in-doubt").objects)
    if kind not in ("other-key", "other-issuer", "forged-issuer"):
        # it is of the CA and for the device's key: nobody else can miss it
        wait_until(lambda: wrong.status == "revoked", 20, what="its revocation at the CA")
    elif kind == "other-key":
        assert wrong.status == "normal"


def test_the_answer_to_another_call(remote, subject):
    """It has another key: whose is found out, and ours is looked for."""
    other = subject.replace("device", "first")
    succeeded(remote, remote.enrol(other), other)
    remote.gateway.faults.add("stale", on="enroll", times=1)
    posts = remote.posts()
    first = remote.enrol(subject)
    final = remote.wait(first) if first.pending else first
    succeeded(remote, final, subject)
    assert remote.posts() == posts + 1
    assert remote.at_ca(other)[0].status == "normal"


def test_several_devices_at_once(remote):
    remote.gateway.latency = 0.5
    running = [Enrolling(remote, f"CN=together-{n},O=Example") for n in range(8)]
    for enrolling in running:
        succeeded(remote, enrolling.result(), enrolling.subject)
    assert remote.gateway.busiest >= 4                  # one worker, several calls in flight


# a gateway that is away

def test_down_and_up(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="1s max-waiting=8").ready()
    gateway.stop()
    remote.server.allow(*TROUBLE)
    first = remote.enrol(subject)
    assert first.pending, first
    time.sleep(2)
    assert remote.client().poll(first.request).pending
    gateway.start()
    succeeded(remote, remote.wait(first, 40), subject)


def test_an_expired_server_certificate(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="1s max-waiting=8").ready()
    posts = remote.posts()
    gateway.server_certificate("expired")
    remote.server.allow(*TROUBLE)
    first = remote.enrol(subject)
    assert first.pending and remote.posts() == posts, first
    gateway.server_certificate("good")
    succeeded(remote, remote.wait(first, 40), subject)


def test_a_ca_that_cannot_be_searched(make_server, gateway, subject):
    """Nobody can tell whether it was issued: an operator decides, and nothing is sent again."""
    remote = Remote(make_server, gateway, wait="1s max-waiting=8", search="off").ready()
    gateway.faults.add("lost", on="enroll", times=1)
    remote.server.allow(*TROUBLE)
    posts = remote.posts()
    first = remote.enrol(subject)
    row = remote.wait_state(first, "in-doubt")
    time.sleep(3)
    assert remote.posts() == posts + 1
    assert remote.client().poll(first.request).pending
    remote.server.ctl_ok("enrolment", "retry", row["id"])
    final = remote.wait(first)
    assert final.succeeded and remote.posts() == posts + 2


@pytest.mark.parametrize("kind,options", [
    ("accepted", {"delay": 1.0}), ("failed", {"code": 503})])
def test_what_cannot_be_found_out_is_told_at_once(make_server, gateway, subject, kind, options):
    """An id alone leads nowhere at a CA that cannot be searched; nothing is there to wait for."""
    remote = Remote(make_server, gateway, wait="1s max-waiting=8", search="off").ready()
    gateway.faults.add(kind, on="enroll", times=1, **options)
    remote.server.allow(*TROUBLE)
    posts = remote.posts()
    first = remote.enrol(subject)
    row = remote.wait_state(first, "in-doubt")
    shown = str(remote.server.ctl_ok("enrolment", "show", row["id"]).objects)
    assert ("GH1091" if kind == "accepted" else "GH0834") in shown
    assert remote.posts() == posts + 1 and len(remote.at_ca(subject)) == 1


def test_accepted_and_asked_for_by_serial_number(make_server, gateway, subject):
    """Where the CA cannot be searched, too; and one that it has revoked meanwhile is not taken."""
    remote = Remote(make_server, gateway, wait="1s max-waiting=8", search="off").ready()
    gateway.faults.add("accepted", on="enroll", times=2, delay=2.0, serial=True)
    remote.server.allow(*TROUBLE)
    posts = remote.posts()
    first = remote.enrol(subject)
    succeeded(remote, remote.wait(first), subject)
    other = subject.replace("device", "revoked")
    second = remote.enrol(other)
    wait_until(lambda: remote.at_ca(other), what="the certificate")
    gateway.revoke(remote.at_ca(other)[0])
    row = remote.wait_state(second, "in-doubt")
    assert "GH0835" in str(remote.server.ctl_ok("enrolment", "show", row["id"]).objects)
    assert remote.posts() == posts + 2


def test_secrets_stay_where_they_are(make_server, gateway, subject):
    """Neither the passphrase nor the challenge is in a log, or where other processes can look."""
    remote = Remote(make_server, gateway, options={"loglevel": "trace4"}).ready()
    remote.server.allow(*TROUBLE)
    gateway.faults.add("status", on="enroll", times=1, code=429, retry_after=1)
    gateway.faults.add("malformed", on="enroll", times=1, skip=1)
    first = remote.enrol(subject)
    succeeded(remote, remote.wait(first, 40) if first.pending else first, subject)
    texts = [remote.server.error_log_path.read_bytes(), remote.server.audit_path.read_bytes()]
    for pid in remote.workers():
        texts += [pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
                  for name in ("environ", "cmdline")]
    store = b"".join(path.read_bytes() for path in (remote.server.root / "store").iterdir()
                     if path.is_file())
    for secret in (PASSPHRASE.encode(), PASSPHRASE.encode().hex().encode(), CHALLENGE.encode()):
        assert not [text for text in texts if secret in text]
        assert secret not in store


# processes that die, and others that take their place

def test_kill_of_the_worker_in_a_call(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="1s max-waiting=8").ready()
    remote.server.allow("GH0663", *TROUBLE)
    gateway.latency = 2.0
    posts = remote.posts()
    first = remote.enrol(subject)
    assert first.pending, first
    wait_until(lambda: remote.posts() == posts + 1, 5, what="the call")
    os.kill(remote.worker(), signal.SIGKILL)
    gateway.latency = 0.0
    succeeded(remote, remote.wait(first, 60), subject)
    assert remote.posts() == posts + 1


def test_stop_of_httpd_in_a_call(make_server, gateway, subject):
    """The worker gives the call up in time, says so in the store, and ends by itself."""
    remote = Remote(make_server, gateway, wait="1s max-waiting=8").ready()
    gateway.latency = 3.5
    posts = remote.posts()
    first = remote.enrol(subject)
    assert first.pending, first
    wait_until(lambda: remote.posts() == posts + 1, 5, what="the call")
    remote.server.stop()
    left = list((remote.server.root / "run" / "gatehouse-workers").iterdir())
    assert not left, left
    gateway.latency = 0.0
    remote.server.start()
    succeeded(remote, remote.wait(first, 60), subject)
    assert remote.posts() == posts + 1


def test_graceful_restart_in_a_call(make_server, gateway, subject):
    """The old generation finishes what it has begun, and the new one leaves it alone."""
    remote = Remote(make_server, gateway, wait="5s max-waiting=8").ready()
    gateway.latency = 2.0
    old = remote.worker()
    running = [Enrolling(remote, subject.replace("device", f"g{n}")) for n in range(4)]
    wait_until(lambda: gateway.busiest >= 4, 5, what="the calls")
    remote.server.graceful()
    wait_until(lambda: set(remote.workers()) - {old}, 5, what="the new worker")
    during = remote.enrol(subject)
    for enrolling in running:
        reply = enrolling.result()
        succeeded(remote, remote.wait(reply) if reply.pending else reply, enrolling.subject)
    succeeded(remote, remote.wait(during) if during.pending else during, subject)
    wait_until(lambda: old not in remote.workers(), 15, what="the end of the old worker")
    assert len(remote.workers()) == 1


# who waits

def test_so_many_wait_and_no_more(make_server, gateway):
    remote = Remote(make_server, gateway, wait="4s max-waiting=2").ready()
    gateway.latency = 2.0
    running = [Enrolling(remote, f"CN=waiting-{n},O=Example") for n in range(6)]
    replies = [enrolling.result() for enrolling in running]
    at_once = [e for e in running if e.reply.pending]
    waited = [e for e in running if e.reply.succeeded]
    assert len(waited) <= 2 and len(at_once) >= 4, replies
    assert waited and all(e.took < 1.5 for e in at_once), [e.took for e in running]
    for enrolling in at_once:
        succeeded(remote, remote.wait(enrolling.reply), enrolling.subject)
