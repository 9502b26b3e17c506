# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Status at a CA elsewhere: it is told what is decided here, and we take up what it tells."""

import datetime
import os
import signal
import time

import pytest

from harness.config import location
from harness.postgres import Cluster
from harness.remote import ID, PROFILE, TROUBLE, Remote, elsewhere, serial, start_gateway
from harness.server import wait_until

EVENTS = "on every=1s"


@pytest.fixture
def gateway(tmp_path):
    made = start_gateway(tmp_path)
    yield made
    made.close()
    made.check()


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as started:
        yield started


def known(server):
    return {row["serial"]: row for row in server.certificates()}


def status_of(server, issued):
    return known(server).get(serial(issued), {}).get("status")


def enrolled(remote, subject):
    reply = remote.enrol(subject)
    assert reply.succeeded, reply
    return remote.at_ca(subject)[0]


# what we tell

class Telling(Remote):
    """One server for all tests of what the CA is told."""

    before = 0

    def new_actions(self):
        return self.gateway.calls_of("action")[self.before:]

    def wait_told(self, issued):
        wait_until(lambda: f"has revoked certificate {serial(issued)}" in self.server.log.text(), 15,
                   what="the end of the job")


@pytest.fixture(scope="module")
def module_telling(make_module_server, tmp_path_factory):
    gateway = start_gateway(tmp_path_factory.mktemp("telling"))

    def make(content, start=True, **options):
        return make_module_server(content, **options)

    yield Telling(make, gateway).ready()
    gateway.close()


@pytest.fixture
def telling(module_telling):
    gateway = module_telling.gateway
    module_telling.before = len(gateway.calls_of("action"))
    yield module_telling, gateway
    gateway.faults.clear()
    gateway.strict_actions = False
    gateway.check()


def test_revocation_reaches_the_ca(telling, subject):
    remote, gateway = telling
    issued = enrolled(remote, subject)
    remote.server.ctl_ok("cert", "revoke", serial(issued), "--reason", "keyCompromise")
    wait_until(lambda: issued.status == "revoked", 10, what="the revocation at the CA")
    assert issued.reason == "keyCompromise"
    call, = remote.new_actions()
    action = call.json()["action"]
    assert action["type"] == "RevokeAction" and action["issueCrl"] == "true"
    assert not remote.server.ctl_ok("enrolment", "list", "--state", "in-doubt").objects


def test_hold_and_release(telling, subject):
    remote, gateway = telling
    issued = enrolled(remote, subject)
    remote.server.ctl_ok("cert", "hold", serial(issued))
    wait_until(lambda: issued.status == "held", 10, what="the hold at the CA")
    remote.server.ctl_ok("cert", "release", serial(issued))
    wait_until(lambda: issued.status == "normal", 10, what="the release at the CA")
    types = [call.json()["action"]["type"] for call in remote.new_actions()]
    assert types == ["HoldAction", "UnholdAction"]


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_so_already_is_done(telling, subject, strict):
    remote, gateway = telling
    issued = enrolled(remote, subject)
    gateway.strict_actions = strict
    gateway.revoke(issued)
    remote.server.ctl_ok("cert", "revoke", serial(issued))
    remote.wait_told(issued)


@pytest.mark.parametrize("fault", [{"kind": "status", "code": 500}, {"kind": "lost"},
                                   {"kind": "malformed"}, {"kind": "drop"}])
def test_told_again_until_it_is_known(telling, subject, fault):
    remote, gateway = telling
    remote.server.allow(*TROUBLE)
    issued = enrolled(remote, subject)
    gateway.faults.add(on="action", times=1, **fault)
    remote.server.ctl_ok("cert", "revoke", serial(issued))
    remote.wait_told(issued)
    assert issued.status == "revoked" and len(remote.new_actions()) == 2


def test_what_the_ca_cannot_do_is_reported(telling, subject):
    remote, gateway = telling
    issued = enrolled(remote, subject)
    remote.server.expect("GH0846")
    gateway.faults.add("status", on="action", code=501)
    remote.server.ctl_ok("cert", "revoke", serial(issued))
    wait_until(lambda: f"GH0846: the CA of issuer corporate has not revoked certificate "
               f"{serial(issued)}: GH0824" in remote.server.log.text(), 10, what="the report")
    assert len(remote.new_actions()) == 1
    job, = remote.server.ctl_ok("job", "list").objects
    assert job["kind"] == "revoke" and job["serial"] == serial(issued)
    assert job["state"] == "failed" and "GH0824" in job["failure"]
    gateway.faults.clear()
    remote.server.ctl_ok("job", "retry", job["id"])
    wait_until(lambda: issued.status == "revoked", 10, what="the revocation at the CA")
    wait_until(lambda: not remote.server.ctl_ok("job", "list").objects, 5, 0.3, "its end")
    assert remote.server.ctl("job", "cancel", job["id"]).status == 3


