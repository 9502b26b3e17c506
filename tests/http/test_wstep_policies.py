# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Policies by MS-XCEP, and who may have them."""

import pytest

from harness import wstep
from wstep import Envelope, Fault
from wstep import envelope as e
from wstep.client import NAMES

NOBODY = 0x8007052E


@pytest.fixture(scope="module")
def server(make_module_server):
    server = make_module_server(wstep.content_with(), **wstep.OPTIONS)
    return server


@pytest.fixture
def client(server):
    return wstep.client(server, wstep.XCEP)


def test_policies(server, client):
    told = client.policies()
    assert set(told.policies) == {"User", "Machine"}
    assert told.hours == 8 and told.name == "acme" and told.not_changed == "false"
    user = told.policies["User"]
    assert user.oid == wstep.TEMPLATE_OID
    assert user.text("revision/majorRevision") == "100"
    assert user.text("revision/minorRevision") == "3"
    assert user.text("permission/enroll") == "true"
    assert user.text("permission/autoEnroll") == "true"
    assert user.text("subjectNameFlags") == str(0x40000000)
    assert told.policies["Machine"].text("generalFlags") == "64"
    assert len(user.cas) == 1
    ca = user.cas[0]
    uris = [(u.findtext("x:clientAuthentication", None, NAMES), u.findtext("x:uri", None, NAMES))
            for u in ca.findall("x:uris/x:cAURI", NAMES)]
    assert uris == [("4", f"https://localhost:{server.port}{wstep.WSTEP}")]
    assert ca.findtext("x:certificate", None, NAMES)


def test_references(client):
    """Each is led somewhere, by the group that it is of; arcs are small enough for Windows."""
    told = client.policies()
    groups = {"policyOIDReference": 9, "oIDReference": 6, "hashAlgorithmOIDReference": 1,
              "algorithmOIDReference": 3}
    for node in told.root.iter():
        name = node.tag.split("}")[1]
        if name in groups and node.text:
            assert told.oids[node.text][1] == groups[name]
        if name == "cAReference":
            assert node.text in told.cas
    assert all(int(arc) < 2 ** 32 for value, _ in told.oids.values() for arc in value.split("."))


def test_schema_order(client):
    """Clients read elements in the order of the schema, with none missing."""
    policy = client.policies().policies["User"].node.find("x:attributes", NAMES)
    assert [child.tag.split("}")[1] for child in policy] == [
        "commonName", "policySchema", "certificateValidity", "permission", "privateKeyAttributes",
        "revision", "supersededPolicies", "privateKeyFlags", "subjectNameFlags", "enrollmentFlags",
        "generalFlags", "hashAlgorithmOIDReference", "rARequirements", "keyArchivalAttributes",
        "extensions"]


def test_permissions(server):
    assert set(wstep.client(server, wstep.XCEP, "bob", "bobs").policies().policies) \
        == {"User", "Machine", "Bob"}


def test_not_changed(client):
    told = client.policies(e.get_policies(last_update=e.moment(24 * 3600)))
    assert told.not_changed == "true" and not told.policies and not told.cas and not told.oids
    # the client has them from before the last change
    assert client.policies(e.get_policies(last_update=e.moment(-24 * 3600))).policies


def test_filters(client):
    def filtered(content):
        return set(client.policies(e.get_policies(
            request_filter=f"<requestFilter>{content}</requestFilter>")).policies)

    assert filtered(f"<policyOIDs><oid>{wstep.TEMPLATE_OID}</oid></policyOIDs>") == {"User"}
    assert filtered("<policyOIDs><oid>1.2.3</oid></policyOIDs>") == set()
    assert filtered("<clientVersion>3</clientVersion><serverVersion>3</serverVersion>") \
        == {"User", "Machine"}


def test_missing_client(client):
    with pytest.raises(Fault) as fault:
        client.policies(e.get_policies(client=""))
    assert fault.value.number == "GH1369" and fault.value.status == 500
    assert fault.value.code == "s:Sender" and fault.value.language == "en-US"


