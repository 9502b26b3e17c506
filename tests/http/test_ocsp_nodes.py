# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Two nodes on one PostgreSQL, with a second-level cache that they share: neither a node that is cut
off nor a cache that lags or lies brings an old "good" back."""

import itertools
import os
import re
import signal
import time

import pytest

from harness import ocsp
from harness.feeder import make_crl
from harness.pki import Authority
from harness.postgres import Cluster
from harness.redis import Proxy, Redis
from harness.server import wait_until

MAX_STALE = 3
# the store is away or does not answer; a node knows nothing new
CUT_OFF = ("GH0014", "GH0078", "GH0082", "GH0083", "GH0087", "GH0088", "GH0089", "GH0034", "GH0763",
           "GH0554", "GH0561", "GH0562", "GH0747", "GH0672", "GH0072", "GH0074", "GH0075")


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as started:
        yield started


@pytest.fixture
def redis():
    made = Redis()
    yield made
    made.close()


class Nodes:
    """Two servers that differ in nothing but their ports; the second reaches the store by a way that
    can be cut. It answers for another CA, too, by a CRL."""

    def __init__(self, make_server, cluster, redis=None, *lines):
        uri = cluster.database()
        folder = re.search(r"host=(\S+)", uri)[1]
        self.proxy = Proxy(f"{folder}/.s.PGSQL.5432")
        through = re.sub(r"host=\S+", f"host=127.0.0.1 port={self.proxy.port} sslmode=disable", uri)
        self.first = make_server("", start=False, store=uri, own_modules=ocsp.OWN_MODULES,
                                 modules=("socache_redis",))
        self.second = make_server("", start=False, store=through, own_modules=ocsp.OWN_MODULES,
                                  modules=("socache_redis",), authority=self.first.authority)
        self.second.make_secret("sealing-key", self.first.sealing_key)
        self.files = Authority(self.first.root / "ca", "files", "rsa2048-09")
        signer = 'OCSPSigner "{}" "{}"'.format(*ocsp.signer(self.first.authority))
        files_signer = 'OCSPSigner "{}" "{}"'.format(*ocsp.signer(self.files))
        level = f"OCSPSecondLevel redis:127.0.0.1:{redis.port}\n" if redis else ""
        self.publish([])
        for node in (self.first, self.second):
            node.configure(ocsp.content(
                node, f"OCSPMaxStale {MAX_STALE}s", *lines, signer_line=signer,
                endpoint="OCSPFastPath /ocsp\n" + level) + ocsp.section(
                    "files", f'OCSPCertificate "{self.files.certificate_path}"', files_signer,
                    f"OCSPSource crl file://{self.crl_path} interval=1s"))
            node.start()
            ocsp.wait_ready(node)
        self.both = (self.first, self.second)

    @property
    def crl_path(self):
        return self.first.root / "run" / "files.crl"

    def publish(self, serials, number=1):
        self.files.key = self.files.key_source
        new = self.crl_path.with_suffix(".new")
        new.parent.mkdir(exist_ok=True)
        new.write_bytes(make_crl(self.files, serials, number))
        new.rename(self.crl_path)

    def certificate(self, number=1):
        serial = ocsp.enrol(self.first, f"CN=node-{number},O=Example", number).serial_number
        for node in self.both:          # by what it knows itself, as answers for nonces are
            wait_until(lambda node=node: said(node, serial, True) == ocsp.GOOD, 10,
                       what="knowledge of a new certificate")
        return serial

    def revoke(self, serial):
        self.first.ctl_ok("cert", "revoke", f"{serial:x}", "--reason", "keyCompromise")


@pytest.fixture
def make_nodes(make_server, cluster):
    made = []

    def make(*arguments):
        made.append(Nodes(make_server, cluster, *arguments))
        return made[-1]

    yield make
    for nodes in made:
        for node in nodes.both:
            node.allow(*CUT_OFF)
        nodes.proxy.close()


def said(server, serial, nonce=False, by=ocsp.post):
    """The status, or the error."""
    der = ocsp.request_for(server.authority, [serial], nonce=os.urandom(16) if nonce else None)
    answer = ocsp.parse(by(server, der))
    if answer.response_status != ocsp.SUCCESSFUL:
        return answer.response_status
    return answer.certificate_status


@pytest.mark.parametrize("way, level", [("freeze", "redis"), ("refuse", "no redis")])
def test_a_node_that_is_cut_off(make_nodes, redis, way, level):
    nodes = make_nodes(redis if level == "redis" else None)
    first, second = nodes.both
    for node in nodes.both:
        node.allow(*CUT_OFF)
    serial, held = nodes.certificate(1), nodes.certificate(2)
    getattr(nodes.proxy, way)()
    cut = time.monotonic()
    nodes.revoke(serial)
    first.ctl_ok("cert", "hold", f"{held:x}")
    for one in (serial, held):
        ocsp.wait_for(first, one, ocsp.REVOKED, 1.5)
    seen = {}
    while time.monotonic() < cut + MAX_STALE + 2:
        for one in (serial, held):
            for nonce, by in ((False, ocsp.post), (True, ocsp.post), (False, ocsp.get)):
                asked = time.monotonic()
                status = said(second, one, nonce, by)
                seen.setdefault(status, []).append(asked - cut)
        time.sleep(0.05)
    # it answers while it may, and not once longer; by Redis it may know what another one knows
    knows = [ocsp.GOOD, ocsp.REVOKED] if level == "redis" else [ocsp.GOOD]
    first = min(min(times) for times in seen.values())
    assert min(min(seen[status]) for status in knows if status in seen) == first, seen
    assert max(seen[ocsp.GOOD]) <= MAX_STALE, seen
    assert min(seen[ocsp.TRY_LATER]) >= MAX_STALE - 1 and len(seen[ocsp.TRY_LATER]) > 5, seen
    assert set(seen) <= {ocsp.GOOD, ocsp.TRY_LATER, ocsp.REVOKED}
    # nothing comes from what others wrote, either
    for by in (ocsp.post, ocsp.get):
        assert said(second, serial, by=by) == ocsp.TRY_LATER
    # and it is whole again without a restart, in seconds
    nodes.proxy.open()
    end = time.monotonic() + 20
    while said(second, serial) != ocsp.REVOKED:
        assert said(second, serial) in (ocsp.TRY_LATER, ocsp.REVOKED)
        assert time.monotonic() < end
        time.sleep(0.05)
    assert ocsp.ask(second, held)[0] == ocsp.REVOKED


def test_a_store_that_is_away_does_not_keep_others(make_nodes):
    """A CA that is known by its CRL has nothing to do with the store."""
    nodes = make_nodes()
    second = nodes.second
    second.allow(*CUT_OFF)
    ocsp.wait_for_answer(second, 77, ocsp.GOOD, 5, bad=(), authority=nodes.files)
    nodes.proxy.freeze()
    time.sleep(1)
    for number in (2, 3):
        nodes.publish([77, 78][:number - 1], number)
        ocsp.wait_for(second, 75 + number, ocsp.REVOKED, 4, authority=nodes.files)
    nodes.proxy.open()


def test_a_node_that_starts_without_the_store(make_nodes):
    """It knows what it knew, for as long as that may be old."""
    nodes = make_nodes()
    second = nodes.second
    second.allow(*CUT_OFF)
    serial = nodes.certificate()
    second.stop()
    nodes.proxy.refuse()
    nodes.revoke(serial)
    time.sleep(MAX_STALE)
    mark = time.monotonic()
    second.start()
    while time.monotonic() < mark + 3:
        assert said(second, serial) == ocsp.TRY_LATER
        time.sleep(0.1)
    nodes.proxy.open()
    ocsp.wait_for_answer(second, serial, ocsp.REVOKED, 20)


# the second level

def origins(server, start):
    return re.findall(r"GH0762: .* origin (\S+)", server.log.text(start))


def test_nodes_share_answers(make_nodes, redis):
    nodes = make_nodes(redis)
    first, second = nodes.both
    for node in nodes.both:
        node.allow("GH0757")    # a cache that is slow once is left alone for some seconds

    def shared():
        """What one has signed, the other one gives."""
        serial = nodes.certificate()
        der = ocsp.request_for(first.authority, [serial])
        redis.command(b"FLUSHALL")
        marks = first.log.size(), second.log.size()
        made = ocsp.post(first, der)
        assert ocsp.status_of(made)[0] == ocsp.GOOD
        end = time.monotonic() + 1
        while not redis.entries() and time.monotonic() < end:
            time.sleep(0.02)
        taken = ocsp.post(second, der)
        assert ocsp.status_of(taken)[0] == ocsp.GOOD
        time.sleep(0.1)
        assert origins(first, marks[0]) == ["signed"]
        return origins(second, marks[1]) == ["second-level"] and made.body == taken.body

    wait_until(shared, 40, what="an answer of the other node")


def keep_writing(redis, entries, nodes, serials, seconds=1):
    """Writes entries again and again, and asks all nodes in every way meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        redis.write(entries)
        for node in nodes:
            for serial, status in serials.items():
                for by in (ocsp.post, ocsp.get):
                    assert ocsp.ask(node, serial, by=by)[0] == status


