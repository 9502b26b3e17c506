# Licensed under the Apache License, Version 2.0. See LICENSE.
"""WSTEP as a site has it: two nodes behind a balancer that ends TLS, a CA that is slow, several
domains."""

import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from harness import remote, wstep
from harness.active_directory import SUFFIX, ActiveDirectory, group, ldif, sid_text, user
from harness.config import CRL_AND_CA, issuer, location
from harness.escrow import SSL_CHATTER, tls_host
from harness.kerberos import Realm
from harness.server import free_port, wait_until
from scep import der
from scep.csr import extension
from test_wstep_kerberos import WSTEP as KERBEROS_WSTEP
from test_wstep_kerberos import KerberosClient
from wstep import Fault
from wstep import envelope as e
from wstep.client import NAMES

MODULES = ("authn_file", "authz_user", "auth_gssapi", "remoteip")
FRONT = ("ssl", "socache_shmcb", "proxy", "proxy_http", "slotmem_shm", "proxy_balancer",
         "lbmethod_byrequests")


class Site:
    """Two nodes with one store, and a balancer."""

    def __init__(self, make, realm):
        self.port = free_port()
        self.realm = realm
        self.nodes = [make(self.node, own_modules=("gatehouse", "wstep"), modules=MODULES)]
        first = self.nodes[0]

        def same(server):
            server.make_secret("sealing-key", first.sealing_key)
            return self.node(server)

        self.nodes.append(make(same, own_modules=("gatehouse", "wstep"), modules=MODULES,
                               store=first.store_uri, authority=first.authority))
        members = "".join(f"    BalancerMember {node.url()}\n" for node in self.nodes)

        def front(server):
            return f"<Proxy balancer://nodes>\n{members}    ProxySet lbmethod=byrequests\n" \
                "</Proxy>\n" + tls_host(server, '    ProxyPass "/" "balancer://nodes/"\n',
                                        port=self.port)

        self.front = make(front, own_modules=("gatehouse",), modules=FRONT)

    def node(self, server):
        """By plain HTTP from the balancer; the second one tells apart clients by its header."""
        server.environment = self.realm.of_httpd()
        users = f'AuthUserFile "{wstep.password_file(server)}"'
        usertoken = ["SetHandler gatehouse-wstep", "WSTEPTenant acme devices",
                     "WSTEPTemplates *", "WSTEPAuthProvider file", users]
        kerberos = ["SetHandler gatehouse-wstep", "WSTEPTenant acme devices", "WSTEPTemplates *",
                    "AuthType GSSAPI", f"GssapiCredStore keytab:{self.realm.keytab}",
                    "GssapiAllowedMech krb5", "Require valid-user"]
        return "".join([
            "ServerName https://localhost\n", f"WSTEPPublicURL https://localhost:{self.port}\n",
            "WSTEPDomain example.com EXAMPLE\n", "WSTEPFailureLimit 3 10m\n",
            "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n",
            wstep.TEMPLATES, issuer(server.authority),
            location("/wstep/usertoken", *usertoken), location("/xcep/usertoken", *usertoken),
            location("/wstep/kerberos", *kerberos), location("/xcep/kerberos", *kerberos),
            CRL_AND_CA])

    def url(self, path):
        return f"https://localhost:{self.port}{path}"

    def client(self, path=wstep.WSTEP):
        return wstep.Client(self.url(path), wstep.USER, wstep.PASSWORD)


@pytest.fixture(scope="module")
def realm():
    made = Realm()
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(make_module_server, realm):
    return Site(make_module_server, realm)


@pytest.fixture(autouse=True)
def chatter(request):
    if "site" in request.fixturenames:
        site = request.getfixturevalue("site")
        for one in (*site.nodes, site.front):
            one.allow(*SSL_CHATTER)


