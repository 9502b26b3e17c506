# Licensed under the Apache License, Version 2.0. See LICENSE.
"""OCSP over HTTP: both paths, every form of GET, header fields, errors, limits."""

import base64
import email.utils
import hashlib
import socket
import time
from urllib.parse import quote

import pytest

from harness import ocsp
from harness.config import location
from scep import transport

FAST = "/ocsp"
NORMAL = "/inside"
PATHS = pytest.mark.parametrize("path", [FAST, NORMAL])

ENDPOINTS = "".join([
    "OCSPFastPath /ocsp\n", "AllowEncodedSlashes NoDecode\n",
    location(NORMAL, "SetHandler gatehouse-ocsp"),
    location("/errors", "SetHandler gatehouse-ocsp", "OCSPHTTPErrors on"),
    location("/small", "SetHandler gatehouse-ocsp", "OCSPMaxBody 100", "OCSPMaxCertificates 2"),
    location("/closed", "SetHandler gatehouse-ocsp", "Require all denied"),
])


@pytest.fixture(scope="module")
def server(make_module_server):
    server = ocsp.make(make_module_server, "OCSPNextUpdate 2h", "OCSPMaxStale 20m",
                       endpoint=ENDPOINTS)
    server.leaf = ocsp.enrol(server).serial_number
    server.revoked = ocsp.enrol(server, "CN=revoked", 2).serial_number
    server.ctl_ok("cert", "revoke", f"{server.revoked:x}", "--reason", "keyCompromise")
    ocsp.wait_for(server, server.leaf, ocsp.GOOD)
    ocsp.wait_for(server, server.revoked, ocsp.REVOKED)
    return server


@pytest.fixture
def request_der(server):
    return ocsp.request_for(server.authority, [server.leaf])


# what is answered

@PATHS
@pytest.mark.parametrize("by", [ocsp.post, ocsp.get])
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
def test_status(server, path, by, digest):
    assert ocsp.ask(server, server.leaf, path, by, digest) == (ocsp.GOOD, None)
    status, reason = ocsp.ask(server, server.revoked, path, by, digest)
    assert status == ocsp.REVOKED and reason.name == "key_compromise"
    assert ocsp.ask(server, ocsp.random_serial(), path, by, digest)[0] == ocsp.UNKNOWN


@PATHS
def test_openssl(server, path):
    result = ocsp.openssl(server, "-serial", hex(server.leaf), "-serial", hex(server.revoked),
                          "-serial", "0x77", path=path)
    assert result.status == 0 and "Response verify OK" in result.text, result
    assert f"{server.leaf:#x}: good" in result.text
    assert f"{server.revoked:#x}: revoked" in result.text and "keyCompromise" in result.text
    assert "0x77: unknown" in result.text
    assert "WARNING: no nonce" not in result.text
    result = ocsp.openssl(server, "-sha256", "-no_nonce", "-serial", hex(server.leaf), path=path)
    assert result.status == 0 and f"{server.leaf:#x}: good" in result.text, result