def test_only_the_last_of_many_wants_a_crl(telling, subject):
    remote, gateway = telling
    names = [subject.replace("device", f"many{n}") for n in range(4)]
    issued = [enrolled(remote, name) for name in names]
    remote.server.ctl_ok("cert", "revoke", "-", stdin="".join(
        f"corporate {serial(one)} superseded\n" for one in issued))
    wait_until(lambda: all(one.status == "revoked" for one in issued), 15, what="revocations")
    wanting = [call for call in remote.new_actions() if "issueCrl" in call.json()["action"]]
    assert 1 <= len(wanting) < 4


# what we take up

def feeding(make_server, gateway, events=EVENTS, **options):
    remote = Remote(make_server, gateway, events=events, **options)
    # gateways end before servers do
    remote.server.allow("GH0849")
    return remote


def test_events_are_taken_up(make_server, gateway, subject):
    others = [elsewhere(gateway, number) for number in range(120)]
    gateway.revoke(others[7])
    remote = feeding(make_server, gateway).ready()
    wait_until(lambda: len(known(remote.server)) >= 120, 15, 0.5, "the events")
    rows = known(remote.server)
    assert rows[serial(others[7])]["status"] == "revoked"
    assert rows[serial(others[7])]["reason"] == "keyCompromise"
    assert rows[serial(others[8])]["status"] == "good"
    # our own is known once, with its enrolment
    mine = enrolled(remote, subject)
    gateway.revoke(others[8])
    gateway.revoke(mine)
    for issued in (others[8], mine):
        wait_until(lambda one=issued: status_of(remote.server, one) == "revoked", 10, 0.5,
                   "a revocation")
    assert known(remote.server)[serial(mine)]["enrolment"]
    # what the CA has decided is not told to it
    assert not gateway.calls_of("action")


@pytest.mark.parametrize("cursor_at_end", [False, True])
def test_a_restart_goes_on_where_it_stood(make_server, gateway, cursor_at_end):
    gateway.cursor_at_end = cursor_at_end
    first = [elsewhere(gateway, number) for number in range(60)]
    remote = feeding(make_server, gateway).ready()
    wait_until(lambda: serial(first[-1]) in known(remote.server), 15, 0.5, "the events")
    remote.server.stop()
    second = elsewhere(gateway, 100)
    count = len(gateway.calls_of("events"))
    remote.server.start()
    wait_until(lambda: serial(second) in known(remote.server), 30, 0.5, "the event")
    call = gateway.calls_of("events")[count]
    assert "nextPageIndex" in call.query and "startDate" not in call.query


def test_a_bad_event_costs_no_other(make_server, gateway):
    gateway.faults.add("bad-event", on="events")
    others = [elsewhere(gateway, number) for number in range(5)]
    remote = feeding(make_server, gateway).ready()
    remote.server.expect("GH0850")
    wait_until(lambda: all(serial(one) in known(remote.server) for one in others), 10, 0.5,
               "the events")


def spread(gateway, count, every=60):
    """Certificates whose events are some time apart, the last one now."""
    others = [elsewhere(gateway, number) for number in range(count)]
    events = gateway.cas[ID].events
    for number, event in enumerate(events):
        event.time = int(event.time) - (len(events) - 1 - number) * every
    return others


def test_a_subject_that_cannot_be_printed_costs_nothing(make_server, gateway):
    gateway.unreadable, gateway.unreadable_as = {1}, "control"
    others = spread(gateway, 3)
    remote = feeding(make_server, gateway).ready()
    wait_until(lambda: all(serial(one) in known(remote.server) for one in others), 10, 0.5,
               "the events")
    assert "GH0849" not in remote.server.log.text()


