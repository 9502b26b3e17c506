# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A server that answers OCSP, while certificates are revoked, processes are killed and configurations
change; under each MPM."""

import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import types

import pytest

from harness import ocsp
from harness.config import location
from harness.postgres import Cluster
from harness.server import free_port, port_is_free, wait_until
from scep import transport

MPMS = pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
# what is said while PostgreSQL is away
AWAY = ("GH0763", "GH0014", "GH0034", "GH0078", "GH0082", "GH0083", "GH0087", "GH0088", "GH0089")
WATCH = "".join([location("/health", "SetHandler gatehouse-health"),
                 location("/metrics", "SetHandler gatehouse-metrics"),
                 "OCSPFastPath /ocsp\n"])


def serving(server):
    return {pid for pid in server.children() if server._serves(pid)}


def ask_everybody(server, serial, count=60):
    """What many connections at once are told: they reach all processes."""
    def one(_):
        return ocsp.ask(server, serial)[0]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        return set(pool.map(one, range(count)))


@MPMS
def test_revocation_is_seen_within_a_second(make_server, mpm):
    server = ocsp.make(make_server, mpm=mpm)
    serials = [ocsp.enrol(server, f"CN=device {number}", number + 1).serial_number
               for number in range(3)]
    for serial in serials:
        ocsp.wait_for(server, serial, ocsp.GOOD)
        assert ask_everybody(server, serial) == {ocsp.GOOD}
    for serial in serials:
        server.ctl_ok("cert", "revoke", f"{serial:x}", "--reason", "superseded")
        done = time.monotonic()
        while ask_everybody(server, serial, 24) != {ocsp.REVOKED}:
            assert time.monotonic() - done < 1, "still good"
        assert ask_everybody(server, serial) == {ocsp.REVOKED}


def test_hold_and_release(make_server):
    server = ocsp.make(make_server)
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    server.ctl_ok("cert", "hold", f"{serial:x}")
    ocsp.wait_for(server, serial, ocsp.REVOKED)
    assert ocsp.ask(server, serial)[1].name == "certificate_hold"
    server.ctl_ok("cert", "release", f"{serial:x}")
    ocsp.wait_for(server, serial, ocsp.GOOD)


class Load:
    """Asks for a certificate that is good, on several threads, until it is stopped."""

    def __init__(self, server, serial):
        self.server, self.der = server, ocsp.request_for(server.authority, [serial])
        self.answers, self.wrong, self.broken = 0, [], 0
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True)
                        for number in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        while not self.ended.is_set():
            try:
                answer = (ocsp.post if number % 2 else ocsp.get)(self.server, self.der)
            except OSError:
                self.broken += 1        # the process was killed meanwhile
                continue
            except Exception as error:  # as above, amid an answer
                if type(error).__name__ not in ("BadStatusLine", "RemoteDisconnected",
                                                "IncompleteRead"):
                    self.wrong.append(repr(error))
                self.broken += 1
                continue
            self.answers += 1
            if answer.status != 200 or ocsp.status_of(answer)[0] != ocsp.GOOD:
                self.wrong.append(repr(answer))

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        assert not self.wrong, self.wrong[:3]
        assert self.answers > 50
        return self


@MPMS
def test_graceful_restart_under_load(make_server, mpm):
    server = ocsp.make(make_server, mpm=mpm)
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    load = Load(server, serial)
    for _ in range(3):
        time.sleep(0.3)
        server.graceful()
    time.sleep(0.3)
    assert load.stop().broken == 0
    server.allow("AH00045", "AH00046")


@MPMS
def test_killed_children(make_server, mpm):
    server = ocsp.make(make_server, mpm=mpm)
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    load = Load(server, serial)
    for _ in range(3):
        time.sleep(0.3)
        wait_until(lambda: server.kill_children(most=2), 5, what="new children")
    time.sleep(1)
    load.stop()
    server.ctl_ok("cert", "revoke", f"{serial:x}")
    ocsp.wait_for(server, serial, ocsp.REVOKED, 1)
    server.allow("AH00051", "AH00052", "AH10392", "AH10393")
    server.stop()
    server.allow("AH00051", "AH00052", "AH10392", "AH10393")


def test_nothing_is_lost_of_the_cap_by_kills(make_server):
    """Children that are killed while they sign take no place for good."""
    server = ocsp.make(make_server, endpoint="OCSPFastPath /ocsp\nOCSPMaxSigning 1 live=1\n")
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)

    def nonces(ended):
        while not ended.is_set():
            try:
                ocsp.post(server, ocsp.request_for(server.authority, [serial],
                                                   nonce=os.urandom(16)))
            except Exception:           # killed
                pass

    ended = threading.Event()
    threads = [threading.Thread(target=nonces, args=(ended,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.3)
        server.kill_children()
    ended.set()
    for thread in threads:
        thread.join()
    server.allow("AH00051", "AH00052", "GH0763")

    def answered():
        nonce = os.urandom(16)
        answer = ocsp.parse(ocsp.post(server, ocsp.request_for(server.authority, [serial],
                                                               nonce=nonce)))
        return answer.response_status == ocsp.SUCCESSFUL and len(answer.extensions) == 1

    wait_until(answered, 5, what="an answer with a nonce")
    for _ in range(20):
        assert answered()


def test_without_index(make_server):
    """Nothing is answered of which nothing is known, and what is damaged is not believed."""
    server = ocsp.make(make_server)
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    server.stop()
    folder = server.root / "run" / "ocsp"
    for path in folder.glob("devices*"):
        path.write_bytes(path.read_bytes()[:50])
    server.start()
    server.allow("GH0763", "GH0553", "GH0554", "GH0561", "GH0562", "GH0558")
    ocsp.wait_until_answered(server, serial, ocsp.GOOD)


@pytest.fixture
def cluster():
    with Cluster() as running:
        yield running


def error_after(server, serial):
    """An answer that is an error, once there is one."""
    answer = ocsp.post(server, ocsp.request_for(server.authority, [serial]))
    return None if ocsp.parse(answer).response_status == ocsp.SUCCESSFUL else answer


def test_stale_is_try_later(cluster, make_server):
    """When the store is away, answers go on until what is known is too old, and come back."""
    server = ocsp.make(make_server, "OCSPMaxStale 4s", "OCSPNextUpdate 1m", endpoint=WATCH,
                       store=cluster.database())
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    assert server.get("/health").status == 200
    server.allow(*AWAY)
    cluster.stop()
    assert ocsp.ask(server, serial)[0] == ocsp.GOOD
    answer = wait_until(lambda: error_after(server, serial), 10, what="tryLater")
    assert ocsp.error_of(answer) == ocsp.TRY_LATER
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Cache-Control"] == "no-store"
    health = server.get("/health")
    assert health.status == 503 and b"OCSPMaxStale" in health.body
    cluster.start()
    wait_until(lambda: not error_after(server, serial), 20, what="an answer")
    assert ocsp.ask(server, serial)[0] == ocsp.GOOD
    wait_until(lambda: server.get("/health").status == 200, 5, what="health")


def test_silent_database_delays_nothing(cluster, make_server):
    """A store that does not answer at all: known status and signing go on at once, tools give up, and
    processes start."""
    server = ocsp.make(make_server, "OCSPNextUpdate 1m", endpoint=WATCH, store=cluster.database())
    first, second = (ocsp.enrol(server, f"CN={n}", n).serial_number for n in (1, 2))
    for serial in (first, second):
        ocsp.wait_for(server, serial, ocsp.GOOD)
    # a child that ends may wait for the database, too
    server.allow(*AWAY, "GH0315", "GH0451", "GH0452", "AH00045")

    def longest(seconds):
        """Of answers from the cache, and of some that are signed."""
        worst, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for nonce in (None, os.urandom(16)):
                begin = time.monotonic()
                answer = ocsp.post(server, ocsp.request_for(server.authority, [first],
                                                            nonce=nonce))
                worst = max(worst, time.monotonic() - begin)
                assert ocsp.status_of(answer)[0] == ocsp.GOOD
            time.sleep(0.02)
        return worst

    cluster.freeze()
    try:
        assert longest(14) < 1
        begin = time.monotonic()
        assert server.ctl("cert", "list").status == 4
        assert time.monotonic() - begin < 12
        begin = time.monotonic()
        reply = transport.request(server.url(ocsp.STATIC + "?operation=GetCACaps"))
        assert reply.status == 200 and time.monotonic() - begin < 2
        server.stop()
        begin = time.monotonic()
        server.start()                  # answers of what the index on disk has
        ocsp.wait_until_answered(server, second, ocsp.GOOD, 30)
        assert time.monotonic() - begin < 30
        assert longest(3) < 1
    finally:
        cluster.thaw()
    wait_until(lambda: server.ctl("cert", "list").status == 0, 10, what="the store")
    server.ctl_ok("cert", "revoke", "--issuer", "devices", f"{second:x}")
    ocsp.wait_for(server, second, ocsp.REVOKED, 20)
    assert ocsp.enrol(server, "CN=3", 3)


# what operators see

def metric(text, name, **labels):
    label = ",".join(f'{key}="{value}"' for key, value in labels.items())
    found = re.search(rf"^{name}{re.escape('{' + label + '}') if label else ''} ([-+.e0-9]+)$", text,
                      re.M)
    assert found, (name, labels, text)
    return float(found[1])


def test_health(make_server):
    server = ocsp.make(make_server, endpoint=WATCH)
    answer = server.get("/health")
    health = json.loads(answer.body)
    checks = {check["name"]: check for check in health["checks"]}
    assert answer.status == 200, health
    assert {"ocsp.devices.index", "ocsp.devices.fresh", "ocsp.devices.signer"} <= set(checks)
    assert all(check["ok"] for check in checks.values())
    assert "P-256, valid for 29 more days" in checks["ocsp.devices.signer"]["message"] \
        or "P-256, valid for 30 more days" in checks["ocsp.devices.signer"]["message"]


def test_metrics(make_server):
    server = ocsp.make(make_server, endpoint=WATCH)
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)

    def read():
        answer = server.get("/metrics")
        assert answer.status == 200
        return answer.body.decode()

    before = read()
    for _ in range(30):
        ocsp.ask(server, serial)
    ocsp.ask(server, ocsp.random_serial())
    ocsp.post(server, b"garbage")
    transport.request(server.url("/ocsp"), "PUT")
    after = read()

    def grown(name, **labels):
        return metric(after, name, **labels) - metric(before, name, **labels)

    assert grown("gatehouse_ocsp_requests_total", status="good") == 30
    assert grown("gatehouse_ocsp_requests_total", status="unknown") == 1
    assert grown("gatehouse_ocsp_requests_total", status="malformed") == 1
    assert grown("gatehouse_ocsp_requests_total", status="refused") == 1
    assert grown("gatehouse_ocsp_answers_total", origin="cache") >= 28
    assert 1 <= grown("gatehouse_ocsp_signatures_total") <= 3
    assert metric(after, "gatehouse_ocsp_index", authority="devices") == 1
    assert 29 < metric(after, "gatehouse_ocsp_signer_days", authority="devices") < 31
    assert 0 <= metric(after, "gatehouse_ocsp_age_seconds", authority="devices") < 2
    assert metric(after, "gatehouse_ocsp_crl_expiration_warning", authority="devices") == 0


# a level below

@pytest.fixture
def redis(tmp_path):
    """A Redis of our own; its port."""
    port = free_port()
    process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1",
                                "--save", "", "--dir", tmp_path], stdout=subprocess.DEVNULL)
    wait_until(lambda: not port_is_free(port), 10, what="Redis")
    yield types.SimpleNamespace(port=port, process=process)
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


def test_second_level(redis, make_server):
    """An answer that another one has signed is taken from there, unless it is no longer true."""
    server = ocsp.make(make_server, modules=("socache_redis",), endpoint=WATCH
                       + f"OCSPSecondLevel redis:127.0.0.1:{redis.port}\n")
    serial = ocsp.enrol(server).serial_number
    other = ocsp.enrol(server, "CN=other", 2).serial_number
    for one in (serial, other):
        ocsp.wait_for(server, one, ocsp.GOOD)
    server.restart()                # the node's own cache is lost
    ocsp.wait_until_answered(server, serial, ocsp.GOOD)
    text = server.get("/metrics").body.decode()
    assert metric(text, "gatehouse_ocsp_answers_total", origin="second-level") >= 1, text
    server.ctl_ok("cert", "revoke", f"{other:x}")
    server.restart()
    ocsp.wait_for(server, other, ocsp.REVOKED, 5)
    assert ask_everybody(server, other) == {ocsp.REVOKED}


def test_second_level_hangs(redis, make_server):
    """A cache that hangs is waited for once in a while only, and costs nobody an answer."""
    server = ocsp.make(make_server, modules=("socache_redis",), endpoint=WATCH
                       + f"OCSPSecondLevel redis:127.0.0.1:{redis.port}\n")
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    server.allow("GH0757", *(f"AH0{number}" for number in range(3473, 3484)))
    redis.process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    for _ in range(20):
        assert ocsp.ask(server, ocsp.random_serial())[0] == ocsp.UNKNOWN
        assert ocsp.ask(server, serial)[0] == ocsp.GOOD
    assert time.monotonic() - begun < 15
    redis.process.send_signal(signal.SIGCONT)


def test_second_level_with_a_lock(make_server):
    """shmcb has to be locked by who uses it."""
    server = ocsp.make(make_server, endpoint=WATCH + "OCSPSecondLevel shmcb:512000\n",
                       modules=("socache_shmcb", "slotmem_shm"))
    serial = ocsp.enrol(server).serial_number
    ocsp.wait_for(server, serial, ocsp.GOOD)
    load = Load(server, serial)
    time.sleep(0.3)
    server.kill_children(most=1)
    time.sleep(1)
    load.stop()
    server.allow("AH00051", "AH00052")
    server.ctl_ok("cert", "revoke", f"{serial:x}")
    ocsp.wait_for(server, serial, ocsp.REVOKED, 1)
    assert ask_everybody(server, serial) == {ocsp.REVOKED}


def test_store_set_back(make_server):
    """An older copy of the store, with what the manual says is to be done: what the copy has counts,
    and a change of it is seen, though its number has been there before."""
    server = ocsp.make(make_server)
    first, second = (ocsp.enrol(server, f"CN=device {number}", number + 1).serial_number
                     for number in range(2))
    for serial in (first, second):
        ocsp.wait_for(server, serial, ocsp.GOOD)
    server.stop()
    store, copy = server.root / "store", server.root / "copy"
    shutil.copytree(store, copy)
    server.start()
    for serial in (first, second):
        server.ctl_ok("cert", "revoke", f"{serial:x}")
        ocsp.wait_for(server, serial, ocsp.REVOKED)
    server.stop()
    for path in store.iterdir():
        path.unlink()
    for path in copy.iterdir():
        (store / path.name).write_bytes(path.read_bytes())
        shutil.copystat(path, store / path.name)
        os.chown(store / path.name, path.stat().st_uid, path.stat().st_gid)
    for path in (server.root / "run" / "ocsp").iterdir():
        path.unlink()
    server.start()
    ocsp.wait_ready(server)
    for serial in (first, second):
        ocsp.wait_for(server, serial, ocsp.GOOD)
    server.ctl_ok("cert", "revoke", f"{second:x}")
    ocsp.wait_for(server, second, ocsp.REVOKED)
    assert ask_everybody(server, first) == {ocsp.GOOD}
    assert ask_everybody(server, second) == {ocsp.REVOKED}
