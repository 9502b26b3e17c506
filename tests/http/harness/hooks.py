# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Servers that ask a stand-in of a webhook about challenges."""

from scep import ProtocolError

from webhook import SECRET, TOKEN, Webhook

from . import standard
from .config import location
from .manykeys import make_keys
from .remote import ISSUER, Remote
from .server import wait_until

HERE = "/scep/acme/devices/scep-digital-signature"      # signed in httpd's children
THERE = f"/scep/acme/{ISSUER}/scep-digital-signature"   # by a CA gateway
MANUAL = "/scep/acme/devices/test-manual"
KEYS = make_keys()


def start_webhook(folder, **options):
    """A stand-in whose files httpd can read."""
    folder.chmod(0o755)
    for parent in list(folder.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    return Webhook(folder, **options)


def section(server, webhook, name="hook", **directives):
    """<Webhook>. directives: WebhookWait and so on, None leaves one out."""
    lines = {
        "WebhookURL": webhook.url,
        "WebhookSecret": f"file:{server.make_secret('hook-secret', SECRET)}",
        "WebhookAuthorization": f"bearer file:{server.make_secret('hook-token', TOKEN)}",
        "WebhookTrust": f'"{webhook.tls.ca_path}"',
        "WebhookWait": "3s max-waiting=8",
        "WebhookLimits": "timeout=15s",
    }
    lines.update(directives)
    body = "".join(f"    {key} {value}\n" for key, value in lines.items()
                   if value is not None)
    return f"<Webhook {name}>\n{body}</Webhook>\n"


def content(webhook, **directives):
    def made(server):
        return "".join([
            standard.PROFILES, section(server, webhook, **directives),
            *(location(path, "SCEPChallenge webhook hook") for path in (HERE, THERE)),
            location(MANUAL, "SCEPProfiles test-manual", "SCEPChallenge webhook hook"),
        ])
    return made


class Hooked(Remote):
    """A server with a CA gateway and a webhook."""

    def __init__(self, make_server, gateway, webhook, options=None, **directives):
        self.webhook = webhook
        super().__init__(make_server, gateway, more=content(webhook, **directives),
                         options=options, wait="3s max-waiting=8")

    def ask(self, subject, challenge, path=HERE, key=None):
        key = key or next(KEYS)

        def answer():
            try:
                return self.server.client(path).enrol(key, challenge, subject)
            except ProtocolError as error:
                assert str(error).startswith("503 "), error
                return None

        return wait_until(answer, 20, 0.2, "an answer")

    def final(self, reply, path=HERE, seconds=60):
        client = self.server.client(path)
        return wait_until(lambda: (lambda answer: None if answer.pending else answer)(
            client.poll(reply.request)), seconds, 0.2, "a final answer")
