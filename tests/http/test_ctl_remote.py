# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl and an issuer behind a gateway that is away: what waits, and what operators do."""

import pytest

from harness import remote
from harness.server import wait_until


@pytest.fixture(scope="module")
def server(make_module_server, tmp_path_factory):
    gateway = remote.start_gateway(tmp_path_factory.mktemp("gateway"))
    gateway.stop()
    made = make_module_server(remote.content(gateway), modules=remote.MODULES)
    yield made


@pytest.fixture(autouse=True)
def trouble(server):
    server.allow("GH0782", "GH0783", "GH0803", "GH0843", *remote.TROUBLE)


def rows(server):
    return server.ctl_ok("enrolment", "list").objects


def verdicts(server, name):
    return [row for row in server.ctl("check").objects if row["name"] == name]


def ask(server):
    return server.get(f"{remote.PATH}?operation=GetCACert")


def test_what_waits(server):
    answer = ask(server)
    assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0, answer
    row, = rows(server)
    assert row["protocol"] == "internal" and row["issuer"] == remote.ISSUER
    assert row["state"] in ("submitted", "retry") and row["job"]["state"] == "open"
    assert row["job"]["deadline"] and row["job"]["next"]
    shown, = server.ctl_ok("enrolment", "show", row["id"]).objects
    assert shown["job"]["deadline"] == row["job"]["deadline"]
    text = server.ctl_ok("enrolment", "show", row["id"], as_json=False).out
    assert "It waits for the CA" in text and "given up at" in text
    text = server.ctl_ok("enrolment", "list", as_json=False).out
    assert "CALLS" in text and "NEXT" in text
    ra, = verdicts(server, f"ra.{remote.ISSUER}")
    assert ra["verdict"] == "warning" and ra["gh"] == "GH0790" and row["id"] in ra["message"]
    jobs, = verdicts(server, f"jobs.{remote.ISSUER}")
    assert jobs["verdict"] == "ok" and "1 jobs" in jobs["message"]


def test_retry_and_cancel(server):
    ask(server)
    identifier = rows(server)[0]["id"]
    # while a worker tries, which does not take long, nobody else may
    wait_until(lambda: server.ctl("enrolment", "retry", identifier).status == 0, 20, 0.3,
               "leave to try again")
    result = server.ctl("enrolment", "cancel", identifier, "--reason", "x" * 300)
    assert result.status == 2
    wait_until(lambda: server.ctl("enrolment", "cancel", identifier, "--reason",
                                  "not needed").status == 0, 20, 0.3, "leave to cancel")
    shown, = server.ctl_ok("enrolment", "show", identifier).objects
    assert shown["state"] == "rejected" and "job" not in shown
    assert server.ctl("enrolment", "cancel", identifier).status == 1
    assert server.ctl("enrolment", "retry", identifier).status == 1
    assert server.ctl("enrolment", "retry", "0" * 32).status == 3
    # the reason is where an operator looks, and it is not asked for again at once
    wait_until(lambda: ask(server).status == 503 and "not needed" in server.log.text(), 10, 0.3,
               "the reason in the log")
    assert [row["id"] for row in rows(server)] == [identifier]
    for event in ("retry", "cancel"):
        line = wait_until(lambda: [line for line in server.audit() if line["event"] == event],
                          10, 0.2, event)[0]
        assert line["result"] == "done" and line["user"] and line["issuer"] == remote.ISSUER


def test_a_gateway_that_is_away(server):
    state = wait_until(lambda: [row for row in server.ctl_ok("issuer", "list").objects
                                if row.get("up") is False], 20, 0.5, "a look")[0]
    assert state["name"] == remote.ISSUER and state["backend"] == "cagw"
    assert "GH0803" in state["failure"] and state["node"] and state["looked"]
    assert state["credential_end"]
    gateway, = verdicts(server, f"gateway.{remote.ISSUER}")
    assert gateway["verdict"] == "warning" and gateway["gh"] == "GH0858"
    assert "GH0803" in gateway["message"]


def test_gateways_that_cannot_be_tested(server):
    assert server.ctl("issuer", "test", "nobody").status == 3
    assert server.ctl("issuer", "test").status == 2
