# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Clients of OCSP: openssl, GnuTLS, NSS, curl, and httpd itself, as one that staples and as one that
checks the certificates of its clients."""

import http.client
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from harness import ocsp, standard
from harness.server import CHALLENGE, free_port, wait_until
from scep import Csr, identity as identities

AUTO = "OCSPSigner auto P-256 RSA-2048"


def run(*command, stdin=b"", **options):
    return subprocess.run([str(one) for one in command], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=60, **options)


class Holder:
    """A certificate of the responder's CA, with its key, as files."""

    def __init__(self, server, folder, name, number):
        client = server.client(standard.STATIC)
        request = client.message(Csr(standard.device_key(number), f"CN={name},O=Example",
                                     CHALLENGE))
        reply = client.read(client.send(request), request)
        assert reply.succeeded, reply
        self.server = server
        self.certificate = reply.certificate
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(ocsp.PEM)
                              + server.authority.certificate_path.read_bytes())
        self.key_path = folder / f"{name}.key"
        self.key_path.write_bytes(identities.private_pem(standard.device_key(number)))

    @property
    def serial(self):
        return f"{self.certificate.serial_number:x}"

    def revoke(self):
        self.server.ctl_ok("cert", "revoke", self.serial, "--reason", "keyCompromise")


@pytest.fixture(scope="module")
def server(make_module_server):
    """Keys and signers are made by the server itself."""
    return ocsp.make(make_module_server, signer_line=AUTO)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def good(server, folder):
    made = Holder(server, folder, "good", 1)
    ocsp.wait_for(server, made.certificate.serial_number, ocsp.GOOD)
    return made


@pytest.fixture(scope="module")
def revoked(server, folder):
    made = Holder(server, folder, "revoked", 2)
    made.revoke()
    ocsp.wait_for(server, made.certificate.serial_number, ocsp.REVOKED)
    return made


# openssl

@pytest.mark.parametrize("nonce", [True, False])
def test_openssl(server, good, revoked, nonce):
    """From the address in the certificate, as those find it who are told nothing."""
    access = good.certificate.extensions.get_extension_for_class(
        x509.AuthorityInformationAccess).value
    url, = [one.access_location.value for one in access
            if one.access_method == x509.AuthorityInformationAccessOID.OCSP]
    assert url == server.url("/ocsp")
    for holder, status in ((good, "good"), (revoked, "revoked")):
        done = run("openssl", "ocsp", "-issuer", server.authority.certificate_path, "-cert",
                   holder.path, "-url", url, "-CAfile", server.authority.root_path,
                   "-verify_other", server.authority.certificate_path,
                   *([] if nonce else ["-no_nonce"]))
        text = done.stdout.decode()
        assert done.returncode == 0 and "Response verify OK" in text, text
        assert f"{holder.path}: {status}" in text, text


# GnuTLS

@pytest.mark.parametrize("nonce", [True, False])
def test_ocsptool(server, good, revoked, nonce):
    for holder, status in ((good, "good"), (revoked, "revoked")):
        done = run("ocsptool", f"--ask={server.url('/ocsp')}", "--load-issuer",
                   server.authority.certificate_path, "--load-cert", holder.path, "--load-trust",
                   server.authority.certificate_path, *(["--nonce"] if nonce else []))
        text = done.stdout.decode(errors="replace")
        assert "Certificate Status: " + status in text, text
        assert "OCSP server did not" not in text and "Verifying OCSP Response: Success" in text, text


# NSS

@pytest.fixture(scope="module")
def database(server, folder):
    path = folder / "nss"
    path.mkdir()
    assert run("certutil", "-N", "-d", path, "--empty-password").returncode == 0
    for name, trust, file in (("root", "CT,CT,CT", server.authority.root_path),
                              ("devices", ",,", server.authority.certificate_path)):
        done = run("certutil", "-A", "-d", path, "-n", name, "-t", trust, "-i", file, "-a")
        assert done.returncode == 0, done.stdout
    return path


def test_ocspclnt(server, database, good, revoked):
    for holder, status in ((good, "succeeded"), (revoked, "revoked")):
        der = holder.path.with_suffix(".der")
        der.write_bytes(holder.certificate.public_bytes(ocsp.DER))
        done = run("ocspclnt", "-S", der, "-d", database)
        text = done.stdout.decode(errors="replace").lower()
        assert f'check of certificate "{der}" ' in text and status in text, text


# curl