@pytest.mark.parametrize("name", [
    "alice", "CORP\\alice", "alice@corp.example", "corp.example\\alice", "alice@corp"])
def test_user_names(names_server, name):
    assert wstep.client(names_server, wstep.XCEP, name).policies().policies


@pytest.fixture(scope="module")
def names_server(make_module_server):
    return make_module_server(wstep.content_with("WSTEPDomain corp.example CORP"), **wstep.OPTIONS)


@pytest.mark.parametrize("name", ["OTHER\\alice", "alice@other.example", "a\\b\\alice"])
def test_foreign_user_names(names_server, name):
    with pytest.raises(Fault) as fault:
        wstep.client(names_server, wstep.XCEP, name).policies()
    assert fault.value.number == "GH1361"


def test_wrong_password_and_unknown_user(server):
    """Nobody learns which of both was wrong."""
    reasons = set()
    for user, password in ((wstep.USER, "wrong"), ("nobody", "wrong"), (wstep.USER, "wrong")):
        with pytest.raises(Fault) as fault:
            wstep.client(server, wstep.XCEP, user, password).policies()
        reasons.add((fault.value.reason, fault.value.code))
    assert len(reasons) == 1 and reasons.pop()[0].startswith("GH1402")


@pytest.mark.parametrize("options", [
    {"type_attribute": "o:Type"}, {"zone": ""}, {"prefix": "env"}, {"created": -590},
    {"created": 290}])
def test_dialects(client, options):
    assert client.policies(**options).policies


@pytest.mark.parametrize("options, number", [
    ({"created": -700}, "GH1357"), ({"created": 400}, "GH1357"),
    ({"password_type": "urn:PasswordDigest"}, "GH1359"), ({"user": None}, "GH1402"),
    ({"security": ""}, "GH1402"), ({"security": f'<o:Security xmlns:o="{e.WSSE}"><x/></o:Security>'},
                                   "GH1360")])
def test_refused_headers(client, options, number):
    with pytest.raises(Fault) as fault:
        client.policies(**options)
    assert fault.value.number == number


def test_relates_to(client):
    message = client.envelope(e.GET_POLICIES, e.get_policies())
    root = client.call(message)
    assert root.findtext("s:Header/a:RelatesTo", None, NAMES) == message.message_id
    assert root.findtext("s:Header/a:Action", None, NAMES) \
        == e.POLICY + "/IPolicy/GetPoliciesResponse"


def test_http(server, client):
    assert client.send(None, method="GET").status == 200
    assert client.send(None, method="PUT").status == 405
    assert client.send("<a/>", content_type="text/xml").status == 415
    assert client.send("<a/>", content_type=None).status == 415
    for path in ("/xcep/usertoken/services/other", "/xcep/kerberos/services/acme", "/xcep",
                 "/xcep/usertoken/services/acme/devices"):
        assert client.send("<a/>", url=server.url(path)).status == 404
    # with a final slash it is the same endpoint
    assert client.send(None, method="GET", url=server.url(wstep.XCEP + "/")).status == 200


def test_audit(server, client):
    client.policies()
    event = server.audit()[-1]
    assert event["protocol"] == "xcep" and event["event"] == "policies"
    assert event["user"] == wstep.USER and event["result"] == "done" and event["tenant"] == "acme"


def test_secrets_in_logs(server, client):
    with pytest.raises(Fault):
        wstep.client(server, wstep.XCEP, wstep.USER, "s3cret-of-alice").policies()
    client.policies()
    for path in (server.error_log_path, server.audit_path):
        text = path.read_text()
        assert "s3cret-of-alice" not in text and wstep.PASSWORD not in text


def test_plain_http(make_server):
    """Passwords are not taken without TLS."""
    def content(server):
        return wstep.content_with()(server).replace("ServerName https://", "ServerName http://")

    server = make_server(content, **wstep.OPTIONS)
    message = Envelope(e.GET_POLICIES, e.get_policies(), user=wstep.USER, password=wstep.PASSWORD)
    response = wstep.client(server, wstep.XCEP).send(message)
    assert response.status == 403 and b"GH1462" in response.body
