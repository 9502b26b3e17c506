#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Command line of the test suite's SCEP client.

scep.py caps  --url URL
scep.py ca    --url URL --out FILE
scep.py enrol --url URL --key FILE --out FILE [--challenge TEXT] [--subject CN=a] [--san DNS:a]...
"""

import argparse
import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from cryptography import x509                                       # noqa: E402
from cryptography.hazmat.primitives import serialization            # noqa: E402

from scep import Client, ProtocolError, extension, load_key, make_key   # noqa: E402
from scep.identity import private_pem                               # noqa: E402
from scep.message import Recipient                                  # noqa: E402


def pem(certificates):
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
                    for der in certificates)


def write(path, data):
    if path == "-":
        sys.stdout.buffer.write(data)
        return
    with open(path, "wb") as file:
        file.write(data)


def key_of(arguments):
    if not os.path.exists(arguments.key):
        descriptor = os.open(arguments.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private_pem(make_key("RSA-2048")))
    return load_key(arguments.key)


def enrol(client, arguments):
    extensions = [extension("san", *arguments.san)] if arguments.san else []
    if arguments.eku:
        extensions.append(extension("eku", *arguments.eku))
    options = {"cipher": arguments.cipher, "digest": arguments.digest}
    if arguments.transaction:
        options["transaction"] = arguments.transaction
    options["recipient"] = Recipient(client.ra, arguments.transport, arguments.oaep_digest)
    challenge = arguments.challenge
    if arguments.challenge_file:
        with open(arguments.challenge_file, encoding="utf-8") as file:
            challenge = file.read().rstrip("\n")
    reply = client.enrol(key_of(arguments), challenge, arguments.subject, extensions, **options)
    if reply.pending and arguments.wait:
        reply = client.wait(reply.request, arguments.wait, 1)
    if reply.succeeded:
        write(arguments.out, pem(reply.inner))
        return 0
    if reply.pending:
        print("pending", file=sys.stderr)
        return 3
    print(f"refused: failInfo {reply.fail_info}: {reply.fail_text}", file=sys.stderr)
    return 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["caps", "ca", "enrol"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", default="-", help="PEM file, or - for standard output")
    parser.add_argument("--key", help="PEM; made if it does not exist")
    parser.add_argument("--challenge")
    parser.add_argument("--challenge-file")
    parser.add_argument("--subject", default="CN=device")
    parser.add_argument("--san", action="append", default=[], metavar="TYPE:VALUE")
    parser.add_argument("--eku", action="append", default=[])
    parser.add_argument("--cipher", default="aes128")
    parser.add_argument("--digest", default="sha256")
    parser.add_argument("--transport", default="pkcs1", choices=["pkcs1", "oaep"])
    parser.add_argument("--oaep-digest", default="sha1")
    parser.add_argument("--transaction")
    parser.add_argument("--get", action="store_true", help="PKIOperation by GET")
    parser.add_argument("--chain", action="store_true", help="the reply may bring the chain")
    parser.add_argument("--lenient", action="store_true",
                        help="accept old digests and signature names in replies")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS",
                        help="poll a pending request")
    arguments = parser.parse_args()
    if arguments.command == "enrol" and not arguments.key:
        parser.error("enrol needs --key")
    return arguments


def main():
    arguments = parse()
    client = Client(arguments.url, "GET" if arguments.get else "POST",
                    leaf_only=not arguments.chain, strict=not arguments.lenient)
    try:
        if arguments.command == "caps":
            print("\n".join(client.caps()))
            return 0
        if arguments.command == "ca":
            write(arguments.out, pem(client.certificates))
            return 0
        return enrol(client, arguments)
    except (ProtocolError, OSError) as error:
        print(f"scep.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
