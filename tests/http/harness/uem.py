# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Servers that take credentials and skeletons, and deliver profiles to a stand-in of a UEM."""

import base64
import json
import os
import plistlib
import subprocess
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (BestAvailableEncryption, Encoding,
                                                          NoEncryption, PrivateFormat, pkcs12)
from cryptography.x509.oid import NameOID

from uem import PASSWORD, SECRET, TENANT, USER, Uem

from .config import location
from .escrow import MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, tls_host
from .pki import PEM, certificate, key, write_secret
from .server import wait_until

WORKER = "gatehouse-uem-worker"
VAULT_KEY = bytes(range(32)).hex()
# while a UEM misbehaves
TROUBLE = ("GH0817", "GH0818", "GH1253")
# while processes are killed
KILLED = ("GH0663", "AH00051", "AH00052")

MAIL = "com.apple.mail.managed"
SKELETON = {
    "PayloadType": "Configuration", "PayloadVersion": 1, "PayloadIdentifier": "com.example.mail",
    "PayloadDisplayName": "Mail", "PayloadContent": [
        {"PayloadType": "com.apple.security.pkcs12", "PayloadVersion": 1,
         "PayloadIdentifier": "com.example.mail.encryption",
         "PayloadUUID": "0E0F4D6E-0A40-4C9F-8DF4-86A7D7F2D3A1",
         "PayloadContent": "{{escrow.encryption[0].pkcs12}}",
         "Password": "{{escrow.encryption[0].password}}"}]}


class Unexpected(AssertionError):
    """An answer with another status than the test has to have."""

    def __init__(self, answer):
        super().__init__(answer.status, answer.body)
        self.status = answer.status


def need(answer, *statuses):
    if answer.status not in statuses:
        raise Unexpected(answer)
    return answer