@PATHS
def test_nonce(server, path):
    for length in (1, 16, 32, 128):
        nonce = bytes(range(length))
        answer = ocsp.post(server, ocsp.request_for(server.authority, [server.leaf], nonce=nonce),
                           path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers and "Expires" not in answer.headers
        assert ocsp.parse(answer).extensions[0].value.nonce == nonce
    assert len(ocsp.parse(ocsp.post(server, ocsp.request_for(server.authority, [server.leaf]),
                                    path)).extensions) == 0
    for length in (0, 129):
        answer = ocsp.post(server, ocsp.request_for(server.authority, [server.leaf],
                                                    nonce=bytes(length)), path)
        assert ocsp.error_of(answer) == ocsp.MALFORMED


# GET

def forms(der):
    text = base64.b64encode(der).decode()
    return {
        "escaped": quote(text, safe=""), "raw": text, "unpadded": text.rstrip("="),
        "base64url": base64.urlsafe_b64encode(der).decode(),
        "base64url unpadded": base64.urlsafe_b64encode(der).decode().rstrip("="),
        "lower case escapes": quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
        "slashes before": "/" + quote(text, safe=""), "more of them": "//" + text,
        "plus as blank": text.replace("+", "%20"),
    }


def awkward(server):
    """A request whose base64 has "+", "/", "//" and padding."""
    for number in range(100000):
        der = ocsp.request_for(server.authority, [1 << 150 | number * 0x3F3F3F3F3F3F3F3F3F])
        text = base64.b64encode(der).decode()
        if "+" in text and "//" in text and text.endswith("="):
            return der
    raise AssertionError("no such request")


@PATHS
@pytest.mark.parametrize("form", list(forms(b"x")))
def test_get(server, path, form):
    der = awkward(server)
    answer = ocsp.get(server, der, path, text=forms(der)[form])
    assert answer.status == 200 and ocsp.status_of(answer)[0] == ocsp.UNKNOWN
    assert ocsp.parse(answer).serial_number == ocsp.parse(ocsp.post(server, der)).serial_number


@PATHS
def test_absolute_form(server, path, request_der):
    text = quote(base64.b64encode(request_der).decode(), safe="")
    answer = transport.request(server.url(), target=f"{server.url(path)}/{text}")
    assert ocsp.status_of(answer) == (ocsp.GOOD, None)
    answer = transport.request(server.url(), "POST", target=server.url(path), body=request_der,
                               headers={"Content-Type": ocsp.REQUEST})
    assert ocsp.status_of(answer) == (ocsp.GOOD, None)


@PATHS
@pytest.mark.parametrize("text", ["", "/", "x", "MEk*", "%00", "MEkwRw", "%zz", "%2", pytest.param("A" * 3000, id="long"),
                                  "?query", "../ocsp"])
def test_no_request(server, path, text):
    answer = ocsp.get(server, b"", path, text=text)
    if path == NORMAL and text in ("%00", "%zz", "%2", "../ocsp"):
        assert answer.status in (400, 404)      # httpd's own
        server.allow("AH00026", "AH02804", "AH10244")
        return
    assert answer.status == 200 and ocsp.error_of(answer) == ocsp.MALFORMED
    assert answer.headers["Cache-Control"] == "no-store"


@PATHS
def test_query(server, path, request_der):
    text = quote(base64.b64encode(request_der).decode(), safe="")
    assert ocsp.error_of(ocsp.get(server, b"", path, text=text + "?x")) == ocsp.MALFORMED


def test_other_paths(server, request_der):
    for path in ("/ocspx", "/OCSP", "/ocsp-more", "/", "/insidex"):
        assert ocsp.post(server, request_der, path).status == 404, path


def test_whole_server(make_server):
    server = ocsp.make(make_server, endpoint="OCSPFastPath /\n", ready=False)
    ocsp.wait_ready(server, path="/")
    serial = ocsp.random_serial()
    assert ocsp.ask(server, serial, "/")[0] == ocsp.UNKNOWN
    assert ocsp.ask(server, serial, "", ocsp.get)[0] == ocsp.UNKNOWN


# rules of HTTP

@PATHS
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_methods(server, path, method):
    answer = transport.request(server.url(path), method)
    if method == "BREW" and path == NORMAL:
        assert answer.status in (405, 501)
        return
    assert answer.status == 405
    assert {one.strip() for one in answer.headers["Allow"].split(",")} >= {"GET", "HEAD", "POST"}


@PATHS
def test_content_type(server, path, request_der):
    for wrong in (None, "text/plain", "application/ocsp-response", "application/ocsp-requestx"):
        assert ocsp.post(server, request_der, path, wrong).status == 415, wrong
    for right in ("APPLICATION/OCSP-Request", "application/ocsp-request; charset=x"):
        assert ocsp.status_of(ocsp.post(server, request_der, path, right))[0] == ocsp.GOOD


@PATHS
def test_body_size(server, path):
    assert ocsp.post(server, b"x" * 8193, path).status == 413
    assert ocsp.error_of(ocsp.post(server, b"x" * 8192, path)) == ocsp.MALFORMED
    chunked = b"".join(b"400\r\n" + b"y" * 1024 + b"\r\n" for _ in range(9)) + b"0\r\n\r\n"
    answer = ocsp.post(server, chunked, path, length=False,
                       headers={"Transfer-Encoding": "chunked"})
    assert answer.status == 413
    # httpd itself takes no longer path than those of files
    assert ocsp.get(server, b"x" * 9000, path).status == (414 if path == FAST else 403)
    server.allow("AH00127")
    assert ocsp.error_of(ocsp.post(server, b"", path)) == ocsp.MALFORMED


@PATHS
def test_chunked(server, path, request_der):
    half = len(request_der) // 2
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part)
                    for part in (request_der[:half], request_der[half:])) + b"0\r\n\r\n"
    answer = ocsp.post(server, body, path, length=False, headers={"Transfer-Encoding": "chunked"})
    assert ocsp.status_of(answer)[0] == ocsp.GOOD


