# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Ways to CA gateways: several of them, proxies, credentials with several keys, whom to trust."""

import base64
import os
import subprocess

import pytest
from asn1crypto import core, pkcs12
from cryptography import x509

from harness import standard
from harness.config import location
from harness.remote import (ISSUER, PATH, PROFILE, TROUBLE, Remote, content, issuer,
                            start_gateway, succeeded)
from harness.server import Server, wait_until

PASSWORD = "proxy: secret / ä"


@pytest.fixture
def gateway(tmp_path):
    made = start_gateway(tmp_path)
    yield made
    made.close()
    made.check()


def test_several_gateways(make_server, gateway, tmp_path, subject):
    """Two CAs behind one gateway, one behind another: each request reaches the CA of its issuer."""
    folder = tmp_path / "another"
    folder.mkdir()
    another = start_gateway(folder, cas=("spare-1", "spare-2", "CA1001"))
    others = {"second": (gateway, "acme~devices"), "third": (another, "CA1001")}

    def made(server):
        text = content(gateway)(server).replace(
            f"SCEPTenant acme {ISSUER} devices", f"SCEPTenant acme {ISSUER} devices second third")
        for name, (where, ca) in others.items():
            text += issuer(server, where, name=name, ca=ca) \
                + location(f"/scep/acme/{name}/{PROFILE}", standard.challenge(server))
        return text

    remote = Remote(lambda _, **options: make_server(made, **options), gateway)
    remote.server.allow("GH0209", "GH0210", "GH0782")
    for number, (name, where, ca) in enumerate([(ISSUER, gateway, "CA1001"),
                                                ("second", gateway, "acme~devices"),
                                                ("third", another, "CA1001")]):
        path = PATH.replace(ISSUER, name)
        wait_until(lambda path=path: all(
            remote.server.get(f"{path}?operation=GetCACert").status == 200 for _ in range(12)), 30,
            0.3, "the RA")
        wanted = subject.replace("CN=", f"CN={number}-")
        reply = remote.enrol(wanted, client=remote.server.client(path))
        assert reply.succeeded, reply
        cn = wanted.split(",")[0]
        assert [issued for issued in where.issued(ca=ca)
                if cn in issued.certificate.subject.rfc4514_string()]
    another.close()


# credentials with several keys

def join(folder, *paths):
    """One PKCS#12 with what is in several, all under one passphrase. @return its path"""
    safes = []
    for path in paths:
        pfx = pkcs12.Pfx.load(path.read_bytes())
        safes += list(pkcs12.AuthenticatedSafe.load(pfx["auth_safe"]["content"].native))
    safe = pkcs12.AuthenticatedSafe(safes)
    whole = pkcs12.Pfx({"version": "v3", "auth_safe": {
        "content_type": "data", "content": core.OctetString(safe.dump())}})
    made = folder / "several.p12"
    made.write_bytes(whole.dump())
    os.chmod(made, 0o600)
    return made


@pytest.fixture
def several(gateway, tmp_path):
    return join(tmp_path, gateway.credential,
                gateway.tls.credential("reader.p12", name="reader", alias="reading",
                                       key_name="rsa2048-11"))


def test_one_of_several_keys(make_server, gateway, several, subject):
    """The one that alias= names is the one that is shown."""
    remote = Remote(make_server, gateway, start=False)
    text = remote.server.content
    own = f'"{gateway.credential}" passphrase='
    assert own in text
    remote.server.configure(text.replace(own, f'"{several}" alias=gateway passphrase='))
    remote.server.start()
    remote.ready()
    succeeded(remote, remote.enrol(subject), subject)
    names = {x509.load_der_x509_certificate(call.peer).subject.rfc4514_string()
             for call in gateway.calls}
    assert names == {"CN=gatehouse"}
    # the other may only read, which is told
    remote.server.configure(text.replace(own, f'"{several}" alias=reading passphrase='))
    remote.server.allow(*TROUBLE)
    remote.server.graceful()
    other = subject.replace("CN=", "CN=other-")
    reply = remote.enrol(other)
    assert reply.pending
    wait_until(lambda: "cagw-4032" in remote.server.log.text(), 20, 0.3, "the gateway's reason")
    remote.server.configure(text.replace(own, f'"{several}" alias=gateway passphrase='))
    remote.server.graceful()
    succeeded(remote, remote.wait(reply, 60), other)