@pytest.mark.parametrize("kind, cursor_at_end", [("error", True), ("garbage", False)])
def test_events_that_cannot_be_read_are_passed_and_no_revocation_is_lost(
        make_server, gateway, subject, kind, cursor_at_end):
    """A page that the gateway cannot make stops nothing that is behind it; a revocation that was in
    it is found by looking up what is known."""
    gateway.cursor_at_end = cursor_at_end
    before = spread(gateway, 3)
    remote = feeding(make_server, gateway).ready()
    remote.server.expect("GH0849", "GH1317")
    wait_until(lambda: all(serial(one) in known(remote.server) for one in before), 15, 0.5,
               "the events")
    # what cannot be told: that one was revoked
    gateway.unreadable_as = kind
    with gateway.lock:
        gateway.unreadable = {len(gateway.cas[ID].events)}
    gateway.revoke(before[1])
    time.sleep(2.2)                     # of another second than what is behind it
    behind = elsewhere(gateway, 10)
    wait_until(lambda: serial(behind) in known(remote.server), 60, 0.5, "what is behind it")
    wait_until(lambda: "GH1320" in remote.server.log.text(), 20, 0.3, "the end of the look")
    row = known(remote.server)[serial(before[1])]
    assert row["status"] == "revoked" and row["reason"] == "keyCompromise"
    assert known(remote.server)[serial(before[0])]["status"] == "good"
    assert remote.server.log.text().count("GH1317") == 1
    # and it goes on, without looking back
    later = elsewhere(gateway, 11)
    wait_until(lambda: serial(later) in known(remote.server), 15, 0.5, "a later event")
    assert not remote.server.ctl_ok("issuer", "test", "corporate").objects[0]["findings"]


def test_what_cannot_be_passed_or_looked_up_is_told(make_server, gateway):
    """Where the gateway cannot be asked, the alarm stays until the events were mended."""
    gateway.cursor_at_end = True
    before = spread(gateway, 2)
    gateway.faults.add("status", on="certificate", code=501)
    remote = feeding(make_server, gateway).ready()
    remote.server.expect("GH0849", "GH1317", "GH1321")
    wait_until(lambda: serial(before[-1]) in known(remote.server), 15, 0.5, "the events")
    with gateway.lock:
        gateway.unreadable = {len(gateway.cas[ID].events)}
    gateway.revoke(before[0])
    time.sleep(2.2)
    behind = elsewhere(gateway, 10)
    wait_until(lambda: serial(behind) in known(remote.server), 60, 0.5, "what is behind it")
    wait_until(lambda: "GH1321" in remote.server.log.text(), 20, 0.3, "the alarm")
    result = remote.server.ctl("issuer", "test", "corporate")
    finding, = result.objects[0]["findings"]
    assert result.status == 1 and finding["gh"] == "GH1322"
    gateway.unreadable = set()
    remote.server.ctl_ok("issuer", "sync", "corporate")
    assert status_of(remote.server, before[0]) == "revoked"
    assert not remote.server.ctl_ok("issuer", "test", "corporate").objects[0]["findings"]


def test_a_certificate_of_which_nothing_is_said_hides_no_other(make_server, gateway):
    """Events with a gap, and one certificate that the gateway cannot write down at all: of the
    others it is asked all the same, and once."""
    gateway.cursor_at_end = True
    before = sorted(spread(gateway, 3), key=lambda issued: issued.serial)
    remote = feeding(make_server, gateway).ready()
    remote.server.expect("GH0849", "GH1317", "GH1321", "GH1511")
    wait_until(lambda: all(serial(one) in known(remote.server) for one in before), 15, 0.5,
               "the events")
    gateway.unreadable_as = "no-page"
    gateway.untold = {before[0].serial}
    with gateway.lock:
        gateway.unreadable = {len(gateway.cas[ID].events)}
    gateway.revoke(before[2])
    time.sleep(2.2)
    behind = elsewhere(gateway, 10)
    wait_until(lambda: serial(behind) in known(remote.server), 60, 0.5, "what is behind it")
    wait_until(lambda: "GH1321" in remote.server.log.text(), 40, 0.3, "the alarm")
    assert status_of(remote.server, before[2]) == "revoked"
    assert "GH1512: of 1 of " in remote.server.log.text()
    asked = [call for call in gateway.calls_of("certificate") if serial(before[2]) in call.path]
    assert len(asked) == 1
    job, = remote.server.ctl_ok("job", "list").objects
    assert job["kind"] == "lookup" and job["state"] == "failed"
    finding, = remote.server.ctl("issuer", "test", "corporate").objects[0]["findings"]
    assert finding["gh"] == "GH1322"
    # once the gateway can tell it, nothing is open any more
    gateway.untold = set()
    remote.server.ctl_ok("job", "retry", job["id"])
    wait_until(lambda: "GH1320" in remote.server.log.text(), 20, 0.3, "the end of the look")
    assert not remote.server.ctl_ok("issuer", "test", "corporate").objects[0]["findings"]


