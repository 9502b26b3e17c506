# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Certificates that proxies tell of in headers: from whom they count, and in which forms. One proxy is
a real httpd."""

import base64
import datetime
import ssl
from urllib.parse import quote

import pytest

from harness.config import location
from harness.escrow import (MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, connect, context, on,
                            problem, tls_host)
from harness.server import wait_until
from scep.transport import request

FORMS = {"rfc9440": "Client-Cert", "xfcc": "X-Forwarded-Client-Cert", "nginx": "X-Client-Cert",
         "haproxy": "X-SSL-Client-Cert", "alb": "X-Amzn-Mtls-Clientcert"}


def content(server):
    folder = server.root / "ca"
    now = datetime.datetime.utcnow()
    server.known = Identity(folder, "known", "p256-01")
    server.stranger = Identity(folder, "stranger", "p384-01")
    server.proxy = Identity(folder, "proxy", "p521-01")
    server.old = Identity(folder, "old", "p256-01", start=now - datetime.timedelta(days=60), days=30)
    server.early = Identity(folder, "early", "p256-01", start=now + datetime.timedelta(days=1))
    (server.root / "htdocs").mkdir(exist_ok=True)
    (server.root / "htdocs" / "page").write_text("inside\n")
    pins = " ".join(one.pin for one in (server.known, server.old, server.early))
    lines = ["AuthType gatehouse-cert", f"Require thumbprint {pins} sha1:{server.known.sha1}"]
    pages = "".join(location(f"/{form}", f"ThumbprintSource header {name} {form}", *lines)
                    for form, name in FORMS.items())
    shown = location("/shown", "SetHandler none", "Require all granted",
                     'Header set X-Seen "expr=%{HTTP:Client-Cert}|%{HTTP:Client_Cert}"')
    return (f'DocumentRoot "{server.root}/htdocs"\n' + "".join(
        f'Alias "/{name}" "{server.root}/htdocs/page"\n' for name in (*FORMS, "shown"))
        + pages + shown + "ThumbprintTrustedProxy 127.0.0.1\n"
        + "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n"
        + tls_host(server, "    ThumbprintTrustedProxy 127.0.0.0/8 "
                   f"thumbprint={server.proxy.pin}\n"))


@pytest.fixture(scope="module")
def server(make_module_server):
    made = make_module_server(content, own_modules=OWN_MODULES,
                              modules=(*MODULES, "alias", "remoteip"))
    made.allow(*SSL_CHATTER)
    return made


def value(form, identity):
    escaped = quote(identity.pem, safe="")
    encoded = base64.b64encode(identity.der).decode()
    return {"rfc9440": f":{encoded}:",
            "xfcc": f'By=spiffe://mesh;Hash={identity.sha256};Cert="{escaped}"',
            "nginx": escaped, "haproxy": encoded,
            "alb": quote(identity.pem + identity.pem, safe="+=/")}[form]


def by_header(server, form, text, name=None, **options):
    return request(server.url(f"/{form}"), headers={name or FORMS[form]: text, **options})


@pytest.mark.parametrize("form", FORMS)
def test_forms(server, form):
    assert by_header(server, form, value(form, server.known)).body == b"inside\n"
    problem(by_header(server, form, value(form, server.stranger)), 403, "GH1150")
    problem(by_header(server, form, "(null)"), 401, "GH1149")
    problem(request(server.url(f"/{form}")), 401, "GH1149")
    problem(by_header(server, form, "rubbish"), 403, "GH1152")
    problem(by_header(server, form, value(form, server.old)), 403, "GH1151")
    problem(by_header(server, form, value(form, server.early)), 403, "GH1151")
    twice = [f"{FORMS[form]}: {value(form, server.known)}"] * 2
    problem(request(server.url(f"/{form}"),
                    headers={twice[0].split(": ")[0]: "\r\n".join(
                        [value(form, server.known), twice[1]])}), 403, "GH1152")
    # mod_remoteip says where the request comes from, not who the proxy is
    assert by_header(server, form, value(form, server.known),
                     **{"X-Forwarded-For": "192.0.2.1"}).status == 200


def test_other_values(server):
    """Digests alone; PEM with blanks; the last element of several."""
    known, stranger = server.known, server.stranger
    assert by_header(server, "haproxy", known.sha1.upper()).status == 200
    assert by_header(server, "haproxy", stranger.sha1).status == 403
    assert by_header(server, "xfcc", f"Hash={known.sha256}").status == 200
    assert by_header(server, "xfcc", f"Hash={stranger.sha256},Hash={known.sha256}").status == 200
    assert by_header(server, "xfcc", f"Hash={known.sha256},Hash={stranger.sha256}").status == 403
    mixed = value("xfcc", known).replace(known.sha256, stranger.sha256)
    problem(by_header(server, "xfcc", mixed), 403, "GH1152")
    assert by_header(server, "nginx", known.pem.replace("\n", " ")).status == 200


def test_forged(server):
    """By TLS only a certain proxy is believed; everybody else's headers are gone, however they are
    written, before a module sees them."""
    for form, name in FORMS.items():
        for written in (name, name.lower(), name.replace("-", "_")):
            headers = {written: value(form, server.known)}
            problem(ask(server, f"/{form}", headers=headers), 401, "GH1149")
            problem(ask(server, f"/{form}", server.stranger, headers=headers), 403, "GH1150")
        # the proxy's own certificate counts for nothing but the header
        assert ask(server, f"/{form}", server.proxy, headers=headers).status == 401
        headers = {name: value(form, server.known)}
        assert ask(server, f"/{form}", server.proxy, headers=headers).status == 200
        # who is no proxy is known by TLS
        assert ask(server, f"/{form}", server.known).status == 200
    forged = {"Client-Cert": "a", "Client_Cert": "b"}
    assert ask(server, "/shown", headers=forged).headers["X-Seen"] == "|"
    assert ask(server, "/shown", server.proxy, headers=forged).headers["X-Seen"] == "a|"
    assert request(server.url("/shown"), headers=forged).headers["X-Seen"] == "a|"


def balancer(server, backend):
    """An httpd that ends TLS."""
    return tls_host(
        server, f'    ProxyPass "/" "{backend}/"\n'
        '    RequestHeader set X-Client-Cert "%{SSL_CLIENT_CERT}s"\n')


def test_behind_httpd(server, make_server):
    """A real balancer: known, unknown, none, and a client that sends the header itself."""
    front = make_server(lambda one: balancer(one, server.url()), own_modules=OWN_MODULES,
                        modules=(*MODULES, "proxy", "proxy_http"))
    front.allow(*SSL_CHATTER)
    forged = {"X-Client-Cert": value("nginx", server.known), "X_Client_Cert": "x"}
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert ask(front, "/nginx", server.known, version=version).body == b"inside\n"
        for headers in ({}, forged):
            refusal = ask(front, "/nginx", server.stranger, headers=headers, version=version)
            problem(refusal, 403, "GH1150")
            problem(ask(front, "/nginx", headers=headers, version=version), 401, "GH1149")


def test_configuration(server, make_server):
    """What httpd -t says."""
    for lines, number in (("ThumbprintSource header Client-Cert rfc9440\n", "GH1163"),
                          ("ThumbprintSource header Client-Cert other\n", "GH1156"),
                          ("ThumbprintTrustedProxy nobody\n", "GH1157"),
                          ("ThumbprintTrustedProxy 10.0.0.1 thumbprint=x\n", "GH1157"),
                          ("EscrowPinFile /nowhere\n", "GH1158"),
                          (location("/a", "Require thumbprint"), "GH1165"),
                          (location("/a", "Require thumbprint x"), "GH1154"),
                          ("EscrowTLS a/b\n", "GH1178"),
                          ("EscrowTLS api\n", "GH1340"),
                          ("EscrowVaultKey a/b file:/x\n", "GH1167")):
        made = make_server(lines, own_modules=OWN_MODULES, start=False)
        result = made.configtest()
        assert result.returncode != 0 and number in result.stderr, (lines, result.stderr)


def test_every_request_is_looked_at(server, make_server):
    """A session that is resumed for another virtual host brings no right with it, and a certificate
    that has ended lets nobody in, on a connection that is kept or by a session that is resumed
    (CVE-2025-23048)."""
    def two(one):
        (one.root / "htdocs").mkdir(exist_ok=True)
        (one.root / "htdocs" / "page").write_text("inside\n")
        (one.root / "pins").write_text("")
        inside, closed = (location("/page", "AuthType gatehouse-cert", f"Require thumbprint {what}")
                          for what in ("pinned role=uem", server.stranger.pin))
        root = f'    DocumentRoot "{one.root}/htdocs"\n'
        return (f'KeepAliveTimeout 60\nEscrowPinFile "{one.root}/pins"\n'
                f'SSLSessionCache "shmcb:{one.root}/run/sessions(512000)"\n'
                + tls_host(one, root + inside) + tls_host(one, root + closed, name="other.example"))

    node = make_server(two, own_modules=OWN_MODULES, modules=MODULES)
    node.allow(*SSL_CHATTER)
    end = datetime.datetime.utcnow() + datetime.timedelta(seconds=10)
    short = Identity(node.root / "ca", "short", "p256-01", days=1,
                     start=end - datetime.timedelta(days=1))
    (node.root / "pins").write_text(f"{short.pin} uem\n")
    wait_until(lambda: all(ask(node, "/page", short).status == 200 for _ in range(8)), 8, 0.1,
               what="the pin in all children")
    still, sessions = [], []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        made = context(node, short, version)
        still.append(connect(node, made=made))
        assert on(still[-1], "/page").status == 200
        session = still[-1].sock.session
        sessions.append((made, session))
        still.append(resumed(node, made, session))
        assert on(still[-1], "/page").status == 200
        # by another name of host within the session, and by another name in the handshake
        for connection in (resumed(node, made, session),
                           connect(node, made=made, session=session, name="other.example")):
            problem(on(connection, "/page", headers={"Host": "other.example"}), 403, "GH1150")
            connection.close()
    wait_until(lambda: datetime.datetime.utcnow() > end + datetime.timedelta(seconds=1), 20, 0.2)
    still += [resumed(node, made, session) for made, session in sessions]
    for connection in still:
        problem(on(connection, "/page"), 403, "GH1151")
        connection.close()


def resumed(node, made, session):
    connection = connect(node, made=made, session=session)
    assert connection.sock.session_reused, "this was a whole handshake"
    return connection
