# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What operators see of the escrow: health, metrics, gatehousectl check, the dump."""

import datetime
import json

import pytest

from harness.server import wait_until
from harness.uem import TROUBLE, Delivering, start_uem
from test_health import HANDLERS, health, metric


@pytest.fixture(scope="module")
def delivering(make_module_server, tmp_path_factory):
    uem = start_uem(tmp_path_factory.mktemp("uem"))
    made = Delivering(make_module_server, uem, tmp_path_factory.mktemp("devices"), more=HANDLERS,
                      UEMLimits="timeout=2s retry=1s pause=1s")
    yield made
    uem.close()


def verdict(server, name):
    """What "check" says of it: verdict, number, message."""
    line, = [line for line in server.ctl("check").objects if line["name"] == name]
    return line["verdict"], line.get("gh"), line["message"]


def profiles(server, state):
    return metric(server, "gatehouse_escrow_profiles").get(
        f'gatehouse_escrow_profiles{{state="{state}"}}')


def uem(server, name):
    found = metric(server, f"gatehouse_uem_{name}")
    return found.get(f'gatehouse_uem_{name}{{uem="mdm"}}')


def check_of(server, name):
    return {check["name"]: check for check in health(server)[1]["checks"]}.get(name)


def test_counts(delivering):
    server = delivering.server
    before = wait_until(lambda: {"at": profiles(server, "delivered")}
                        if profiles(server, "delivered") is not None else None, 30, what="counts")
    device, other = delivering.device(), delivering.device()
    delivering.upload(device)
    made = delivering.skeleton(device)
    waiting = delivering.skeleton(other)
    delivering.wait_state(made, "delivered")
    wait_until(lambda: profiles(server, "delivered") == before["at"] + 1, 30, what="the count")
    assert profiles(server, "waiting") == 1
    assert metric(server, "gatehouse_escrow_credentials") == {"gatehouse_escrow_credentials": 1}
    assert metric(server, "gatehouse_escrow_uploads") == {"gatehouse_escrow_uploads": 1}
    assert uem(server, "up") == 1 and uem(server, "jobs_open") == 0
    assert check_of(server, "vault") == {"name": "vault", "ok": True, "message": "it is open"}
    assert check_of(server, "uem.mdm")["ok"]
    assert verdict(server, "escrow.vault") == (
        "ok", None, "3 secrets under the key k1, which seals")
    assert verdict(server, "escrow.profiles")[2] == \
        "1 wait for credentials, 0 on their way, 1 delivered; 1 credentials"
    assert verdict(server, "uem.mdm")[0] == "ok"
    delivering.ask("/v1/profiles/" + waiting["id"], "DELETE")


def test_a_uem_that_is_away(delivering):
    server = delivering.server
    server.allow(*TROUBLE)
    delivering.uem.faults.add("drop", on="deliver")
    device = delivering.device()
    delivering.upload(device)
    made = delivering.skeleton(device)
    wait_until(lambda: uem(server, "up") == 0, 40, what="the worker's word")
    wait_until(lambda: uem(server, "jobs_open") == 1, 30, what="the count")
    assert uem(server, "oldest_seconds") >= 0
    status, answer = health(server)
    assert status == 200 and answer["status"] == "degraded"         # other nodes have no better one
    assert not check_of(server, "uem.mdm")["ok"]
    said, number, message = verdict(server, "uem.mdm")
    assert (said, number) == ("warning", "GH1337") and "1 wait" in message
    wait_until(lambda: uem(server, "paused") == 1, 60, what="the breaker")
    delivering.uem.faults.clear()
    delivering.wait_state(made, "delivered")
    wait_until(lambda: uem(server, "up") == 1, 40, what="the worker's word")
    wait_until(lambda: health(server)[1]["status"] == "ok", 30, what="health")


def test_failed_profiles(delivering):
    server = delivering.server
    delivering.uem.faults.add("status", on="deliver", times=1, code=400)
    server.allow("GH1252")
    device = delivering.device()
    delivering.upload(device)
    made = delivering.skeleton(device)
    delivering.wait_state(made, "failed")
    assert verdict(server, "escrow.profiles")[:2] == ("warning", "GH1335")
    server.ctl_ok("escrow", "retry", made["id"])
    delivering.wait_state(made, "delivered")


def test_cancelled_profiles(delivering):
    """The UEM has given the device up: keys go to it only if an operator insists."""
    server = delivering.server
    device = delivering.device()
    made = delivering.skeleton(device)
    assert delivering.ask("/v1/profiles/" + made["id"], "DELETE").status == 204
    delivering.upload(device)
    refused = server.ctl("escrow", "retry", made["id"])
    assert refused.status == 1 and "GH1339" in refused.err, refused
    delivering.wait_state(made, "cancelled")
    server.ctl_ok("escrow", "retry", "--force", made["id"])
    delivering.wait_state(made, "delivered")


def test_pins(delivering):
    server = delivering.server
    assert verdict(server, "escrow.pins") == ("ok", None,
                                              "0 pins in the store, 0 of them have ended")
    server.ctl_ok("pin", "add", "sha256:" + "ab" * 32, "--role", "uem", "--expires", "3d",
                  "--label", "old one")
    said, number, message = verdict(server, "escrow.pins")
    assert (said, number) == ("warning", "GH1334") and "old one" in message
    day = (datetime.datetime.utcnow() + datetime.timedelta(days=3)).strftime("%Y-%m-%dT")
    assert day in message


def test_dump(delivering):
    made = json.loads(delivering.server.configtest("-D", "DUMP_GATEHOUSE").stdout)["escrow"]
    assert made["uems"] == ["mdm"] and made["pin_files"] == []
    assert made["provider"] == {"events": [], "mail_domains": [], "mail_directory": False}