def start_uem(folder, **options):
    """A stand-in whose files httpd can read."""
    folder.chmod(0o755)
    for parent in list(folder.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    return Uem(folder, **options)


def section(server, uem, name="mdm", **directives):
    """<UEM>. directives: UEMProxy and so on, a list for several; None leaves one out."""
    lines = {
        "UEMURL": uem.url + "/api/devices/{{device.uuid}}/profiles/{{profile.uuid}}",
        "UEMMethod": "PUT",
        "UEMCredential": f"basic file:{server.make_secret('uem-user', f'{USER}:{PASSWORD}')}",
        "UEMHeaderSecret":
            f"aw-tenant-code file:{server.make_secret('uem-tenant', TENANT)}",
        "UEMTrust": f'"{uem.tls.ca_path}"',
        "UEMLimits": "timeout=2s retry=2s pause=1s",
    }
    lines.update(directives)
    body = "".join(f"    {key} {one}\n" for key, value in lines.items() if value is not None
                   for one in ([value] if isinstance(value, str) else value))
    return f"<UEM {name}>\n{body}</UEM>\n"


class Device:
    """One that somebody uses; its certificate is of the CA of devices."""

    def __init__(self, delivering, key_name="rsa2048-07", name=None):
        self.uuid, self.user = name or str(uuid.uuid4()), str(uuid.uuid4())
        self.key_name = key_name
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.uuid)])
        start = delivering.device_ca.not_valid_before
        self.certificate = (
            x509.CertificateBuilder().subject_name(name)
            .issuer_name(delivering.device_ca.subject).public_key(key(key_name).public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(start)
            .not_valid_after(delivering.device_ca.not_valid_after)
            .add_extension(x509.KeyUsage(True, False, True, False, False, False, False, False,
                                         False), True)
            .sign(key("p256-01"), hashes.SHA256()))
        self.folder = delivering.folder

    def decrypt(self, der):
        path = self.folder / f"{self.uuid}.pem"
        path.write_bytes(self.certificate.public_bytes(PEM) + key(self.key_name).private_bytes(
            PEM, PrivateFormat.PKCS8, NoEncryption()))
        done = subprocess.run(["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-recip",
                               str(path)], input=der, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open(self, document):
        """What is in a delivered mobileconfig: certificates by their serial numbers."""
        profile = plistlib.loads(document)
        assert profile["IsEncrypted"] is True and "PayloadContent" not in profile
        opened = []
        for payload in plistlib.loads(self.decrypt(profile["EncryptedPayloadContent"])):
            if payload["PayloadType"] == "com.apple.security.pkcs12":
                opened.append(pkcs12.load_key_and_certificates(
                    payload["PayloadContent"], payload["Password"].encode())[1].serial_number)
        return opened


class Delivering:
    """A server with its UEM."""

    def __init__(self, make_server, uem, folder, more="", store="sqlite", start=True, uems=None,
                 api="", modules=(), options=None, **directives):
        self.uem, self.folder = uem, folder
        folder.chmod(0o755)
        self.device_ca = certificate("Devices CA", key("p256-01"), "Devices CA", key("p256-01"),
                                     30)
        (folder / "devices-ca.pem").write_bytes(self.device_ca.public_bytes(PEM))
        self.names = []

        def content(server):
            self.client = Identity(server.root / "ca", "client", "p256-01")
            vault = write_secret(server.root / "ca" / "vault.key", VAULT_KEY)
            guard = ["SetHandler gatehouse-escrow", "AuthType gatehouse-cert",
                     f"Require thumbprint {self.client.pin} role=provider role=uem",
                     "EscrowDeliver mdm",
                     *api.splitlines()]
            return "".join([
                f"EscrowVaultKey k1 file:{vault}\n", "EscrowPoll 200ms\n",
                f'EscrowDeviceCA "{folder}/devices-ca.pem"\n',
                section(server, uem, **directives) if uems is None else uems(server),
                more(server) if callable(more) else more,
                tls_host(server, location("/v1", *guard) + location("/v2", *guard))])

        self.server = make_server(content, own_modules=OWN_MODULES, store=store,
                                  modules=(*MODULES, *modules), **(options or {}),
                                  **({} if start else {"start": False}))
        self.server.allow(*SSL_CHATTER, *TROUBLE)

    # what clients do

    def device(self, **options):
        return Device(self, **options)

    def ask(self, path, method="GET", body=None):
        return ask(self.server, path, self.client, method, body)

    def credential(self, key_name="rsa2048-01", usage="encryption"):
        """A PKCS#12 in Base64, and the serial number of its certificate."""
        made = x509.random_serial_number()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mail User")])
        start, signs = self.device_ca.not_valid_before, usage == "signing"
        issued = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
                  .public_key(key(key_name).public_key()).serial_number(made)
                  .not_valid_before(start).not_valid_after(self.device_ca.not_valid_after)
                  .add_extension(x509.KeyUsage(signs, False, not signs, False, False, False,
                                               False, False, False), True)
                  .sign(key(key_name), hashes.SHA256()))
        file = pkcs12.serialize_key_and_certificates(
            b"mail", key(key_name), issued, None, BestAvailableEncryption(b"upload"))
        return {"pkcs12": base64.b64encode(file).decode(), "password": "upload"}, made

    def upload(self, device, **options):
        """@return the serial number of the certificate"""
        element, serial = self.credential(**options)
        need(self.ask("/v2/certificates", "POST", {
            "device_uuid": device.uuid, "user_uuid": device.user,
            "smime_certificates": {"encryption": [element]}}), 201)
        return serial

    @staticmethod
    def skeleton_of(device, profile=None, skeleton=None, **members):
        body = dict(SKELETON, PayloadUUID=str(uuid.uuid4()).upper()) if skeleton is None \
            else skeleton
        request = {
            "profile_uuid": profile or str(uuid.uuid4()), "device_uuid": device.uuid,
            "user_uuid": device.user, "format": "mobileconfig",
            "skeleton": base64.b64encode(plistlib.dumps(body) if isinstance(body, dict)
                                         else body).decode(),
            "recipient_certificate": base64.b64encode(
                device.certificate.public_bytes(Encoding.DER)).decode()}
        request.update(members)
        return request

    def skeleton(self, device, *arguments, **members):
        """@return the answer's object"""
        return json.loads(need(self.ask(
            "/v1/profiles", "POST", self.skeleton_of(device, *arguments, **members)), 202).body)

    def state(self, made):
        return json.loads(need(self.ask("/v1/profiles/" + made["id"]), 200).body)

    def wait_state(self, made, *states, seconds=60):
        return wait_until(lambda: (lambda one: one if one["status"] in states else None)(
            self.state(made)), seconds, 0.1, f"state {states}")

    def delivered(self, device, count=1, seconds=60):
        """What the UEM has for a device, once there are so many."""
        return wait_until(lambda: (lambda all: all if len(all) >= count else None)(
            self.uem.of_device(device.uuid)), seconds, 0.05, "the delivery")

    # processes

    def workers(self):
        found = []
        for pid in self.server.children():
            try:
                name = os.path.basename(os.readlink(f"/proc/{pid}/exe").split(" ")[0])
            except OSError:
                continue
            if name in (WORKER, "lt-" + WORKER):
                found.append(pid)
        return found

    def worker(self):
        return wait_until(lambda: (self.workers() or [None])[0], 20, 0.05, "the worker")
