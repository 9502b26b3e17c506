# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What is answered from each kind of source, by each status profile."""

import datetime
import http.client
import subprocess
import threading
import time

import pytest
from asn1crypto import ocsp as asn1ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from harness import ocsp
from harness.config import issuer, location
from harness.feeder import Source
from harness.ocspmodel import random_serial
from harness.pki import Authority, key
from harness.server import wait_until
from scep import transport

HOUR = datetime.timedelta(hours=1)
HELD = x509.ReasonFlags.certificate_hold
COMPROMISE = x509.ReasonFlags.key_compromise
EPOCH = datetime.datetime(1970, 1, 1)

# name: (status of what is not known, nextUpdate, archive cutoff, sources)
PROFILES = {
    "basic": ("revoked", False, False, "index"),
    "archiveCutOff": ("revoked", False, True, "index"),
    "nextUpdate": ("revoked", True, False, "index"),
    "archiveCutOffWithNextUpdate": ("revoked", True, True, "index"),
    "CRLProfile": ("good", False, False, "crl"),
    "CRLProfileWithArchiveCutOff": ("good", False, True, "crl"),
    "SNListProfile": ("unknown", False, False, "serials"),
    "SNListProfileWithArchiveCutOff": ("unknown", False, True, "serials"),
}
# refused documents; a source that is not there
REFUSED = ("GH0673", "GH0677", "GH0685", "GH0686", "GH0687", "GH0688", "GH0689", "GH0690", "GH0691",
           "GH0692", "GH0693", "GH0694", "GH0695", "GH0696", "GH0697", "GH0698", "GH0699", "GH0700")
# nothing is known yet, or what was known was of other sources
NOT_YET = ("GH0763", "GH0553", "GH0554", "GH0561", "GH0562")


@pytest.fixture
def web():
    made = Source()
    yield made
    made.close()