def test_curl(server, good, revoked, folder):
    """Sends what it is given, in both forms, and asks again by ETag."""
    for holder, status in ((good, ocsp.GOOD), (revoked, ocsp.REVOKED)):
        der = ocsp.request_for(server.authority, [holder.certificate.serial_number])
        request, answer, tag = folder / "request", folder / "answer", folder / "tag"
        request.write_bytes(der)
        tag.unlink(missing_ok=True)
        done = run("curl", "-sS", "--fail", "-H", f"Content-Type: {ocsp.REQUEST}",
                   "--data-binary", f"@{request}", "-o", answer, server.url("/ocsp"))
        assert done.returncode == 0, done.stdout
        assert ocsp.ocsp.load_der_ocsp_response(answer.read_bytes()).certificate_status == status
        text = ocsp.quote(ocsp.base64.b64encode(der).decode(), safe="")
        codes = []
        for _ in range(2):
            done = run("curl", "-sS", "--fail", "--etag-compare", tag, "--etag-save", tag, "-o",
                       answer, "-w", "%{http_code}", server.url(f"/ocsp/{text}"))
            assert done.returncode == 0, done.stdout
            codes.append(done.stdout.decode())
        assert codes == ["200", "304"]


# httpd, as one that relies on us

def relying(make_server, responder, holder, *lines):
    """Another httpd, with TLS and a certificate of the responder's CA; Gatehouse is not in it."""
    port = free_port()

    def content(server):
        (server.root / "htdocs").mkdir(exist_ok=True)
        (server.root / "htdocs" / "index.html").write_text("behind TLS\n")
        body = "".join(f"    {line}\n" for line in lines)
        return (f'Listen 127.0.0.1:{port}\nSSLStaplingCache shmcb:{server.root}/run/stapling\n'
                f'SSLSessionCache shmcb:{server.root}/run/sessions\n'
                f'<VirtualHost 127.0.0.1:{port}>\n    DocumentRoot "{server.root}/htdocs"\n'
                f'    SSLEngine on\n    SSLCertificateFile "{holder.path}"\n'
                f'    SSLCertificateKeyFile "{holder.key_path}"\n{body}</VirtualHost>\n')

    server = make_server(content, start=False, own_modules=("gatehouse",),
                         modules=("ssl", "socache_shmcb"))
    server.tls_port = port
    # the name in the certificate is not that of the server; another OpenSSL than at its build
    server.allow("AH01909", "AH01882")
    return server.start()


def stapled(server, authority):
    done = run("openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-status",
               "-CAfile", authority.root_path, "-servername", "good")
    return done.stdout.decode(errors="replace")


def test_stapling(make_server, server, good, folder):
    """SSLUseStapling: who connects sees our answer in the handshake, and a revocation when what was
    stapled has ended."""
    holder = Holder(server, folder, "stapled", 3)
    ocsp.wait_for(server, holder.certificate.serial_number, ocsp.GOOD)
    web = relying(make_server, server, holder, "SSLUseStapling on",
                  "SSLStaplingStandardCacheTimeout 1")
    text = stapled(web, server.authority)
    assert "OCSP Response Status: successful" in text, text
    assert "Cert Status: good" in text and "Verify return code: 0 (ok)" in text
    holder.revoke()
    web.expect("AH02969")               # a revoked one is stapled, too
    time.sleep(2)
    assert "Cert Status: revoked" in stapled(web, server.authority)


def fetched(server, authority, holder):
    """The page, as a client that has a certificate; None if it is refused."""
    context = ssl.create_default_context(cafile=str(authority.root_path))
    context.check_hostname = False
    context.load_cert_chain(holder.path, holder.key_path)
    connection = http.client.HTTPSConnection("127.0.0.1", server.tls_port, context=context,
                                             timeout=20)
    try:
        connection.request("GET", "/index.html")
        return connection.getresponse().read()
    except (ssl.SSLError, ConnectionError):
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("nonce", ["on", "off"])
def test_client_certificates(make_server, server, good, folder, nonce):
    """SSLOCSPEnable: a client whose certificate is revoked is refused within two seconds."""
    trusted = folder / "trusted.pem"
    trusted.write_bytes(server.authority.root_path.read_bytes()
                        + server.authority.certificate_path.read_bytes())
    web = relying(make_server, server, good, "SSLVerifyClient require", "SSLVerifyDepth 2",
                  f'SSLCACertificateFile "{trusted}"', "SSLOCSPEnable leaf",
                  f"SSLOCSPUseRequestNonce {nonce}")
    client = Holder(server, folder, f"client-{nonce}", 4)
    ocsp.wait_for(server, client.certificate.serial_number, ocsp.GOOD)
    assert fetched(web, server.authority, client) == b"behind TLS\n"
    client.revoke()
    began = time.monotonic()
    wait_until(lambda: fetched(web, server.authority, client) is None, 2, 0.1, "a refusal")
    assert time.monotonic() - began < 2
    web.expect("AH03239")               # certificate status: revoked
    web.allow("AH01909", "AH01882")
