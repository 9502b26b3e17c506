# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Many enrolments through a CA that fails at random, while processes are killed; and what a CA that
hangs does to everything else."""

import os
import random
import re
import resource
import selectors
import signal
import socket
import threading
import time

import pytest

from harness import environment, ocsp
from harness.config import location
from harness.remote import FRESH, ISSUER, KILLED, PATH, TROUBLE, Remote, start_gateway
from harness.server import CHALLENGE, wait_until
from harness.slowload import SlowLoad
from scep import Csr

COUNT = environment.count(500, 5000)
SEED = 20


@pytest.fixture
def gateway(tmp_path):
    made = start_gateway(tmp_path, seed=SEED)
    yield made
    made.close()
    made.check()


def spoil(gateway, serial=False):
    """About one call of five goes wrong. serial: it is told when the certificate is not"""
    add = gateway.faults.add
    gateway.latency = 0.05
    for kind, share, options in (
            ("lost", 0.02, {}), ("failed", 0.02, {"code": 500}), ("half", 0.02, {}),
            ("malformed", 0.02, {}), ("status", 0.02, {"code": 500}), ("drop", 0.02, {}),
            ("status", 0.02, {"code": 429, "retry_after": 1}),
            ("accepted", 0.02, {"delay": 2.0, "serial": serial}),
            ("late", 0.01, {"seconds": 6.0}), ("no-chain", 0.05, {})):
        add(kind, on="enroll", share=share, **options)
    add("status", on="events", share=0.05, code=502)
    add("malformed", on="events", share=0.05)
    add("bad-event", on="events", share=0.1)


def kill_one(remote, draw):
    """The worker, or one of httpd's children."""
    victims = remote.workers() if draw.random() < 0.6 else []
    if victims:
        os.kill(victims[0], signal.SIGKILL)
    else:
        remote.server.kill_children(most=1)


def story(remote, name, issued):
    """What there is to be known of one device: when the CA told of what, and the log."""
    rows = remote.server.ctl_ok("enrolment", "list", "--limit", str(2 * COUNT)).objects
    ids = [row["id"] for row in rows if f"CN={name}," in row["subject"] + ","]
    lines = [line[:300] for line in remote.server.log.text().splitlines()
             if any(one in line for one in ids)]
    return "\n".join([name, *(f"{one.serial:x}, told from {one.visible} on" for one in issued),
                      *lines])


