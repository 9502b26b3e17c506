# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Require thumbprint, and AuthType gatehouse-cert: who is let in by his certificate."""

import datetime
import json
import ssl
import subprocess

import pytest

from harness.config import location
from harness.escrow import (MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, curl,
                            make_certificate, problem, tls_host)
from harness.server import wait_until

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def guarded(path, *lines, auth=True):
    return location(path, *(["AuthType gatehouse-cert"] if auth else []), *lines)


def content(server):
    folder = server.root / "ca"
    server.known = Identity(folder, "known", "p256-01")
    server.by_sha1 = Identity(folder, "by-sha1", "rsa2048-01")
    server.stranger = Identity(folder, "stranger", "p384-01")
    root = make_certificate("a root", "p521-01", ca=True)
    server.issued = Identity(folder, "issued", "rsa2048-03", issuer=root, issuer_key="p521-01")
    server.old = Identity(folder, "old", "p256-01", days=30,
                          start=datetime.datetime.utcnow() - datetime.timedelta(days=60))
    server.sibling = Identity(folder, "sibling", "rsa2048-03", issuer=root, issuer_key="p521-01")
    (server.root / "htdocs").mkdir(exist_ok=True)
    (server.root / "htdocs" / "index.html").write_text("inside\n")
    pages = [
        guarded("/literal", f"Require thumbprint {server.known.pin} sha1:{server.by_sha1.sha1}"),
        guarded("/bare", f"Require thumbprint {server.by_sha1.sha1}"),
        guarded("/open", f"Require thumbprint {server.known.pin}", auth=False),
        guarded("/any", "Require valid-user"),
        guarded("/issued", f"Require thumbprint {server.issued.pin} {server.old.pin}"),
        guarded("/text", f"Require thumbprint {server.known.pin}", 'ErrorDocument 403 "not you"'),
        guarded("/page", f"Require thumbprint {server.known.pin}", "ErrorDocument 403 /literal.txt"),
        location("/literal.txt", "Require all granted"),
    ]
    return f'DocumentRoot "{server.root}/htdocs"\n' + "".join(
        f'Alias "/{name}" "{server.root}/htdocs/index.html"\n'
        for name in ("literal.txt", "literal", "bare", "open", "any", "issued", "text", "page")) + tls_host(server, "".join(pages) + "    Protocols h2 http/1.1\n")


def announce(server):
    server.expect("GH1155")
    server.allow(*SSL_CHATTER)
    return server


@pytest.fixture(scope="module")
def server(make_module_server):
    return announce(make_module_server(content, own_modules=OWN_MODULES,
                                       modules=(*MODULES, "alias", "authz_user", "http2")))


@pytest.mark.parametrize("version", VERSIONS)
def test_literal(server, version):
    """SHA-256 and SHA-1, self-signed; another certificate, and none, are refused."""
    assert ask(server, "/literal", server.known, version=version).body == b"inside\n"
    assert ask(server, "/literal", server.by_sha1, version=version).status == 200
    assert ask(server, "/bare", server.by_sha1, version=version).status == 200
    answer = problem(ask(server, "/literal", server.stranger, version=version), 403, "GH1150")
    assert server.stranger.sha256 in answer["detail"]
    refusal = ask(server, "/literal", version=version)
    problem(refusal, 401, "GH1149")
    assert refusal.headers["WWW-Authenticate"]


def test_curl(server):
    for option in ("--tls-max", "1.2"), ("--tlsv1.3",):
        assert curl(server, "/literal", server.known, *option)[0] == 200
        status, headers, body = curl(server, "/literal", server.stranger, *option)
        assert status == 403 and headers["content-type"] == "application/problem+json"
        assert json.loads(body)["gh"] == "GH1150"
        assert curl(server, "/literal", None, *option)[0] == 401


def test_issued_and_old(server):
    """A certificate of some CA, and not its siblings; one that has expired is refused by mod_ssl."""
    for version in VERSIONS:
        assert ask(server, "/issued", server.issued, version=version).status == 200
        problem(ask(server, "/issued", server.sibling, version=version), 403, "GH1150")
        try:
            assert ask(server, "/issued", server.old, version=version).status == 403
        except (ssl.SSLError, ConnectionError):
            pass


def test_error_document(server):
    """What the administrator has chosen is sent, and the refusal is written down all the same."""
    def told():
        return len([line for line in server.audit() if line.get("gh") == "GH1150"])

    for path, body in (("/text", b"not you"), ("/page", b"inside\n")):
        before = told()
        refusal = ask(server, path, server.stranger)
        assert refusal.status == 403 and refusal.body == body, refusal
        wait_until(lambda count=before: told() == count + 1, 5, what="a line of the audit log")


def test_http2(server):
    """Requests of one connection run at the same time; the certificate is that of the connection."""
    paths = [f"/literal?{number}" for number in range(20)]
    for identity, wanted in ((server.known, "200"), (server.stranger, "403"), (None, "401")):
        command = ["curl", "-sS", "--max-time", "30", "--noproxy", "*", "--http2", "--parallel",
                   "--cacert", str(server.tls.path),
                   "--resolve", f"localhost:{server.tls_port}:127.0.0.1",
                   "-w", "%{http_code} %{http_version}\\n", "-o", "/dev/null"]
        command += ["--cert", str(identity.path), "--key", str(identity.key_path)] \
            if identity else []
        done = subprocess.run(
            command + [f"https://localhost:{server.tls_port}{path}" for path in paths],
            stdout=subprocess.PIPE, check=False, text=True, timeout=60)
        lines = [line for line in done.stdout.splitlines() if line.startswith(wanted)]
        assert lines and set(lines) == {f"{wanted} 2"}, done.stdout


def test_refusal_is_logged(server):
    refusal = ask(server, "/literal", server.stranger)
    wanted = refusal.headers["X-Request-Id"]
    line, = wait_until(lambda: [line for line in server.audit() if line["id"] == wanted], 5)
    assert line["user"] == server.stranger.pin and line["result"] == "refused"
    assert line["gh"] == "GH1150" and line["event"] == "authorise"
    text = server.log.text()
    seen = [line for line in text.splitlines() if server.stranger.sha256 in line]
    assert seen and all("Require thumbprint" in line for line in seen)


def test_without_auth_type(server):
    """403 for both, since there is nobody who could ask for a certificate."""
    server.allow("AH01630")
    assert ask(server, "/open", server.known).status == 200
    problem(ask(server, "/open", server.stranger), 403, "GH1150")
    problem(ask(server, "/open"), 403, "GH1149")


def test_user_is_the_thumbprint(server):
    assert ask(server, "/any", server.stranger).status == 200
    problem(ask(server, "/any"), 401, "GH1149")
