# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Pins and TLS certificates that change while httpd runs, on two nodes with one store; and the API
that changes them."""

import base64
import datetime
import hashlib
import http.client
import json
import os
import pathlib
import re
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness import escrow, openapi
from harness.config import location
from harness.escrow import (MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, connect, context,
                            curl, on, problem, tls_host)
from harness.pki import key
from harness.postgres import Cluster
from harness.redis import Proxy
from harness.server import free_port, wait_until

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
# what is said of a store that does not answer
AWAY = ("GH0014", "GH0078", "GH0082", "GH0083", "GH0087", "GH0088", "GH0089", "GH0034", "GH0072",
        "GH0074", "GH0075", "GH0039", "GH0554", "GH0561", "GH1162", "GH1153")


def content(server):
    folder = server.root / "ca"
    for name in ("provider", "uem", "admin", "stranger"):
        if not hasattr(server, name):
            setattr(server, name, Identity(folder, name, "p256-01"))
    (server.root / "htdocs").mkdir(exist_ok=True)
    (server.root / "htdocs" / "page").write_text("inside\n")
    pins = server.root / "pins"
    if not pins.exists():
        pins.write_text(f"# ours\n{server.admin.pin} admin the administrator\n")
    server.make_secret("vault-key", "17" * 32)
    os.chmod(server.root / "htdocs", 0o755)
    pages = "".join(location(f"/{role}", "AuthType gatehouse-cert",
                             f"Require thumbprint pinned role={role}")
                    for role in ("provider", "uem", "admin"))
    pages += location("/both", "AuthType gatehouse-cert", "Require thumbprint pinned")
    admin = (location("/v1", "SetHandler gatehouse-escrow-configuration",
                      "AuthType gatehouse-cert", "Require thumbprint pinned role=admin")
             + location("/v1/hc", "Require all granted"))
    server.admin_port = getattr(server, "admin_port", None) or free_port()
    server.outer_port = getattr(server, "outer_port", None) or free_port()
    server.listening = ()
    outer = tls_host(server, location("/v1", "SetHandler gatehouse-escrow-configuration",
                                      "Require all granted"), port=server.outer_port)
    outer = outer.replace(f"127.0.0.1:{server.outer_port}", f"*:{server.outer_port}")
    return (f'DocumentRoot "{server.root}/htdocs"\n' + "".join(
        f'Alias "/{name}" "{server.root}/htdocs/page"\n'
        for name in ("provider", "uem", "admin", "both"))
        + f'EscrowPinFile "{pins}"\n'
        + f'EscrowVaultKey k1 file:{server.secret("vault-key")}\n'
        + tls_host(server, pages + "    EscrowTLS api\n")
        + tls_host(server, "", name="other.example")
        + tls_host(server, admin + "    EscrowTLS api\n", port=server.admin_port) + outer)


@pytest.fixture(scope="module")
def nodes(make_module_server):
    """Two servers with one store."""
    first = make_module_server(content, own_modules=OWN_MODULES, modules=(*MODULES, "alias"))
    first.allow(*SSL_CHATTER)

    def same(server):
        for name in ("provider", "uem", "admin", "stranger", "tls"):
            setattr(server, name, getattr(first, name))
        (server.root / "pins").write_text((first.root / "pins").read_text())
        return content(server)

    second = make_module_server(same, own_modules=OWN_MODULES, modules=(*MODULES, "alias"),
                                store=first.store_uri)
    second.allow(*SSL_CHATTER)
    return first, second


@pytest.fixture(autouse=True)
def chatter(nodes):
    for node in nodes:
        node.allow(*SSL_CHATTER)


def configure(server, method="GET", body=None, identity=None, headers=None, query=""):
    answer = ask(server, "/v1/configuration" + query, identity or server.admin, method, body,
                 headers, port=server.admin_port)
    if method in ("GET", "PUT") and answer.status != 404:
        openapi.check(method, "/v1/configuration", answer)
    return answer


def test_the_document_is_served(nodes):
    first, _ = nodes
    answer = ask(first, "/v1/openapi.json", first.admin, port=first.admin_port)
    assert answer.status == 200 and json.loads(answer.body) == openapi.DOCUMENT
    openapi.check("GET", "/v1/hc", ask(first, "/v1/hc", first.admin, port=first.admin_port))


def test_a_file_of_pins_that_is_removed(nodes):
    """Its pins end; once it is back they count again."""
    first, _ = nodes
    first.allow("GH1341")
    assert configure(first).status == 200
    away = (first.root / "pins").rename(first.root / "pins.away")
    wait_until(lambda: configure(first).status == 403, 20, what="the end of the pins")
    away.rename(first.root / "pins")
    wait_until(lambda: configure(first).status == 200, 20, what="the pins")


def test_a_bad_line_of_a_file_of_pins(nodes):
    """It lets nobody in, and it is said which it is and why; the other lines count, new ones too.
    gatehousectl check tells of it, and httpd would not start with it."""
    first, _ = nodes
    path = first.root / "pins"
    before = path.read_text()
    problem(ask(first, "/uem", first.uem), 403, "GH1150")
    path.write_text(f"{first.provider.pin} everybody\n{first.uem.pin} uem\n{before}")
    first.expect("GH1515")
    wait_until(lambda: ask(first, "/uem", first.uem).status == 200, 20, what="the good line")
    assert configure(first).status == 200
    problem(ask(first, "/provider", first.provider), 403, "GH1150")
    assert re.search(rf"GH1515: line 1 of {path}: a role is provider, uem or admin",
                     first.log.text())
    row, = [row for row in first.ctl("check").objects if row["name"] == "escrow.pins"]
    assert row["verdict"] == "error" and row["gh"] == "GH1159"
    assert f"line 1 of {path}" in row["message"], row
    result = first.configtest()
    assert result.returncode != 0 and "GH1159" in result.stderr
    path.write_text(before)
    wait_until(lambda: ask(first, "/uem", first.uem).status == 403, 20, what="the end of the pin")
    assert all(row["name"] != "escrow.pins" or row["verdict"] == "ok"
               for row in first.ctl("check").objects)


def test_pins_of_the_store(nodes):
    """A pin counts for the next request on another node, and so does its end; roles are apart."""
    first, second = nodes
    problem(ask(second, "/provider", first.provider), 403, "GH1150")
    pin = first.ctl_ok("pin", "add", first.provider.pin, "--role", "provider", "--label", "ours",
                       "--expires", "30d").object
    assert pin["thumbprint"] == first.provider.pin and pin["role"] == "provider"
    for node in nodes:
        assert ask(node, "/provider", first.provider).body == b"inside\n"
        assert ask(node, "/both", first.provider).status == 200
        problem(ask(node, "/uem", first.provider), 403, "GH1150")
        problem(ask(node, "/admin", first.provider), 403, "GH1150")
    listed, = first.ctl_ok("pin", "list").objects
    assert listed["label"] == "ours" and listed["created_by"]
    wait_until(lambda: first.ctl_ok("pin", "list").object["last_used"], 10, 0.2,
               what="when it was used")
    first.ctl_ok("pin", "remove", first.provider.sha256)
    for node in nodes:
        problem(ask(node, "/provider", first.provider), 403, "GH1150")
    missing = first.ctl("pin", "remove", first.provider.pin)
    assert missing.status == 3 and "GH1185" in missing.err
    events = [line["event"] for line in wait_until(
        lambda: [line for line in first.audit() + second.audit()
                 if line.get("subject") == first.provider.pin
                 and line["event"] in ("pin", "unpin")][1:] and
        [line for line in first.audit() + second.audit()
         if line.get("subject") == first.provider.pin], 5, what="the audit log")]
    assert {"pin", "unpin"} <= set(events)


def test_ctl_refuses(nodes):
    first, _ = nodes
    for arguments, number in (((first.uem.pin, "--role", "admin"), "GH1181"),
                              ((first.uem.pin,), "GH1182"), (("x", "--role", "uem"), "GH1147"),
                              ((first.uem.pin, "--role", "uem", "--expires", "2020-01-01T00:00:00Z"),
                               "GH1183"),
                              ((first.uem.pin, "--role", "uem", "--label", "x" * 201), "GH1184")):
        result = first.ctl("pin", "add", *arguments)
        assert result.status == 2 and number in result.err, result


def test_pin_file(nodes):
    """The file is read again; a line with a mistake takes nobody else's place."""
    first, _ = nodes
    path = first.root / "pins"
    kept = path.read_text()
    path.write_text(kept + f"{first.uem.pin} uem\n")
    wait_until(lambda: ask(first, "/uem", first.uem).status == 200, 10, 0.1)
    first.allow("GH1515")
    path.write_text(kept + f"rubbish\n{first.uem.pin} uem\n")
    wait_until(lambda: ask(first, "/uem", first.uem).status == 200
               and "GH1515" in first.log.text(), 10, 0.1, what="a complaint")
    path.write_text(kept)
    wait_until(lambda: ask(first, "/uem", first.uem).status == 403, 10, 0.1)


