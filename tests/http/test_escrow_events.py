# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Events of a UEM become credentials in escrow, and those profiles on devices."""

import hashlib
import hmac
import json
import os
import signal
import sqlite3
import urllib.error
import urllib.request
import uuid

import pytest

from harness import config, openapi
from harness.clock import Clock
from harness.config import location
from harness.credentials import encryption, upload_of
from harness.escrow import ask, problem
from harness.server import wait_until
from harness.uem import KILLED, Delivering, start_uem

PROFILES = "signing=smime-non-repudiation encryption=smime-key-encipherment"
SECRET = "seeded-secret-of-events-0123456789"
DAY = 86400


def events(server):
    secret = server.make_secret("events", SECRET)
    return config.issuer(server.authority) + config.CRL_AND_CA + f"""
EscrowProvide event=148 issuer=devices {PROFILES}
EscrowProvide event=149 issuer=devices {PROFILES} signing-per=device key-size=3072
EscrowProvide event=150 issuer=devices encryption=smime-key-encipherment "subject=cn=<user>,o=Example"
EscrowMailDomains example.com *.corp.example
""" + location("/v1/events", "SetHandler gatehouse-escrow",
               f"EscrowEventHMAC X-Signature file:{secret}", "Require all granted")


@pytest.fixture(scope="module")
def delivering(make_module_server, tmp_path_factory):
    uem = start_uem(tmp_path_factory.mktemp("uem"))
    made = Delivering(make_module_server, uem, tmp_path_factory.mktemp("devices"), more=events)
    yield made
    uem.close()


def event_of(device, **members):
    return {"EventId": 148, "EventType": "MDM Enrollment Complete", "DeviceUUID": device.uuid,
            "EnrollmentUserUUID": device.user, "EnrollmentEmailAddress": "ada@example.com",
            "EnrollmentUserName": "ada", "EventTime": str(uuid.uuid4()), "Platform": "Apple",
            **members}


def signature_of(body):
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def post(delivering, event):
    body = json.dumps(event).encode()
    answer = ask(delivering.server, "/v1/events", delivering.client, "POST", body,
                 {"Content-Type": "application/json", "X-Signature": signature_of(body)})
    return openapi.check("POST", "/v1/events", answer)


def send(delivering, event, *statuses):
    answer = post(delivering, event)
    assert answer.status in (statuses or (202,)), (answer.status, answer.body)
    return json.loads(answer.body)


def stored(delivering, device):
    """Metadata of a pair's credentials, by use."""
    answer = delivering.ask(f"/v2/certificates?device_uuid={device.uuid}&user_uuid={device.user}")
    if answer.status == 404:
        return {}
    found = {}
    for one in json.loads(answer.body)["credentials"]:
        found.setdefault(one["use"], []).append(one)
    return found


def wait_stored(delivering, device, *uses, seconds=60):
    return wait_until(lambda: (lambda found: found if set(uses) <= set(found) else None)(
        stored(delivering, device)), seconds, 0.1, f"credentials for {uses}")


def done(delivering, event, seconds=60):
    def look():
        answer = post(delivering, event)
        return json.loads(answer.body) if answer.status == 200 else None
    return wait_until(look, seconds, 0.1, "the end of an event")


def thumbprint(found, use):
    one, = found[use]
    return one["thumbprint_sha256"]


def test_event_then_skeleton(delivering):
    device = delivering.device()
    event = event_of(device)
    answer = send(delivering, event)
    assert answer["status"] == "accepted"
    found = wait_stored(delivering, device, "signing", "encryption")
    made = delivering.skeleton(device)
    taken, = delivering.delivered(device)
    assert device.open(taken["document"]) == [int(found["encryption"][0]["serial"], 16)]
    delivering.wait_state(made, "delivered")
    assert done(delivering, event) == {"id": answer["id"], "status": "done"}


def test_skeleton_then_event(delivering):
    device = delivering.device()
    made = delivering.skeleton(device)
    assert made["status"] == "waiting"
    send(delivering, event_of(device, EnrollmentEmailAddress="Ada@mail.Corp.example"))
    taken, = delivering.delivered(device)
    found = stored(delivering, device)
    assert device.open(taken["document"]) == [int(found["encryption"][0]["serial"], 16)]