def test_limits_of_a_location(server):
    several = ocsp.request_for(server.authority, [server.leaf])
    assert len(several) < 100 and ocsp.status_of(ocsp.post(server, several, "/small"))
    assert ocsp.post(server, several + bytes(50), "/small").status == 413


def test_post_behind_the_path(server, request_der):
    for path in ("/ocsp/x", "/inside/x"):
        assert ocsp.post(server, request_der, path).status == 404
    for path in ("/ocsp/", "/inside/"):
        assert ocsp.status_of(ocsp.post(server, request_der, path))[0] == ocsp.GOOD


def test_authorisation_of_the_normal_path(server, request_der):
    assert ocsp.post(server, request_der, "/closed").status == 403
    server.expect("AH01630")


@PATHS
def test_head(server, path, request_der):
    text = quote(base64.b64encode(request_der).decode(), safe="")
    with_body = ocsp.get(server, request_der, path)
    answer = transport.request(server.url(), "HEAD", target=f"{path}/{text}")
    assert answer.status == 200 and answer.body == b""
    for name in ("Content-Length", "ETag", "Expires", "Last-Modified", "Content-Type"):
        assert answer.headers[name] == with_body.headers[name], name


# caching

def seconds(text):
    return email.utils.parsedate_to_datetime(text).timestamp()


@PATHS
@pytest.mark.parametrize("by", [ocsp.post, ocsp.get])
def test_caching(server, path, by, request_der):
    answer = by(server, request_der, path)
    response = ocsp.parse(answer)
    control = [one.strip() for one in answer.headers["Cache-Control"].split(",")]
    age = int(control[0].split("=")[1])
    assert control[0].startswith("max-age=")
    assert sorted(control[1:]) == ["must-revalidate", "no-transform", "public"]
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    this_update = response.this_update.replace(tzinfo=None)
    next_update = response.next_update.replace(tzinfo=None)
    assert (next_update - this_update).total_seconds() == 7200
    assert email.utils.parsedate_to_datetime(answer.headers["Last-Modified"]).replace(
        tzinfo=None) == this_update
    assert email.utils.parsedate_to_datetime(answer.headers["Expires"]).replace(
        tzinfo=None) == next_update
    assert 0 < age < 7200 and seconds(answer.headers["Date"]) + age < seconds(
        answer.headers["Expires"])
    assert "Pragma" not in answer.headers
    if path == NORMAL:
        assert answer.headers["X-Request-Id"]


def test_unknown_is_not_kept_for_long(server):
    answer = ocsp.get(server, ocsp.request_for(server.authority, [ocsp.random_serial()]))
    assert ocsp.status_of(answer)[0] == ocsp.UNKNOWN
    assert answer.headers["Cache-Control"].startswith("max-age=5,")
    assert seconds(answer.headers["Expires"]) <= seconds(answer.headers["Date"]) + 5


def conditional(server, path, der, **headers):
    text = quote(base64.b64encode(der).decode(), safe="")
    return transport.request(server.url(), target=f"{path}/{text}",
                             headers={name.replace("_", "-"): value
                                      for name, value in headers.items()})


@PATHS
def test_conditions(server, path, request_der):
    first = ocsp.get(server, request_der, path)
    tag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for headers in ({"If_None_Match": tag}, {"If_None_Match": f'"x", {tag}'},
                    {"If_None_Match": "*"}, {"If_Modified_Since": modified}):
        answer = conditional(server, path, request_der, **headers)
        assert answer.status == 304 and answer.body == b"", headers
        for name in ("ETag", "Expires", "Cache-Control"):
            assert name in answer.headers, (headers, name)
        assert answer.headers["ETag"] == tag
    for headers in ({"If_None_Match": '"x"'},
                    {"If_Modified_Since": "Thu, 01 Jan 2015 00:00:00 GMT"}):
        answer = conditional(server, path, request_der, **headers)
        assert answer.status == 200 and answer.body == first.body, headers


def test_a_forward_proxys_requests_are_not_answered(make_server):
    """Whatever their path, they are for somebody else."""
    server = ocsp.make(make_server, endpoint=ENDPOINTS + "ProxyRequests On\n<Proxy *>\n"
                       "Require all granted\n</Proxy>\n", modules=("proxy", "proxy_http"))
    der = ocsp.request_for(server.authority, [1])
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(10)
        target = f"http://127.0.0.1:{other.getsockname()[1]}/ocsp"
        with socket.create_connection(("127.0.0.1", server.port), 10) as client:
            client.sendall(f"POST {target} HTTP/1.1\r\nHost: other\r\nContent-Type: "
                           f"application/ocsp-request\r\nContent-Length: {len(der)}\r\n\r\n"
                           .encode() + der)
            connection, _ = other.accept()
            with connection:
                assert connection.recv(4096).startswith(b"POST /ocsp ")
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 204 ")


