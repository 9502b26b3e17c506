# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Challenges that a webhook has to permit: for a CA here and one elsewhere."""

import os
import pathlib
import re
import signal

import pytest

from harness.checks import decision, issued_to, refused
from harness.hooks import HERE, MANUAL, THERE, Hooked, section, start_webhook
from harness.remote import KILLED, start_gateway
from harness.server import wait_until
from scep.reply import BAD_REQUEST
from webhook import SECRET, TOKEN

BOTH = pytest.mark.parametrize("path", [HERE, THERE])


@pytest.fixture(scope="module")
def module_hooked(make_module_server, tmp_path_factory):
    gateway = start_gateway(tmp_path_factory.mktemp("gateway"))
    webhook = start_webhook(tmp_path_factory.mktemp("webhook"))

    def make(content, start=True, **options):
        return make_module_server(content, **options)

    yield Hooked(make, gateway, webhook).ready()
    webhook.close()
    gateway.close()


@pytest.fixture
def hooked(module_hooked):
    for standin in (module_hooked.gateway, module_hooked.webhook):
        standin.faults.clear()
        standin.latency = 0.0
        standin.start()
    yield module_hooked
    for standin in (module_hooked.gateway, module_hooked.webhook):
        standin.faults.clear()
        standin.latency = 0.0
        standin.start()
        standin.check()


def one_certificate(hooked, subject, path):
    rows = issued_to(hooked.server, subject)
    assert len(rows) == 1 and rows[0]["status"] == "good", rows
    if path == THERE:
        assert len(hooked.at_ca(subject)) == 1
    return rows[0]


@BOTH
def test_permitted(hooked, subject, path):
    before = len(hooked.webhook.asked)
    reply = hooked.ask(subject, "ok-permitted", path)
    assert reply.succeeded, reply
    one_certificate(hooked, subject, path)
    assert len(hooked.webhook.asked) == before + 1
    body = hooked.webhook.asked[-1]
    assert body["scepChallenge"] == "ok-permitted"
    assert body["scepTransactionID"] == reply.request.transaction
    assert body["provisionerName"] == path[len("/scep/"):]
    assert body["x509CertificateRequest"]["subject"]["commonName"] in subject
    call = hooked.webhook.calls_of("ask")[-1]
    assert call.headers["X-Smallstep-Webhook-ID"] == "hook"
    assert re.fullmatch("[0-9a-f]{32}", call.headers["X-Request-Id"])
    row = hooked.row(reply)
    assert row["state"] == "issued"
    assert hooked.server.client(path).poll(reply.request).issued == reply.issued
    events = [line["event"] for line in wait_until(
        lambda: (lambda lines: lines if len(lines) > 1 else None)(
            [line for line in hooked.server.audit() if line.get("transaction")
             == reply.request.transaction and line["event"] in ("permit", "issue")]),
        10, what="the audit lines")]
    assert sorted(events) == ["issue", "permit"]


@BOTH
def test_denied(hooked, subject, path):
    reply = hooked.ask(subject, "no-device is not enrolled", path)
    refused(reply, BAD_REQUEST)
    assert "device is not enrolled (denied)" in reply.fail_text
    line = decision(hooked.server, reply)
    assert line["result"] == "refused"
    assert hooked.row(reply)["state"] == "rejected"
    assert not issued_to(hooked.server, subject) and not hooked.at_ca(subject)
    refused(hooked.ask(subject, "something else", path), BAD_REQUEST)


def test_without_a_challenge_nobody_is_asked(hooked, subject):
    before = len(hooked.webhook.calls)
    refused(hooked.ask(subject, None))
    assert len(hooked.webhook.calls) == before


@BOTH
def test_slower_than_the_device_waits(hooked, subject, path):
    hooked.webhook.latency = 12.0
    first = hooked.ask(subject, "ok-slow", path)
    assert first.pending, first
    assert hooked.row(first)["state"] in ("submitted", "retry")
    hooked.webhook.release()
    final = hooked.final(first, path)
    assert final.succeeded
    one_certificate(hooked, subject, path)


@pytest.mark.parametrize("fault", [
    {"kind": "status", "code": 500}, {"kind": "status", "code": 429, "retry_after": 1},
    {"kind": "status", "code": 401}, {"kind": "malformed"}, {"kind": "half"}, {"kind": "drop"}])
def test_trouble_is_no_answer(hooked, subject, fault):
    """Whatever is no yes and no no is asked again."""
    hooked.webhook.faults.add(on="ask", times=1, **fault)
    first = hooked.ask(subject, "ok-later")
    final = first if first.succeeded else hooked.final(first)
    assert final.succeeded, final
    one_certificate(hooked, subject, HERE)


def test_down_and_up_again(hooked, subject):
    hooked.webhook.stop()
    first = hooked.ask(subject, "ok-up-again")
    assert first.pending, first
    row = hooked.wait_state(first, "retry")
    assert row["job"]["state"] == "open" and row["job"]["gh"] == "GH0803"
    assert hooked.server.client(HERE).poll(first.request).pending
    hooked.webhook.start()
    assert hooked.final(first).succeeded
    one_certificate(hooked, subject, HERE)


