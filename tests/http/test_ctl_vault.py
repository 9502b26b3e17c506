# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl vault: what keys there are, rotation while all is in use, verification."""

import base64
import sqlite3

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness import escrow
from harness.config import location
from harness.escrow import MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, tls_host
from harness.pki import key

KEYS = {"old": "17", "new": "28"}


def content(server, keys=("old",)):
    if not hasattr(server, "admin"):
        server.admin = Identity(server.root / "ca", "admin", "p256-01")
        (server.root / "pins").write_text(f"{server.admin.pin} admin\n")
    for name, digits in KEYS.items():
        if not server.secret(name).exists():
            server.make_secret(name, digits * 32)
    return ("".join(f"EscrowVaultKey {name} file:{server.secret(name)}\n" for name in keys)
            + f'EscrowPinFile "{server.root}/pins"\n'
            + tls_host(server, location("/v1", "SetHandler gatehouse-escrow-configuration",
                                        "AuthType gatehouse-cert",
                                        "Require thumbprint pinned role=admin")
                       + ("    EscrowTLS api\n" if keys else "")))


def use(server, *keys):
    server.configure(lambda given: content(given, keys))


def store_certificate(server):
    """What is sealed: the key of a TLS certificate."""
    made = escrow.make_certificate("new", "rsa2048-02", usage=ExtendedKeyUsageOID.SERVER_AUTH,
                                   hosts=("localhost",))
    data = pkcs12.serialize_key_and_certificates(
        b"tls", key("rsa2048-02"), made, None, serialization.BestAvailableEncryption(b"secret"))
    answer = ask(server, "/v1/configuration", server.admin, "PUT", {
        "server_certificate": {"pkcs12": base64.b64encode(data).decode(), "password": "secret"}})
    assert answer.status == 200, answer.body


def status(server):
    return [(row["key"], row["state"], row["secrets"])
            for row in server.ctl_ok("vault", "status").objects]


@pytest.fixture
def server(make_server):
    server = make_server(content, own_modules=OWN_MODULES, modules=MODULES)
    server.allow(*SSL_CHATTER)
    return server


def test_rotation(server):
    """The old key goes, and what was sealed under it is still there."""
    assert status(server) == [("old", "current", 0)]
    store_certificate(server)
    assert status(server) == [("old", "current", 1)]
    use(server, "new", "old")
    server.graceful()
    assert status(server) == [("new", "current", 0), ("old", "kept", 1)]
    assert server.ctl_ok("vault", "rotate").object == {"rotated": 1, "failed": 0}
    assert server.ctl_ok("vault", "rotate").object == {"rotated": 0, "failed": 0}
    assert status(server) == [("new", "current", 1), ("old", "kept", 0)]
    assert server.ctl_ok("vault", "verify").object == {"good": 1, "failed": 0}
    use(server, "new")
    server.graceful()
    assert server.ctl_ok("vault", "verify").object == {"good": 1, "failed": 0}
    connection = escrow.connect(server, server.admin,
                                made=escrow.context(server, server.admin, verify=False))
    assert escrow.on(connection, "/v1/configuration").status == 200
    line, = [line for line in server.audit() if line["event"] == "vault-rotate"]
    assert line["result"] == "done" and "1 secrets are under the key new" in line["message"]


def test_what_is_wrong(server):
    """Keys that are missing or wrong, and rows that were changed, are found."""
    store_certificate(server)
    use(server, "new")
    result = server.ctl("vault", "status")
    assert result.status == 1
    assert [(row["key"], row["state"]) for row in result.objects] == [("new", "current"),
                                                                      ("old", "missing")]
    result = server.ctl("vault", "rotate")
    assert result.status != 0 and "GH1144" in result.err
    result = server.ctl("vault", "verify")
    assert result.status != 0 and "GH1112" in result.err
    use(server, "old")
    server.make_secret("old", "99" * 32)
    result = server.ctl("vault", "status")
    assert result.status == 1 and result.object["state"] == "wrong"
    result = server.ctl("vault", "rotate")
    assert result.status != 0 and "GH1145" in result.err
    server.make_secret("old", KEYS["old"] * 32)
    assert server.ctl_ok("vault", "verify").object == {"good": 1, "failed": 0}
    with sqlite3.connect(server.store_uri.removeprefix("sqlite3:")) as database:
        database.execute("UPDATE escrow_endpoint SET generation = generation + 1")
    result = server.ctl("vault", "verify")
    assert result.status == 1 and "GH1113" in result.err
    assert result.object == {"good": 0, "failed": 1}


def test_no_vault(server):
    use(server)
    result = server.ctl("vault", "status")
    assert result.status == 4 and "GH1146" in result.err
