# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Real clients: scepclient of micromdm, pki of strongSwan, scep-submit of certmonger."""

import base64
import itertools
import os
import re
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from harness import standard
from harness.checks import issued_to, serial_text
from harness.config import location
from harness.pki import Authority, verify_chain
from harness.scepclient import with_aes
from harness.server import CHALLENGE, wait_until
from scep import Csr, identity as identities
from scep.reply import Opened, certs_only

KEYS = itertools.cycle(range(1, 11))
SCEP_SUBMIT = "/usr/lib/certmonger/scep-submit"
LEGACY_MANUAL = "/scep/acme/devices/test-legacy-manual"


def content(server):
    # scepclient encrypts to every certificate that it is told, and can do so to RSA keys only
    server.authority = Authority(server.root / "ca", root_key="rsa4096-01")
    return standard.content(server) + f"""
<CertificateProfile test-legacy-manual base={standard.BASE}>
    ProfileApproval manual
</CertificateProfile>
""" + location(LEGACY_MANUAL, standard.challenge(server), "SCEPAllow 3des sha1")


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content)


@pytest.fixture
def work(tmp_path, server):
    """A folder with what clients want as files."""
    client = server.client(standard.STATIC)
    for name, der in (("ra", client.ra), ("ca", client.certificates[1])):
        certificate = x509.load_der_x509_certificate(der)
        (tmp_path / f"{name}.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM))
        (tmp_path / f"{name}.der").write_bytes(der)
    (tmp_path / "root.pem").write_bytes(server.authority.root_path.read_bytes())
    # strongSwan makes its transaction ID from the key: each test has a key of its own
    (tmp_path / "key.pem").write_bytes(identities.private_pem(standard.device_key(next(KEYS))))
    return tmp_path


def run(command, cwd, timeout=60, **options):
    return subprocess.run([str(c) for c in command], cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout, check=False, **options)


def waiting_row(server, subject):
    common_name = subject.split("=")[1].split(",")[0]
    rows = wait_until(lambda: [
        row for row in server.ctl_ok("enrolment", "list", "--state", "waiting").objects
        if common_name in row["subject"]], 20, 0.2, "a waiting enrolment")
    assert len(rows) == 1, rows
    return rows[0]


def check_issued(server, subject, pem):
    certificate = x509.load_pem_x509_certificate(pem)
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert verify_chain(der, server.authority)[0] == 0
    rows = issued_to(server, subject)
    assert [int(row["serial"], 16) for row in rows] == [certificate.serial_number]
    return certificate, der


def check_revocation_shows(server, serial, der):
    """Revoked here, "openssl verify -crl_check" refuses it there."""
    def crl():
        return server.get("/crl/devices.pem").body
    assert verify_chain(der, server.authority, crl=crl())[0] == 0
    server.ctl_ok("cert", "revoke", serial_text(serial))
    text = wait_until(lambda: verify_chain(der, server.authority, crl=crl())[1]
                      if verify_chain(der, server.authority, crl=crl())[0] else "", 5, 0.2,
                      "the revocation")
    assert "revoked" in text


# micromdm

@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return with_aes(tmp_path_factory.mktemp("program") / "scepclient")


def scepclient(program, server, path, folder, subject, challenge=CHALLENGE):
    folder.mkdir(exist_ok=True)
    return [program, "-server-url", server.url(path), "-private-key", folder / "key.pem",
            "-certificate", folder / "cert.pem", "-challenge", challenge,
            "-cn", subject.split("=")[1].split(",")[0], "-organization", "Example"]


class Waiting:
    """A scepclient that polls every 30 seconds; it runs beside the other tests of this module."""

    def __init__(self, program, server, folder):
        self.subject = f"CN=waiting-{os.urandom(6).hex()}"
        self.folder = folder
        self.log = open(folder.parent / f"{folder.name}.log", "w+b")
        self.process = subprocess.Popen(
            [str(c) for c in scepclient(program, server, LEGACY_MANUAL, folder, self.subject)],
            cwd=folder.parent, stdout=self.log, stderr=self.log)
        self.row = waiting_row(server, self.subject)

    def finish(self):
        try:
            status = self.process.wait(75)
        finally:
            self.process.kill()
            self.process.wait()
        self.log.seek(0)
        return status, self.log.read().decode(errors="replace")


@pytest.fixture(scope="module")
def waiting(program, server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scepclient")
    clients = {name: Waiting(program, server, folder / name) for name in ("approve", "deny")}
    for name, client in clients.items():
        server.ctl_ok("enrolment", name, client.row["id"])
    yield clients
    for client in clients.values():
        client.process.kill()
        client.process.wait()
        client.log.close()


def test_scepclient_starts_to_wait(waiting):
    assert all(client.process.poll() is None for client in waiting.values())


def test_scepclient(program, server, tmp_path, subject):
    result = run(scepclient(program, server, standard.LEGACY, tmp_path, subject), tmp_path)
    assert result.returncode == 0, result.stdout.decode()
    certificate, der = check_issued(server, subject, (tmp_path / "cert.pem").read_bytes())
    assert subject.split(",")[0] in certificate.subject.rfc4514_string()
    check_revocation_shows(server, certificate.serial_number, der)


def test_scepclient_wrong_challenge(program, server, tmp_path, subject):
    result = run(scepclient(program, server, standard.LEGACY, tmp_path, subject, "wrong"), tmp_path)
    assert result.returncode != 0 and b"badRequest" in result.stdout, result.stdout.decode()
    assert not (tmp_path / "cert.pem").exists()
    assert not issued_to(server, subject)


def test_scepclient_as_it_is(server, tmp_path, subject):
    """It reads capabilities and certificates; its single DES is refused, whatever is allowed."""
    result = run(scepclient("scepclient", server, standard.LEGACY, tmp_path, subject), tmp_path)
    assert result.returncode != 0 and b"badAlg" in result.stdout, result.stdout.decode()
    assert not (tmp_path / "cert.pem").exists()
    assert not issued_to(server, subject)


# strongSwan

def swan_enrol(server, path, subject, challenge, *options):
    name = subject.split("=")[1].split(",")[0]
    return ["pki", "--scep", "--url", server.url(path), "--in", "key.pem", "--dn",
            f"C=CH, O=Example, CN={name}", "--san", f"{name}.example.org",
            "--password", challenge, "--cacert-enc", "ra.der", "--cacert-sig", "ra.der",
            "--cacert", "ca.der", "--cacert", "root.pem", "--cipher", "des3", "--digest", "sha256",
            "--outform", "pem", *options]


def swan(command, work, timeout=60):
    return subprocess.run([str(c) for c in command], cwd=work, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout, check=False)


def test_strongswan_ca(server, work):
    result = swan(["pki", "--scepca", "--url", server.url(standard.LEGACY), "--caout", "swan.pem",
                   "--raout", "swan-ra.pem", "--outform", "pem", "--force"], work)
    assert result.returncode == 0, result.stderr.decode()
    written = {path.name: path.read_bytes() for path in work.glob("swan*.pem")}
    parsed = [x509.load_pem_x509_certificate(pem) for pem in written.values()]
    ra = x509.load_der_x509_certificate(server.client(standard.LEGACY).ra)
    assert ra in parsed, written.keys()
    assert server.authority.certificate in parsed


def test_strongswan(server, work, subject):
    result = swan(swan_enrol(server, standard.LEGACY, subject, CHALLENGE), work)
    assert result.returncode == 0, result.stderr.decode()
    certificate, der = check_issued(server, subject, result.stdout)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        subject.split("=")[1].split(",")[0] + ".example.org"]
    check_revocation_shows(server, certificate.serial_number, der)


def test_strongswan_wrong_challenge(server, work, subject):
    result = swan(swan_enrol(server, standard.LEGACY, subject, "wrong"), work)
    assert result.returncode != 0 and not result.stdout
    assert not issued_to(server, subject)


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_strongswan_polls(server, work, subject, verb):
    command = swan_enrol(server, LEGACY_MANUAL, subject, CHALLENGE, "--interval", "1",
                         "--maxpolltime", "30")
    process = subprocess.Popen([str(c) for c in command], cwd=work, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        row = waiting_row(server, subject)
        time.sleep(1.5)                 # at least one poll is answered with pending
        assert process.poll() is None, process.communicate()[1].decode()
        server.ctl_ok("enrolment", verb, row["id"])
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()
        process.wait()
    polls = [line for line in server.audit() if line["event"] == "poll"
             and line.get("transaction") == row["transaction"]]
    assert polls
    if verb == "approve":
        assert process.returncode == 0, err.decode()
        check_issued(server, subject, out)
    else:
        assert process.returncode != 0 and not out
        assert not issued_to(server, subject)


# certmonger

def pkcs7(der):
    return f"-----BEGIN PKCS7-----\n{base64.encodebytes(der).decode()}-----END PKCS7-----\n"


def submit(server, path, work, request, flag="-p"):
    (work / "message").write_text(pkcs7(request.der))
    return run([SCEP_SUBMIT, "-v", "-u", server.url(path), "-r", "ra.pem", "-R", "root.pem",
                "-N", "root.pem", "-I", "ca.pem", flag, "message"], work)


def opened(result, request):
    """The certificates in what scep-submit prints, which is the envelope for the client's key."""
    text = result.stdout.decode()
    body = re.search(r"-----BEGIN PKCS7-----(.*?)-----END PKCS7-----", text, re.S)
    assert body, text
    return certs_only(Opened(base64.b64decode(body[1]), request.identity).content)


def make_request(server, path, subject, challenge=CHALLENGE):
    client = server.client(path)
    return client, client.message(Csr(standard.device_key(6), subject, challenge))


def test_certmonger_caps_and_ca(server, work):
    result = run([SCEP_SUBMIT, "-u", server.url(standard.STATIC), "-c"], work)
    assert result.returncode == 0 and b"POSTPKIOperation" in result.stdout
    result = run([SCEP_SUBMIT, "-u", server.url(standard.STATIC), "-C"], work)
    assert result.returncode == 0, result.stdout.decode()
    found = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", result.stdout,
                       re.S)
    parsed = [x509.load_pem_x509_certificate(pem) for pem in found]
    assert x509.load_pem_x509_certificate((work / "ra.pem").read_bytes()) in parsed
    assert server.authority.certificate in parsed


def test_certmonger(server, work, subject):
    _, request = make_request(server, standard.STATIC, subject)
    result = submit(server, standard.STATIC, work, request)
    assert result.returncode == 0, result.stdout.decode()
    assert b'SCEP status is "success"' in result.stdout
    issued = opened(result, request)
    assert len(issued) == 1
    pem = x509.load_der_x509_certificate(issued[0]).public_bytes(serialization.Encoding.PEM)
    certificate, der = check_issued(server, subject, pem)
    check_revocation_shows(server, certificate.serial_number, der)


def test_certmonger_wrong_challenge(server, work, subject):
    _, request = make_request(server, standard.STATIC, subject, "wrong")
    result = submit(server, standard.STATIC, work, request)
    assert result.returncode == 2, result.stdout.decode()       # rejected
    assert b'SCEP status is "failure"' in result.stdout
    assert not issued_to(server, subject)


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_certmonger_polls(server, work, subject, verb):
    client, request = make_request(server, standard.MANUAL, subject)
    result = submit(server, standard.MANUAL, work, request)
    assert b'SCEP status is "pending"' in result.stdout, result.stdout.decode()
    assert result.returncode in (1, 5)          # wait, wait with delay
    poll = client.poll_message(request)
    result = submit(server, standard.MANUAL, work, poll, "-g")
    assert b'SCEP status is "pending"' in result.stdout, result.stdout.decode()
    server.ctl_ok("enrolment", verb, waiting_row(server, subject)["id"])
    assert client.wait(request, 5).status in ("0", "2")
    poll = client.poll_message(request)
    result = submit(server, standard.MANUAL, work, poll, "-g")
    if verb == "approve":
        assert result.returncode == 0, result.stdout.decode()
        issued = opened(result, poll)
        pem = x509.load_der_x509_certificate(issued[0]).public_bytes(serialization.Encoding.PEM)
        check_issued(server, subject, pem)
    else:
        assert result.returncode == 2, result.stdout.decode()
        assert not issued_to(server, subject)


# the two that have been waiting meanwhile

def test_scepclient_approved(server, waiting):
    client = waiting["approve"]
    status, log = client.finish()
    assert status == 0, log
    check_issued(server, client.subject, (client.folder / "cert.pem").read_bytes())


def test_scepclient_denied(server, waiting):
    client = waiting["deny"]
    status, log = client.finish()
    assert status != 0, log
    assert not (client.folder / "cert.pem").exists()
    assert not issued_to(server, client.subject)