def test_cancelled(hooked, subject):
    hooked.webhook.stop()
    first = hooked.ask(subject, "ok-cancelled")
    row = hooked.wait_state(first, "retry")
    hooked.server.ctl_ok("enrolment", "cancel", row["id"])
    refused(hooked.final(first), BAD_REQUEST)
    hooked.webhook.start()
    assert not issued_to(hooked.server, subject)


def test_an_operator_decides_afterwards(hooked, subject):
    first = hooked.ask(subject, "ok-manual", MANUAL)
    assert first.pending
    row = hooked.wait_state(first, "waiting")
    hooked.server.ctl_ok("enrolment", "approve", row["id"])
    assert hooked.final(first, MANUAL).succeeded
    one_certificate(hooked, subject, MANUAL)


def test_no_secret_is_to_be_seen(hooked, subject):
    challenge = "ok-seeded-secret-of-this-test"
    hooked.webhook.latency = 12.0
    first = hooked.ask(subject, challenge)
    store = b"".join(path.read_bytes() for path in (hooked.server.root / "store").iterdir()
                     if path.is_file())
    assert challenge.encode() not in store
    hooked.webhook.release()
    assert hooked.final(first).succeeded
    texts = [path.read_bytes() for path in (hooked.server.root / "log").iterdir()
             if path.is_file()]
    for pid in hooked.workers():
        texts += [pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
                  for name in ("environ", "cmdline")]
    for secret in (challenge, SECRET, TOKEN):
        assert not [text for text in texts if secret.encode() in text]


# processes that die

def test_kill_of_the_worker_in_calls(hooked, subject):
    hooked.server.allow("GH0663", *KILLED)
    hooked.webhook.latency = 12.0
    waiting = []
    for path in (HERE, THERE):
        asked = subject.replace("CN=", f"CN={len(waiting)}-")
        first = hooked.ask(asked, "ok-killed", path)
        assert first.pending
        waiting.append((asked, first, path))
    os.kill(hooked.worker(), signal.SIGKILL)
    hooked.webhook.latency = 0.0
    for asked, first, path in waiting:
        assert hooked.final(first, path, 90).succeeded
        one_certificate(hooked, asked, path)


def test_kill_of_children_in_a_call(hooked, subject):
    hooked.server.allow(*KILLED)
    hooked.webhook.latency = 12.0
    first = hooked.ask(subject, "ok-children")
    assert first.pending
    hooked.server.kill_children()
    hooked.webhook.release()
    assert hooked.final(first).succeeded
    one_certificate(hooked, subject, HERE)


# configuration

@pytest.mark.parametrize("change, number", [
    ({"WebhookURL": "http://hooks.example.com/"}, "GH0891"),
    ({"WebhookURL": "https://user:secret@hooks.example.com/"}, "GH0891"),
    ({"WebhookID": '"two words"'}, "GH0892"),
    ({"WebhookSecret": "plain-secret"}, "GH0893"),
    ({"WebhookSecret": None}, "GH0906"),
    ({"WebhookURL": None}, "GH0906"),
    ({"WebhookAuthorization": "digest file:/etc/passwd"}, "GH0894"),
    ({"WebhookCredential": "x.p12 passphrase=secret"}, "GH0895"),
    ({"WebhookTrust": '""'}, "GH0896"),
    ({"WebhookProxy": "http://user:secret@proxy.example.com:3128"}, "GH0897"),
    ({"WebhookWait": "2m"}, "GH0898"),
    ({"WebhookLimits": "timeout=1d"}, "GH0899"),
])
def test_refused_by_configtest(make_server, hooked, change, number):
    server = make_server(lambda server: section(server, hooked.webhook, **change), start=False)
    tested = server.configtest()
    assert tested.returncode != 0
    assert number in tested.stderr, tested.stderr
    assert "secret" not in re.sub(r"WebhookSecret|hook-secret|passphrase=|<Webhook.*|secret never",
                                  "", tested.stderr), tested.stderr


@pytest.mark.parametrize("text, number", [
    ("WebhookURL https://hooks.example.com/\n", "GH0900"),
    ("<Webhook a>\nWebhookID a\nWebhookID b\n</Webhook>\n", "GH0901"),
    ("<Webhook a:b>\n</Webhook>\n", "GH0902"),
    ("<Webhook a>\n</Webhook>\n<Webhook a>\n</Webhook>\n", "GH0903"),
])
def test_sections(make_server, text, number):
    tested = make_server(text, start=False).configtest()
    assert tested.returncode != 0 and number in tested.stderr, tested.stderr


def test_secrets_that_cannot_be_used(make_server, hooked):
    for change, number in (
            (lambda server: {"WebhookSecret": f"file:{server.make_secret('bad', 'not Base64!')}"},
             "GH0904"),
            (lambda server: {"WebhookAuthorization": "basic file:"
                             + str(server.make_secret('bad', 'no colon'))}, "GH0905")):
        server = make_server(lambda server: section(server, hooked.webhook, **change(server)),
                             start=False)
        tested = server.configtest()
        assert tested.returncode != 0 and number in tested.stderr, tested.stderr
