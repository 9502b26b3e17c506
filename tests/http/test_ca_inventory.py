# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl issuer sync: all that a CA elsewhere tells of its certificates."""

import time

import pytest

from harness.remote import ID, ISSUER, Remote, elsewhere, serial, start_gateway
from harness.server import wait_until


@pytest.fixture(scope="module")
def module_remote(make_module_server, tmp_path_factory):
    gateway = start_gateway(tmp_path_factory.mktemp("inventory"))
    yield Remote(lambda content, **options: make_module_server(
        content, **{key: value for key, value in options.items() if key != "start"}),
        gateway).ready()
    gateway.close()


@pytest.fixture
def remote(module_remote):
    yield module_remote
    module_remote.gateway.faults.clear()
    module_remote.gateway.check()


def act(gateway, issued, kind, reason="keyCompromise"):
    with gateway.lock:
        gateway._act(gateway.cas[ID], issued, kind, reason)


def sync(remote, *options, status=0):
    result = remote.server.ctl("issuer", "sync", *options)
    assert result.status == status, result
    return result.objects[0]


def known(remote):
    return {row["serial"]: row["status"] for row in remote.server.certificates()}


def test_takes_up_what_the_store_lacks(remote):
    gateway = remote.gateway
    made = [elsewhere(gateway, number) for number in range(110)]
    act(gateway, made[3], "RevokeAction")
    act(gateway, made[4], "HoldAction")
    before = known(remote)
    result = sync(remote, ISSUER)
    assert result["added"] == 110 and result["changed"] == 2 and result["skipped"] == 0
    rows = known(remote)
    assert {rows[serial(one)] for one in made[5:]} == {"good"}
    assert rows[serial(made[3])] == "revoked" and rows[serial(made[4])] == "held"
    assert {key: rows[key] for key in before} == before
    assert "GH1080" in remote.server.log.text()
    again = sync(remote)
    assert again["added"] == again["changed"] == 0 and again["events"] == result["events"]


def test_old_holds_do_not_come_back(remote):
    """What was held and released long ago is good, all the time; and a release that nobody has told
    us of counts."""
    gateway, server = remote.gateway, remote.server
    released, held = elsewhere(gateway, "released"), elsewhere(gateway, "held")
    act(gateway, held, "HoldAction")
    sync(remote, ISSUER)
    assert known(remote)[serial(held)] == "held"
    act(gateway, released, "HoldAction")
    for number in range(60):                    # so that the release is on another page
        elsewhere(gateway, f"between-{number}")
    act(gateway, released, "UnholdAction")
    act(gateway, held, "UnholdAction")
    sync(remote, ISSUER)
    rows = known(remote)
    assert rows[serial(released)] == rows[serial(held)] == "good"
    wait_until(lambda: [line for line in server.audit() if line["event"] == "release"], 10, 0.3,
               "the release in the audit log")
    assert serial(released) not in [line["serial"] for line in server.audit()
                                    if line["event"] == "hold"]


def test_a_bad_event_costs_no_other(remote):
    gateway = remote.gateway
    remote.server.expect("GH1081")
    gateway.faults.add("bad-event", on="events", times=1)
    other = elsewhere(gateway, "beside-a-bad-one")
    assert sync(remote, ISSUER, status=1)["skipped"] == 1
    assert known(remote)[serial(other)] == "good"


def test_a_page_that_fails(remote):
    """It is asked for again; and if the gateway says no, that is said."""
    gateway = remote.gateway
    gateway.faults.add("status", on="events", times=1, code=500)
    other = elsewhere(gateway, "after-a-failure")
    assert sync(remote, ISSUER)["added"] == 1
    assert known(remote)[serial(other)] == "good"
    remote.server.expect("GH1079", "GH0843")
    gateway.faults.add("status", on="events", times=1, code=403)
    assert "GH08" in sync(remote, ISSUER, status=1)["failure"]
    remote.server.ctl_ok("issuer", "test", ISSUER)


def test_since(remote):
    gateway = remote.gateway
    elsewhere(gateway, "early")
    time.sleep(1.1)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    late = elsewhere(gateway, "late")
    assert sync(remote, ISSUER, "--since", since) == {
        "issuer": ISSUER, "events": 1, "added": 1, "changed": 0, "unchanged": 0, "skipped": 0,
        "failure": None}
    assert known(remote)[serial(late)] == "good"


def test_what_cannot_be(remote):
    server = remote.server
    assert server.ctl("issuer", "sync", "nobody").status == 3
    assert server.ctl("issuer", "sync", "devices").status == 1
    assert server.ctl("issuer", "sync", ISSUER, "--since", "yesterday").status == 2


def test_beside_the_feed(make_server, tmp_path):
    """The feed stands where it stands."""
    gateway = start_gateway(tmp_path)
    gateway.cursor_at_end = True
    remote = Remote(make_server, gateway, events="on every=1s").ready()
    first = elsewhere(gateway, 1)
    wait_until(lambda: serial(first) in known(remote), 15, 0.3, "the event")

    def position():
        return remote.server.ctl_ok("cert", "events", "--issuer", ISSUER,
                                    "--position").objects[0]["position"]

    before = position()
    result = sync(remote, ISSUER)
    assert result["events"] >= 2 and result["added"] == 0
    assert position() == before
    second = elsewhere(gateway, 2)
    wait_until(lambda: serial(second) in known(remote), 15, 0.3, "the next event")
    gateway.close()
