# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Callers with tickets of Kerberos: MIT's KDC, mod_auth_gssapi, curl."""

import base64
from xml.etree import ElementTree

import pytest

from harness import wstep
from harness.config import CRL_AND_CA, issuer, location
from harness.kerberos import Realm
from wstep import Envelope, Fault
from wstep import envelope as e
from wstep.client import NAMES, Client, Response

WSTEP = "/wstep/kerberos/services/acme/devices"
XCEP = "/xcep/kerberos/services/acme"
OPTIONS = {"own_modules": ("gatehouse", "wstep"),
           "modules": ("authn_file", "authz_user", "auth_gssapi")}


@pytest.fixture(scope="module")
def realm():
    made = Realm(("alice", "bob", "alice@OTHER.EXAMPLE"))
    yield made
    made.close()


def content_with(realm, *lines, gssapi=(), ahead="WSTEPDomain example.com EXAMPLE\n"):
    def content(server):
        server.environment = realm.of_httpd()
        kerberos = ["SetHandler gatehouse-wstep", "WSTEPTenant acme devices", "WSTEPTemplates *",
                    "AuthType GSSAPI", f"GssapiCredStore keytab:{realm.keytab}",
                    "GssapiAllowedMech krb5", "GssapiSSLonly off", "Require valid-user", *lines,
                    *gssapi]
        return "".join([
            "ServerName https://localhost\n", f"WSTEPPublicURL https://localhost:{server.port}\n",
            ahead, wstep.TEMPLATES, issuer(server.authority),
            location("/wstep/kerberos", *kerberos), location("/xcep/kerberos", *kerberos),
            CRL_AND_CA])
    return content


@pytest.fixture(scope="module")
def server(realm, make_module_server):
    return make_module_server(content_with(realm), **OPTIONS)


def url(server, path):
    return f"http://localhost:{server.port}{path}"


class KerberosClient(Client):
    """As Client, by curl with a ticket; its messages bring no UsernameToken."""

    def __init__(self, server, path, caller, service="HTTP"):
        super().__init__(url(server, path))
        self.caller = caller
        self.service = service

    def send(self, body, *options, **_):
        answers = self.caller.send(self.url, body, *options, service=self.service)
        status, headers, content = answers[-1]
        return Response(status, {"Content-Type": headers.get("content-type", "")}, content)


@pytest.fixture(scope="module")
def alice(realm):
    return realm.caller("alice")


def test_issue(server, alice):
    issued = KerberosClient(server, WSTEP, alice).issue(wstep.csr())
    assert issued.certificate.subject.rfc4514_string() == "CN=alice"
    assert not issued.stamped
    event = server.audit()[-1]
    assert event["user"] == "alice@EXAMPLE.COM" and event["result"] == "issued"


def test_query_is_the_callers(server, alice, realm):
    client = KerberosClient(server, WSTEP, alice)
    issued = client.issue(wstep.csr(number=2))
    assert client.query(issued.request_id).certificate == issued.certificate
    with pytest.raises(Fault):
        KerberosClient(server, WSTEP, realm.caller("bob")).query(issued.request_id)


def test_policies(server, alice, realm):
    told = KerberosClient(server, XCEP, alice).policies()
    assert set(told.policies) == {"User", "Machine"}
    uris = told.policies["User"].cas[0].findall("x:uris/x:cAURI", NAMES)
    assert [(u.findtext("x:clientAuthentication", None, NAMES), u.findtext("x:uri", None, NAMES))
            for u in uris] == [("2", f"https://localhost:{server.port}{WSTEP}")]
    bob = KerberosClient(server, XCEP, realm.caller("bob"))
    assert set(bob.policies().policies) == {"User", "Machine", "Bob"}


def preferring(kind):
    """Who wants this for the session key."""
    return f" default_tgs_enctypes = {kind} aes256-cts-hmac-sha1-96\n"


def message():
    return Envelope(e.GET_POLICIES, e.get_policies())


def test_no_ticket(server, alice):
    for path in (WSTEP, XCEP):
        for options in ((), ("-X", "POST", "-H", "Content-Type: application/soap+xml", "-d", "x")):
            head = alice.curl(*options, url(server, path)).split(b"\r\n\r\n")[0].decode()
            assert head.startswith("HTTP/1.1 401 ")
            assert [line for line in head.split("\r\n") if line.startswith("WWW-Auth")] \
                == ["WWW-Authenticate: Negotiate"]


def spnego(*mechanisms, token=None):
    from scep import der
    inner = der.tlv(0xa0, der.sequence(*(der.oid(m) for m in mechanisms)))
    if token:
        inner += der.tlv(0xa2, der.tlv(0x04, token))
    return der.tlv(0x60, der.oid("1.3.6.1.5.5.2") + der.tlv(0xa0, der.tlv(0x30, inner)))