def test_configuration(nodes):
    """Pins by the API: pasted ones too; the version guards against lost updates."""
    first, second = nodes
    before = configure(first)
    assert before.status == 200, before
    assert json.loads(before.body)["client_certificate_thumbprints"] == []
    pasted = "\u200e" + ":".join(first.uem.sha1[i:i + 2] for i in range(0, 40, 2)).upper() + " \0"
    wish = {"client_certificate_thumbprints":
            [pasted, {"thumbprint": first.provider.sha256, "role": "provider", "label": "a"}]}
    made = configure(first, "PUT", wish, headers={"If-Match": before.headers["ETag"]})
    assert made.status == 200, made.body
    answer = json.loads(made.body)
    assert set(answer["client_certificate_thumbprints"]) == {f"sha1:{first.uem.sha1}",
                                                             first.provider.pin}
    assert made.headers["ETag"] != before.headers["ETag"]
    for node in nodes:
        assert ask(node, "/uem", first.uem).status == 200
        assert ask(node, "/provider", first.uem).status == 200
        assert ask(node, "/provider", first.provider).status == 200
        assert ask(node, "/uem", first.provider).status == 403
    problem(configure(second, "PUT", wish, headers={"If-Match": before.headers["ETag"]}), 412,
            "GH1192")
    problem(configure(first, "PUT", {"client_certificate_thumbprints": []}), 409, "GH1191")
    assert ask(first, "/uem", first.uem).status == 200
    done = configure(second, "PUT", {"client_certificate_thumbprints": []}, query="?force=true")
    assert json.loads(done.body)["pins"] == []
    for node in nodes:
        assert ask(node, "/uem", first.uem).status == 403
    wait_until(lambda: [line for line in first.audit() + second.audit()
                        if line["event"] == "configure" and line["result"] == "done"
                        and f"before: {first.provider.pin}" in line.get("message", "")
                        or f"sha1:{first.uem.sha1}" in line.get("message", "")], 5)