def test_old_and_false_answers_in_the_second_level(make_nodes, redis):
    """Also where the node has no answers of its own, after a restart."""
    nodes = make_nodes(redis)
    revoked, held, good = (nodes.certificate(number) for number in (1, 2, 3))
    statuses = {revoked: ocsp.REVOKED, held: ocsp.REVOKED, good: ocsp.GOOD}

    def forget():
        """Nodes that have no answers kept."""
        for node in nodes.both:
            node.restart()
            ocsp.wait_ready(node)

    for serial in statuses:
        for node in nodes.both:
            assert said(node, serial) == ocsp.GOOD
    old = redis.entries()
    assert len(old) >= 3
    nodes.revoke(revoked)
    nodes.first.ctl_ok("cert", "hold", f"{held:x}")
    for node in nodes.both:
        for serial in (revoked, held):
            ocsp.wait_for(node, serial, ocsp.REVOKED, 1.5)
    new = redis.entries()
    changed = [key for key in old if old[key] != new.get(key)]
    assert len(changed) == 2
    # old ones, byte for byte
    keep_writing(redis, old, nodes.both, statuses)
    forget()
    keep_writing(redis, old, nodes.both, statuses)
    # those of others: the good one's for the revoked
    valid = redis.entries()
    keys = sorted(old)
    others = {key: valid.get(other, old[other]) for key in keys for other in keys if other != key}
    forget()
    keep_writing(redis, others, nodes.both, statuses)
    # bytes that mean nothing, and such with one that is changed
    for spoils in ((lambda value: os.urandom(len(value)), lambda value: value[:40],
                    lambda value: b""),
                   (lambda value: value + b"x", lambda value: os.urandom(5000),
                    lambda value: flip(value, 40)),
                   (lambda value: flip(value, len(value) - 100), lambda value: flip(value, 3))):
        spoilt = {key: spoil(value) for (key, value), spoil
                  in zip(valid.items(), itertools.cycle(spoils))}
        nodes.second.restart()
        ocsp.wait_ready(nodes.second)
        keep_writing(redis, spoilt, [nodes.second], statuses, 0.5)
    # a release is one, whatever the cache says of the hold
    hold = {key: new[key] for key in changed}
    nodes.first.ctl_ok("cert", "release", f"{held:x}")
    for node in nodes.both:
        ocsp.wait_for(node, held, ocsp.GOOD, 1.5)
    statuses[held] = ocsp.GOOD
    keep_writing(redis, hold, nodes.both, statuses)
    for node in nodes.both:
        # what is too long is a fault of the cache
        node.allow("GH0757", "AH03479", "AH03480")


