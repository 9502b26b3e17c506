# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Directives of mod_scep that hold for the whole server."""

import datetime
import re
import threading

import pytest
from cryptography import x509

from harness import standard
from harness.checks import one_line
from harness.config import CRL_AND_CA, issuer, location
from harness.server import CHALLENGE, wait_until
from scep import Csr

RA_PROFILE = f"""
<CertificateProfile short-lived-ra base={standard.BASE}>
    ProfileValidity 20d
</CertificateProfile>
"""


def content_with(*directives):
    def content(server):
        return "".join(line + "\n" for line in directives) + RA_PROFILE + standard.PROFILES + issuer(
            server.authority) + location(
                "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                "SCEPProfiles scep-*") + location(
                    standard.STATIC, standard.challenge(server)) + CRL_AND_CA
    return content


def test_profile_of_the_ra(make_server):
    server = make_server(content_with("SCEPRAProfile short-lived-ra"))
    ra = x509.load_der_x509_certificate(server.client(standard.STATIC).ra)
    assert ra.not_valid_after - ra.not_valid_before <= datetime.timedelta(days=21)


@pytest.mark.parametrize("directive, reason", [
    ("SCEPRAProfile scep-digital-signature", "keyEncipherment"),
    ("SCEPRAProfile scep-misspelt", "scep-misspelt"),
    ("SCEPMaxConcurrent 0", "from 1 to"),
    ("SCEPMaxConcurrent 1025", "from 1 to"),
    ("SCEPMaxConcurrent many", "from 1 to"),
])
def test_refused_values(make_server, directive, reason):
    server = make_server(content_with(directive), start=False)
    server.configure(content_with(directive))
    result = server.configtest()
    assert result.returncode != 0
    assert reason in result.stderr, result.stderr
    lines = server.conf.read_text().splitlines()
    named = {int(n) for n in re.findall(r"(?:line |httpd\.conf:)(\d+)", result.stderr)}
    assert lines.index(directive) + 1 in named, result.stderr


def test_too_many_at_once(make_server, subject):
    """Beyond SCEPMaxConcurrent clients are told to come back; what is answered is right."""
    server = make_server(content_with("SCEPMaxConcurrent 1"))
    client = server.client(standard.STATIC)
    requests = [client.message(Csr(standard.device_key(1 + n % 4), f"CN=busy-{n}", CHALLENGE))
                for n in range(48)]
    assert all(request.der for request in requests)
    responses = [None] * len(requests)

    def send(first):
        for number in range(first, len(requests), 16):
            responses[number] = client.send(requests[number])

    threads = [threading.Thread(target=send, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    busy = [response for response in responses if response.status == 503]
    done = [(response, request) for response, request in zip(responses, requests)
            if response.status == 200]
    assert len(busy) + len(done) == len(requests)
    assert busy and done
    for response in busy:
        assert response.headers["Retry-After"] == "1"
        assert one_line(response).startswith("GH")
    for response, request in done:
        assert client.read(response, request).succeeded


def test_another_challenge_by_graceful_restart(make_server):
    """No request is lost; of those that arrive meanwhile each is decided by one or the other."""
    server = make_server(standard.content)
    client = server.client(standard.STATIC)
    outcomes, lost, stop = [], [], threading.Event()

    def enrol(first):
        number = first
        while not stop.is_set():
            challenge = (CHALLENGE, "another")[number % 2]
            message = client.message(Csr(standard.device_key(1 + first % 4), f"CN=change-{number}",
                                         challenge))
            try:
                outcomes.append((challenge, client.exchange(message).succeeded))
            except Exception as error:
                lost.append(error)
            number += 7

    threads = [threading.Thread(target=enrol, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(outcomes) > 20)
    before = list(outcomes)
    server.make_secret("challenge", "another")
    server.graceful()
    mark = len(outcomes)
    wait_until(lambda: len(outcomes) > mark + 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert all(succeeded == (challenge == CHALLENGE) for challenge, succeeded in before)
    late = [client.enrol(standard.device_key(), challenge, "CN=late").succeeded
            for challenge in (CHALLENGE, "another")]
    assert late == [False, True]
    assert not lost and ("another", True) in outcomes
