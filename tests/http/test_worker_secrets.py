# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What is for a worker alone is not in the memory of httpd's children."""

import base64
import os
import pathlib

import pytest

from harness import remote
from harness.remote import Remote, start_gateway

SECRET = "seeded-credential-passphrase-7741bd"
PROXY_SECRET = "seeded-proxy-password-02cc91"
WEBHOOK_SECRET = "c2VlZGVkLXdlYmhvb2stc2VjcmV0LTU1OTg3MQ=="
PIECE = 40


@pytest.fixture
def gateway(tmp_path):
    made = start_gateway(tmp_path)
    yield made
    made.close()
    made.check()


def memory_of(pid):
    """All that a process may write to."""
    pieces = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            place, rights = line.split()[:2]
            start, end = (int(number, 16) for number in place.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                try:
                    memory.seek(start)
                    pieces.append(memory.read(end - start))
                except OSError:
                    pass
    return b"".join(pieces)


def content(server, gateway):
    made = pathlib.Path(gateway.tls.credential("seeded.p12", passphrase=SECRET))
    proxy = server.make_secret("proxy", PROXY_SECRET)
    hook = server.make_secret("hook", WEBHOOK_SECRET)
    credential = f'"{made}" passphrase=file:{server.make_secret("seeded", SECRET)}'
    return made, "".join([
        remote.issuer(server, gateway, "seeded", ca="acme~devices", credential=credential,
                      proxy=f"http://127.0.0.1:1 user=proxy password=file:{proxy}"),
        f"<Webhook seeded>\n    WebhookURL https://127.0.0.1:1/ask\n    WebhookID seeded\n"
        f"    WebhookSecret file:{hook}\n</Webhook>\n",
    ])


def test_children(make_server, gateway):
    kept = {}

    def more(server):
        kept["file"], text = content(server, gateway)
        return text

    made = Remote(make_server, gateway, more)
    server = made.server
    server.allow("GH0782", *remote.TROUBLE)
    made.ready()                        # a child that has begun only just has not forgotten yet
    pkcs12 = kept["file"].read_bytes()
    secrets = {
        "passphrase": SECRET.encode(),
        "passphrase, as it is told": SECRET.encode().hex().encode(),
        "password of the proxy": PROXY_SECRET.encode(),
        "password of the proxy, as it is told": PROXY_SECRET.encode().hex().encode(),
        "secret of the webhook": base64.b64decode(WEBHOOK_SECRET),
        "secret of the webhook, as it is told": base64.b64decode(WEBHOOK_SECRET).hex().encode(),
        "file": pkcs12[200:200 + PIECE],
        "file, as it is told": pkcs12[200:200 + PIECE].hex().encode(),
    }
    found = []
    seen = 0
    for pid in server.children():
        if pid in made.workers() or not os.readlink(f"/proc/{pid}/exe").endswith("apache2"):
            continue
        memory = memory_of(pid)
        seen += gateway.url.encode() in memory
        found += [(pid, name) for name, secret in secrets.items() if secret in memory]
    assert seen, "the memory of no child was searched"
    assert not found
