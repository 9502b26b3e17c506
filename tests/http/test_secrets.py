# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Secrets are seeded, everything is exercised at the highest log level, and they are looked for."""

import pathlib

import pytest

from harness import standard
from harness.checks import new_challenge, serial_text
from harness.config import issuer, location
from harness.pki import Authority
from harness.seeds import find
from scep import Csr, extension

STATIC_SECRET = "seeded-static-challenge-6d1f0a"
EXEC_SECRET = "seeded-exec-challenge-93c1be"
DEVICE = "/scep/beta/devices/scep-key-encipherment"
DEVICE_PASSWORD = "seeded-device-password-8133"
WRONG = "seeded-wrong-challenge-0b77e2"
PASSPHRASE = "seeded-passphrase-51a9c4"
TENANT = "/scep/acme/devices/"


def content(server):
    server.make_secret("challenge", STATIC_SECRET)
    server.make_secret("passphrase", PASSPHRASE + "\n")
    script = server.make_secret("challenge-program", f"#!/bin/sh\necho {EXEC_SECRET}\n")
    script.chmod(0o700)
    locked = Authority(server.root / "ca", "locked", "rsa4096-01", passphrase=PASSPHRASE)
    server.locked = locked
    return standard.content(server).replace("SCEPTenant acme devices other",
                                            "SCEPTenant acme devices other locked") + issuer(
        locked, key=f'"{locked.key_path}" passphrase=file:{server.secret("passphrase")}'
    ) + location("/scep/acme/locked/" + standard.BASE,
                 f'SCEPChallenge static "exec:{script}"') + location(
                     DEVICE, "SCEPChallenge device")


class Exercised:
    """What a server was put through, and everything that it and gatehousectl said."""

    def __init__(self, server):
        self.server = server
        self.challenges = []
        self.passwords = [DEVICE_PASSWORD]
        self.outputs = []
        self.run()

    def ctl(self, *arguments, **options):
        for as_json in (True, False):
            result = self.server.ctl(*arguments, as_json=as_json, **options)
            self.outputs.append(result.out + result.err)
        return result

    def new_challenge(self, *options, **where):
        challenge = new_challenge(self.server, *options, **where)
        self.challenges.append(challenge)
        return challenge

    def devices(self):
        """One password is generated, and shown once; the other is given."""
        server, client = self.server, self.server.client(DEVICE)
        for name, source in (("a", "generate"),
                             ("b", f"file:{server.make_secret('device', DEVICE_PASSWORD)}")):
            made = server.ctl_ok("device", "add", "--tenant", "beta", "--fqdn",
                                 f"{name}.example.com", "--password", source).object
            self.passwords += [made["password"]] if "password" in made else []
            key, subject = standard.device_key(), f"CN={name}.example.com"
            assert client.enrol(key, self.passwords[0 if name == "b" else 1], subject).succeeded
            assert client.enrol(key, self.passwords[0], "CN=c.example.com").failed
            assert client.enrol(key, WRONG, subject).failed
            self.ctl("device", "show", f"{name}.example.com")
        self.ctl("device", "list")
        self.ctl("device", "add", "--tenant", "beta", "--fqdn", "b.example.com", "--password",
                 f"file:{server.secret('device')}")

    def run(self):
        server, key = self.server, standard.device_key()
        static = server.client(standard.STATIC)
        first = static.enrol(key, STATIC_SECRET, "CN=seen-in-the-logs")
        assert first.succeeded
        assert server.client("/scep/acme/locked/" + standard.BASE, method="GET").enrol(
            key, EXEC_SECRET).succeeded
        for options in ({}, {"cipher": "des"}, {"envelope_options": {"wrong_key": True}},
                        {"message_type": "18"}, {"bad_signature": True},
                        {"csr_options": {"bad_signature": True}}):
            assert static.enrol(key, WRONG, "CN=wrong", **options).failed
            assert options == {} or static.enrol(key, STATIC_SECRET, "CN=wrong", **options).failed
        never = [extension("eku", "codeSigning")]
        assert static.enrol(key, STATIC_SECRET, "CN=never", never).failed
        static.post(b"\x30\x10" + STATIC_SECRET.encode())
        onetime = server.client(standard.ONETIME)
        used = self.new_challenge()
        assert onetime.enrol(key, used).succeeded
        assert onetime.enrol(standard.device_key(2), used).failed
        self.new_challenge()
        assert server.client(standard.BETA).enrol(key, self.new_challenge()).failed
        self.devices()
        manual = server.client(standard.MANUAL)
        for verb in ("approve", "deny", None):
            waiting = manual.enrol(key, STATIC_SECRET, f"CN=waiting-{verb}")
            assert waiting.pending
            row = [r for r in server.ctl_ok("enrolment", "list").objects
                   if r["transaction"] == waiting.request.transaction][0]
            self.ctl("enrolment", "show", row["id"])
            if verb:
                server.ctl_ok("enrolment", verb, row["id"])
                manual.wait(waiting.request, 5)
        serial = serial_text(first.certificate.serial_number)
        for command in (("cert", "list"), ("cert", "show", serial), ("enrolment", "list"),
                        ("check",), ("urls",), ("cert", "revoke", serial),
                        ("cert", "revoke", STATIC_SECRET), ("nonsense", STATIC_SECRET[:4])):
            self.ctl(*command)
        self.outputs.append(server.configtest("-D", "DUMP_GATEHOUSE").stdout)
        server.graceful()
        assert static.enrol(standard.device_key(2), STATIC_SECRET).succeeded
        server.restart()
        assert static.enrol(standard.device_key(3), STATIC_SECRET).succeeded
        self.request = Csr(key, challenge=STATIC_SECRET).der

    def places(self):
        """Everything written: name, bytes."""
        for path in sorted(pathlib.Path(self.server.root).rglob("*")):
            relative = path.relative_to(self.server.root)
            if path.is_file() and relative.parts[0] in ("log", "store", "run"):
                yield str(relative), path.read_bytes()
        for number, output in enumerate(self.outputs):
            yield f"output {number}", output.encode()


