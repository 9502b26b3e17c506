# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Keys and passwords of users are in clear nowhere: not in logs, not in the store, not in files of
running processes, and not in what the UEM gets. Those that are searched for were uploaded, were made
by the provider, or were made for a device."""

import json
import plistlib
import uuid

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from harness import config
from harness.credentials import encryption, signing, upload_of
from harness.escrow import Identity
from harness.pki import key
from harness.postgres import Cluster
from harness.seeds import files, find, parts_of
from harness.server import wait_until
from harness.uem import VAULT_KEY, Delivering, start_uem
from uem import PASSWORD, TENANT

UPLOADED = "seeded-password-of-an-upload-8f21c7"
WRONG = "seeded-password-that-is-wrong-03ae5d"


def payload(use, number):
    return {"PayloadType": "com.apple.security.pkcs12", "PayloadVersion": 1,
            "PayloadIdentifier": f"com.example.mail.{use}",
            "PayloadUUID": f"0E0F4D6E-0A40-4C9F-8DF4-86A7D7F2D3A{number}",
            "PayloadContent": f"{{{{escrow.{use}[0].pkcs12}}}}",
            "Password": f"{{{{escrow.{use}[0].password}}}}"}


def skeleton():
    return {"PayloadType": "Configuration", "PayloadVersion": 1,
            "PayloadIdentifier": "com.example.mail", "PayloadUUID": str(uuid.uuid4()).upper(),
            "PayloadContent": [payload("signing", 1), payload("encryption", 2)]}


def opened(device, document):
    """Keys and passwords that are in a delivered profile."""
    inside = device.decrypt(plistlib.loads(document)["EncryptedPayloadContent"])
    for one in plistlib.loads(inside):
        private = pkcs12.load_key_and_certificates(one["PayloadContent"],
                                                   one["Password"].encode())[0]
        yield private, one["Password"], one["PayloadContent"]


class Exercised:
    """A server that has done what there is to do, at the highest level of its log."""

    def __init__(self, make_server, folder, store):
        self.uem = start_uem(folder)
        self.delivering = Delivering(
            make_server, self.uem, folder, store=store, start=False, more=lambda server:
            config.issuer(server.authority) + config.CRL_AND_CA
            + "EscrowMailDomains example.com\n"
            "EscrowProvide event=148 issuer=devices signing=smime-non-repudiation "
            "encryption=smime-key-encipherment\n",
            options={"loglevel": "trace8"},
            UEMAvailable=self.uem.url + "/api/devices/{{device.uuid}}/credentials")
        self.server = self.delivering.server
        signer = Identity(self.server.root / "ca", "signer", "rsa2048-06")
        self.server.configure(self.server.content + f'EscrowProfileSigner "{signer.path}" '
                              f'"{signer.key_path}"\n')
        self.server.start()
        self.keys, self.passwords, self.containers = [], [UPLOADED, WRONG], []
        self.uploaded()
        self.refused()
        self.provided()

    def _take(self, device, count=1):
        self.delivering.skeleton(device, skeleton=skeleton())
        taken = self.delivering.delivered(device, count)
        for private, password, container in opened(device, taken[-1]["document"]):
            self.keys.append(private)
            self.passwords.append(password)
            self.containers.append(container[300:360])
        return taken

    def _upload(self, device, *given, status=201):
        answer = self.delivering.ask("/v2/certificates", "POST", upload_of(
            {"device_uuid": device.uuid, "user_uuid": device.user}, signing=[given[0]],
            encryption=[given[1]]))
        assert answer.status == status, answer.body

    def uploaded(self):
        """Twice, so that the first is archived."""
        self.device = self.delivering.device()
        for names in ("rsa2048-01", "rsa2048-02"), ("rsa2048-03", "rsa2048-04"):
            given = signing(names[0], password=UPLOADED), encryption(names[1], password=UPLOADED)
            self.containers += [one.pkcs12[300:360] for one in given]
            self.keys += [key(name) for name in names]
            self._upload(self.device, *given)
        self._take(self.device)

    def refused(self):
        device = self.delivering.device()
        good, bad = signing("rsa2048-01", password=UPLOADED), encryption(password=UPLOADED)
        bad.password = WRONG
        self._upload(device, good, bad, status=400)
        for body in (b'{"password":"%s"' % WRONG.encode(), b'{"%s":1}' % WRONG.encode()):
            assert self.delivering.ask("/v2/certificates", "POST", body).status in (400, 415)

    def provided(self):
        device = self.delivering.device()
        event = {"EventId": 148, "DeviceUUID": device.uuid, "EnrollmentUserUUID": device.user,
                 "EnrollmentEmailAddress": "ada@example.com", "EnrollmentUserName": "ada",
                 "EventTime": str(uuid.uuid4())}
        before = len(self.keys)
        answer = self.delivering.ask("/v1/events", "POST", event)
        assert answer.status == 202, answer.body
        self._take(device)
        assert len(self.keys) == before + 2
        self.provided_device = device

    def traffic(self):
        for number, call in enumerate(list(self.uem.calls)):
            yield f"call {number}", b"\n".join([
                call.target.encode(), json.dumps(dict(call.headers)).encode(), call.body or b""])
        for name, one in self.uem.profiles.items():
            yield f"document {name}", one["document"]

    def places(self, *more):
        root = self.server.root
        yield from files(root / "log", root / "store", root / "run", *more)
        for pid in (*self.delivering.workers(), *self.server.children()):
            for name in ("environ", "cmdline"):
                yield f"{name} of {pid}", open(f"/proc/{pid}/{name}", "rb").read()


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_nothing_in_clear(make_server, tmp_path, store):
    cluster = Cluster() if store == "postgresql" else None
    try:
        if cluster:
            cluster.start()
        done = Exercised(make_server, tmp_path, cluster.database() if cluster else "sqlite")
        wait_until(lambda: done.device.uuid in done.server.audit_path.read_text(), 10)
        places = list(done.places(*([cluster.directory] if cluster else [])))
        traffic = list(done.traffic())
        # the search finds what is there
        where = {name.split("/")[0] for name, _ in find(places, done.device.uuid)}
        assert {"log", cluster.directory.name if cluster else "store"} <= where, where
        assert find(traffic, done.device.uuid)
        assert "trace8" in done.server.log.text()
        assert len(done.keys) == 8
        for secret in [part for one in done.keys for part in parts_of(one)] + done.containers \
                + done.passwords:
            assert find(places + traffic, secret) == []
        beginning = key("rsa2048-01").private_bytes(Encoding.DER, PrivateFormat.PKCS8,
                                                    NoEncryption())[:26]
        for secret in (VAULT_KEY, bytes.fromhex(VAULT_KEY), PASSWORD, TENANT, beginning,
                       "PRIVATE KEY-----", *parts_of(key("rsa2048-06"))):
            assert find(places, secret) == []
        if cluster:
            done.server.allow("GH0078", "GH0083", "GH0087", "GH0089")
        done.server.stop()
        # what was still in memory is written when processes end
        if cluster:
            cluster.stop()
        places = list(files(done.server.root / "log", done.server.root / "store",
                            *([cluster.directory] if cluster else [])))
        for secret in [part for one in done.keys for part in parts_of(one)] + done.passwords:
            assert find(places, secret) == []
        done.uem.close()
    finally:
        if cluster:
            cluster.__exit__()