def test_a_gateway_that_is_out_is_not_passed(make_server, gateway):
    """Where nothing can be read at all nothing is passed over."""
    before = spread(gateway, 2)
    remote = feeding(make_server, gateway).ready()
    remote.server.expect("GH0849")
    wait_until(lambda: serial(before[-1]) in known(remote.server), 15, 0.5, "the events")
    count = len(gateway.calls_of("events"))
    out = gateway.faults.add("status", on="events", code=500)
    wait_until(lambda: out.hits >= 6, 60, 0.5, "the search for something that can be read")
    assert gateway.calls_of("events")[-1].query.get("startDate")
    gateway.faults.clear()
    assert "GH1317" not in remote.server.log.text() and count


def test_events_since_and_serials_only(make_server, gateway):
    early = elsewhere(gateway, 1)
    gateway.cas[ID].events[-1].time -= 86400
    late = elsewhere(gateway, 2)
    since = (datetime.datetime.utcnow() - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%MZ")
    remote = feeding(make_server, gateway, f"{EVENTS} since={since} serials-only").ready()
    wait_until(lambda: serial(late) in known(remote.server), 10, 0.5, "the event")
    rows = known(remote.server)
    assert serial(early) not in rows and rows[serial(late)]["subject"] == ""


def test_a_feed_that_fails_goes_on(make_server, gateway):
    gateway.faults.add("status", on="events", times=1, code=500)
    other = elsewhere(gateway, 1)
    remote = feeding(make_server, gateway).ready()
    remote.server.expect("GH0849")
    wait_until(lambda: serial(other) in known(remote.server), 15, 0.5, "the event")
    wait_until(lambda: "GH0852" in remote.server.log.text(), 5, what="the message")


def test_another_node_goes_on(make_server, gateway, cluster):
    """Two nodes, one feed: while its reader lives the other leaves it alone, then it takes over."""
    uri = cluster.database()
    nodes = [feeding(make_server, gateway, options={"store": uri}, start=False)
             for _ in range(2)]
    nodes[1].server.make_secret("sealing-key", nodes[0].server.sealing_key)
    for node in nodes:
        node.server.allow("GH0663", "GH0782", *TROUBLE)
        node.server.start()
    first = elsewhere(gateway, 1)
    wait_until(lambda: serial(first) in known(nodes[0].server), 15, 0.5, "the event")
    reading = [node for node in nodes if "GH0851" in node.server.log.text()]
    assert len(reading) == 1
    other, = [node for node in nodes if node is not reading[0]]
    # the whole node dies, so that its worker is not started again
    reading[0].server.process.send_signal(signal.SIGSTOP)
    os.kill(reading[0].worker(), signal.SIGKILL)
    second = elsewhere(gateway, 2)
    wait_until(lambda: "GH0851" in other.server.log.text(), 40, 0.5, "the takeover")
    assert serial(second) in known(other.server)
    reading[0].server.process.send_signal(signal.SIGCONT)


def test_the_worker_of_another_node(make_server, gateway, cluster, subject):
    """A node whose own worker does nothing: one of another node does its work, and its requests
    are answered by the store."""
    uri = cluster.database()
    nodes = [Remote(make_server, gateway, options={"store": uri}, start=False) for _ in range(2)]
    nodes[1].server.make_secret("sealing-key", nodes[0].server.sealing_key)
    text = nodes[1].server.content
    nodes[1].server.configure("".join(line for line in text.splitlines(True)
                                      if not line.startswith("ProxyPass")))
    for node in nodes:
        node.server.allow("GH0663", "GH0782", "GH0878", "GH0209", "GH0210", *TROUBLE)
        node.server.start()
    for node in nodes:
        node.ready()
    idle = nodes[1].worker()
    os.kill(idle, signal.SIGSTOP)
    try:
        reply = nodes[1].enrol(subject)
        reply = nodes[1].wait(reply, 40) if reply.pending else reply
        assert reply.succeeded, reply
        assert [issued.der for issued in nodes[0].at_ca(subject)] == [reply.issued]
        wait_until(lambda: "GH0838" in nodes[0].server.log.text(), 10, 0.3, "the other's message")
    finally:
        os.kill(idle, signal.SIGCONT)


# whether it is there

def test_issuer_test(telling):
    remote, gateway = telling
    state, = remote.server.ctl_ok("issuer", "test", "corporate").objects
    assert state["up"] is True and state["status"] == "UP" and state["failure"] is None
    assert state["credential_end"] and state["node"]
    gateway.cas[ID].status = "OUT_OF_SERVICE"
    try:
        result = remote.server.ctl("issuer", "test", "corporate")
        assert result.status == 1 and "GH0855" in result.objects[0]["failure"]
        assert "OUT_OF_SERVICE" in result.objects[0]["failure"]
        text = remote.server.ctl("issuer", "list", as_json=False).out
        assert "not usable" in text
    finally:
        gateway.cas[ID].status = "UP"
    assert remote.server.ctl("issuer", "test", "corporate").status == 0
    verdict, = [row for row in remote.server.ctl("check").objects
                if row["name"] == "gateway.corporate"]
    assert verdict["verdict"] == "ok"


def test_what_the_ca_lacks(telling):
    """It says itself which profiles there are, and what it can do."""
    remote, gateway = telling
    remote.server.expect("GH1076")
    gateway.capabilities = {"EnrollmentByCSR": True, "HoldAction": False, "RevokeAction": True}
    try:
        result = remote.server.ctl("issuer", "test", "corporate")
        assert result.status == 1 and result.objects[0]["up"], result
        lacking, = result.objects[0]["findings"]
        assert lacking["gh"] == "GH1074" and "HoldAction" in lacking["message"]
        verdict, = [row for row in remote.server.ctl("check").objects
                    if row["name"] == "gateway.corporate"]
        assert verdict["verdict"] == "warning" and verdict["gh"] == "GH1074"
        assert "GH1074" in remote.server.ctl("issuer", "test", "corporate", as_json=False).out
        assert remote.server.log.text().count("GH1076") == 1
    finally:
        gateway.capabilities = None
    assert remote.server.ctl("issuer", "test", "corporate").status == 0


def test_names_that_the_gateway_does_not_know(make_server, gateway):
    more = location("/health", "SetHandler gatehouse-health") \
        + location("/metrics", "SetHandler gatehouse-metrics")
    remote = Remote(make_server, gateway, more=more, start=False,
                    gatewayprofile=f"est-* nowhere\n    IssuerGatewayProfile {PROFILE} {PROFILE}"
                    .replace("est-*", "est-digital-signature"))
    remote.server.expect("GH1076")
    remote.server.start()
    remote.ready()
    result = remote.server.ctl("issuer", "test", "corporate")
    lacking, = result.objects[0]["findings"]
    assert result.status == 1 and lacking["gh"] == "GH1073" and '"nowhere"' in lacking["message"]
    wait_until(lambda: b'"degraded"' in remote.server.get("/health").body, 15, 0.5, "the state")
    assert remote.server.get("/health").status == 200
    metrics = remote.server.get("/metrics").body.decode()
    assert 'gatehouse_gateway_up{issuer="corporate"} 1\n' in metrics
    assert 'gatehouse_gateway_lacking{issuer="corporate"} 1\n' in metrics
    left = float(metrics.split('gatehouse_gateway_credential_seconds{issuer="corporate"} ')[1]
                 .split("\n")[0])
    assert 80 * 86400 < left < 90 * 86400
    gateway.profiles["nowhere"] = {"requestedProperties": [{"name": "owner", "required": True}]}
    lacking, = remote.server.ctl("issuer", "test", "corporate").objects[0]["findings"]
    assert lacking["gh"] == "GH1075" and '"owner"' in lacking["message"]
    del gateway.cas[ID]
    result = remote.server.ctl("issuer", "test", "corporate")
    assert result.status == 1 and "GH1072" in result.objects[0]["failure"]
    assert ID in result.objects[0]["failure"]


def test_a_gateway_that_does_not_know_us(telling):
    """Its administrator has taken us off the list: an alarm, and not the devices' fault."""
    remote, gateway = telling
    remote.server.expect("GH0843")
    clients = dict(gateway.clients)
    gateway.clients.clear()
    try:
        result = remote.server.ctl("issuer", "test", "corporate")
        assert result.status == 1 and "GH0827" in result.objects[0]["failure"]
    finally:
        gateway.clients.update(clients)
    remote.server.ctl_ok("issuer", "test", "corporate")
    wait_until(lambda: "GH0844" in remote.server.log.text(), 5, what="the end of the alarm")