def test_the_same_event_twice(delivering):
    device = delivering.device()
    event = event_of(device)
    first = send(delivering, event)
    assert send(delivering, event, 200, 202)["id"] == first["id"]
    assert done(delivering, event)["status"] == "done"
    found = stored(delivering, device)
    # another time: what is there is not made again
    again = event_of(device)
    send(delivering, again)
    assert done(delivering, again)["status"] == "done"
    assert stored(delivering, device) == found


def test_one_key_for_encryption_on_all_devices(delivering):
    first, second = delivering.device(), delivering.device(key_name="rsa2048-08")
    second.user = first.user
    one, other = event_of(first, EventId=149), event_of(second, EventId=149)
    send(delivering, one)
    send(delivering, other)             # at the same time
    assert done(delivering, one)["status"] == "done" == done(delivering, other)["status"]
    here, there = stored(delivering, first), stored(delivering, second)
    assert thumbprint(here, "encryption") == thumbprint(there, "encryption")
    assert thumbprint(here, "signing") != thumbprint(there, "signing")


def rows(delivering, device):
    """What the store keeps of a pair besides what is told: by use, how and how long."""
    with sqlite3.connect(f"file:{delivering.server.root}/store/gatehouse.db?mode=ro",
                         uri=True) as store:
        found = store.execute("SELECT purpose, origin, expires, consume FROM escrow_credential"
                              " WHERE device = ? ORDER BY purpose, position",
                              (device.uuid,)).fetchall()
    return found


def test_uploaded_keys_on_another_device(delivering):
    """They stay what they are: whoever has uploaded them renews them. Old mail is readable there,
    too."""
    first, second = delivering.device(), delivering.device(key_name="rsa2048-08")
    second.user = first.user
    mail, old = (encryption(name, mail="Ada@example.com") for name in ("rsa2048-02", "rsa2048-05"))
    strange = encryption("rsa2048-06", mail="grace@example.com")
    answer = delivering.ask("/v2/certificates", "POST", upload_of(
        {"device_uuid": first.uuid, "user_uuid": first.user}, encryption=[mail],
        archived=[old, strange]))
    assert answer.status == 201, answer.body
    event = event_of(second)
    send(delivering, event)
    assert done(delivering, event)["status"] == "done"
    found = stored(delivering, second)
    assert thumbprint(found, "encryption") == mail.sha256
    assert thumbprint(found, "archived") == old.sha256
    signing, shared, archived = rows(delivering, second)
    assert signing[1] == "provider"
    theirs = rows(delivering, first)
    assert shared == theirs[0] and shared[1] == "upload"
    # what is archived lasts as long as the newest here
    assert archived[1] == "upload" and archived[2] == max(signing[2], shared[2])


def test_former_keys_on_a_new_device(delivering):
    """Of a user whose key was revoked: the other devices keep it, and a new one gets it."""
    server = delivering.server
    first, second = delivering.device(), delivering.device(key_name="rsa2048-08")
    second.user = first.user
    event = event_of(first)
    send(delivering, event)
    assert done(delivering, event)["status"] == "done"
    before = stored(delivering, first)["encryption"][0]
    server.ctl_ok("cert", "revoke", before["serial"])
    event = event_of(second)
    send(delivering, event)
    assert done(delivering, event)["status"] == "done"
    here, there = stored(delivering, first), stored(delivering, second)
    assert thumbprint(here, "encryption") == thumbprint(there, "encryption") \
        != before["thumbprint_sha256"]
    assert thumbprint(here, "archived") == thumbprint(there, "archived") \
        == before["thumbprint_sha256"]


def test_the_same_event_for_what_is_gone(delivering):
    """A UEM that tells no times sends the same event for a device that is set up anew."""
    device = delivering.device()
    event = event_of(device)
    del event["EventTime"]
    first = send(delivering, event)
    assert done(delivering, event)["status"] == "done"
    before = stored(delivering, device)
    path = f"/v2/certificates?device_uuid={device.uuid}&user_uuid={device.user}"
    assert delivering.ask(path, "DELETE").status == 204
    assert send(delivering, event) == {"id": first["id"], "status": "accepted"}
    assert done(delivering, event)["status"] == "done"
    found = stored(delivering, device)
    assert set(found) == {"signing", "encryption"}
    assert thumbprint(found, "encryption") != thumbprint(before, "encryption")


