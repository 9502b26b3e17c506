# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What many tests ask of a server."""

from scep.reply import BAD_REQUEST

from .server import wait_until

AUDIT_MEMBERS = {
    "time", "id", "node", "event", "protocol", "tenant", "issuer", "profile", "client", "user",
    "subject", "serial", "transaction", "algorithms", "rule", "result", "gh", "message",
    "client_request_id"}


def issued_to(server, subject):
    """Certificates in the store with the common name that a subject begins with."""
    common_name = subject.split(",")[0].split("=")[1]
    return [c for c in server.certificates() if common_name in c["subject"]]


def decision(server, reply):
    """The line of the audit log about an exchange."""
    wanted = reply.response.headers["X-Request-Id"]
    lines = wait_until(lambda: [line for line in server.audit() if line["id"] == wanted], 2,
                       what="a line of the audit log")
    assert len(lines) == 1, lines
    assert set(lines[0]) <= AUDIT_MEMBERS, lines[0]
    return lines[0]


def refused(reply, *fail_info):
    """The reply is a FAILURE with one of these failInfo (badRequest) and a reason."""
    assert reply.failed, reply
    assert reply.fail_info in (fail_info or (BAD_REQUEST,)), reply
    assert reply.fail_text, reply
    return reply


def refused_or_unreadable(client, request, *fail_info):
    """Sends a request that is a FAILURE, or a 400 with a reason where it cannot be answered."""
    response = client.send(request)
    if response.status == 400:
        return one_line(response)
    return refused(client.read(response, request, echo=False), *fail_info)


def one_line(response):
    """The body of an error that SCEP could not express: one line that names what was wrong."""
    text = response.body.decode("ascii")
    assert text.endswith("\n") and text.count("\n") == 1 and len(text) > 10, response
    assert response.type.startswith("text/plain"), response
    return text


def new_challenge(server, *options, tenant="acme", profile="scep-digital-signature"):
    made = server.ctl_ok("challenge", "new", "--tenant", tenant, "--issuer", "devices",
                         "--profile", profile, *options).object
    assert {"id", "challenge", "expires"} <= set(made)
    return made["challenge"]


def serial_text(serial):
    """A serial number as gatehousectl writes it."""
    digits = f"{serial:x}"
    return digits.zfill(len(digits) + len(digits) % 2)