NTLM = b"NTLMSSP\0\1\0\0\0\x97\x82\x08\xe2" + bytes(16)
NTLM_OID = "1.3.6.1.4.1.311.2.2.10"


@pytest.mark.parametrize("header, number", [
    (b"Negotiate " + base64.b64encode(NTLM), "GH1493"),
    (b"Negotiate " + base64.b64encode(spnego(NTLM_OID, token=NTLM)), "GH1493"),
    (b"Negotiate " + base64.b64encode(spnego(NTLM_OID)), "GH1493"),
    (b"NTLM " + base64.b64encode(NTLM), "GH1496"),
    (b"Basic YWxpY2U6c2VlZGVk", "GH1496"),
    (b"Negotiate AAAA", "GH1494"), (b"Negotiate", "GH1494"), (b"Negotiate %%%", "GH1494"),
    (b"Negotiate " + base64.b64encode(spnego("1.2.840.113554.1.2.2", token=b"\x60\x02\x05\x00")),
     "GH1494")])
def test_other_tokens(server, header, number):
    response = Client(server.url(XCEP)).send(message(), headers={"Authorization": header.decode()})
    assert response.status == 401
    assert response.headers.get_all("WWW-Authenticate") == ["Negotiate"]
    assert server.audit()[-1]["gh"] == number


def test_encryption(server, realm):
    """3DES and RC4, of the ticket or of the session key, are refused."""
    for name, kind in (("RC4", "arcfour-hmac"), ("3DES", "des3-cbc-sha1")):
        client = KerberosClient(server, XCEP, realm.caller("alice"), service=name)
        assert client.send(message()).status == 401
        assert server.audit()[-1]["gh"] == "GH1495"
        session = KerberosClient(server, XCEP, realm.caller(
            "alice", preferring(kind)))
        assert session.send(message()).status == 401
        assert server.audit()[-1]["gh"] == "GH1495"


def test_weak_by_switch(make_server, realm):
    server = make_server(content_with(realm, "WSTEPWeakKerberos on"), **OPTIONS)
    server.expect("GH1500")
    for name, kind in (("RC4", "arcfour-hmac"), ("3DES", "des3-cbc-sha1")):
        assert KerberosClient(server, XCEP, realm.caller("alice"), service=name).policies().policies
        session = realm.caller("alice", preferring(kind))
        assert KerberosClient(server, XCEP, session).policies().policies


def test_session_without_ticket(make_server, realm, alice):
    """A ticket that was good for a connection, or a cookie, does not stand in for one."""
    server = make_server(content_with(realm, gssapi=["GssapiConnectionBound on"]), **OPTIONS)
    head = ("-H", "Content-Type: application/soap+xml", "--data-binary", str(message()))
    target = url(server, XCEP)
    out = alice.curl("--negotiate", "-u", ":", *head, target, "--next", "-s", "-i", *head, target)
    assert out.count(b"HTTP/1.1 200 ") == 1
    assert out.rindex(b"HTTP/1.1 401 ") > out.index(b"HTTP/1.1 200 ")


def test_foreign_realm(make_server, realm, alice):
    server = make_server(content_with(realm, ahead="WSTEPDomain other.example OTHER\n"), **OPTIONS)
    with pytest.raises(Fault) as fault:
        KerberosClient(server, XCEP, alice).policies()
    assert fault.value.number == "GH1361"


def test_user_without_realm(make_server, realm, alice):
    server = make_server(content_with(realm, gssapi=["GssapiLocalName on"]), **OPTIONS)
    out = alice.send(url(server, XCEP), message())
    assert out[-1][0] == 401 and server.audit()[-1]["gh"] == "GH1503"


def test_realm_is_no_netbios_name(make_server, realm, alice):
    """Another realm may be called as the domain is called in NetBIOS."""
    server = make_server(content_with(
        realm, ahead="WSTEPDomain other.example EXAMPLE.COM\n"), **OPTIONS)
    with pytest.raises(Fault) as fault:
        KerberosClient(server, XCEP, alice).policies()
    assert fault.value.number == "GH1402"


def test_configtest(make_server, realm):
    result = make_server(content_with(realm, ahead=""), start=False, **OPTIONS).configtest()
    assert result.returncode != 0 and "GH1499" in result.stderr


def test_nobody_was_asked(make_server, realm, alice):
    """A location that has not been given to mod_auth_gssapi lets nobody in."""
    def content(server):
        return content_with(realm)(server).replace("Require valid-user", "Require all granted")

    server = make_server(content, **OPTIONS)
    out = alice.send(url(server, XCEP), message())
    assert out[-1][0] == 401 and b"GH1497" in out[-1][2]
    assert ElementTree.fromstring(str(message())) is not None
