# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The path to the workers is for mod_gatehouse's own sub-requests and for nobody else's."""

import os
import socket
import threading

import pytest

from harness.config import location

MODULES = ("proxy", "proxy_fcgi", "include", "rewrite", "dir")
TARGET = "/-/worker/enrolments/0123456789abcdef"


class Recorder:
    """Sits where the worker would, and counts who comes."""

    def __init__(self, path):
        self.connections = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        os.chmod(path, 0o777)
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


def content(server):
    pages = server.root / "pages"
    pages.mkdir(exist_ok=True)
    (pages / "include.shtml").write_text(
        f'begin <!--#include virtual="{TARGET}" --> end\n')
    (pages / "open.shtml").write_text('<!--#include virtual="/open/enrolments/x" -->\n')
    (pages / "sub").mkdir(exist_ok=True)
    (pages / "sub" / ".htaccess").write_text(
        f"RewriteEngine On\nRewriteRule .* {TARGET} [PT]\n")
    (pages / "index").mkdir(exist_ok=True)
    (pages / "there.txt").write_text("there\n")
    worker = f'unix:{server.root}/run/recorder.sock|fcgi://localhost/'
    return f"""
LogLevel include:crit
DocumentRoot "{pages}"
<Directory "{pages}">
    Require all granted
    AllowOverride All
    Options +Includes +FollowSymLinks
    <Files "*.shtml">
        SetOutputFilter INCLUDES
    </Files>
</Directory>
<Directory "{pages}/index">
    DirectoryIndex {TARGET}
</Directory>
ProxyPass "/-/worker/" "{worker}"
ProxyPass "/open/" "{worker}"
RewriteEngine On
RewriteRule "^/rewritten" "{TARGET}" [PT]
RewriteRule "^/proxied" "unix:{server.root}/run/recorder.sock|fcgi://localhost{TARGET}" [P]
ErrorDocument 404 {TARGET}
""" + location("/-/worker/", "Require gatehouse-dispatch") + location(
        "/proxied", "Require all denied")


@pytest.fixture(scope="module")
def server(make_module_server):
    server = make_module_server(content, modules=MODULES)
    server.recorder = Recorder(server.root / "run" / "recorder.sock")
    yield server
    server.recorder.close()


def came(server, path, **options):
    """(status, body, whether the recorder was reached)"""
    before = server.recorder.connections
    response = server.get(path, **options)
    return response.status, response.body, server.recorder.connections > before


def test_the_recorder_is_reached_where_nothing_protects_it(server):
    server.allow("AH01067", "AH01073", "AH01074", "AH01075")
    assert came(server, "/open/enrolments/x")[2]
    assert came(server, "/open.shtml")[2]


@pytest.mark.parametrize("path", [
    TARGET, "/-/worker/", "/-/worker/enrolments/x?wait=5000", "/-/./worker/x", "//-//worker//x",
    "/x/../-/worker/x", "/%2d/worker/x", "/rewritten", "/sub/anything", "/index/"])
def test_by_whatever_path(server, path):
    server.allow("AH01630")
    status, body, reached = came(server, path)
    assert status in (403, 404) and not reached, (status, body)


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "PUT"])
def test_by_whatever_method(server, method):
    server.allow("AH01630")
    status, _, reached = came(server, TARGET, method=method)
    assert status in (403, 404, 405) and not reached


def test_an_include(server):
    """A sub-request as well, but not ours."""
    server.allow("AH01630")
    status, body, reached = came(server, "/include.shtml")
    assert status == 200 and b"error occurred" in body and not reached


def test_an_error_document(server):
    server.allow("AH01630")
    status, _, reached = came(server, "/not-there.txt")
    assert status == 404 and not reached


def test_headers_make_no_difference(server):
    server.allow("AH01630")
    for headers in ({"X-Gatehouse-Dispatch": "1"}, {"gatehouse-dispatch": "1"},
                    {"X-Request-Id": "0123456789abcdef"}, {"Authorization": "Basic Og=="}):
        status, _, reached = came(server, TARGET, headers=headers)
        assert status in (403, 404) and not reached


def test_the_provider_takes_no_arguments(make_server):
    server = make_server(start=False)
    server.configure(location("/-/worker/", "Require gatehouse-dispatch please"))
    result = server.configtest()
    assert result.returncode != 0 and "gatehouse-dispatch stands alone" in result.stderr
