# Licensed under the Apache License, Version 2.0. See LICENSE.
"""XML that attacks, and strangers who guess: each is refused with a fault, at bounded cost."""

import concurrent.futures

import pytest

from harness import wstep
from wstep import Fault
from wstep import envelope as e


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(wstep.content_with(), **wstep.OPTIONS)


@pytest.fixture
def client(server):
    return wstep.client(server, wstep.XCEP)


def message(client, **options):
    return str(client.envelope(e.GET_POLICIES, e.get_policies(), **options))


def refused(client, text):
    with pytest.raises(Fault) as fault:
        client.call(text)
    assert fault.value.status == 500
    return fault.value.number


def memory(server):
    total = 0
    for pid in server.children():
        try:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        except OSError:
            pass
    return total


def test_document_types(client):
    good = message(client)
    bomb = "".join(f'<!ENTITY x{i + 1} "{f"&x{i};" * 10}">' for i in range(9))
    for ahead in ('<!DOCTYPE x>',
                  '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
                  '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
                  '<!DOCTYPE x [<!ENTITY % x SYSTEM "http://127.0.0.1:1/"> %x;]>',
                  f'<!DOCTYPE x [<!ENTITY x0 "boom">{bomb}]>'):
        assert refused(client, '<?xml version="1.0"?>' + ahead + good) == "GH1344"
        assert refused(client, ahead + good.replace("<client>", "<client>&x;&x9;")) == "GH1344"


def test_nesting_and_numbers(client):
    good = message(client)
    assert refused(client, good.replace("<client>", "<x>" * 40 + "</x>" * 40 + "<client>")) \
        == "GH1345"
    assert refused(client, good.replace("<client>", "<x/>" * 5000 + "<client>")) == "GH1345"
    assert refused(client, "<x>" * 10000) == "GH1345"


def test_large_bodies(server, client):
    before = memory(server)
    assert refused(client, message(client).replace("<client>", "<!--" + "x" * 65536 + "--><client>"
                                                   )) == "GH1465"
    for _ in range(2):
        try:
            assert refused(client, b"<x>" + b"y" * 50_000_000) == "GH1465"
        except (ConnectionError, OSError):
            pass                        # the server does not wait for all of it
    assert memory(server) - before < 40_000


def test_encodings(client):
    good = message(client)
    assert client.call(good.encode("utf-16")) is not None
    assert client.call(b"\xef\xbb\xbf" + good.encode()) is not None
    for encoding in ("utf-7", "cp037", "utf-32", "iso-8859-1"):
        text = f'<?xml version="1.0" encoding="{encoding}"?>' + good.replace("\u00e4", "x")
        assert refused(client, text.encode(encoding)) in ("GH1346", "GH1347")
    assert refused(client, good.encode("latin-1")) == "GH1347"


def test_namespaces(client):
    """Prefixes are free, namespaces are not."""
    good = message(client)
    assert client.call(message(client, prefix="soap")) is not None
    assert refused(client, good.replace(e.SOAP, "http://schemas.xmlsoap.org/soap/envelope/")) \
        == "GH1350"
    assert refused(client, good.replace(e.POLICY + '"', 'urn:other"')) == "GH1370"
    assert refused(client, good.replace(e.WSSE, "urn:other")) == "GH1354"
    assert refused(client, good.replace("</a:To>", '</a:To><x:y xmlns:x="urn:x" '
                                        's:mustUnderstand="1"/>')) == "GH1354"


def test_doubles(client):
    """What is there twice may be one thing to who checks and another to who acts."""
    good = message(client)
    security = good[good.index("<o:Security"):good.index("</o:Security>") + len("</o:Security>")]
    token = security[security.index("<o:UsernameToken"):security.index("</o:Security>")]
    assert refused(client, good.replace(security, security * 2)) == "GH1353"
    assert refused(client, good.replace(token, token * 2)) == "GH1360"
    assert refused(client, good.replace("<s:Body", "<s:Body><x/></s:Body><s:Body")) == "GH1350"
    assert refused(client, good.replace("</GetPolicies>", "</GetPolicies><GetPolicies/>")) \
        == "GH1350"
    assert refused(client, good.replace("<o:Username>alice", "<o:Username>ali<!-- -->ce")) \
        == "GH1358"


def test_guessing(make_server):
    """Beyond the limit an address is sent away, also with the right password; others are not asked
    for."""
    server = make_server(wstep.content_with(ahead="WSTEPFailureLimit 3 1m\n"), **wstep.OPTIONS)
    client = wstep.client(server, wstep.XCEP)
    wrong = wstep.client(server, wstep.XCEP, wstep.USER, "wrong")
    assert client.policies()
    for _ in range(3):
        assert refused(wrong, message(wrong)) == "GH1402"
    response = client.send(message(client))
    assert response.status == 503 and b"GH1464" in response.body
    assert 0 < int(response.headers["Retry-After"]) <= 60


def test_verdicts(make_server):
    """A verdict holds for its lifetime, right or wrong, and not longer."""
    server = make_server(wstep.content_with("WSTEPVerdictLifetime off"), **wstep.OPTIONS)
    client = wstep.client(server, wstep.XCEP)
    assert client.policies()
    wstep.password_file(server, {wstep.USER: "another"})
    assert refused(client, message(client)) == "GH1402"
    assert wstep.client(server, wstep.XCEP, wstep.USER, "another").policies()

    server = make_server(wstep.content_with("WSTEPVerdictLifetime 10m"), mpm="worker",
                         **wstep.OPTIONS)
    client = wstep.client(server, wstep.XCEP)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.policies(), range(64)))
    wstep.password_file(server, {wstep.USER: "another"})
    answers = [client.send(message(client)).status for _ in range(20)]
    assert 200 in answers               # by a process that has asked before


def test_providers_that_fail(make_server):
    """Nothing is known then, and a client is told to try the next URL."""
    def content(server):
        return wstep.content_with()(server).replace(f'"{server.root}/users"',
                                                    f'"{server.root}/none"')

    server = make_server(content, **wstep.OPTIONS)
    client = wstep.client(server, wstep.XCEP)
    with pytest.raises(Fault) as fault:
        client.policies()
    assert fault.value.number == "GH1403" and fault.value.code == "s:Receiver"
    server.log.allow("AH01620")