@pytest.mark.slow
def test_each_ends_issued_with_one_certificate(make_server, gateway):
    # the gateway is a program on the same busy machine: what it was sent it may do seconds later
    remote = Remote(make_server, gateway, wait="2s max-waiting=8", search="on lag=10s").ready()
    remote.server.allow(*TROUBLE, *KILLED)
    spoil(gateway)
    gateway.events_lag = 1.0
    gateway.faults.add("status", on="enroll", share=0.02, code=400)
    draw = random.Random(SEED)
    kills = 0
    with SlowLoad(remote.client(), COUNT, seconds=max(300, COUNT // 2)) as load:
        while load.busy and kills < COUNT // 50:
            mark = load.final
            end = time.monotonic() + 20
            while load.busy and load.final <= mark + 20 and time.monotonic() < end:
                time.sleep(0.05)
            kill_one(remote, draw)
            kills += 1
    gateway.faults.clear()
    assert kills >= COUNT // 100
    unfinished = [d.subject for d in load.devices if d.reply is None]
    assert not unfinished, (len(unfinished), unfinished[:5])
    at_ca, refused = {}, 0
    for issued in gateway.issued():
        name = issued.certificate.subject.rfc4514_string()
        at_ca.setdefault(name.split("CN=")[1].split(",")[0], []).append(issued)
    for device in load.devices:
        name = device.subject.split("=")[1].split(",")[0]
        if device.reply.failed:
            refused += 1
            assert name not in at_ca, (device.subject, device.reply)
            continue
        assert device.reply.succeeded, (device.subject, device.reply)
        assert [one.der for one in at_ca[name]] == [device.reply.issued], \
            story(remote, name, at_ca[name])
    assert 0 < refused < COUNT // 10
    rows = remote.server.ctl_ok("enrolment", "list", "--limit", str(2 * COUNT)).objects
    assert {row["state"] for row in rows} == {"issued", "rejected"}


@pytest.mark.slow
def test_in_doubt_is_rare_visible_and_left_alone(make_server, gateway):
    """Where the CA cannot be searched, what may have been issued is never sent again."""
    remote = Remote(make_server, gateway, wait="2s max-waiting=8", search="off").ready()
    remote.server.allow(*TROUBLE, *KILLED)
    spoil(gateway, serial=True)
    count = COUNT // 2
    patience = max(80, COUNT // 4)
    with SlowLoad(remote.client(), count, seconds=2 * patience) as load:
        kill_one(remote, random.Random(SEED))
        wait_until(lambda: load.final >= count * 3 // 4, patience, what="most of the devices")
        wait_until(lambda: len(doubtful(remote)) + load.final >= count, 60, 0.5,
                   what="an end of each")
        doubts = doubtful(remote)
        load.stop()
    posts = remote.posts()
    assert 0 < len(doubts) < count // 4, len(doubts)
    time.sleep(3)
    assert remote.posts() == posts and len(doubtful(remote)) == len(doubts)
    for device in load.devices:
        name = device.subject.split(",")[0]
        assert len([i for i in gateway.issued()
                    if i.certificate.subject.rfc4514_string().endswith(name)]) <= 1


def doubtful(remote):
    return remote.server.ctl_ok("enrolment", "list", "--state", "in-doubt", "--limit",
                                "10000").objects


def times_of(call, seconds):
    taken = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        call()
        taken.append(time.monotonic() - begin)
    return sorted(taken)


def test_a_ca_that_hangs_delays_nothing_else(make_server, gateway):
    """With as many waiting as may wait, and more that do not, OCSP and other pages are as quick."""
    def more(server):
        return ocsp.directory(server) + "OCSPFastPath /ocsp\n" + ocsp.section(
            "devices", 'OCSPSigner "{}" "{}"'.format(*ocsp.signer(server.authority)))

    remote = Remote(make_server, gateway, more=more, wait="8s max-waiting=6", limits="timeout=60s",
                    options={"own_modules": ocsp.OWN_MODULES}).ready()
    server = remote.server
    ocsp.wait_ready(server)
    leaf = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, leaf, ocsp.GOOD)
    server.allow(*TROUBLE)

    def ask():
        assert ocsp.ask(server, leaf)[0] == ocsp.GOOD

    before = times_of(ask, 1.5)
    gateway.faults.add("hang", on="enroll")
    client = remote.client()
    client.certificates
    waiting = [threading.Thread(target=remote.enrol, daemon=True,
                                args=(f"CN=hanging-{n}", next(FRESH), client)) for n in range(20)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: remote.gateway.busiest >= 6, 5, what="calls that hang")
    time.sleep(0.5)
    assert 0 < sum(thread.is_alive() for thread in waiting) <= 6
    during = times_of(ask, 3)
    local = times_of(lambda: ocsp.enrol(server, "CN=local"), 1)
    assert sum(thread.is_alive() for thread in waiting) > 0, "nobody waited meanwhile"
    median = (before[len(before) // 2], during[len(during) // 2])
    assert median[1] < 2 * median[0] + 0.005, median
    assert during[-1] < 0.5 and local[-1] < 2, (during[-1], local[-1])
    for thread in waiting:
        thread.join(20)


class Crowd:
    """The same HTTP request on many connections at once."""

    def __init__(self, port, request, count):
        self.selector = selectors.DefaultSelector()
        self.answered = []              # first lines
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), 20)
            connection.sendall(request)
            self.selector.register(connection, selectors.EVENT_READ)

    def listen(self, seconds):
        """Takes the answers that come in this time."""
        end = time.monotonic() + seconds
        while self.unanswered and time.monotonic() < end:
            for key, _ in self.selector.select(max(0, end - time.monotonic())):
                self.answered.append(key.fileobj.recv(65536).split(b"\r\n")[0])
                self.selector.unregister(key.fileobj)
                key.fileobj.close()

    @property
    def unanswered(self):
        return len(self.selector.get_map())

    def close(self):
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()


def allow_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def test_a_crowd_takes_no_more_threads_than_may_wait(make_server, gateway):
    """A thousand requests at once for a CA that hangs: so many wait as may, others come back."""
    most, count = 5, 1000
    remote = Remote(make_server, gateway, wait=f"18s max-waiting={most}", limits="timeout=60s",
                    more=location("/metrics", "SetHandler gatehouse-metrics")
                    + location("/status", "SetHandler server-status"), modules=("status",)).ready()
    # the last two: httpd says that all of its threads have something to do
    remote.server.allow(*TROUBLE, "AH00484", "AH10159")
    gateway.faults.add("hang", on="enroll")
    allow_descriptors(2 * count)
    client = remote.client()
    message = client.message(Csr(next(FRESH), "CN=crowd", CHALLENGE))
    head = f"POST {PATH}?operation=PKIOperation HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " \
        f"application/x-pki-message\r\nContent-Length: {len(message.der)}\r\n\r\n"
    crowd = Crowd(remote.server.port, head.encode() + message.der, count)
    seen = []
    try:
        end = time.monotonic() + 15
        while crowd.unanswered > most and time.monotonic() < end:
            crowd.listen(0.2)
            body = remote.server.get("/metrics").body.decode()
            seen.append(int(re.search(rf'requests_waiting\{{queue="{ISSUER}"\}} (\d+)', body)[1]))
    finally:
        crowd.close()
    assert max(seen) == most, seen
    assert len(crowd.answered) > count // 4, len(crowd.answered)
    # "come back later", or 503 of the limit of messages that are worked on at once
    assert {line.split()[1] for line in crowd.answered} <= {b"200", b"503"}, set(crowd.answered)

    def busy():
        """How many threads have something to do, this one's too."""
        status = remote.server.get("/status?auto").body.decode()
        return int(re.search(r"BusyWorkers: (\d+)", status)[1])

    # see Server.stop(): the threads give up many sockets at once
    wait_until(lambda: busy() <= most + 1, 60, 0.2, "the end of the crowd")
