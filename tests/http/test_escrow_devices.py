# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Whose certificates profiles are encrypted to, when a skeleton comes and whenever it is completed."""

import hashlib
import sqlite3
import uuid

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness import config, standard
from harness.checks import serial_text
from harness.config import location
from harness.escrow import SSL_CHATTER, problem
from harness.pki import key
from harness.server import CHALLENGE
from harness.uem import KILLED, TROUBLE, Delivering, Device, start_uem
from scep import Csr, Identity
from scep.message import RENEWALREQ

PLAIN = "/scep/acme/devices/test-plain"
TRUSTED = "/scep/acme/devices/test-trusted"
UNNAMED = "/scep/acme/devices/test-unnamed"
REGISTERED = "/scep/acme/devices/test-registered"
PATHS = (PLAIN, TRUSTED, UNNAMED, REGISTERED)


def more(server):
    profiles = "".join(f"<CertificateProfile {path.rsplit('/', 1)[1]} base={standard.BASE}>\n"
                       "</CertificateProfile>\n" for path in PATHS)
    challenge = standard.challenge(server)
    return "".join([
        "SCEPFailureLimit off\n", profiles, config.CRL_AND_CA, config.issuer(server.authority),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 "SCEPProfiles test-*"),
        *(location(path, challenge, "SCEPRenewal by-certificate") for path in PATHS[:3]),
        location(REGISTERED, "SCEPChallenge device"),
        "EscrowDeviceCA issuer=devices profile=test-plain profile=test-registered\n",
        "EscrowDeviceCA issuer=devices profile=test-trusted challenges=trusted\n"])


@pytest.fixture(scope="module")
def module_delivering(make_module_server, tmp_path_factory):
    uem = start_uem(tmp_path_factory.mktemp("uem"))
    yield Delivering(make_module_server, uem, tmp_path_factory.mktemp("devices"), more)
    uem.close()


@pytest.fixture
def delivering(module_delivering):
    module_delivering.server.allow(*TROUBLE, *KILLED, *SSL_CHATTER)
    return module_delivering


def enrolled(delivering, path, challenge=CHALLENGE, number=7, device=None):
    """A device with a certificate of an issuer of this server."""
    device = device or delivering.device(key_name=f"rsa2048-0{number}")
    reply = delivering.server.client(path).enrol(key(device.key_name), challenge,
                                                 f"CN={device.uuid}")
    assert reply.succeeded, reply
    device.certificate, device.identity = reply.certificate, Identity(key(device.key_name),
                                                                      reply.issued)
    return device


def renewed(delivering, device, path, number):
    client = delivering.server.client(path)
    csr = Csr(standard.device_key(number), f"CN={device.uuid}")
    reply = client.exchange(client.message(csr, device.identity, message_type=RENEWALREQ))
    assert reply.succeeded, reply
    made = Device(delivering, f"rsa2048-0{number}")
    made.uuid, made.user, made.certificate = device.uuid, device.user, reply.certificate
    return made


def refused(delivering, device, number, status=403):
    return problem(delivering.ask("/v1/profiles", "POST", delivering.skeleton_of(device)), status,
                   number)


def revoke(delivering, device):
    delivering.server.ctl_ok("cert", "revoke", serial_text(device.certificate.serial_number))


def change(delivering, statement, *values):
    """Somebody who has the database, but no key of the vault."""
    path = delivering.server.store_uri.split(":", 1)[1]
    with sqlite3.connect(path, timeout=30) as connection:
        assert connection.execute(statement, values).rowcount == 1


def failed(delivering, made, number):
    """It was not delivered, and operators hear why."""
    delivering.server.expect("GH1252")
    state = delivering.wait_state(made, "failed")
    assert number in state["reason"], state


# when a skeleton comes

def test_issued_here(delivering):
    """A challenge may be known to whoever sends skeletons: it counts where that is said."""
    refused(delivering, enrolled(delivering, PLAIN), "GH1221")
    refused(delivering, enrolled(delivering, UNNAMED), "GH1221")
    device = enrolled(delivering, TRUSTED)
    serial = delivering.upload(device)
    made = delivering.skeleton(device)
    taken, = delivering.delivered(device)
    assert device.open(taken["document"]) == [serial]
    delivering.wait_state(made, "delivered")
    other = delivering.device()
    other.certificate = device.certificate
    refused(delivering, other, "GH1221")