def test_many_pins_in_the_audit(nodes):
    """Each is found, in few rows; and the configuration before and after by its digest."""
    first, second = nodes
    pins = [f"sha256:{hashlib.sha256(bytes([number])).hexdigest()}" for number in range(120)]
    wish = [{"thumbprint": pin, "role": "uem"} for pin in pins]
    assert configure(first, "PUT", {"client_certificate_thumbprints": wish}).status == 200
    digest = hashlib.sha256(",".join(f"{pin} uem" for pin in sorted(pins)).encode()).hexdigest()

    def told():
        lines = first.audit() + second.audit()
        came = [line for line in lines if line["event"] == "pin"
                and line["subject"].endswith(" pins")]
        texts = ",".join(line["message"] for line in came)
        return (all(pin in texts for pin in pins) and len(came) == 5
                and all(line["profile"] == "uem" for line in came)
                and any(f"now: 120 pins, SHA-256 of their list {digest}"
                        in line.get("message", "") for line in lines))

    wait_until(told, 20, what="the audit log")
    assert configure(first, "PUT", {"client_certificate_thumbprints": []},
                     query="?force=true").status == 200


@pytest.mark.parametrize("options", [("--tls-max", "1.2"), ("--tlsv1.3",)], ids=["1.2", "1.3"])
def test_configuration_by_curl(nodes, options):
    """Read, change, change again with a version that is old, by another client than Python's."""
    first, second = nodes

    def send(*more, who=first.admin):
        status, headers, body = curl(first, "/v1/configuration?force=true", who, *options, *more,
                                     port=first.admin_port)
        return status, headers, json.loads(body)

    def put(pins, version):
        return send("-X", "PUT", "-H", "Content-Type: application/json", "-H",
                    f"If-Match: {version}", "--data", json.dumps(
                        {"client_certificate_thumbprints": pins}))

    status, headers, _ = send()
    assert status == 200
    version = headers["etag"]
    status, headers, answer = put([{"thumbprint": first.uem.pin, "role": "uem"}], version)
    assert status == 200 and answer["client_certificate_thumbprints"] == [first.uem.pin]
    assert ask(second, "/uem", first.uem).status == 200
    status, _, answer = put([], version)
    assert (status, answer["gh"]) == (412, "GH1192")
    assert put([], headers["etag"])[0] == 200
    assert ask(second, "/uem", first.uem).status == 403
    status, _, answer = send(who=first.stranger)
    assert (status, answer["gh"]) == (403, "GH1150")


