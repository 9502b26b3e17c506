# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The worker for CAs and httpd: its socket, its life, how requests wait for it."""

import contextlib
import os
import re
import signal
import sqlite3
import stat
import threading
import time

import pytest

from harness import environment
from harness.clock import Clock
from harness.config import location
from harness.postgres import Cluster
from harness.remote import FRESH, ISSUER, Remote, start_gateway, succeeded, worker_path
from harness.server import wait_until


MINUTE = 60


@pytest.fixture
def gateway(tmp_path):
    made = start_gateway(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_server(gateway, make_server):
    """Servers end before the gateway does, or their workers would say that it is gone."""
    return make_server


class Enrolling:
    """Enrolments of several devices at once."""

    def __init__(self, remote, subject, count):
        self.replies = [None] * count
        self.seconds = [0.0] * count
        self.subjects = [subject.replace("CN=", f"CN={number}-") for number in range(count)]
        self.keys = [next(FRESH) for number in range(count)]
        self.threads = [threading.Thread(target=self.run, args=(remote, number), daemon=True)
                        for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, remote, number):
        begin = time.monotonic()
        self.replies[number] = remote.enrol(self.subjects[number], self.keys[number])
        self.seconds[number] = time.monotonic() - begin

    def join(self, seconds=40):
        for thread in self.threads:
            thread.join(seconds)
        assert all(self.replies), self.replies
        return self.replies

    def finish(self, remote, seconds=40):
        """All are issued in the end, with one certificate each."""
        for subject, reply in zip(self.subjects, self.join()):
            succeeded(remote, remote.wait(reply, seconds) if reply.pending else reply, subject)


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_waits_with_every_mpm(make_server, gateway, subject, mpm):
    remote = Remote(make_server, gateway, options={"mpm": mpm}).ready()
    gateway.latency = 0.7
    many = Enrolling(remote, subject, 3)
    for reply, name in zip(many.join(), many.subjects):
        succeeded(remote, reply, name)
    assert max(many.seconds) < 4, many.seconds


def test_worker_is_told(make_server, gateway, subject):
    """It would find each within a second by itself."""
    remote = Remote(make_server, gateway).ready()
    begin = time.monotonic()
    for number in range(6):
        name = subject.replace("CN=", f"CN={number}-")
        succeeded(remote, remote.enrol(name), name)
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("seconds", [3 * MINUTE, -3 * MINUTE])
def test_node_with_another_clock(make_server, gateway, subject, seconds):
    """Jobs go by the clock of the database, which claims them: such a node's devices do not wait."""
    with Cluster() as cluster:
        remote = Remote(make_server, gateway, start=False, options={"store": cluster.database()})
        remote.server.expect("GH1324")      # the gateway's clock is not the node's
        clock = Clock(remote.server)
        clock.set(seconds)
        remote.server.start()
        remote.ready()
        succeeded(remote, remote.enrol(subject), subject)
        remote.server.stop()


def test_no_more_than_so_many_wait(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="4s max-waiting=2").ready()
    gateway.latency = 2
    many = Enrolling(remote, subject, 6)
    begin = time.monotonic()
    assert remote.server.get(f"/ca/{ISSUER}.cer").status == 200
    assert time.monotonic() - begin < 1
    replies = many.join()
    waited = [seconds for seconds, reply in zip(many.seconds, replies) if not reply.pending]
    pending = [seconds for seconds, reply in zip(many.seconds, replies) if reply.pending]
    assert len(waited) == 2 and min(waited) > 1.8, many.seconds
    assert len(pending) == 4 and max(pending) < 1.5, many.seconds
    many.finish(remote)


def test_nobody_waits(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="0s").ready()
    begin = time.monotonic()
    reply = remote.enrol(subject)
    assert reply.pending and time.monotonic() - begin < 0.8
    succeeded(remote, remote.wait(reply), subject)


def test_wait_ends_in_time(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="1s").ready()
    gateway.latency = 2.5
    begin = time.monotonic()
    reply = remote.enrol(subject)
    assert reply.pending and 0.9 < time.monotonic() - begin < 2
    succeeded(remote, remote.wait(reply), subject)


def test_worker_that_is_killed(make_server, gateway, subject):
    remote = Remote(make_server, gateway, options={"loglevel": "info"}).ready()
    remote.server.allow("GH0663", "AH01067", "AH01068", "AH01075", "AH10149", "GH0886", "GH0882")
    gateway.latency = 1.5
    many = Enrolling(remote, subject, 4)
    wait_until(lambda: len(gateway.calls_of("enroll")) >= 4, what="calls")
    first = remote.worker()
    os.kill(first, signal.SIGKILL)
    begin = time.monotonic()
    wait_until(lambda: [pid for pid in remote.workers() if pid != first], 5, 0.02, "a new worker")
    assert time.monotonic() - begin < 2
    many.finish(remote, 60)


def test_graceful_restart(make_server, gateway, subject):
    remote = Remote(make_server, gateway).ready()
    gateway.latency = 2
    first = remote.worker()
    many = Enrolling(remote, subject, 4)
    wait_until(lambda: len(gateway.calls_of("enroll")) >= 4, what="calls")
    remote.server.graceful()
    for reply, name in zip(many.join(), many.subjects):
        succeeded(remote, reply, name)
    wait_until(lambda: not os.path.exists(f"/proc/{first}"), 10, what="the end of the first worker")
    later = "CN=later," + subject.split(",", 1)[1]
    gateway.latency = 0
    succeeded(remote, remote.enrol(later), later)
    assert remote.worker() != first


def test_worker_that_hangs(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="2s").ready()
    remote.server.allow("AH01075", "AH01067", "GH0886")
    first = remote.worker()
    remote.server.configure(remote.server.content.replace("timeout=20", "timeout=3"))
    remote.server.graceful()
    worker = wait_until(lambda: [pid for pid in remote.workers() if pid != first], 10)[0]
    os.kill(worker, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        reply = remote.enrol(subject)
        assert reply.pending and time.monotonic() - begin < 6
    finally:
        os.kill(worker, signal.SIGCONT)
    succeeded(remote, remote.wait(reply), subject)


def test_worker_that_stood_still_before_its_call(make_server, gateway, subject):
    """Between what it stores of a call and the call itself: another process may go by that by then.
    The job is begun anew, and each gets one certificate."""
    remote = Remote(make_server, gateway, wait="1s", limits="rate=0.4 timeout=4s").ready()
    worker = remote.worker()
    posts = remote.posts()
    path = remote.server.store_uri.split(":", 1)[1]
    with contextlib.closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as store:
        before, = store.execute("SELECT count(*) FROM enrolment").fetchone()
        many = Enrolling(remote, subject, 3)
        # all are stored, for httpd must not be kept from that, and one waits for its turn
        wait_until(lambda: store.execute(
            "SELECT (SELECT count(*) FROM enrolment) = ? AND (SELECT count(*) FROM job WHERE"
            " holder IS NOT NULL AND sent = 0) > 0", (before + 3,)).fetchone()[0], 10, 0.02,
                   "the job")
        store.execute("BEGIN IMMEDIATE")
        time.sleep(2.8)                     # the turn of one comes, and it waits for the store
        os.kill(worker, signal.SIGSTOP)
        try:
            store.execute("COMMIT")
            time.sleep(11)
        finally:
            os.kill(worker, signal.SIGCONT)
    # the one, or that the store was given up meanwhile: in either case no call was made
    wait_until(lambda: re.search("GH1325|GH0814", remote.server.log.text()), 20, 0.2,
               "the word about it")
    many.finish(remote, 60)
    assert remote.posts() == posts + 3


def test_gateway_that_is_away_holds_nobody(make_server, gateway, subject):
    remote = Remote(make_server, gateway, wait="10s").ready()
    remote.server.allow("GH0803", "GH0817", "GH0843")
    gateway.server_certificate("expired")
    begin = time.monotonic()
    reply = remote.enrol(subject)
    assert reply.pending and time.monotonic() - begin < 3
    assert remote.posts() == 0 or not remote.at_ca(subject)
    gateway.server_certificate("good")
    succeeded(remote, remote.wait(reply, 40), subject)


def test_without_the_way_to_the_worker(make_server, gateway, subject):
    remote = Remote(make_server, gateway, start=False)
    text = remote.server.content.replace(worker_path(remote.server), "")
    assert text != remote.server.content
    remote.server.configure(text)
    remote.server.allow("GH0878", "GH0782")
    checked = remote.server.configtest()
    assert "GH0878" in checked.stderr and checked.returncode == 0, checked
    remote.server.start()
    remote.ready()
    begin = time.monotonic()
    succeeded(remote, remote.enrol(subject), subject)
    assert time.monotonic() - begin < 4


def test_path_without_timeout_is_told(make_server, gateway):
    remote = Remote(make_server, gateway, start=False)
    remote.server.configure(remote.server.content.replace("timeout=20 ", ""))
    checked = remote.server.configtest()
    assert "GH0879" in checked.stderr and checked.returncode == 0, checked


def test_health_and_metrics(make_server, gateway, subject):
    more = location("/health", "SetHandler gatehouse-health") \
        + location("/metrics", "SetHandler gatehouse-metrics")
    remote = Remote(make_server, gateway, more=more, wait="0s").ready()
    gateway.latency = 9
    assert remote.enrol(subject).pending
    wait_until(lambda: f'gatehouse_jobs_open{{issuer="{ISSUER}"}} 1'
               in remote.server.get("/metrics").body.decode(), 15, 0.5, "the metric")
    answer = remote.server.get("/health")
    assert answer.status == 200
    assert b"1 wait, 0 of them overdue; 0 in doubt" in answer.body
    gateway.latency = 0


def test_socket(make_server, gateway, subject):
    def more(server):
        path = server.root / "sockets"
        path.mkdir(exist_ok=True)
        return f'GatehouseRuntimeDirectory "{path}"\n'

    remote = Remote(make_server, gateway, more=more, start=False)
    root = remote.server.root
    remote.server.configure(remote.server.content.replace("/run/ca-worker.sock",
                                                          "/sockets/ca-worker.sock"))
    path = root / "sockets" / "ca-worker.sock"
    path.write_text("in the way")
    remote.server.allow("GH0882", "AH00016", "AH00020")
    with pytest.raises(AssertionError):
        remote.server.start()
    assert path.read_text() == "in the way"
    path.unlink()
    remote.server.start()
    remote.ready()
    info = path.stat()
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600
    if environment.IS_ROOT:
        assert info.st_uid == environment.run_as()[0]
    remote.server.graceful()
    assert path.stat().st_ino == info.st_ino
    succeeded(remote, remote.enrol(subject), subject)
    # somebody tidies up
    path.unlink()
    remote.server.graceful()
    other = "CN=other," + subject.split(",", 1)[1]
    succeeded(remote, remote.enrol(other), other)