def test_balancer(site):
    """Whichever node answers: the same policies, which name the balancer; the same certificate."""
    told = [site.client(wstep.XCEP).policies() for _ in range(4)]
    assert len({one.id for one in told}) == 1
    uris = told[0].policies["User"].cas[0].findall("x:uris/x:cAURI", NAMES)
    assert {u.findtext("x:uri", None, NAMES) for u in uris} \
        == {site.url(wstep.WSTEP), site.url(KERBEROS_WSTEP)}
    request = wstep.csr()
    issued = [site.client().issue(request) for _ in range(4)]
    assert len({one.certificate.serial_number for one in issued}) == 1
    for _ in range(4):
        assert site.client().query(issued[0].request_id).certificate == issued[0].certificate
    counts = [len(node.audit()) for node in site.nodes]
    assert min(counts) >= 4, counts


def test_faults_come_through(site):
    with pytest.raises(Fault) as fault:
        site.client().issue(wstep.csr(template=wstep.template_extension("1.2.3.4.5")))
    assert fault.value.status == 500 and fault.value.hresult == 0x80094800


def test_kerberos_through_the_balancer(site, realm):
    """The ticket is for the name of the balancer."""
    caller = realm.caller("alice")

    class Insecure(KerberosClient):
        def send(self, body, *options, **more):
            return super().send(body, "-k", *options, **more)

    client = Insecure(site.nodes[0], KERBEROS_WSTEP, caller)
    client.url = site.url(KERBEROS_WSTEP)
    issued = [client.issue(wstep.csr(number=2)) for _ in range(2)]
    assert issued[0].certificate == issued[1].certificate
    assert issued[0].certificate.subject.rfc4514_string() == "CN=alice"


def test_failures_are_the_clients(site):
    """Wrong passwords of one client behind the balancer do not lock out another."""
    def wrong(address):
        client = wstep.Client(site.nodes[0].url(wstep.XCEP), wstep.USER, "wrong")
        return client.send(client.envelope(e.GET_POLICIES, e.get_policies()),
                           headers={"X-Forwarded-For": address}).status

    assert [wrong("192.0.2.1") for _ in range(4)] == [500, 500, 500, 503]
    assert wrong("192.0.2.2") == 500
    assert site.client(wstep.XCEP).policies().policies


def test_slow_ca(make_server, tmp_path):
    """The client is told to come back, and gets its certificate then; it is asked for once."""
    profile = "wstep-digital-signature-key-encipherment"
    gateway = remote.start_gateway(tmp_path)
    try:
        def content(server):
            users = f'AuthUserFile "{wstep.password_file(server)}"'
            return "".join([
                "ServerName https://localhost\n", wstep.TEMPLATES,
                remote.issuer(server, gateway, wait="1s max-waiting=8",
                              gatewayprofile=f"{profile} {profile} extensions=eku"),
                remote.worker_path(server),
                location("/wstep/usertoken", "SetHandler gatehouse-wstep",
                         "WSTEPTenant acme corporate", "WSTEPTemplates *",
                         "WSTEPAuthProvider file", users, "WSTEPResponse certificates")])

        server = make_server(content, own_modules=("gatehouse", "wstep"),
                             modules=("authn_file", *remote.MODULES))
        server.allow(*remote.TROUBLE)
        client = wstep.client(server, "/wstep/usertoken/services/acme/corporate")
        gateway.latency = 2.0
        request = wstep.csr(number=3)
        begin = time.monotonic()
        pending = client.issue(request)
        assert pending.certificate is None and pending.message == "Taken Under Submission"
        assert pending.reference.endswith("/wstep/usertoken/services/acme/corporate")
        # the same request again is the same enrolment
        assert client.issue(request).request_id == pending.request_id
        issued = wait_until(lambda: client.query(pending.request_id).certificate, 30, 0.3,
                            what="the certificate")
        assert time.monotonic() - begin >= 2
        assert issued.subject.rfc4514_string() == "CN=alice"
        assert client.issue(request).certificate == issued
        assert len(gateway.calls_of("enroll")) == 1
        # a fast one is had at once
        gateway.latency = 0.0
        assert client.issue(wstep.csr(number=4)).certificate
    finally:
        gateway.close()