def test_registered_by_an_operator(delivering):
    device = delivering.device()
    password = delivering.server.ctl_ok(
        "device", "add", "--tenant", "acme", "--fqdn", device.uuid, "--password",
        "generate").object["password"]
    enrolled(delivering, REGISTERED, password, device=device)
    delivering.skeleton(device)
    # where no password was asked for, the UEM may have been first
    device = delivering.device()
    delivering.server.ctl_ok("device", "add", "--tenant", "acme", "--fqdn", device.uuid)
    refused(delivering, enrolled(delivering, REGISTERED, device=device), "GH1221")


def test_renewal_does_not_wash(delivering):
    """What counts is how the first certificate was asked for."""
    plain = enrolled(delivering, PLAIN)
    refused(delivering, renewed(delivering, plain, PLAIN, 8), "GH1221")
    trusted = enrolled(delivering, TRUSTED)
    delivering.skeleton(renewed(delivering, trusted, TRUSTED, 8))


def made_for_management(delivering, certificate):
    """As device management's p12 leaves it."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    change(delivering, "INSERT INTO mdm_request (id, mode, tenant, digital_id, requester, subject,"
           " created, expires, key_sha256) VALUES (?, 'p12', 't', 'd', 'r', 's', 1, 1, ?)",
           uuid.uuid4().hex, hashlib.sha256(spki).digest())


def test_key_made_for_management(delivering):
    """Not by its own certificate, by that of a CA of devices, or after a renewal."""
    foreign = delivering.device(key_name="rsa2048-04")
    first = enrolled(delivering, TRUSTED, number=5)
    made_for_management(delivering, foreign.certificate)
    made_for_management(delivering, first.certificate)
    refused(delivering, foreign, "GH1448")
    refused(delivering, first, "GH1448")
    refused(delivering, renewed(delivering, first, TRUSTED, 6), "GH1448")


def test_revoked(delivering):
    device = enrolled(delivering, TRUSTED)
    revoke(delivering, device)
    refused(delivering, device, "GH1447")


# whenever it is completed

def test_revoked_between_two_generations(delivering):
    device = enrolled(delivering, TRUSTED)
    delivering.upload(device)
    made = delivering.skeleton(device)
    delivering.wait_state(made, "delivered")
    revoke(delivering, device)
    delivering.upload(device, key_name="rsa2048-02")
    failed(delivering, made, "GH1447")
    assert len(delivering.uem.of_device(device.uuid)) == 1


@pytest.mark.parametrize("column, value, number", [
    ("recipient", None, "GH1450"),
    ("skeleton", b"{{escrow.encryption[0].pkcs12}}", "GH1450"),
    ("sealed", None, "GH1450"),
])
def test_changed_row(delivering, column, value, number):
    """Who can write to the database gets nothing by it."""
    device = delivering.device()
    made = delivering.skeleton(device)
    if column == "recipient":
        # of the same device by the same CA, and the key is bound, too
        value = Device(delivering, "rsa2048-08", device.uuid).certificate.public_bytes(Encoding.DER)
        spki = key("rsa2048-08").public_key().public_bytes(Encoding.DER,
                                                           PublicFormat.SubjectPublicKeyInfo)
        change(delivering, "UPDATE escrow_recipient SET spki_sha256 = ? WHERE device = ?",
               hashlib.sha256(spki).digest(), device.uuid)
    change(delivering, f"UPDATE escrow_profile SET {column} = ? WHERE id = ?", value, made["id"])
    delivering.upload(device)
    failed(delivering, made, number)


def test_other_key(delivering):
    device = delivering.device()
    made = delivering.skeleton(device)
    change(delivering, "UPDATE escrow_recipient SET spki_sha256 = zeroblob(32) WHERE device = ?",
           device.uuid)
    delivering.upload(device)
    failed(delivering, made, "GH1453")


def test_ca_that_is_trusted_no_longer(delivering):
    """The last one: the configuration is another one from here on."""
    device = delivering.device()
    made = delivering.skeleton(device)
    server = delivering.server
    server.configure("".join(line for line in server.content.splitlines(True)
                             if "devices-ca.pem" not in line))
    server.restart()
    delivering.upload(device)
    failed(delivering, made, "GH1221")
    refused(delivering, device, "GH1221")


@pytest.mark.parametrize("line, number", [
    ("EscrowDeviceCA issuer=nobody", "GH1452"),
    ("EscrowDeviceCA issuer=devices profile=nothing", "GH1452"),
    ("EscrowDeviceCA issuer=devices challenges=all", "GH1451"),
])
def test_configtest(make_server, line, number):
    server = make_server(lambda s: config.issuer(s.authority) + config.CRL_AND_CA + line + "\n",
                         start=False, own_modules=("gatehouse", "escrow"),
                         modules=("ssl", "socache_shmcb"))
    done = server.configtest()
    assert done.returncode != 0 and number in done.stderr, done.stderr