@pytest.fixture(scope="module")
def exercised(make_module_server):
    server = make_module_server(content, loglevel="trace8")
    return Exercised(server)


def test_the_search_finds_what_is_there(exercised):
    names = {name for name, _ in find(exercised.places(), "seen-in-the-logs")}
    assert "log/audit.jsonl" in names
    assert any(name.startswith("store/") for name in names)
    assert any(name.startswith("output") for name in names)
    assert "trace" in exercised.server.log.text()


def test_challenges(exercised):
    for secret in [STATIC_SECRET, EXEC_SECRET, WRONG]:
        assert find(exercised.places(), secret) == []


def test_onetime_challenges(exercised):
    assert len(exercised.challenges) >= 3
    for secret in exercised.challenges:
        assert find(exercised.places(), secret) == []


def test_passwords_of_devices(exercised):
    assert len(exercised.passwords) == 2
    for secret in exercised.passwords:
        assert find(exercised.places(), secret) == []


def test_passphrase(exercised):
    assert find(exercised.places(), PASSPHRASE) == []


def test_sealing_key(exercised):
    sealing = exercised.server.sealing_key
    assert find(exercised.places(), sealing) == []
    assert find(exercised.places(), bytes.fromhex(sealing)) == []


@pytest.mark.parametrize("which", ["devices", "locked"])
def test_issuer_keys(exercised, which):
    authority = exercised.server.authority if which == "devices" else exercised.server.locked
    numbers = authority.key_source.private_numbers()
    for secret in (numbers.p, numbers.q, numbers.d):
        raw = secret.to_bytes((secret.bit_length() + 7) // 8, "big")
        assert find(exercised.places(), raw[:48]) == []


def test_no_private_key_in_the_clear_anywhere(exercised):
    for name, data in exercised.places():
        assert b"PRIVATE KEY-----" not in data, name
        assert bytes.fromhex("02010030 0d06092a864886f70d0101010500 04 82".replace(" ", "")) \
            not in data, name           # how PKCS#8 of an RSA key begins


def test_audit_log_is_not_for_everybody(exercised):
    mode = exercised.server.audit_path.stat().st_mode & 0o777
    assert mode & 0o007 == 0, oct(mode)


def test_store_is_for_its_owner(exercised):
    for path in (exercised.server.root / "store").iterdir():
        assert path.stat().st_mode & 0o007 == 0, path