@PATHS
def test_a_date_never_says_that_revoked_is_unchanged(server, path):
    der = ocsp.request_for(server.authority, [server.revoked])
    modified = ocsp.get(server, der, path).headers["Last-Modified"]
    answer = conditional(server, path, der, If_Modified_Since=modified)
    assert answer.status == 200 and ocsp.status_of(answer)[0] == ocsp.REVOKED


# errors of OCSP

def stranger(server):
    from harness.pki import Authority
    if not hasattr(server, "stranger"):
        server.stranger = Authority(server.root / "ca", "stranger", "rsa3072-01")
    return server.stranger


@PATHS
def test_errors(server, path):
    for der, error in ((b"garbage", ocsp.MALFORMED),
                       (ocsp.request_for(stranger(server), [1]), ocsp.UNAUTHORIZED)):
        answer = ocsp.post(server, der, path)
        assert answer.status == 200 and ocsp.error_of(answer) == error
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers and "Last-Modified" not in answer.headers


def test_errors_as_http_errors(server):
    answer = ocsp.post(server, b"garbage", "/errors")
    assert answer.status == 400 and ocsp.error_of(answer) == ocsp.MALFORMED
    assert answer.headers["Cache-Control"] == "no-store"
    answer = ocsp.get(server, b"", "/errors", text="*")
    assert answer.status == 400 and ocsp.error_of(answer) == ocsp.MALFORMED
    answer = ocsp.post(server, ocsp.request_for(stranger(server), [1]), "/errors")
    assert answer.status == 404 and ocsp.error_of(answer) == ocsp.UNAUTHORIZED
    assert ocsp.ask(server, server.leaf, "/errors") == (ocsp.GOOD, None)


def test_too_many_certificates(server):
    def asked(count):
        return ocsp.post(server, ocsp.request_for(server.authority, list(range(1, count + 1))))

    assert ocsp.error_of(asked(101)) == ocsp.UNAUTHORIZED
    assert ocsp.parse(asked(100)).response_status == ocsp.SUCCESSFUL


# one connection

def test_keep_alive(server, request_der):
    """Answers on one connection, with refused requests between them."""
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    text = quote(base64.b64encode(request_der).decode(), safe="")
    for _ in range(5):
        for path in (FAST, NORMAL):
            for method, target, body, headers, status in (
                    ("POST", path, request_der, {"Content-Type": ocsp.REQUEST}, 200),
                    ("GET", f"{path}/{text}", None, {}, 200),
                    ("POST", path, request_der, {"Content-Type": "text/plain"}, 415),
                    ("PUT", path, request_der, {}, 405),
                    ("HEAD", f"{path}/{text}", None, {}, 200),
                    ("POST", path + "/x", request_der, {"Content-Type": ocsp.REQUEST}, 404)):
                connection.request(method, target, body, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == status, (method, target)
    connection.close()


# logs

def test_request_log(server):
    serial = ocsp.random_serial()
    start = server.log.size()
    ocsp.ask(server, serial)
    ocsp.post(server, ocsp.request_for(stranger(server), [serial], "sha256", b"1234"))
    time.sleep(0.05)
    lines = [line for line in server.log.text(start).splitlines() if f"{serial:x}" in line]
    assert len(lines) == 2
    assert "GH0762" in lines[0] and 'issuer "CN=Test devices CA"' in lines[0]
    for part in ("authority devices", "status unknown", "digest SHA1", "nonce no", "requestor none",
                 "origin signed"):
        assert part in lines[0], lines[0]
    assert "GH0763: OCSP failed" in lines[1] and "rule ocsp.issuer" in lines[1]
    assert "status unauthorized" in lines[1] and "digest SHA256" in lines[1]
    assert "nonce yes" in lines[1]


def test_floods_do_not_fill_the_log(make_server):
    server = ocsp.make(make_server, loglevel="warn")
    start = server.log.size()
    for _ in range(150):
        ocsp.post(server, b"garbage")
    for _ in range(20):
        ocsp.ask(server, 1)
    text = server.log.text(start)
    assert 1 <= text.count("GH0763") <= 5 * len(server.children()), text
    assert "GH0762" not in text
    server.allow("GH0763")
