# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What the OCSP feeder makes of servers that are slow, fail, lie, hang or send too much."""

import os
import signal
import time

import pytest

from harness import pki
from harness.directory import PASSWORD, READER, SUFFIX, Directory
from harness.feeder import SECOND, Feeder, Source, drip, hang, make_crl, source, written
from harness.server import free_port, wait_until


@pytest.fixture
def web():
    made = Source()
    yield made
    made.close()


@pytest.fixture
def tls(tmp_path):
    """(certificate, key, ca): of a server at 127.0.0.1."""
    return server_certificate(tmp_path)


def server_certificate(folder, name="127.0.0.1"):
    import ipaddress
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    root, key = pki.key("p256-01"), pki.key("rsa2048-01")
    ca = pki.certificate("TLS Root", root, "TLS Root", root, 100)
    made = pki.certificate(name, key, "TLS Root", root, 50, ca=False, extensions=[
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))])])
    paths = folder / "server.pem", folder / "server.key", folder / "tls-ca.pem"
    paths[0].write_bytes(made.public_bytes(pki.PEM))
    paths[1].write_bytes(key.private_bytes(pki.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    paths[2].write_bytes(ca.public_bytes(pki.PEM))
    folder.chmod(0o755)
    for parent in list(folder.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    return tuple(str(path) for path in paths)


def one(make_server, *sources, name="devices", environment=None, start=True):
    feeder = Feeder(make_server, {name: list(sources)}, start=False)
    feeder.server.environment.update(environment or {})
    if start:
        feeder.start()
    return feeder


def crl_of(feeder, *arguments, **options):
    return make_crl(feeder.server.authority, *arguments, **options)


def entries(state, of=0):
    return state["sources"][of]["entries"]


# HTTP

def test_http_and_conditional_requests(web, make_server):
    feeder = one(make_server, source("crl", web.url("/ca.crl")), start=False)
    web["/ca.crl"] = crl_of(feeder, [1, 2])
    feeder.start()
    state = feeder.wait_index("devices")
    assert entries(state) == 2
    wait_until(lambda: len(web.requests("/ca.crl")) >= 3, 10, what="more requests")
    first, *others = web.requests("/ca.crl")
    assert "If-None-Match" not in first
    assert all("If-None-Match" in headers for headers in others)
    later = feeder.wait("devices", lambda new: written(new["sources"][0], "last_success")
                        > written(state["sources"][0], "last_success"))
    assert later["generation"] == state["generation"]
    web["/ca.crl"] = crl_of(feeder, [1, 2, 3], number=2)
    assert entries(feeder.wait_index("devices", after=state["generation"], seconds=5)) == 3


def restart(feeder, how):
    """The state of the feeder that comes next."""
    before = feeder.state("devices")["pid"]
    if how == "graceful":
        feeder.server.graceful()
    elif how == "stop":
        feeder.server.stop()
        feeder.server.start()
    else:
        feeder.server.expect("GH0663")
        os.kill(feeder.pid(), signal.SIGKILL)
    return feeder.wait("devices", lambda state: state["pid"] != before, what="another feeder")


@pytest.mark.parametrize("how", ["graceful", "stop", "kill"])
def test_a_restart_takes_up_what_is_there(web, make_server, how):
    """Nothing is fetched before its time, and then only what has changed."""
    feeder = one(make_server, source("crl", web.url("/ca.crl"), interval=5 * SECOND), start=False)
    web["/ca.crl"] = crl_of(feeder, [1, 2])
    feeder.start()
    first = feeder.wait_index("devices")
    second = restart(feeder, how)
    for what in ("generation", "made_from"):
        assert second[what] == first[what]
    for what in ("last_success", "sha256", "etag", "bytes", "entries", "number"):
        assert second["sources"][0][what] == first["sources"][0][what]
    assert len(web.requests("/ca.crl")) == 1
    wait_until(lambda: len(web.requests("/ca.crl")) == 2, 7, what="the next request")
    assert web.requests("/ca.crl")[1]["If-None-Match"] == first["sources"][0]["etag"]
    later = feeder.wait("devices", lambda state: written(state["sources"][0], "last_success")
                        > written(first["sources"][0], "last_success"))
    assert later["generation"] == first["generation"]
    # a change is taken up by one that has not read what was there before
    web["/ca.crl"] = crl_of(feeder, [1, 2, 3], number=2)
    assert entries(feeder.wait_index("devices", after=first["generation"], seconds=8)) == 3


def test_a_server_without_validators(web, make_server):
    """What is fetched again after a restart and is the same makes no other index."""
    feeder = one(make_server, source("crl", web.url("/ca.crl")), start=False)
    body = crl_of(feeder, [1, 2])
    web["/ca.crl"] = lambda handler: handler.reply(200, body)
    feeder.start()
    first = feeder.wait_index("devices")
    restart(feeder, "stop")
    later = feeder.wait("devices", lambda state: written(state["sources"][0], "last_success")
                        > written(first["sources"][0], "last_success"))
    assert later["generation"] == first["generation"]
    body = crl_of(feeder, [1, 2, 3], number=2)
    assert entries(feeder.wait_index("devices", after=first["generation"])) == 3


def test_several_are_fetched_again_after_a_restart(web, make_server):
    """An index is made of all: they have to be there when one of them changes."""
    feeder = one(make_server, source("crl", web.url("/ca.crl"), interval=60 * SECOND),
                 source("serials", web.url("/serials"), interval=60 * SECOND), start=False)
    web["/ca.crl"] = crl_of(feeder, [1])
    web["/serials"] = b"01\n02\n"
    feeder.start()
    first = feeder.wait_index("devices")
    restart(feeder, "stop")
    for path in ("/ca.crl", "/serials"):
        wait_until(lambda: len(web.requests(path)) == 2, 5, what=f"a request of {path}")
        assert "If-None-Match" not in web.requests(path)[1]
    time.sleep(2)
    assert feeder.state("devices")["generation"] == first["generation"]
    # another one that came meanwhile makes another index at once
    feeder.server.stop()
    web["/serials"] = b"01\n02\n03\n"
    feeder.start()
    assert entries(feeder.wait_index("devices", after=first["generation"]), 1) == 3


@pytest.mark.parametrize("lost", ["index", "state"])
def test_without_index_or_state_all_is_made_anew(web, make_server, lost):
    feeder = one(make_server, source("crl", web.url("/ca.crl"), interval=60 * SECOND), start=False)
    web["/ca.crl"] = crl_of(feeder, [1])
    feeder.start()
    first = feeder.wait_index("devices")
    feeder.server.stop()
    (feeder.folder() / f"devices.{lost}").unlink()
    feeder.start()
    feeder.wait("devices", lambda state: state["generation"] > 0
                and state["pid"] != first["pid"] and state["sources"][0]["last_success"])
    wait_until(lambda: len(web.requests("/ca.crl")) == 2, 5, what="another request")
    assert "If-None-Match" not in web.requests("/ca.crl")[1]


def test_what_hangs_delays_nothing_else(web, make_server):
    feeder = Feeder(make_server, {}, start=False)
    silent = [source("crl", web.url(f"/hang{n}"), timeout=60 * SECOND) for n in range(12)]
    authorities = {f"hanging-{n}": [one_source] for n, one_source in enumerate(silent)}
    authorities["dripping"] = [source("crl", web.url("/drip"))]
    # nobody accepts there: the queue of a listener that is never asked
    import socket
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    for n in range(3):
        authorities[f"ldap-{n}"] = [source("crl", f"ldap://127.0.0.1:{port}", dn="cn=x",
                                           timeout=60 * SECOND)]
    good = Source()
    try:
        authorities["good"] = [source("crl", good.url("/ca.crl"))]
        good["/ca.crl"] = crl_of(feeder, [1])
        for n in range(12):
            web[f"/hang{n}"] = hang
        web["/drip"] = drip
        feeder.configure(authorities)
        begin = time.monotonic()
        feeder.start()
        state = feeder.wait_index("good", seconds=5)
        assert time.monotonic() - begin < 5
        good["/ca.crl"] = crl_of(feeder, [1, 2], number=2)
        feeder.wait_index("good", after=state["generation"], seconds=4)
        feeder.server.allow("GH0668", "GH0671")
    finally:
        good.close()
        full.close()


@pytest.mark.parametrize("behaviour", [hang, drip])
def test_silence_is_an_error(web, make_server, behaviour):
    web["/ca.crl"] = behaviour
    feeder = one(make_server, source("crl", web.url("/ca.crl")))
    feeder.server.expect("GH0668")
    state = feeder.wait_error("devices", "GH0668", seconds=15)
    assert web.url("/ca.crl") == state["sources"][0]["url"]
    # it is tried again, and logged once in a minute only
    feeder.wait("devices", lambda state: state["sources"][0]["failures"] >= 3, 20)
    assert feeder.server.log.text().count("GH0668: authority devices, http://127.0.0.1:") == 1
    web["/ca.crl"] = crl_of(feeder, [1])
    assert entries(feeder.wait_index("devices", seconds=15)) == 1


def test_errors_of_http(web, make_server):
    feeder = one(make_server, source("crl", web.url("/ca.crl")), start=False)
    feeder.start()
    feeder.server.expect("GH0669")
    state = feeder.wait_error("devices", "GH0669")
    assert "404" in state["sources"][0]["error"]["message"]
    web["/ca.crl"] = crl_of(feeder, [1])
    feeder.wait_index("devices")
    assert "GH0675: authority devices, http://127.0.0.1:" in feeder.server.log.text()


def test_304_that_nobody_asked_for(web, make_server):
    web["/ca.crl"] = lambda handler: handler.reply(304, b"")
    feeder = one(make_server, source("crl", web.url("/ca.crl")))
    feeder.server.expect("GH0669")
    feeder.wait_error("devices", "GH0669")


def test_nobody_is_there(make_server):
    feeder = one(make_server, source("crl", f"http://127.0.0.1:{free_port()}/ca.crl"))
    feeder.server.expect("GH0668")
    feeder.wait_error("devices", "GH0668")


def announced(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(10 ** 12))
    handler.end_headers()
    handler.close_connection = True


def endless(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    try:
        for _ in range(4096):
            handler.wfile.write(piece)
    except OSError:
        pass
    handler.close_connection = True


@pytest.mark.parametrize("behaviour", [announced, endless])
def test_too_much(web, make_server, behaviour):
    web["/ca.crl"] = behaviour
    feeder = one(make_server, source("crl", web.url("/ca.crl"), max_size=1000000))
    feeder.server.expect("GH0670")
    feeder.wait_error("devices", "GH0670", seconds=15)


def test_just_not_too_much(web, make_server):
    feeder = Feeder(make_server, {}, start=False)
    data = crl_of(feeder, [1, 2])
    feeder.configure({"fits": [source("crl", web.url("/a"), max_size=len(data))],
                      "not": [source("crl", web.url("/a"), max_size=len(data) - 1)]})
    web["/a"] = data
    feeder.server.expect("GH0670")
    feeder.start()
    feeder.wait_index("fits")
    feeder.wait_error("not", "GH0670")


def test_less_than_announced(web, make_server):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:-10])
        handler.close_connection = True

    feeder = one(make_server, source("crl", web.url("/ca.crl")), start=False)
    data = crl_of(feeder, [1])
    web["/ca.crl"] = cut
    feeder.server.expect("GH0668")
    feeder.start()
    feeder.wait_error("devices", "GH0668")


def test_a_bad_crl_is_not_asked_for_again_and_again(web, make_server):
    web["/ca.crl"] = b"garbage"
    feeder = one(make_server, source("crl", web.url("/ca.crl"), retry=SECOND // 10,
                                     interval=60 * SECOND))
    feeder.server.expect("GH0704")
    feeder.wait_error("devices", "GH0704")
    time.sleep(3)
    assert len(web.requests("/ca.crl")) < 9             # instead of thirty
    assert all("If-None-Match" not in headers for headers in web.requests("/ca.crl"))


# TLS, redirections, proxies

def test_https(tls, make_server):
    certificate, key, ca = tls
    web = Source(certificate, key)
    try:
        feeder = Feeder(make_server, {}, start=False)
        web["/ca.crl"] = crl_of(feeder, [1])
        feeder.configure({"trusted": [source("crl", web.url("/ca.crl"), ca_file=ca)],
                          "system": [source("crl", web.url("/ca.crl"))],
                          "another": [source("crl", web.url("/ca.crl").replace(
                              "127.0.0.1", "localhost"), ca_file=ca)]})
        feeder.server.expect("GH0668")
        feeder.start()
        feeder.wait_index("trusted")
        for name in ("system", "another"):
            state = feeder.wait_error(name, "GH0668")
            assert "certificate" in state["sources"][0]["error"]["message"].lower()
            assert state["generation"] == 0
    finally:
        web.close()


def redirect(target):
    return lambda handler: handler.reply(302, b"", Location=target)


def test_redirections(web, tls, make_server):
    certificate, key, ca = tls
    secure = Source(certificate, key)
    try:
        feeder = Feeder(make_server, {}, start=False)
        web["/ca.crl"] = secure["/ca.crl"] = crl_of(feeder, [1])
        web["/here"] = redirect(web.url("/ca.crl"))
        web["/up"] = redirect(secure.url("/ca.crl"))
        web["/circle"] = redirect(web.url("/circle"))
        web["/file"] = redirect("file:///etc/passwd")
        secure["/down"] = redirect(web.url("/ca.crl"))
        feeder.configure({
            "here": [source("crl", web.url("/here"))],
            "up": [source("crl", web.url("/up"), ca_file=ca)],
            "circle": [source("crl", web.url("/circle"))],
            "file": [source("crl", web.url("/file"))],
            "down": [source("crl", secure.url("/down"), ca_file=ca)]})
        feeder.server.expect("GH0668")
        feeder.start()
        for name in ("here", "up"):
            feeder.wait_index(name)
        for name in ("circle", "file", "down"):
            assert feeder.wait_error(name, "GH0668")["generation"] == 0
    finally:
        secure.close()


def test_proxies_of_the_environment_do_not_count(web, make_server):
    nobody = f"http://127.0.0.1:{free_port()}"
    feeder = one(make_server, source("crl", web.url("/ca.crl")), start=False,
                 environment={"http_proxy": nobody, "all_proxy": nobody, "ALL_PROXY": nobody})
    web["/ca.crl"] = crl_of(feeder, [1])
    feeder.start()
    feeder.wait_index("devices")


def test_a_proxy_that_is_configured_counts(web, make_server):
    target = "http://crl.example.invalid/ca.crl"
    feeder = one(make_server, source("crl", target, proxy=web.url("")), start=False)
    web[target] = crl_of(feeder, [1])
    feeder.start()
    feeder.wait_index("devices")


# several sources

def test_delta_and_list_of_serials(web, make_server):
    feeder = Feeder(make_server, {}, start=False)
    web["/ca.crl"] = crl_of(feeder, [1], number=5)
    web["/delta.crl"] = crl_of(feeder, [2], number=6, delta=5)
    web["/serials"] = b"01\n02\n03\n04\n"
    feeder.configure({"devices": [source("crl", web.url("/ca.crl"), delta=web.url("/delta.crl")),
                                  source("serials", web.url("/serials"))]})
    feeder.start()
    state = feeder.wait_index("devices")
    assert [s["kind"] for s in state["sources"]] == ["crl", "delta", "serials"]
    assert entries(state, 2) == 4
    assert "has 2 certificates that are good and 2 that are revoked" in feeder.server.log.text() \
        or "has 4 certificates that are good and 2 that are revoked" in feeder.server.log.text()


def test_one_that_is_missing_holds_back_the_first_index(web, make_server):
    feeder = Feeder(make_server, {}, start=False)
    web["/ca.crl"] = crl_of(feeder, [1])
    feeder.configure({"devices": [source("crl", web.url("/ca.crl")),
                                  source("serials", web.url("/serials"))]})
    feeder.server.expect("GH0669")
    feeder.start()
    state = feeder.wait_error("devices", "GH0669", of=1)
    assert state["generation"] == 0 and state["sources"][0]["failures"] == 0
    web["/serials"] = b"01\n02\n"
    feeder.wait_index("devices")


# LDAP

def ldap(server, scheme="ldap", **options):
    return source("crl", server.url(scheme), dn=options.pop("dn", server.dn), **options)


@pytest.fixture
def make_directory():
    made = []

    def make(*arguments, **options):
        made.append(Directory(*arguments, **options))
        return made[-1]

    yield make
    for directory in made:
        directory.close()


ATTRIBUTE = "certificateRevocationList;binary"


def test_ldap(make_directory, make_server):
    feeder = Feeder(make_server, {}, start=False)
    crl = crl_of(feeder, [1, 2, 3])
    directory = make_directory({ATTRIBUTE: crl, "authorityRevocationList;binary": crl})
    feeder.configure({
        "large": [ldap(directory, max_size=len(crl) - 1)],
        "larger": [ldap(directory, max_size=1)],
        "plain": [ldap(directory)],
        "attribute": [ldap(directory, attribute="authorityRevocationList;binary")],
        "in-url": [source("crl", f"{directory.url()}/{directory.dn}?{ATTRIBUTE}")],
        "missing": [ldap(directory, attribute="cACertificate;binary")],
        "nowhere": [ldap(directory, dn=f"cn=nobody,{SUFFIX}")],
        "silent": [ldap(directory, timeout=SECOND)]})
    feeder.server.expect("GH0670", "GH0671", "GH0672")
    feeder.start()
    for name in ("plain", "attribute", "in-url"):
        assert entries(feeder.wait_index(name)) == 3
    for name in ("large", "larger"):
        feeder.wait_error(name, "GH0670")
    feeder.wait_error("missing", "GH0672")
    feeder.wait_error("nowhere", "GH0671")


def test_ldap_bind(make_directory, make_server):
    feeder = Feeder(make_server, {}, start=False)
    directory = make_directory({ATTRIBUTE: crl_of(feeder, [1])}, closed=True)
    feeder.configure({
        "bound": [ldap(directory, bind=READER, password=PASSWORD)],
        "anonymous": [ldap(directory)],
        "without": [ldap(directory, bind=READER)],
        "wrong": [ldap(directory, bind=READER, password="another seeded secret")]})
    feeder.server.expect("GH0671")
    feeder.start()
    feeder.wait_index("bound")
    for name in ("anonymous", "without", "wrong"):
        assert feeder.wait_error(name, "GH0671")["generation"] == 0
    said = feeder.server.log.text() + "".join(
        path.read_text() for path in feeder.folder().glob("*.state"))
    assert PASSWORD not in said and "another seeded secret" not in said


def test_ldap_with_tls(make_directory, tls, make_server):
    certificate, key, ca = tls
    feeder = Feeder(make_server, {}, start=False)
    directory = make_directory({ATTRIBUTE: crl_of(feeder, [1])}, certificate=certificate, key=key)
    feeder.configure({
        "ldaps": [ldap(directory, "ldaps", ca_file=ca)],
        "starttls": [ldap(directory, starttls=True, ca_file=ca)],
        "ldaps-untrusted": [ldap(directory, "ldaps")],
        "starttls-untrusted": [ldap(directory, starttls=True)]})
    feeder.server.environment["LDAPTLS_REQCERT"] = "never"
    feeder.server.expect("GH0671")
    feeder.start()
    for name in ("ldaps", "starttls"):
        feeder.wait_index(name)
    for name in ("ldaps-untrusted", "starttls-untrusted"):
        assert feeder.wait_error(name, "GH0671")["generation"] == 0


def test_ldap_without_starttls_where_it_is_asked_for(make_directory, make_server):
    feeder = Feeder(make_server, {}, start=False)
    directory = make_directory({ATTRIBUTE: crl_of(feeder, [1])})
    feeder.configure({"devices": [ldap(directory, starttls=True)]})
    feeder.server.expect("GH0671")
    feeder.start()
    assert feeder.wait_error("devices", "GH0671")["generation"] == 0


def test_ldap_that_hangs_or_is_gone(make_server):
    import socket
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    try:
        feeder = Feeder(make_server, {
            "hangs": [source("crl", f"ldap://127.0.0.1:{listener.getsockname()[1]}", dn="cn=x")],
            "hangs-in-tls": [source("crl", f"ldaps://127.0.0.1:{listener.getsockname()[1]}",
                                    dn="cn=x")],
            "gone": [source("crl", f"ldap://127.0.0.1:{free_port()}", dn="cn=x")]}, start=False)
        feeder.server.expect("GH0671")
        feeder.start()
        for name in ("hangs", "gone", "hangs-in-tls"):
            feeder.wait_error(name, "GH0671", seconds=15)
    finally:
        listener.close()