def test_configuration_refuses(nodes):
    first, _ = nodes
    for body, number in ((b"{", "GH1189"), (b"[]", "GH1189"), (b'{"a": 1}', "GH1190"),
                         ({"client_certificate_thumbprints": ["zz"]}, "GH1190"),
                         ({"client_certificate_thumbprints": "zz"}, "GH1190"),
                         ({"client_certificate_thumbprints": [
                             {"thumbprint": first.uem.pin, "role": "admin"}]}, "GH1190"),
                         ({"server_certificate": {"pkcs12": "!"}}, "GH1190"),
                         ({"server_certificate": {"pkcs12": "AAAA"}}, "GH1121"),
                         ({"server_certificate": {"pkcs12": "AAAA", "name": "x"}}, "GH1195")):
        problem(configure(first, "PUT", body), 400, number)
    problem(configure(first, "PUT", b" " * (8 * 1024 * 1024 + 1)), 413, "GH1164")
    problem(configure(first, "POST", {}), 405, "GH1188")
    problem(ask(first, "/v1/other", first.admin, port=first.admin_port), 404, "GH1188")
    hosts = [json.loads(ask(node, "/v1/hc", port=node.admin_port).body)["host"] for node in nodes]
    assert all(len(host) == 32 for host in hosts)


def own_address():
    """An address of this machine that is no loopback one, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


def test_configuration_is_for_administrators_of_this_machine(nodes):
    first, _ = nodes
    if address := own_address():
        made = context(first, first.admin)
        connection = http.client.HTTPConnection(address, first.outer_port, timeout=30)
        raw = socket.create_connection((address, first.outer_port), timeout=30)
        connection.sock = made.wrap_socket(raw, server_hostname="localhost")
        problem(on(connection, "/v1/configuration"), 403, "GH1186")
        connection.close()
    # Require lets him in there, and he is no administrator
    problem(ask(first, "/v1/configuration", first.stranger, port=first.outer_port), 403, "GH1187")
    problem(configure(first, identity=first.stranger), 403, "GH1150")
    problem(ask(first, "/v1/configuration", port=first.admin_port), 401, "GH1149")


def server_p12(name, chain=(), password=b"a password", **options):
    issuer = options.pop("issuer", None)
    made = escrow.make_certificate(name, "rsa2048-02", usage=options.pop("usage", SERVER),
                                   hosts=("localhost",), issuer=issuer,
                                   issuer_key="p256-01" if issuer else None, **options)
    data = pkcs12.serialize_key_and_certificates(
        b"tls", key("rsa2048-02"), made, list(chain) or None,
        serialization.BestAvailableEncryption(password))
    return made, {"pkcs12": base64.b64encode(data).decode(), "password": password.decode()}


def presented(node, version, name="localhost"):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    connection = connect(node, made=made, name=name)
    der = connection.sock.getpeercert(True)
    connection.close()
    return x509.load_der_x509_certificate(der)


def test_tls_certificate(nodes):
    """It is presented to the next handshake, on every node, for that virtual host alone; a connection
    that is there goes on."""
    first, second = nodes
    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    first.ctl_ok("pin", "add", first.uem.pin, "--role", "uem")
    kept = [(connect(node, first.uem, version)) for node in nodes for version in versions]
    for connection in kept:
        assert on(connection, "/uem").status == 200
    shown, = json.loads(configure(first).body)["server_certificates"]
    assert (shown["name"], shown["generation"], shown["updated"]) == ("api", 0, None)
    assert shown["thumbprint_sha256"] == first.tls.sha256
    now = datetime.datetime.utcnow()
    root = escrow.make_certificate("a root", "p256-01", ca=True)
    for options, number in (({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "GH1174"),
                            ({"start": now - datetime.timedelta(days=90), "days": 30}, "GH1173"),
                            ({"issuer": root}, "GH1175")):
        problem(configure(first, "PUT", {"server_certificate": server_p12("bad", **options)[1]}),
                400, number)
    wrong = server_p12("bad")[1]
    problem(configure(first, "PUT", {"server_certificate": {**wrong, "password": "x"}}), 400,
            "GH1119")
    made, wish = server_p12("new", issuer=root, chain=[root])
    answer = configure(first, "PUT", {"server_certificate": wish})
    assert answer.status == 200, answer.body
    assert b"PRIVATE KEY" not in answer.body
    stored, = json.loads(answer.body)["server_certificates"]
    assert stored["name"] == "api" and stored["generation"] == 1 and "BEGIN CERTIFICATE" in stored["certificates"]
    for node in nodes:
        for version in versions:
            assert presented(node, version) == made
            assert presented(node, version, "other.example") == first.tls.certificate
    for connection in kept:
        assert on(connection, "/uem").status == 200
        connection.close()
    first.restart()
    first.allow(*SSL_CHATTER)
    assert presented(first, versions[1]) == made
    first.ctl_ok("pin", "remove", first.uem.pin)
    secret = key("rsa2048-02").private_bytes(serialization.Encoding.DER,
                                             serialization.PrivateFormat.PKCS8,
                                             serialization.NoEncryption())
    for path in [path for node in nodes for path in node.root.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        assert secret[200:300] not in data and b"a password" not in data, path


def test_wrong_key_of_the_vault(nodes):
    """It is found at the start."""
    _, second = nodes
    second.stop()
    right = second.secret("vault-key").read_text()
    second.make_secret("vault-key", "18" * 32)
    with pytest.raises(AssertionError, match="GH1171"):
        second.start()
    second.expect("GH1171")
    second.allow("AH00020")
    second.make_secret("vault-key", right)
    second.start()
    presented(second, ssl.TLSVersion.TLSv1_3)


def test_store_away(make_server):
    """Nobody is let in by pins that are older than a second; those of files go on."""
    with Cluster() as cluster:
        uri = cluster.database()
        folder = re.search(r"host=(\S+)", uri)[1]
        proxy = Proxy(f"{folder}/.s.PGSQL.5432")
        through = re.sub(r"host=\S+", f"host=127.0.0.1 port={proxy.port} sslmode=disable", uri)
        node = make_server(content, own_modules=OWN_MODULES, modules=(*MODULES, "alias"),
                           store=through)
        node.allow(*SSL_CHATTER, *AWAY)
        node.ctl_ok("pin", "add", node.uem.pin, "--role", "uem")
        assert ask(node, "/uem", node.uem).status == 200
        proxy.refuse()
        refusal = wait_until(lambda: (lambda one: one if one.status != 200 else None)(
            ask(node, "/uem", node.uem)), 10, 0.1, what="a refusal")
        problem(refusal, 503, "GH1153")
        assert refusal.headers["Retry-After"]
        assert ask(node, "/admin", node.admin).status == 200
        assert ask(node, "/uem").status == 401
        node.expect("GH1162")
        proxy.open()
        wait_until(lambda: ask(node, "/uem", node.uem).status == 200, 20, 0.2, what="the store")
        node.stop()
        proxy.close()