def test_unknown_events_are_ignored(delivering):
    device = delivering.device()
    for event in (event_of(device, EventId=7), {}, {"EventId": None}):
        assert send(delivering, event, 200) == {"status": "ignored"}
    assert stored(delivering, device) == {}


@pytest.mark.parametrize("status, number, members", [
    (403, "GH1290", {"EnrollmentEmailAddress": "ada@example.org"}),
    (403, "GH1290", {"EnrollmentEmailAddress": "ada@mail.example.com"}),
    (400, "GH1289", {"EnrollmentEmailAddress": "ada"}),
    (400, "GH1289", {"EnrollmentEmailAddress": None}),
    (400, "GH1291", {"DeviceUUID": "x"}),
    (400, "GH1292", {"EventId": 150, "EnrollmentUserName": None}),
    (400, "GH1293", {"EventId": 150, "EnrollmentUserName": "x" * 200})])
def test_refused(delivering, status, number, members):
    device = delivering.device()
    problem(post(delivering, event_of(device, **members)), status, number)
    assert stored(delivering, device) == {}


def post_signed(delivering, body, signature):
    request = urllib.request.Request(delivering.server.public_url + "/v1/events", body,
                                     {"Content-Type": "application/json"})
    if signature:
        request.add_header("X-Signature", signature)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_signature(delivering):
    device = delivering.device()
    body = json.dumps(event_of(device)).encode()
    right = signature_of(body)
    for wrong in (None, right[:-2] + ("00" if right[-2:] != "00" else "11"), "sha256=", "=" * 9):
        status, answer = post_signed(delivering, body, wrong)
        assert (status, answer["gh"]) == (403, "GH1306"), (wrong, answer)
    assert stored(delivering, device) == {}
    assert post_signed(delivering, body, "sha256=" + right)[0] == 202
    wait_stored(delivering, device, "encryption")


def issued(server):
    with sqlite3.connect(f"file:{server.root}/store/gatehouse.db?mode=ro", uri=True) as store:
        return store.execute("SELECT count(*) FROM certificate_der"
                             " WHERE profile LIKE 'smime-%'").fetchone()[0]


def test_killed_at_any_time(delivering):
    """One certificate for each purpose, whatever dies."""
    server = delivering.server
    server.allow(*KILLED)
    before = issued(server)
    all_events = []
    for i in range(6):
        device = delivering.device()
        all_events.append((device, event_of(device)))
        send(delivering, all_events[-1][1])
        victims = delivering.workers() if i % 2 else \
            [pid for pid in server.children() if pid not in delivering.workers()]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        wait_until(server.answers, 20, 0.1, "the server")
    for device, event in all_events:
        assert done(delivering, event, 90)["status"] == "done"
        assert set(stored(delivering, device)) == {"signing", "encryption"}
    assert issued(server) - before == 2 * len(all_events)


def test_renewal(make_server, tmp_path_factory):
    """A certificate that has little left is replaced, the former one archived, the profile delivered
    anew."""
    uem = start_uem(tmp_path_factory.mktemp("uem"))
    delivering = Delivering(make_server, uem, tmp_path_factory.mktemp("devices"), start=False,
                            more=lambda server: events(server) + """
<CertificateProfile mail-brief base=smime-key-encipherment>
    ProfileValidity 20d
</CertificateProfile>
EscrowProvide event=160 issuer=devices encryption=mail-brief
""")
    server = delivering.server
    clock = Clock(server)
    server.start()
    device = delivering.device()
    event = event_of(device, EventId=160)
    send(delivering, event)
    first = wait_stored(delivering, device, "encryption")
    delivering.skeleton(device)
    delivering.delivered(device)
    clock.set(17 * DAY)
    found = wait_stored(delivering, device, "archived", seconds=90)
    assert thumbprint(found, "archived") == thumbprint(first, "encryption")
    assert thumbprint(found, "encryption") != thumbprint(first, "encryption")
    _, after = delivering.delivered(device, 2)
    assert device.open(after["document"]) == [int(found["encryption"][0]["serial"], 16)]
    uem.close()
