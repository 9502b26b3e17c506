# Licensed under the Apache License, Version 2.0. See LICENSE.
"""EC keys: SCEP encrypts the reply with the challenge, if that is strong enough to (RFC 8894 3.2.2)."""

import pytest

from harness import standard
from harness.checks import decision, issued_to, new_challenge
from harness.pki import key
from harness.server import CHALLENGE
from scep import Csr

CURVES = ["p256-01", "p384-01", "p521-01"]


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(standard.content)


def request(server, path, curve, subject, challenge, **options):
    client = server.client(path)
    return client, client.message(Csr(key(curve), subject, challenge), password=challenge,
                                  **options)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("cipher", ["aes128", "aes256"])
def test_one_time_challenge(server, subject, curve, cipher):
    client, message = request(server, standard.ONETIME, curve, subject, new_challenge(server),
                              cipher=cipher)
    reply = client.exchange(message)
    assert reply.succeeded and reply.transport == "pwri"
    public = reply.certificate.public_key().public_numbers()
    assert public == key(curve).public_key().public_numbers()
    # the reply was lost: the same again
    assert client.exchange(message).issued == reply.issued


def test_static_challenge(server, subject):
    """Everybody who has the secret could read the reply, and the secret may be weak."""
    client, message = request(server, standard.STATIC, "p256-01", subject, CHALLENGE)
    reply = client.exchange(message)
    assert reply.failed and reply.fail_info == "0", reply
    assert decision(server, reply)["rule"] == "message.password"
    assert not issued_to(server, subject)


def test_wrong_challenge(server, subject):
    client, message = request(server, standard.ONETIME, "p256-01", subject, "0" * 40)
    reply = client.exchange(message)
    assert reply.failed and reply.fail_info == "2", reply


def test_approval(server, subject):
    """A poll brings no challenge: what is given later could not be encrypted."""
    client, message = request(server, standard.MANUAL, "p256-01", subject, CHALLENGE)
    reply = client.exchange(message)
    assert reply.failed and reply.fail_info == "0", reply
    assert not [row for row in server.ctl_ok("enrolment", "list").objects
                if row["transaction"] == reply.transaction]


def test_poll(server, subject):
    client, message = request(server, standard.ONETIME, "p256-01", subject, new_challenge(server))
    assert client.exchange(message).succeeded
    reply = client.poll(message)
    assert reply.failed and reply.fail_info == "0", reply


def test_refused_challenge_is_not_used_up(server, subject):
    """An EC key at an endpoint that cannot serve it costs nothing."""
    challenge = new_challenge(server)
    client, message = request(server, standard.STATIC, "p256-01", subject, challenge)
    assert client.exchange(message).failed
    client, message = request(server, standard.ONETIME, "p384-01", subject, challenge)
    assert client.exchange(message).succeeded