def test_which_of_several_must_be_said(make_server, gateway, several):
    remote = Remote(make_server, gateway, start=False)
    text = remote.server.content
    own = f'"{gateway.credential}" passphrase='
    for words, number in (("", "GH0794"), ("alias=nobody ", "GH0793")):
        remote.server.configure(text.replace(own, f'"{several}" {words}passphrase='))
        checked = remote.server.configtest()
        assert number in checked.stderr and checked.returncode != 0, checked


# whom to trust

def trust_store(gateway, folder):
    """A PKCS#12 with CAs and without keys."""
    path = folder / "trust.p12"
    subprocess.run(["openssl", "pkcs12", "-export", "-nokeys", "-in", gateway.tls.ca_path, "-out",
                    path, "-passout", "pass:trusted"], check=True, timeout=30)
    return path


def test_trust(make_server, gateway, tmp_path, subject):
    """A file of either form, and the CAs in the credential; the system trusts others."""
    remote = Remote(make_server, gateway).ready()
    text = remote.server.content
    pem = f'IssuerTrust "{gateway.tls.ca_path}"'
    assert pem in text
    remote.server.make_secret("trusted", "trusted")
    store = trust_store(gateway, tmp_path)
    store_words = f'IssuerTrust "{store}" passphrase=file:{remote.server.secret("trusted")}'
    for number, words in enumerate((store_words, "IssuerTrust credential")):
        remote.server.configure(text.replace(pem, words))
        remote.server.graceful()
        name = subject.replace("CN=", f"CN={number}-")
        reply = remote.enrol(name)
        succeeded(remote, remote.wait(reply, 40) if reply.pending else reply, name)
    remote.server.configure(text.replace(pem, "IssuerTrust system"))
    remote.server.allow(*TROUBLE)
    remote.server.graceful()
    reply = remote.enrol(subject)
    assert reply.pending and not remote.at_ca(subject)
    wait_until(lambda: "GH0803" in remote.server.log.text(), 20, 0.3, "the reason")
    for words, number in ((f'IssuerTrust "{store}"', "GH0799"),
                          (f'IssuerTrust "{store}" passphrase=trusted', "GH1088")):
        remote.server.configure(text.replace(pem, words))
        checked = remote.server.configtest()
        assert number in checked.stderr and checked.returncode != 0, checked


# proxies

@pytest.fixture
def proxy(gateway):
    """An httpd that connects who has a password."""
    server = Server(own_modules=(), store="", profiles=False, modules=(
        "proxy", "proxy_connect", "authn_file", "auth_basic", "authz_user", "log_config"))
    users = server.root / "users"
    subprocess.run(["htpasswd", "-bcs", users, "gatehouse", PASSWORD], check=True, timeout=30,
                   stderr=subprocess.DEVNULL)
    users.chmod(0o644)
    frame = server.conf.read_text()
    server.conf.write_text("\n".join(line for line in frame.splitlines()
                                     if not line.startswith("Gatehouse")) + f"""
ProxyRequests On
AllowCONNECT {gateway.port}
<Proxy "*">
    AuthType Basic
    AuthName proxy
    AuthUserFile "{users}"
    Require valid-user
</Proxy>
""")
    server.start()
    yield server
    server.close()


def test_proxy_with_password(make_server, gateway, proxy, subject):
    remote = Remote(make_server, gateway, start=False, proxy="http://127.0.0.1:@@")
    secret = remote.server.make_secret("proxy", PASSWORD)
    text = remote.server.content.replace(":@@", f":{proxy.port} @@")
    remote.server.configure(text.replace("@@", f"user=gatehouse password=file:{secret}"))
    remote.server.start()
    remote.ready()
    succeeded(remote, remote.enrol(subject), subject)
    # the proxy wants a password, and another one
    wrong = remote.server.make_secret("wrong", "wrong")
    remote.server.allow(*TROUBLE)
    proxy.allow("AH01617", "AH01618")
    for words in ("", f"user=gatehouse password=file:{wrong}"):
        remote.server.configure(text.replace("@@", words))
        mark = remote.server.log.size()
        remote.server.graceful()
        wait_until(lambda mark=mark: "407" in remote.server.log.text(mark), 30, 0.3, "the refusal")
    # what went through is logged when it ends
    remote.server.stop()
    wait_until(lambda: f'"CONNECT 127.0.0.1:{gateway.port} HTTP/1.1" 200' in
               (proxy.root / "log" / "access.log").read_text(), 20, 0.3, "the tunnel")
    everything = remote.server.log.text() + remote.server.audit_path.read_text()
    assert PASSWORD not in everything
    assert base64.b64encode(f"gatehouse:{PASSWORD}".encode()).decode() not in everything


