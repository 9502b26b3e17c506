# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Who signs OCSP answers: enrolled and renewed by the server, from files, on tokens; swapped while
clients ask."""

import datetime
import threading
import time

import pytest
from asn1crypto import core as asn1core
from asn1crypto import ocsp as asn1ocsp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from harness import environment, ocsp, pki, standard
from harness.checks import serial_text
from harness.pki import key, write_secret
from harness.server import wait_until
from test_pkcs11 import PIN, give, run, softhsm_module

AUTO = "OCSPSigner auto P-256 RSA-2048"

PREFERRED = {"RSA": "1.2.840.113549.1.1.11", "EC": "1.2.840.10045.4.3.2"}


class PreferredAlgorithm(asn1core.Sequence):
    _fields = [("algorithm", asn1core.ObjectIdentifier)]


class Preferred(asn1core.Sequence):
    _fields = [("request", PreferredAlgorithm)]


class PreferredList(asn1core.SequenceOf):
    _child_spec = Preferred


def request(server, preferred=None, nonce=None):
    if preferred is None:
        return ocsp.request_for(server.authority, [0x77], nonce=nonce)
    wanted = PreferredList([Preferred({"request": {"algorithm": PREFERRED[preferred]}})])
    return asn1ocsp.OCSPRequest({"tbs_request": {
        "request_list": [{"req_cert": ocsp.certid(server.authority, 0x77)}],
        "request_extensions": [{"extn_id": "1.3.6.1.5.5.7.48.1.8", "critical": False,
                                "extn_value": asn1core.ParsableOctetString(wanted.dump())}],
    }}).dump()


def verify(public_key, signature, data, digest):
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, data, padding.PKCS1v15(), digest)
    else:
        public_key.verify(signature, data, ec.ECDSA(digest))


def signer_of(server, response):
    """The certificate of who signed an answer, which has to be good."""
    answer = ocsp.parse(response)
    assert answer.response_status == ocsp.SUCCESSFUL, answer.response_status
    certificate, = answer.certificates
    now = datetime.datetime.utcnow()
    assert certificate.not_valid_before <= now < certificate.not_valid_after
    assert answer.next_update is None or answer.next_update <= certificate.not_valid_after
    verify(server.authority.certificate.public_key(), certificate.signature,
           certificate.tbs_certificate_bytes, certificate.signature_hash_algorithm)
    verify(certificate.public_key(), answer.signature, answer.tbs_response_bytes,
           answer.signature_hash_algorithm)
    return certificate


def current(server, preferred=None):
    return signer_of(server, ocsp.post(server, request(server, preferred)))


def settle(server):
    """Until all processes have both keys: who is first makes them."""
    ocsp.wait_ready(server)

    def settled():
        answers = [ocsp.parse(ocsp.post(server, request(server, kind)))
                   for kind in ("EC", "RSA") * 10]
        return all(answer.response_status == ocsp.SUCCESSFUL for answer in answers) and len(
            {answer.certificates[0].serial_number for answer in answers}) == 2
    wait_until(settled, 10, what="both signers")
    # a process that none of these met has looked for what the first one made, too
    time.sleep(1.5)
    wait_until(settled, 1, what="both signers in all processes")
    return server


def rows(server):
    return {row["name"]: row for row in server.ctl("check").objects}


class Asking:
    """Clients that ask all the while, by POST and GET, with nonces and without."""

    def __init__(self, server, threads=3):
        self.server, self.stop = server, False
        self.signers, self.failures, self.answers = set(), [], 0
        self.threads = [threading.Thread(target=self._run, args=[i]) for i in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        for thread in self.threads:
            thread.join()

    def _run(self, number):
        count = 0
        while not self.stop:
            count += 1
            nonce = f"{number}-{count}".encode() if count % 2 else None
            der = request(self.server, nonce=nonce)
            try:
                by = ocsp.get if number == 0 and nonce is None else ocsp.post
                self.signers.add(signer_of(self.server, by(self.server, der)).serial_number)
            except Exception as error:          # whatever it is, it is one too many
                self.failures.append(repr(error))
            self.answers += 1
            time.sleep(0.002)


# enrolled

@pytest.fixture(scope="module")
def server(make_module_server):
    return settle(ocsp.make(make_module_server, signer_line=AUTO))


def test_enrolled(server):
    for kind, public in (("EC", ec.EllipticCurvePublicKey), ("RSA", rsa.RSAPublicKey)):
        certificate = current(server, kind)
        assert isinstance(certificate.public_key(), public)
        extensions = {extension.oid: extension.value for extension in certificate.extensions}
        assert list(extensions[ExtensionOID.EXTENDED_KEY_USAGE]) == [
            ExtendedKeyUsageOID.OCSP_SIGNING]
        assert ExtensionOID.OCSP_NO_CHECK in extensions
        assert ExtensionOID.AUTHORITY_INFORMATION_ACCESS not in extensions
        assert ExtensionOID.CRL_DISTRIBUTION_POINTS not in extensions
        usage = extensions[ExtensionOID.KEY_USAGE]
        assert usage.digital_signature and not usage.key_cert_sign
    assert isinstance(current(server).public_key(), ec.EllipticCurvePublicKey)
    result = ocsp.openssl(server, "-serial", "0x77")
    assert result.status == 0 and "Response verify OK" in result.text, result


def test_check_tells_of_enrolled(server):
    wait_until(lambda: {"ocsp.devices.P-256", "ocsp.devices.RSA-2048"} <= set(rows(server)), 10,
               what="both signers")
    found = rows(server)
    for kind in ("P-256", "RSA-2048"):
        row = found[f"ocsp.devices.{kind}"]
        assert row["verdict"] == "ok" and "29 days left" in row["message"], row
        assert "to be renewed at" in row["message"]


def test_default_is_enrolled(make_server):
    """An <Issuer> that signs here needs no OCSPSigner."""
    server = settle(ocsp.make(make_server, signer_line=""))
    assert isinstance(current(server, "RSA").public_key(), rsa.RSAPublicKey)


def test_all_processes_have_the_same(server):
    serials = {current(server).serial_number for _ in range(20)}
    server.kill_children()
    wait_until(server.children, 5, what="new children")
    ocsp.wait_ready(server)
    serials |= {current(server).serial_number for _ in range(20)}
    server.graceful()
    ocsp.wait_ready(server)
    serials |= {current(server).serial_number for _ in range(20)}
    assert len(serials) == 1


def test_revoked_signer_is_replaced(server):
    old = current(server)
    with Asking(server) as asking:
        time.sleep(0.3)
        server.ctl_ok("cert", "revoke", serial_text(old.serial_number), "--reason",
                      "keyCompromise")
        wait_until(lambda: current(server).serial_number != old.serial_number, 3, 0.05,
                   "another signer")
        # every process follows within a second or so, and no cache brings the old one back
        time.sleep(2)
        asking.signers.clear()
        time.sleep(1)
    assert not asking.failures and asking.answers > 50, asking.failures[:3]
    assert asking.signers == {current(server).serial_number}


def test_renewed_under_load(make_server):
    """Certificates that live for eight seconds, of which four lie ahead."""
    profile = ("<CertificateProfile short-ocsp base=basic-ocsp>\n    ProfileValidity 8s\n"
               "</CertificateProfile>\n")
    server = make_server(
        lambda one: standard.PROFILES + profile
        + ocsp.content(one, "OCSPNextUpdate off",
                       signer_line="OCSPSigner auto P-256 profile=short-ocsp"),
        own_modules=ocsp.OWN_MODULES)
    ocsp.wait_ready(server)
    with Asking(server) as asking:
        time.sleep(12)
    assert not asking.failures and asking.answers > 500, asking.failures[:3]
    assert len(asking.signers) >= 4


# files

def files(server, **options):
    return 'OCSPSigner "{}" "{}"'.format(*ocsp.signer(server.authority, **options))


def test_new_files_with_graceful(make_server):
    server = ocsp.make(make_server)
    old = current(server)
    with Asking(server) as asking:
        # as a new certificate for another key would be put in place
        (server.authority.directory / "devices-ocsp-signer.key").unlink()
        ocsp.signer(server.authority, key_name="rsa2048-02")
        server.graceful()
        wait_until(lambda: current(server).serial_number != old.serial_number, 5, 0.1,
                   "the new signer")
        time.sleep(0.5)
    assert not asking.failures, asking.failures[:3]
    assert isinstance(current(server).public_key(), rsa.RSAPublicKey)


def expired(server):
    certificate, path = ocsp.signer(server.authority)
    old = pki.certificate("old", key("p256-01"), "Test devices CA", server.authority.key_source,
                          5, ca=False, start=datetime.datetime.utcnow()
                          - datetime.timedelta(days=10),
                          extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])])
    certificate.write_bytes(old.public_bytes(ocsp.PEM))
    return f'OCSPSigner "{certificate}" "{path}"'


def wrong_key(server):
    certificate, _ = ocsp.signer(server.authority)
    _, other = ocsp.signer(server.authority, name="other", key_name="rsa2048-02")
    return f'OCSPSigner "{certificate}" "{other}"'


@pytest.mark.parametrize("line, number", [
    (lambda one: files(one, usages=[ExtendedKeyUsageOID.SERVER_AUTH]), "GH0565"),
    (expired, "GH0566"),
    (wrong_key, "GH0567"),
    (lambda one: f'OCSPSigner "{one.authority.certificate_path}" "{one.root}/none"', "GH0091"),
])
def test_checked_when_loaded(make_server, line, number):
    server = make_server(lambda one: ocsp.content(one, signer_line=line(one)), start=False,
                         own_modules=ocsp.OWN_MODULES)
    result = server.configtest()
    assert result.returncode and number in result.stderr, result.stderr


def test_check_tells_of_files(make_server):
    server = make_server(lambda one: ocsp.content(
        one, files(one, name="plain", nocheck=False), files(one, name="soon", days=3)),
        start=False, own_modules=ocsp.OWN_MODULES)
    found = rows(server)
    assert found["ocsp.devices.devices-ocsp-signer.pem"]["verdict"] == "ok"
    assert "29 days left" in found["ocsp.devices.devices-ocsp-signer.pem"]["message"]
    assert found["ocsp.devices.devices-plain.pem"]["gh"] == "GH0650"
    assert found["ocsp.devices.devices-soon.pem"]["gh"] == "GH0651"


# tokens

def make_token(server):
    tokens = server.root / "tokens"
    tokens.mkdir()
    conf = server.root / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n"
                    "log.level = ERROR\n")
    server.environment["SOFTHSM2_CONF"] = str(conf)
    certificate, path = ocsp.signer(server.authority, name="token")
    run(server, "softhsm2-util", "--init-token", "--free", "--label", "ocsp", "--so-pin", "0000",
        "--pin", PIN)
    run(server, "softhsm2-util", "--import", path, "--token", "ocsp", "--label", "signer",
        "--id", "01", "--pin", PIN)
    path.unlink()
    pin = write_secret(server.root / "secret" / "pin", PIN + "\n")
    give(server.root / "secret", *environment.run_as()[:2])
    give(tokens, *environment.run_as()[:2])
    uri = f"pkcs11:token=ocsp;object=signer?module-path={softhsm_module()}"
    return f'OCSPSigner "{certificate}" "{uri}" passphrase=file:{pin}'


def signs_with(server, public):
    """Whether such a key has signed an answer just now."""
    response = ocsp.post(server, request(server, nonce=b"now"))
    return ocsp.parse(response).response_status == ocsp.SUCCESSFUL and isinstance(
        signer_of(server, response).public_key(), public)


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_token(make_server, monkeypatch, mpm):
    """It signs where it is, the next signer where it is not; it is used again when it is back."""
    server = make_server(lambda one: ocsp.content(
        one, "OCSPSigner auto RSA-2048", signer_line=make_token(one)), start=False, mpm=mpm,
        own_modules=ocsp.OWN_MODULES)
    tokens, away = server.root / "tokens", server.root / "away"
    monkeypatch.setenv("SOFTHSM2_CONF", server.environment["SOFTHSM2_CONF"])
    tokens.rename(away)
    server.allow("GH0645")
    server.start()
    ocsp.wait_ready(server)
    wait_until(lambda: all(signs_with(server, rsa.RSAPublicKey) for _ in range(20)), 10,
               what="the other signer")
    assert rows(server)["ocsp.devices.devices-token.pem"]["gh"] == "GH0116"
    children = set(server.children())
    with Asking(server) as asking:
        away.rename(tokens)
        wait_until(lambda: signs_with(server, ec.EllipticCurvePublicKey), 20, 0.1, "the token")
    assert not asking.failures, asking.failures[:3]
    if mpm == "event":
        assert children <= set(server.children()), "this was to work without new processes"
    assert rows(server)["ocsp.devices.devices-token.pem"]["verdict"] == "ok"


def test_token_that_goes_away(make_server):
    """Each process goes over to the next signer. SoftHSM finds its objects again only in a new
    process."""
    server = make_server(lambda one: ocsp.content(
        one, "OCSPSigner auto RSA-2048", signer_line=make_token(one)), start=False,
        own_modules=ocsp.OWN_MODULES)
    server.start()
    settle(server)
    assert signs_with(server, ec.EllipticCurvePublicKey)
    server.expect("GH0644")
    server.allow("GH0645")
    folders = [path for path in (server.root / "tokens").iterdir() if path.is_dir()]
    for folder in folders:
        folder.rename(server.root / folder.name)
    # a process finds out with its first signature, which cannot be had
    wait_until(lambda: all(signs_with(server, rsa.RSAPublicKey) for _ in range(40)), 15,
               what="the other signer")
    wait_until(lambda: "GH0644" in server.log.new_text(), 10, what="a word about the first one")
    for folder in folders:
        (server.root / folder.name).rename(folder)
    server.graceful()
    wait_until(lambda: all(signs_with(server, ec.EllipticCurvePublicKey) for _ in range(40)), 20,
               what="the token")


def test_wrong_pin_is_tried_once(make_server):
    server = make_server(lambda one: ocsp.content(
        one, "OCSPSigner auto RSA-2048", signer_line=make_token(one)), start=False,
        own_modules=ocsp.OWN_MODULES)
    write_secret(server.root / "secret" / "pin", "seeded-wrong-pin")
    give(server.root / "secret", *environment.run_as()[:2])
    server.expect("GH0645")
    server.start()
    ocsp.wait_ready(server)
    time.sleep(2)
    server.kill_children()
    wait_until(server.children, 5, what="new children")
    ocsp.wait_ready(server)
    time.sleep(2)
    text = server.log.text()
    assert text.count("GH0184") == 1 and "GH0640" in text
    assert "seeded-wrong-pin" not in text