class Ca(Authority):
    """A CA elsewhere: what it publishes, and its section."""

    def __init__(self, server, name):
        super().__init__(server.root / "ca", name, "rsa2048-09")
        self.key = self.key_source
        self.signer = ocsp.signer(self)
        self.number = 0

    def section(self, *lines):
        return ocsp.section(self.name, f'OCSPCertificate "{self.certificate_path}"',
                            'OCSPSigner "{}" "{}"'.format(*self.signer), *lines)

    def crl(self, entries=(), number=None, base=None, scope=None, hours=24, signed_by=None,
            named=None):
        """DER. entries: {serial: reason}; base: number of the base of a delta CRL"""
        self.number = number or self.number + 1
        now = datetime.datetime.utcnow().replace(microsecond=0)
        builder = (x509.CertificateRevocationListBuilder()
                   .issuer_name((named or self).certificate.subject).last_update(now)
                   .next_update(now + hours * HOUR)
                   .add_extension(x509.CRLNumber(self.number), False))
        if base is not None:
            builder = builder.add_extension(x509.DeltaCRLIndicator(base), True)
        if scope:
            point = x509.IssuingDistributionPoint(None, None, scope == "users", scope == "cas",
                                                  None, False, False)
            builder = builder.add_extension(point, True)
        for serial, reason in dict(entries).items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(
                now - HOUR)
            if reason:
                entry = entry.add_extension(x509.CRLReason(reason), False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(signed_by or self.key_source, hashes.SHA256()).public_bytes(ocsp.DER)


def index_txt(entries):
    """entries: {serial: None, or a reason}"""
    lines = []
    stamp = (datetime.datetime.utcnow() - HOUR).strftime("%y%m%d%H%M%SZ")
    words = {HELD: ",certificateHold", COMPROMISE: ",keyCompromise"}
    for serial, reason in entries.items():
        state, revoked = ("R", stamp + words[reason]) if reason else ("V", "")
        lines.append(f"{state}\t350101000000Z\t{revoked}\t{serial:X}\tunknown\t/CN=x\n")
    return "".join(lines).encode()


def replace(path, data):
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.rename(path)


def start(server, *sections, ready=()):
    server.configure(ocsp.directory(server) + "OCSPFastPath /ocsp\n" + "".join(sections))
    server.allow(*NOT_YET)
    server.start()
    for ca in ready:
        wait_until(lambda ca=ca: answered(server, ca, 1), 10, what=f"answers of {ca.name}")


def answered(server, ca, serial):
    """By all processes, as far as one can tell."""
    der = ocsp.request_for(ca, [serial])
    return all(ocsp.parse(ocsp.post(server, der)).response_status == ocsp.SUCCESSFUL
               for _ in range(12))


def make(make_server, **options):
    return make_server("", start=False, own_modules=ocsp.OWN_MODULES, **options)


def details(server, ca, serial):
    """(status, reason, when, nextUpdate - thisUpdate, archive cutoff, extended-revoke)"""
    body = ocsp.post(server, ocsp.request_for(ca, [serial])).body
    data = asn1ocsp.OCSPResponse.load(body).response_data
    one, = data["responses"]
    status = one["cert_status"].name
    reason = when = None
    if status == "revoked":
        reason = one["cert_status"].chosen["revocation_reason"].native
        when = one["cert_status"].chosen["revocation_time"].native.replace(tzinfo=None)
    life = one["next_update"].native and one["next_update"].native - one["this_update"].native
    singles = {e["extn_id"].native: e["extn_value"].parsed.native
               for e in one["single_extensions"] or ()}
    cutoff = singles.get("archive_cutoff")
    extensions = {e["extn_id"].native for e in data["response_extensions"] or ()}
    return (status, reason, when, life, cutoff and cutoff.replace(tzinfo=None),
            "extended_revoke" in extensions)


def status(server, ca, serial):
    return details(server, ca, serial)[0]


def wait_status(server, ca, serial, wanted, seconds=4):
    wait_until(lambda: status(server, ca, serial) == wanted, seconds,
               what=f"{ca.name} {serial:x} {wanted}")


# status profiles

def test_status_profiles(web, make_server):
    """Good, revoked, held, released and unknown, by each of the eight."""
    server = make(make_server)
    good, revoked, held, released, unknown = (random_serial() for _ in range(5))
    cas = {name: Ca(server, name) for name in PROFILES}

    def publish(ca, entries):
        kind = PROFILES[ca.name][3]
        if kind == "index":
            replace(server.root / "run" / f"{ca.name}.txt", index_txt({good: None, **entries}))
            return
        web[f"/{ca.name}.crl"] = ca.crl({serial: reason for serial, reason in entries.items()
                                         if reason})
        web[f"/{ca.name}.serials"] = "".join(
            f"{serial:x}\n" for serial in (good, *entries)).encode()

    sections = []
    for name, ca in cas.items():
        kind = PROFILES[name][3]
        publish(ca, {revoked: COMPROMISE, held: HELD, released: HELD})
        crl = f"OCSPSource crl {web.url(f'/{name}.crl')} interval=1s"
        serials = f"OCSPSource serials {web.url(f'/{name}.serials')}"
        sections.append(ca.section(f"OCSPStatus {name}", *{
            "index": [f"OCSPSource index {server.root}/run/{name}.txt interval=1s"],
            "crl": [crl], "serials": [crl, serials]}[kind]))
    start(server, *sections, ready=cas.values())
    for ca in cas.values():
        assert details(server, ca, released)[:2] == ("revoked", "certificate_hold")
    for ca in cas.values():
        publish(ca, {revoked: COMPROMISE, held: HELD, released: None})
    for name, ca in cas.items():
        if_unknown, next_update, cutoff, _ = PROFILES[name]
        wait_status(server, ca, released, "good")
        life = 8 * HOUR if next_update else None
        begin = ca.certificate.not_valid_before if cutoff else None
        assert details(server, ca, good) == ("good", None, None, life, begin, False), name
        got = details(server, ca, revoked)
        assert got[:2] == ("revoked", "key_compromise") and got[3:] == (life, begin, False), name
        assert abs(datetime.datetime.utcnow() - HOUR - got[2]).total_seconds() < 60
        assert details(server, ca, held)[:2] == ("revoked", "certificate_hold"), name
        got = details(server, ca, unknown)
        if life:
            # it may be issued at any moment
            assert datetime.timedelta(seconds=55) < got[3] < datetime.timedelta(seconds=80), got
            got = (*got[:3], life, *got[4:])
        if if_unknown == "revoked":
            assert got == ("revoked", "certificate_hold", EPOCH, life, begin, True), name
        else:
            assert got == (if_unknown, None, None, life, begin, False), name


def test_status_unknown_beside_the_source(web, make_server):
    """OCSPUnknown of each authority, whatever its source."""
    server = make(make_server)
    cas = {}
    for word in ("unknown", "revoked", "good"):
        cas[word] = Ca(server, f"if-{word}")
        web[f"/{word}"] = cas[word].crl({5: None})
    server.allow("GH0736")              # every good one is not known
    start(server, *(ca.section(f"OCSPSource crl {web.url(f'/{word}')}", f"OCSPUnknown {word}")
                    for word, ca in cas.items()), ready=cas.values())
    for word, ca in cas.items():
        assert status(server, ca, 77) == word
        assert status(server, ca, 5) == "revoked"


# CRLs

def test_refused_crls_change_nothing(web, make_server):
    """Another signature, another issuer, an older number: what was known stays."""
    server = make(make_server)
    ca, other = Ca(server, "refusing"), Ca(server, "another")
    web["/crl"] = ca.crl({7: COMPROMISE}, number=10)
    start(server, ca.section(f"OCSPSource crl {web.url('/crl')} interval=1s retry=1s"), ready=[ca])
    assert status(server, ca, 7) == "revoked" and status(server, ca, 8) == "good"
    server.allow(*REFUSED)
    for wrong in (ca.crl({8: None}, number=11, signed_by=key("rsa2048-10")),
                  ca.crl({8: None}, number=12, named=other), ca.crl({8: None}, number=9),
                  ca.crl({8: None}, number=13)[:-40] + bytes(40), b"no CRL", b""):
        web["/crl"] = wrong
        before = len(web.requests("/crl"))
        wait_until(lambda before=before: len(web.requests("/crl")) > before + 1, 10,
                   what="a request after the one that got it")
        assert status(server, ca, 7) == "revoked" and status(server, ca, 8) == "good"
    web["/crl"] = ca.crl({8: None}, number=14)
    wait_status(server, ca, 8, "revoked")
    assert status(server, ca, 7) == "good"


def test_delta_and_partitions(web, make_server):
    server = make(make_server)
    parts, whole = Ca(server, "parts"), Ca(server, "whole")
    web["/users"], web["/cas"] = parts.crl({1: None}, scope="users"), parts.crl({2: HELD},
                                                                                scope="cas")
    web["/base"] = whole.crl({1: None, 2: HELD}, number=20)
    web["/delta"] = whole.crl({3: COMPROMISE}, number=21, base=20)
    start(server, parts.section(*(f"OCSPSource crl {web.url(path)} interval=1s"
                                  for path in ("/users", "/cas"))),
          whole.section(f"OCSPSource crl {web.url('/base')} interval=1s delta={web.url('/delta')}"),
          ready=[parts, whole])
    assert [status(server, parts, n) for n in (1, 2, 3)] == ["revoked", "revoked", "good"]
    wait_status(server, whole, 3, "revoked")
    assert [details(server, whole, n)[:2] for n in (1, 2, 3, 4)] == [
        ("revoked", None), ("revoked", "certificate_hold"), ("revoked", "key_compromise"),
        ("good", None)]
    # a delta releases what the base holds
    web["/delta"] = whole.crl({3: COMPROMISE, 2: x509.ReasonFlags.remove_from_crl}, number=22,
                              base=20)
    wait_status(server, whole, 2, "good")
    assert status(server, whole, 3) == "revoked"
    # one partition changes, the other stays
    web["/cas"] = parts.crl({2: None, 3: None}, scope="cas")
    wait_status(server, parts, 3, "revoked")
    assert status(server, parts, 1) == "revoked"


def test_what_later_crls_drop(web, make_server):
    """OCSPRetention: a revocation stays, a hold does not."""
    server = make(make_server)
    keeping, dropping = Ca(server, "keeping"), Ca(server, "dropping")
    for ca in (keeping, dropping):
        web[f"/{ca.name}"] = ca.crl({1: COMPROMISE, 2: HELD})
    start(server, *(ca.section(f"OCSPSource crl {web.url('/' + ca.name)} interval=1s", *lines)
                    for ca, lines in ((keeping, ["OCSPRetention 1h"]), (dropping, []))),
          ready=[keeping, dropping])
    for ca in (keeping, dropping):
        assert details(server, ca, 1)[:2] == ("revoked", "key_compromise")
        web[f"/{ca.name}"] = ca.crl({3: None})
        wait_status(server, ca, 3, "revoked")
    assert details(server, keeping, 1)[:2] == ("revoked", "key_compromise")
    for ca, serial in ((keeping, 2), (dropping, 1), (dropping, 2)):
        wait_status(server, ca, serial, "good", 1)
    server.restart()
    wait_until(lambda: answered(server, keeping, 1), 10, what="an answer")
    assert details(server, keeping, 1)[:2] == ("revoked", "key_compromise")


def test_next_update_ends_with_the_crl(web, make_server):
    server = make(make_server)
    long, short = Ca(server, "long"), Ca(server, "short")
    web["/long"], web["/short"] = long.crl(hours=48), short.crl(hours=1)
    start(server, *(ca.section(f"OCSPSource crl {web.url('/' + ca.name)} warn=1m",
                               "OCSPNextUpdate 3h") for ca in (long, short)), ready=[long, short])
    for ca, hours in ((long, 3), (short, 1)):
        answer = ocsp.parse(ocsp.post(server, ocsp.request_for(ca, [1])))
        left = answer.next_update - datetime.datetime.utcnow()
        assert hours * HOUR - datetime.timedelta(minutes=2) < left <= hours * HOUR


def test_crls_that_end(web, make_server):
    """expired=fail is tryLater from the end on, expired=serve goes on without nextUpdate."""
    server = make(make_server)
    cas = {word: Ca(server, word) for word in ("fail", "serve")}
    for word, ca in cas.items():
        web[f"/{word}"] = ca.crl({1: None}, hours=6 / 3600)
    server.allow(*REFUSED)
    start(server, *(ca.section(f"OCSPSource crl {web.url('/' + word)} interval=1s expired={word}")
                    for word, ca in cas.items()), ready=cas.values())
    end = time.monotonic() + 7
    while time.monotonic() < end:
        for ca in cas.values():
            answer = ocsp.parse(ocsp.post(server, ocsp.request_for(ca, [1])))
            if answer.response_status == ocsp.SUCCESSFUL and answer.next_update:
                assert answer.next_update > datetime.datetime.utcnow()
                assert answer.certificate_status == ocsp.REVOKED
        time.sleep(0.1)
    der = [ocsp.request_for(cas[word], [1]) for word in ("fail", "serve")]
    assert ocsp.error_of(ocsp.post(server, der[0])) == ocsp.TRY_LATER
    served = ocsp.parse(ocsp.post(server, der[1]))
    assert served.certificate_status == ocsp.REVOKED and served.next_update is None
    server.allow(*REFUSED, "GH0763")
    web["/fail"] = cas["fail"].crl({1: None})
    wait_until(lambda: answered(server, cas["fail"], 1), 5, what="recovery")


def test_a_large_crl_while_queries_go_on(web, make_server):
    """More than 10 MB, all of it at once: never is a part of it there without the rest."""
    server = make(make_server)
    ca = Ca(server, "large")
    count = 300000
    first, last = 1 << 126, (1 << 126) + count - 1
    small = ca.crl({first + count // 2: COMPROMISE}, number=1)
    large = make_large_crl(ca, range(first, last + 1), 2)
    assert len(large) > 10 * 1000 * 1000
    web["/large"] = small
    start(server, ca.section(f"OCSPSource crl {web.url('/large')} interval=1s timeout=30s"),
          ready=[ca])
    seen, slowest, ended = [], [0], threading.Event()

    def ask():
        while not ended.is_set():
            begin = time.monotonic()
            der = ocsp.request_for(ca, [first, last, first + count // 2])
            data = asn1ocsp.OCSPResponse.load(ocsp.post(server, der).body).response_data
            slowest[0] = max(slowest[0], time.monotonic() - begin)
            seen.append([one["cert_status"].name for one in data["responses"]])

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    web["/large"] = large
    try:
        wait_status(server, ca, last, "revoked", 60)
        wait_status(server, ca, first, "revoked", 1)
    finally:
        ended.set()
        thread.join()
    kinds = {tuple(one) for one in seen}
    assert kinds <= {("good", "good", "revoked"), ("revoked",) * 3} and len(seen) > 20, kinds
    assert slowest[0] < 2


def make_large_crl(ca, serials, number):
    """By asn1crypto in one piece, as a builder takes minutes."""
    from asn1crypto import algos, core, crl, x509 as asn1x509
    from cryptography.hazmat.primitives.asymmetric import padding
    subject = asn1x509.Certificate.load(ca.certificate.public_bytes(ocsp.DER)).subject
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    algorithm = algos.SignedDigestAlgorithm({"algorithm": "sha256_rsa"})
    when = asn1x509.Time("utc_time", now).dump()
    body = b"".join(entry(serial.to_bytes(16, "big"), when) for serial in serials)
    empty = crl.TbsCertList({
        "version": "v2", "signature": algorithm, "issuer": subject,
        "this_update": asn1x509.Time("utc_time", now),
        "next_update": asn1x509.Time("utc_time", now + 24 * HOUR), "revoked_certificates": [],
        "crl_extensions": [{"extn_id": "crl_number", "extn_value": number}]})
    revoked = core.Sequence(contents=body).dump()
    tbs = core.Sequence(contents=b"".join(
        revoked if name == "revoked_certificates" else empty[name].dump()
        for name in ("version", "signature", "issuer", "this_update", "next_update",
                     "revoked_certificates", "crl_extensions"))).dump()
    signature = ca.key_source.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    return core.Sequence(contents=tbs + algorithm.dump()
                         + core.OctetBitString(signature).dump()).dump()


def entry(serial, when):
    content = b"\x02\x10" + serial + when
    return b"\x30" + bytes([len(content)]) + content


# several processes

@pytest.mark.parametrize("kind", ["crl", "index"])
def test_all_processes_change_at_once(web, make_server, kind):
    """Whoever has heard from one process what is new does not hear from another what was before."""
    server = make(make_server, mpm="prefork")
    ca = Ca(server, "together")
    source = f"OCSPSource crl {web.url('/crl')} interval=1s"
    if kind == "index":
        source = f"OCSPSource index {server.root}/run/index.txt interval=1s"

    def publish(entries):
        web["/crl"] = ca.crl(entries)
        replace(server.root / "run" / "index.txt", index_txt({2: None, 1: None, **entries}))

    publish({})
    start(server, ca.section(source), ready=[ca])
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
                   for _ in range(16)]
    ders = [ocsp.request_for(ca, [1]), ocsp.request_for(ca, [1], nonce=b"0123456789abcdef")]

    def ask(number):
        connection = connections[number % len(connections)]
        connection.request("POST", "/ocsp", ders[number % 3 == 0], {"Content-Type": ocsp.REQUEST})
        data = asn1ocsp.OCSPResponse.load(connection.getresponse().read()).response_data
        return data["responses"][0]["cert_status"].name

    for round_ in range(6):
        before, after = ("good", "revoked") if round_ % 2 == 0 else ("revoked", "good")
        publish({1: HELD} if after == "revoked" else {})
        seen, end = [], time.monotonic() + 5
        while seen[-len(connections):] != [after] * len(connections):
            assert time.monotonic() < end, (kind, seen[-40:])
            seen.append(ask(len(seen)))
        changed = seen.index(after)
        assert set(seen[:changed]) <= {before} and set(seen[changed:]) == {after}, (
            kind, round_, seen[max(0, changed - 20):])
    for connection in connections:
        connection.close()


# another source

def test_another_source_with_graceful(web, make_server):
    """A CRL, then index.txt, then a CRL with a list: all of one, then all of the other, and no
    answer fails meanwhile."""
    server = make(make_server)
    ca = Ca(server, "switched")
    web["/crl"] = ca.crl({1: None}, number=5)
    web["/serials"] = b"1\n2\n"
    replace(server.root / "run" / "index.txt", index_txt({1: None, 2: COMPROMISE}))
    lines = {
        "crl": [f"OCSPSource crl {web.url('/crl')} interval=1s"],
        "index": [f"OCSPSource index {server.root}/run/index.txt interval=1s"],
        "serials": [f"OCSPSource crl {web.url('/crl')} interval=1s",
                    f"OCSPSource serials {web.url('/serials')}"],
    }
    expected = {"crl": ("revoked", "good", "good"), "index": ("good", "revoked", "unknown"),
                "serials": ("revoked", "good", "unknown")}

    def now():
        data = asn1ocsp.OCSPResponse.load(ocsp.post(server, ocsp.request_for(
            ca, [1, 2, 3])).body)
        if data["response_status"].native != "successful":
            return data["response_status"].native
        return tuple(one["cert_status"].name for one in data.response_data["responses"])

    start(server, ca.section(*lines["crl"]), ready=[ca])
    assert now() == expected["crl"]
    before = "crl"
    for kind in ("index", "serials", "crl"):
        server.configure(ocsp.directory(server) + "OCSPFastPath /ocsp\n"
                         + ca.section(*lines[kind]))
        server.allow(*NOT_YET)
        server.graceful()
        end = time.monotonic() + 8
        while (got := now()) != expected[kind]:
            assert got in (expected[before], "try_later"), (kind, got)
            assert time.monotonic() < end, (kind, got)
        time.sleep(0.5)
        assert now() == expected[kind]
        before = kind


def test_an_issuer_that_becomes_known_by_files(web, make_server):
    """The store's knowledge of a CA is not mixed with that of its CRL."""
    server = make(make_server)
    ca = Ca(server, "devices")
    server.configure(issuer(ca) + ocsp.directory(server) + "OCSPFastPath /ocsp\n"
                     + ocsp.section("devices", 'OCSPSigner "{}" "{}"'.format(*ca.signer)))
    server.expect("GH0451", "GH0452")
    server.allow(*NOT_YET)
    server.start()
    wait_until(lambda: answered(server, ca, 1), 10, what="an answer")
    server.ctl_ok("cert", "events", "--issuer", "devices", "-", stdin="\n".join(
        '{"action": "%s", "serialNumber": "%d"}' % one
        for one in (("issued", 11), ("issued", 12), ("revoked", 12))))
    wait_status(server, ca, 0x12, "revoked", 2)
    assert [status(server, ca, n) for n in (0x11, 0x13)] == ["good", "unknown"]
    web["/crl"] = ca.crl({0x13: None})
    server.configure(issuer(ca) + ocsp.directory(server) + "OCSPFastPath /ocsp\n" + ocsp.section(
        "devices", 'OCSPSigner "{}" "{}"'.format(*ca.signer),
        f"OCSPSource crl {web.url('/crl')} interval=1s"))
    server.allow(*NOT_YET, "GH0451", "GH0452")
    server.graceful()
    wait_until(lambda: answered(server, ca, 1) and status(server, ca, 0x13) == "revoked", 8,
               what="the CRL's knowledge")
    assert [status(server, ca, n) for n in (0x11, 0x12, 0x14)] == ["good"] * 3


def test_a_list_that_shrinks(web, make_server):
    """Serials that are gone from a list are not taken from what is known, unless they are few."""
    server = make(make_server)
    ca = Ca(server, "listed")
    web["/crl"] = ca.crl({1: None})
    web["/serials"] = "".join(f"{n:x}\n" for n in range(1, 101)).encode()
    start(server, ca.section(f"OCSPSource crl {web.url('/crl')} interval=1s",
                             f"OCSPSource serials {web.url('/serials')} interval=1s retry=1s"),
          ready=[ca])
    assert [status(server, ca, n) for n in (100, 101)] == ["good", "unknown"]
    web["/serials"] = "".join(f"{n:x}\n" for n in range(1, 51)).encode()
    server.allow(*REFUSED)
    wait_until(lambda: "GH0688" in server.log.text(), 5, what="a refusal")
    assert status(server, ca, 100) == "good"
    web["/serials"] = "".join(f"{n:x}\n" for n in range(1, 102) if n != 50).encode()
    wait_status(server, ca, 101, "good")
    wait_status(server, ca, 50, "unknown")


def test_ipv6(make_server):
    """Asked over IPv6, on both paths; the CRL is fetched over it too."""
    web = Source(address="::1")
    server = make(make_server)
    ca = Ca(server, "six")
    web["/crl"] = ca.crl({2: None})
    url = f"http://[::1]:{server.port}"
    try:
        server.configure(
            f"Listen [::1]:{server.port}\nAllowEncodedSlashes NoDecode\n"
            + ocsp.directory(server) + "OCSPFastPath /ocsp\n"
            + location("/normal", "SetHandler gatehouse-ocsp")
            + ca.section(f"OCSPSource crl {web.url('/crl')} interval=1s"))
        server.allow(*NOT_YET)
        server.start()
        wait_until(lambda: answered(server, ca, 1), 10, what="answers")
        for path in ("/ocsp", "/normal"):
            for serial, wanted in ((1, ocsp.GOOD), (2, ocsp.REVOKED)):
                answer = transport.request(
                    url + path, "POST", body=ocsp.request_for(ca, [serial]), host=False,
                    headers={"Content-Type": ocsp.REQUEST, "Host": url[len("http://"):]})
                assert ocsp.status_of(answer)[0] == wanted
            answer = subprocess.run(
                ["openssl", "ocsp", "-issuer", ca.certificate_path, "-serial", "2", "-url",
                 url + path, "-CAfile", ca.root_path, "-verify_other", ca.certificate_path],
                capture_output=True, text=True, check=True, timeout=20)
            assert "2: revoked" in answer.stdout, answer
            assert "Response verify OK" in answer.stderr, answer
        assert (server.root / "log" / "access.log").read_text().count("\n::1 ") == 6
    finally:
        server.stop()
        web.close()
    assert web.requests("/crl")