@pytest.mark.parametrize("words,number", [
    ("user=gatehouse", "GH1087"), ("password=file:/nowhere", "GH1087"),
    ("user=gatehouse password=secret", "GH1086"), ("user=a:b password=file:/nowhere", "GH1086"),
    ("more", "GH1086"),
])
def test_proxy_configuration(make_server, gateway, words, number):
    remote = Remote(make_server, gateway, start=False, proxy=f"http://127.0.0.1:3128 {words}")
    checked = remote.server.configtest()
    assert number in checked.stderr and checked.returncode != 0, checked
    assert "=secret" not in checked.stderr


# what a gateway's profile is asked for

def details(call):
    return call.json().get("optionalCertificateRequestDetails") or {}


def test_what_is_asked_for(make_server, gateway, subject):
    """Exactly what IssuerGatewayProfile says, in the words of IssuerGatewaySpelling."""
    remote = Remote(make_server, gateway).ready()
    text = remote.server.content
    succeeded(remote, remote.enrol(subject), subject)
    plain = gateway.calls_of("enroll")[-1]
    assert not {"validityPeriod", "extensions"} & set(details(plain))
    assert "properties" not in plain.json()
    words = f'IssuerGatewayProfile {PROFILE} {PROFILE} validity=36h extensions=eku ' \
        '"property=requesterEmail=pki@example.com"\n'
    remote.server.configure(text.replace("    IssuerTrust", f"    {words}    IssuerTrust", 1))
    remote.server.graceful()
    name = subject.replace("CN=", "CN=asked-")
    reply = remote.enrol(name)
    reply = remote.wait(reply) if reply.pending else reply
    succeeded(remote, reply, name)
    call = gateway.calls_of("enroll")[-1]
    assert details(call)["validityPeriod"] == "PT129600S"
    assert call.json()["properties"] == {"requesterEmail": "pki@example.com"}
    made = x509.load_der_x509_certificate(reply.issued)
    assert (made.not_valid_after - made.not_valid_before).total_seconds() == 129600
    # a gateway that does not heed it
    remote.server.allow(*TROUBLE)
    gateway.lifetimes[PROFILE] = (0, 10 * 86400)
    longer = subject.replace("CN=", "CN=longer-")
    first = remote.enrol(longer)
    assert first.pending, first
    assert "GH1326" in str(remote.wait_state(first, "in-doubt"))
    assert remote.client().poll(first.request).pending
    wait_until(lambda: [one.status for one in remote.at_ca(longer)] == ["revoked"], 20,
               what="its revocation at the CA")
    gateway.lifetimes.clear()
    # another gateway's words; and the validity that the profile here gives
    remote.server.configure(text.replace(
        "    IssuerTrust", f"    IssuerGatewayProfile * {PROFILE} validity=profile\n"
        "    IssuerGatewaySpelling validity=validity_period properties=tracking.\n"
        "    IssuerTrust", 1))
    remote.server.graceful()
    other = subject.replace("CN=", "CN=words-")
    reply = remote.enrol(other)
    assert (remote.wait(reply) if reply.pending else reply).succeeded
    call = gateway.calls_of("enroll")[-1]
    assert details(call)["validity_period"].startswith("P") and "validityPeriod" not in \
        details(call)


@pytest.mark.parametrize("words,number", [
    ("IssuerGatewayProfile * x validity=", "GH1089"),
    ("IssuerGatewayProfile * x validity=30", "GH1089"),
    ("IssuerGatewayProfile * x property=lonely", "GH1089"),
    ("IssuerGatewayProfile * x extensions=all", "GH1089"),
    ("IssuerGatewayProfile *", "GH0867"),
    ("IssuerGatewaySpelling validity=a/b", "GH1090"),
    ("IssuerGatewaySpelling other=word", "GH1090"),
])
def test_words_that_are_not_understood(make_server, gateway, words, number):
    remote = Remote(make_server, gateway, start=False)
    remote.server.configure(remote.server.content.replace(
        "    IssuerTrust", f"    {words}\n    IssuerTrust", 1))
    checked = remote.server.configtest()
    assert number in checked.stderr and checked.returncode != 0, checked
