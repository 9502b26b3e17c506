# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Revocations, holds and releases reach the CA behind a gateway."""

import json
import time

import pytest

from harness.remote import TROUBLE, Remote, start_gateway, succeeded
from harness.server import wait_until


@pytest.fixture(scope="module")
def module_remote(make_module_server, tmp_path_factory):
    gateway = start_gateway(tmp_path_factory.mktemp("gateway"))

    def make(content, start=True, **options):
        return make_module_server(content, **options)

    yield Remote(make, gateway).ready()
    gateway.close()


@pytest.fixture
def remote(module_remote):
    gateway = module_remote.gateway
    gateway.faults.clear()
    gateway.strict_actions = False
    yield module_remote
    gateway.faults.clear()
    gateway.check()


@pytest.fixture
def issued(remote, subject):
    """(what the CA has issued, its serial number as gatehousectl takes it)"""
    succeeded(remote, remote.enrol(subject), subject)
    made = remote.at_ca(subject)[0]
    return made, f"{made.serial:x}"


def wait_status(made, status, seconds=20):
    wait_until(lambda: made.status == status, seconds, what=f"{status} at the CA")


def bodies(remote):
    """What the gateway was asked to do."""
    return [json.loads(call.body)["action"] for call in remote.gateway.calls_of("action")]


def test_revoked_here_and_there(remote, issued):
    made, serial = issued
    remote.server.ctl_ok("cert", "revoke", serial, "--reason", "keyCompromise")
    assert remote.server.ctl_ok("cert", "show", serial).object["status"] == "revoked"
    wait_status(made, "revoked")
    assert made.reason == "keyCompromise"
    assert bodies(remote)[-1]["type"] == "RevokeAction"


def test_held_released_and_revoked_in_this_order(remote, issued):
    made, serial = issued
    remote.gateway.faults.add("latency", on="action", times=1, seconds=1.0)
    before = len(bodies(remote))
    for verb in ("hold", "release", "hold", "revoke"):
        remote.server.ctl_ok("cert", verb, serial)
    wait_status(made, "revoked", 30)
    assert [body["type"] for body in bodies(remote)[before:]] == [
        "HoldAction", "UnholdAction", "HoldAction", "RevokeAction"]


def test_a_release_is_told_too(remote, issued):
    made, serial = issued
    remote.server.ctl_ok("cert", "hold", serial)
    wait_status(made, "held")
    remote.server.ctl_ok("cert", "release", serial)
    wait_status(made, "normal")


@pytest.mark.parametrize("kind,options", [
    ("lost", {}), ("status", {"code": 503, "retry_after": 1}), ("status", {"code": 500}),
    ("failed", {"code": 502}), ("drop", {}), ("malformed", {}), ("half", {})])
def test_told_until_it_is_done(remote, issued, kind, options):
    made, serial = issued
    remote.server.allow(*TROUBLE)
    remote.gateway.strict_actions = kind == "lost"      # a second one is an error there
    remote.gateway.faults.add(kind, on="action", times=1, **options)
    remote.server.ctl_ok("cert", "revoke", serial, "--reason", "superseded")
    wait_status(made, "revoked", 30)
    wait_until(lambda: not jobs(remote), 30, what="the end of the job")


def jobs(remote):
    """What "check" says of the jobs of the issuer, unless there are none."""
    line, = [line for line in remote.server.ctl("check").objects
             if line["name"] == "jobs.corporate"]
    return None if line["message"].startswith("0 jobs") else line


def test_revoked_at_the_ca_already(remote, issued):
    made, serial = issued
    remote.gateway.strict_actions = True
    remote.gateway.revoke(made)
    remote.server.ctl_ok("cert", "revoke", serial)
    wait_until(lambda: remote.gateway.calls_of("action")[-1].begin > made.changed, 10,
               what="the call")
    time.sleep(1)
    calls = len(remote.gateway.calls_of("action"))
    time.sleep(3)
    assert len(remote.gateway.calls_of("action")) == calls      # it is not asked for ever


def test_while_the_gateway_is_away(remote, issued):
    made, serial = issued
    remote.server.allow(*TROUBLE)
    remote.gateway.stop()
    remote.server.ctl_ok("cert", "revoke", serial)
    time.sleep(2)
    remote.gateway.start()
    wait_status(made, "revoked", 40)