def flip(value, at):
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]


def test_without_the_second_level(make_nodes, redis):
    """Gone, or silent: answers go on, and it is used again when it is back."""
    nodes = make_nodes(redis)
    # each of these is looked for in the second level once
    questions = [(ocsp.enrol(nodes.first, f"CN=asked-{number},O=Example").serial_number, digest)
                 for number in range(40) for digest in ("sha1", "sha256", "sha384", "sha512")]
    serial = nodes.certificate()
    for node in nodes.both:
        node.expect("GH0757")
        node.allow("AH03478", "AH03479", "AH03480", "AH03481", "AH03482")

    def ask_much(seconds):
        slowest, end, number = 0, time.monotonic() + seconds, 0
        while time.monotonic() < end:
            one, digest = questions.pop()
            for node in nodes.both:
                number += 1
                began = time.monotonic()
                assert ocsp.ask(node, one, digest=digest)[0] == ocsp.GOOD
                assert ocsp.ask(node, serial)[0] == ocsp.GOOD
                slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.08)
        return slowest, number

    redis.kill()
    slowest, number = ask_much(3)
    assert number > 20 and slowest < 2
    redis.start()
    wait_until(lambda: ask_much(0.2) and redis.entries(), 10, what="use of the cache")
    redis.send_signal(signal.SIGSTOP)
    slowest, number = ask_much(3)
    assert number > 20 and slowest < 2
    redis.send_signal(signal.SIGCONT)
    nodes.revoke(serial)
    for node in nodes.both:
        ocsp.wait_for(node, serial, ocsp.REVOKED, 1.5)
