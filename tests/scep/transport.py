# Licensed under the Apache License, Version 2.0. See LICENSE.
"""HTTP as a SCEP client speaks it, down to the bytes of the request line."""

import base64
import http.client
import socket
from dataclasses import dataclass
from urllib.parse import quote, urlsplit


@dataclass
class Response:
    status: int
    reason: str
    headers: object
    body: bytes

    @property
    def type(self):
        return self.headers.get("Content-Type")


def request(url, method="GET", target=None, body=None, headers=None, version="HTTP/1.1",
            host=True, timeout=30, length=True):
    """One request on a connection of its own. The target is sent as it is."""
    parts = urlsplit(url)
    port = parts.port or 80
    if target is None:
        target = parts.path + ("?" + parts.query if parts.query else "")
    lines = [f"{method} {target} {version}"]
    if host:
        lines.append(f"Host: {parts.hostname}:{port}")
    if version == "HTTP/1.1":
        lines.append("Connection: close")
    for key, value in (headers or {}).items():
        lines.append(f"{key}: {value}")
    if body is not None and length:
        lines.append(f"Content-Length: {len(body)}")
    data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")
    with socket.create_connection((parts.hostname, port), timeout=timeout) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass                        # the server may answer before it has read everything
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return Response(response.status, response.reason, response.headers, response.read())


def text_of(message, escaping="full"):
    """A message for the query string: "full" (everything escaped), "raw" (nothing: macOS), "equals"
    (only the padding), "lines" (with %0A: sscep), "blanks" (a "+" that became %20), "unpadded"."""
    text = base64.b64encode(message).decode()
    if escaping == "full":
        return quote(text, safe="")
    if escaping == "raw":
        return text
    if escaping == "equals":
        return text.replace("=", "%3D")
    if escaping == "lines":
        lines = [text[i:i + 64] for i in range(0, len(text), 64)]
        return quote("\n".join(lines) + "\n", safe="")
    if escaping == "blanks":
        return text.replace("+", "%20")
    if escaping == "unpadded":
        return text.rstrip("=")
    raise ValueError(escaping)


def operation_target(url, operation, message=None):
    path = urlsplit(url).path
    query = f"operation={operation}"
    if message is not None:
        query += f"&message={message}"
    return f"{path}?{query}"
