# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What strangers may cost: work at once on the node, and failures of one client."""

import threading
import time

import pytest

from harness import standard
from harness.checks import one_line
from harness.config import CRL_AND_CA, issuer, location
from harness.server import CHALLENGE, wait_until
from scep import Csr


def content_with(*directives, challenges=()):
    def content(server):
        return "".join(line + "\n" for line in directives) + standard.PROFILES + issuer(
            server.authority) + location(
                "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                "SCEPProfiles scep-*") + location(
                    standard.STATIC, standard.challenge(server), *challenges) + CRL_AND_CA
    return content


def prepared(client, count, challenge, name):
    made = [client.message(Csr(standard.device_key(1 + n % 4), f"CN={name}-{n}", challenge))
            for n in range(count)]
    assert all(message.der for message in made)
    return made


def test_failures_of_one_client(make_server, subject):
    """Wrong challenges count, right ones do not; it ends by itself."""
    server = make_server(content_with("SCEPFailureLimit 5 4s"))
    client = server.client(standard.STATIC)
    for message in prepared(client, 8, CHALLENGE, "right"):
        assert client.exchange(message).succeeded
    begin = time.monotonic()
    for message in prepared(client, 5, "wrong", "wrong"):
        assert client.exchange(message).failed
    late = client.message(Csr(standard.device_key(), subject, CHALLENGE))
    blocked = client.send(late)
    assert time.monotonic() - begin < 4
    assert blocked.status == 503 and "GH0545" in one_line(blocked)
    assert 1 <= int(blocked.headers["Retry-After"]) <= 5
    line = wait_until(lambda: [a for a in server.audit() if a.get("gh") == "GH0545"], 3)[0]
    assert line["client"] == "127.0.0.1" and line["rule"] == "failures"
    wait_until(lambda: client.send(late).status == 200, 8)
    assert client.exchange(late).succeeded


@pytest.mark.parametrize("more", [("SCEPChallenge onetime",),
                                  ("SCEPChallenge onetime", "SCEPChallenge device")])
def test_failures_where_several_challenges_are_taken(make_server, subject, more):
    """What none of them grants is a failure as well."""
    server = make_server(content_with("SCEPFailureLimit 5 60s", challenges=more))
    client = server.client(standard.STATIC)
    for message in prepared(client, 5, "wrong", "wrong"):
        assert client.exchange(message).failed
    assert client.send(client.message(Csr(standard.device_key(), subject, CHALLENGE))).status == 503


def test_messages_that_cannot_be_opened_count(make_server, subject):
    server = make_server(content_with("SCEPFailureLimit 3 60s"))
    client = server.client(standard.STATIC)
    csr = Csr(standard.device_key(), subject, CHALLENGE, bad_signature=True)
    for _ in range(3):
        assert client.exchange(client.message(csr)).fail_info == "1"
    assert client.send(client.message(csr)).status == 503
    # what needs no key is there for everybody
    assert "AES" in client.caps()


def test_off(make_server):
    server = make_server(content_with("SCEPFailureLimit off"))
    client = server.client(standard.STATIC)
    for message in prepared(client, 120, "wrong", "off"):
        assert client.exchange(message).failed


@pytest.mark.parametrize("value", ["0 1m", "5", "5 soon", "5 0s", "many 1m", "on", "off 1m"])
def test_refused_limits(make_server, value):
    server = make_server(start=False)
    server.configure(content_with(f"SCEPFailureLimit {value}"))
    result = server.configtest()
    assert result.returncode != 0 and "GH0546" in result.stderr, result.stderr


def flood(client, messages, threads=16):
    responses = [None] * len(messages)

    def send(first):
        for number in range(first, len(messages), threads):
            responses[number] = client.send(messages[number])

    running = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return responses


def test_bound_holds_for_the_node(make_server):
    """One at a time over both children; a killed child's place comes back."""
    server = make_server(content_with("SCEPMaxConcurrent 1"))
    client = server.client(standard.STATIC)
    busy = [r for r in flood(client, prepared(client, 64, CHALLENGE, "node")) if r.status == 503]
    assert busy and all("GH0226" in one_line(r) and r.headers["Retry-After"] == "1" for r in busy)
    messages = prepared(client, 64, CHALLENGE, "killed")
    runner = threading.Thread(target=lambda: try_flood(client, messages))
    runner.start()
    time.sleep(0.05)
    server.kill_children()
    runner.join()
    last = prepared(client, 4, CHALLENGE, "after")
    for message in last:
        wait_until(lambda m=message: client.send(m).status == 200, 10)


def try_flood(client, messages):
    for message in messages:
        try:
            client.send(message)
        except OSError:
            pass