EMEA = f"dc=emea,{SUFFIX}"


def two_domains():
    return (user("alice") + group("Domain Users", [], 513)
            + ldif(EMEA, objectClass=["dcObject", "organization"], o="Example", dc="emea")
            + ldif(f"cn=Users,{EMEA}", objectClass="applicationProcess", cn="Users")
            + user("alice", suffix=EMEA, relative=1900, mail="alice@emea.example.com",
                   userPrincipalName="alice@emea.example.com"))


def test_several_domains(make_server):
    """Two people of one name: the password, the certificate and the permission are those of the
    domain that is written."""
    directory = ActiveDirectory(two_domains())
    templates = wstep.TEMPLATES + """
<CertificateTemplate Mail>
    TemplateProfile   wstep-digital-signature
    TemplateSubject   cn mail
    TemplateAltNames  upn
    TemplateUsers     all
</CertificateTemplate>
<CertificateTemplate Europe>
    TemplateProfile   wstep-digital-signature
    TemplateUsers     EMEA\\alice
</CertificateTemplate>
<CertificateTemplate Home>
    TemplateProfile   wstep-digital-signature
    TemplateUsers     alice
</CertificateTemplate>
"""
    try:
        def content(server):
            text = wstep.content_with(
                "WSTEPDomain example.com EXAMPLE", "WSTEPDomain emea.example.com EMEA",
                "WSTEPUserName principal", f'WSTEPDirectory {directory.url()} "base={SUFFIX}"',
                templates=templates)(server)
            wstep.password_file(server, {"alice@example.com": "one",
                                         "alice@emea.example.com": "two"})
            return text

        server = make_server(content, **wstep.OPTIONS)

        def told(name, password):
            return set(wstep.client(server, wstep.XCEP, name, password).policies().policies)

        for name in ("alice", "EXAMPLE\\alice", "alice@example.com", "alice@EXAMPLE.COM"):
            assert told(name, "one") >= {"Home"} and "Europe" not in told(name, "one")
            with pytest.raises(Fault):
                told(name, "two")
        for name in ("EMEA\\alice", "alice@emea.example.com", "alice@EMEA"):
            assert "Europe" in told(name, "two") and "Home" not in told(name, "two")
            with pytest.raises(Fault):
                told(name, "one")
        request = wstep.csr(number=5, usage=("digitalSignature",), template=extension(
            "1.3.6.1.4.1.311.20.2", der.tlv(0x1e, "Mail".encode("utf-16-be"))))
        certificate = wstep.client(server, wstep.WSTEP, "EMEA\\alice", "two").issue(
            request).certificate
        assert "alice@emea.example.com" in certificate.subject.rfc4514_string()
        assert sid_text(1900).encode() in certificate.public_bytes(Encoding.DER)
        # a domain below a configured one is another one
        with pytest.raises(Fault) as fault:
            told("alice@apac.example.com", "one")
        assert fault.value.number == "GH1361"
    finally:
        directory.close()


def test_language(make_server):
    """Whatever language is preferred: what there is, named as what it is."""
    server = make_server(wstep.content_with(), **wstep.OPTIONS)
    client = wstep.client(server, wstep.XCEP)
    body = e.get_policies(client="<client><lastUpdate>0001-01-01T00:00:00</lastUpdate>"
                                 "<preferredLanguage>fr-FR</preferredLanguage></client>")
    assert client.policies(body).policies
    for language in ("fr-FR", "x" * 100):
        request = e.request(e.ISSUE, wstep.csr(template=wstep.template_extension("1.2.3.4.5")),
                            language=f'PreferredLanguage="{language}"')
        with pytest.raises(Fault) as fault:
            wstep.client(server).request(request)
        assert fault.value.language == "en-US" and fault.value.hresult == 0x80094800
