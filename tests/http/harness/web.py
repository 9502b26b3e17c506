# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Pages that make challenges: how tests configure and ask them."""

import base64
import http.client
import json
import re
import ssl
import subprocess

from scep.transport import Response

from .checks import AUDIT_MEMBERS
from .config import location
from .server import wait_until

# modules of httpd for passwords
PASSWORDS = ("auth_basic", "authn_file", "authz_user")
USERS = {"mdm": "mdm secret", "other": "other secret", "guest": "guest secret"}


def basic(server):
    return ["AuthType Basic", 'AuthName "challenges"', "AuthBasicProvider file",
            f'AuthUserFile "{server.root}/users"', "Require valid-user"]


def make_users(server):
    for number, (name, password) in enumerate(USERS.items()):
        subprocess.run(["htpasswd", "-bB" + ("" if number else "c"), server.root / "users", name,
                        password], check=True, stderr=subprocess.DEVNULL)


def ask(server, path, method="GET", body=None, user="mdm", tls=False, cert=None, headers=None):
    """A request, by TLS or not, with a password or a certificate."""
    headers = dict(headers or {})
    if user:
        text = base64.b64encode(f"{user}:{USERS.get(user, 'x')}".encode()).decode()
        headers["Authorization"] = f"Basic {text}"
    if tls:
        context = ssl.create_default_context(cafile=server.authority.root_path)
        context.check_hostname = False
        if cert:
            context.load_cert_chain(*cert)
        connection = http.client.HTTPSConnection("127.0.0.1", server.tls_port, context=context,
                                                 timeout=30)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = Response(response.status, response.reason, response.headers, response.read())
    connection.close()
    return answer


def problem(response, status, number):
    assert response.status == status, response
    assert response.type == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    answer = json.loads(response.body)
    assert answer["status"] == status and answer["gh"] == number, answer
    assert answer["detail"] and answer["action"] and answer["title"], answer
    return answer


def audited(server, response):
    wanted = response.headers["X-Request-Id"]
    line, = wait_until(lambda: [line for line in server.audit() if line["id"] == wanted], 3,
                       what="a line of the audit log")
    assert set(line) <= AUDIT_MEMBERS, line
    return line


def page_lines(*lines, handler="challenge", path="/page", auth=True):
    return location(path, *([f"SetHandler gatehouse-scep-{handler}"] if handler else []),
                    *(["AuthType Basic"] if auth else []), *lines)


def names_line(server, result, pattern):
    """Whether "httpd -t" names one of the lines of the configuration that match."""
    lines = [number for number, line in enumerate(server.conf.read_text().splitlines(), 1)
             if re.search(pattern, line)]
    named = {int(number) for number in re.findall(r"(?:line |httpd\.conf:)(\d+)", result.stderr)}
    return bool(named & set(lines))
