# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The API by curl and Python, over TLS 1.2 and 1.3, at a real httpd that balances two nodes."""

import json
import ssl
import uuid
from urllib.parse import quote

import pytest

from harness.credentials import (Device, encryption, new_pair, query_of, signing, skeleton_of,
                                 upload_of)
from harness.escrow import (MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, curl, problem,
                            tls_host)
from harness.config import location
from harness.server import wait_until

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CURL = {"1.2": ("--tls-max", "1.2"), "1.3": ("--tlsv1.3",)}
HEADER = "X-Client-Cert"


def backend(server):
    """A node: by plain HTTP from the balancer, which alone may say whose certificate it was."""
    for name in ("provider", "uem", "stranger"):
        if not hasattr(server, name):
            setattr(server, name, Identity(server.root / "ca", name, "p256-01"))
    if not hasattr(server, "device_ca"):
        server.device_ca = Identity(server.root / "ca", "device-ca", "rsa2048-04", ca=True)
    server.make_secret("vault", "5e" * 32)
    guard = ["SetHandler gatehouse-escrow", "AuthType gatehouse-cert",
             f"ThumbprintSource header {HEADER} nginx", "EscrowDeliver demo"]
    return "".join([
        f'EscrowVaultKey k1 file:{server.secret("vault")}\n', "EscrowPoll 60s\n",
        f"EscrowDeviceCA {server.device_ca.path}\n",
        "<UEM demo>\n    UEMURL https://127.0.0.1:1/{{profile.uuid}}\n</UEM>\n",
        "ThumbprintTrustedProxy 127.0.0.1\n",
        location("/v2", *guard, "Require thumbprint pinned role=provider"),
        location("/v2/certificates/status", *guard, "Require thumbprint pinned role=uem"),
        location("/v1/profiles", *guard, "Require thumbprint pinned role=uem")])


class Site:
    """A balancer in front of two nodes with one store."""

    def __init__(self, make):
        self.nodes = [make(backend, own_modules=OWN_MODULES, modules=MODULES)]
        first = self.nodes[0]

        def same(server):
            for name in ("provider", "uem", "stranger", "device_ca"):
                setattr(server, name, getattr(first, name))
            return backend(server)

        self.nodes.append(make(same, own_modules=OWN_MODULES, modules=MODULES,
                               store=first.store_uri))
        self.first = first
        members = "".join(f"    BalancerMember {node.url()}\n" for node in self.nodes)
        self.front = make(
            lambda server: f"<Proxy balancer://nodes>\n{members}    ProxySet lbmethod=byrequests\n"
            "</Proxy>\n" + tls_host(server, f"""    RequestHeader unset {HEADER}
    RequestHeader set {HEADER} "%{{SSL_CLIENT_CERT}}s"
    ProxyPass "/" "balancer://nodes/"
"""), own_modules=OWN_MODULES, modules=(*MODULES, "proxy", "proxy_http", "slotmem_shm",
                                        "proxy_balancer", "lbmethod_byrequests"))
        for one in (*self.nodes, self.front):
            one.allow(*SSL_CHATTER, "GH0817", "GH0818")
        for role in ("provider", "uem"):
            first.ctl_ok("pin", "add", getattr(first, role).pin, "--role", role)

    def curl(self, version, path, who, method="GET", body=None):
        """@return status and what the answer has"""
        options = ["-X", method, *CURL[version]]
        if body is not None:
            path_of_body = self.front.root / "body.json"
            path_of_body.write_text(json.dumps(body))
            options += ["-H", "Content-Type: application/json", "--data-binary",
                        f"@{path_of_body}"]
        status, headers, text = curl(self.front, path, who, *options)
        return status, json.loads(text) if text else headers

    def python(self, version, path, who, method="GET", body=None):
        answer = ask(self.front, path, who, method, body, version=VERSIONS[version])
        return answer.status, json.loads(answer.body) if answer.body else answer.headers


@pytest.fixture(scope="module")
def site(make_module_server):
    return Site(make_module_server)


@pytest.fixture(autouse=True)
def chatter(site):
    for one in (*site.nodes, site.front):
        one.allow(*SSL_CHATTER, "GH0817", "GH0818")


def answered(server):
    path = server.root / "log" / "access.log"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", ["curl", "python"])
def test_whole_api(site, client, version):
    """Every call, each on whichever node."""
    send, first = getattr(site, client), site.first
    pair = new_pair()
    device = Device(pair["device_uuid"], first.device_ca)
    before = [answered(node) for node in site.nodes]
    skeleton = skeleton_of(pair, device, "{{escrow.encryption[0].pkcs12}}")
    status, made = send(version, "/v1/profiles", first.uem, "POST", skeleton)
    assert status == 202 and made["waiting_for"] == ["encryption"]
    sent = upload_of(pair, signing=[signing()], encryption=[encryption()])
    status, receipt = send(version, "/v2/certificates", first.provider, "POST", sent)
    assert status == 201 and receipt["completes"] == [made["id"]]
    assert send(version, "/v2/certificates", first.provider, "POST", sent) == (200, receipt)
    status, shown = send(version, "/v1/profiles/" + made["id"], first.uem)
    assert status == 200 and shown["status"] in ("completing", "queued")
    status, listed = send(version, "/v2/certificates" + query_of(pair), first.provider)
    assert status == 200 and len(listed["credentials"]) == 2
    status, said = send(version, "/v2/certificates/status" + query_of(pair), first.uem)
    assert status == 200 and said["available"]
    assert send(version, "/v1/profiles/" + made["id"], first.uem, "DELETE")[0] == 204
    assert send(version, "/v2/certificates" + query_of(pair), first.provider, "DELETE")[0] == 204
    for who, number, expected in ((first.stranger, "GH1150", 403), (None, "GH1149", 401)):
        status, refusal = send(version, "/v2/certificates", who, "POST", sent)
        assert (status, refusal["gh"]) == (expected, number)
    # a role is no other one
    status, refusal = send(version, "/v1/profiles", first.provider, "POST", skeleton)
    assert (status, refusal["gh"]) == (403, "GH1150")
    wait_until(lambda: all(answered(node) > count for node, count in zip(site.nodes, before)), 10,
               what="requests at both nodes")


def test_pins_behind_the_balancer(site):
    """One that is taken away counts no more, whichever node is asked next."""
    first = site.first
    late = Identity(first.root / "ca", f"late-{uuid.uuid4().hex[:8]}", "p256-01")
    path = "/v2/certificates/status" + query_of(new_pair())
    first.ctl_ok("pin", "add", late.pin, "--role", "uem")
    assert [ask(site.front, path, late).status for _ in range(6)] == [200] * 6
    first.ctl_ok("pin", "remove", late.pin)
    assert [ask(site.front, path, late).status for _ in range(6)] == [403] * 6


def test_forged_header(site):
    """What a client says of itself is gone at the balancer, however it is written; two are none."""
    first = site.first
    path = "/v2/certificates/status" + query_of(new_pair())
    value = quote(first.provider.pem, safe="")
    for name in (HEADER, HEADER.lower(), HEADER.replace("-", "_")):
        problem(ask(site.front, path, first.stranger, headers={name: value}), 403, "GH1150")
        problem(ask(site.front, path, headers={name: value}), 401, "GH1149")
    twice = {HEADER: f"{value}\r\n{HEADER}: {value}"}
    problem(first.get(path, headers=twice), 403, "GH1152")
