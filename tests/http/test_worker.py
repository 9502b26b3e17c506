# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Workers: what mod_gatehouse starts beside httpd's children and keeps alive.

mod_test_worker registers gatehouse-test-worker, which writes down how it finds itself.
"""

import json
import os
import pathlib
import re
import signal
import time

import pytest

from harness import environment
from harness.server import wait_until

# Long enough for a busy machine; that a worker is back within a second is asserted apart.
SOON = 5


class Workers:
    def __init__(self, make_server, start=True, program="", **configurations):
        self.configurations = configurations
        self.program = program
        self.server = make_server(self.content, start=start)

    def folder(self, server):
        path = server.root / "workers"
        if not path.exists():
            path.mkdir()
            os.chown(path, *environment.run_as()[:2])
        return path

    def content(self, server):
        lines = [f"LoadModule test_worker_module "
                 f"{environment.build()}/tests/fixtures/.libs/mod_test_worker.so"]
        for name, more in self.configurations.items():
            text = json.dumps(dict(more, report=str(self.folder(server) / name)))
            lines.append(f"TestWorker {name} '{text}' {self.program}")
        return "\n".join(lines) + "\n"

    def configure(self, **configurations):
        self.configurations = configurations
        self.server.configure(self.content)

    def reports(self, name="one", what="start"):
        path = self.server.root / "workers" / name
        if not path.exists():
            return []
        return [report for report in map(json.loads, path.read_text().splitlines())
                if report["what"] == what]

    def wait(self, count, name="one", what="start", seconds=SOON):
        wait_until(lambda: len(self.reports(name, what)) >= count, seconds, 0.01,
                   f"report {count} of {name}")
        return self.reports(name, what)[-1]


def exists(pid):
    return pathlib.Path(f"/proc/{pid}").exists()


def state_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def processes_of(server, name="gatehouse-test-worker"):
    """Programs of that name whose parent is httpd's."""
    found = []
    for pid in server.children():
        try:
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith(name):
                found.append(pid)
        except OSError:
            pass
    return found


def test_starts_as_it_should(make_server):
    before = os.getgroups()
    if environment.IS_ROOT:
        os.setgroups([4242])            # of httpd's parent alone
    try:
        workers = Workers(make_server, one={"secret": "seeded-secret-of-a-worker"})
    finally:
        if environment.IS_ROOT:
            os.setgroups(before)
    report = workers.wait(1)
    uid, gid = environment.run_as()[:2]
    assert (report["uid"], report["gid"]) == (uid, gid)
    assert set(report["groups"]) <= {gid} | set(os.getgrouplist(environment.run_as()[2], gid))
    assert report["parent"] == workers.server.process.pid
    assert report["dumpable"] == 0
    assert report["configuration"]["secret"] == "seeded-secret-of-a-worker"
    # three standard ones and the pipe of the worker itself: none of httpd's sockets or logs
    assert len(report["descriptors"]) == 5, report["descriptors"]
    assert not [d for d in report["descriptors"] if "socket" in d]
    for name in ("cmdline", "environ"):
        assert b"seeded-secret" not in pathlib.Path(f"/proc/{report['pid']}/{name}").read_bytes()
    workers.server.stop()
    assert not exists(report["pid"])
    assert workers.reports(what="end")


def test_a_killed_one_is_back_within_a_second(make_server):
    workers = Workers(make_server, one={})
    pid = workers.wait(1)["pid"]
    workers.server.expect("GH0663")
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    again = workers.wait(2)
    took = time.monotonic() - begin
    assert took < 1.5, took             # httpd's parent looks once in a second
    assert again["pid"] != pid
    assert state_of(pid) != "Z"
    assert re.search(r"with exit status or signal 9 after [0-2] s; it is started again in 0 s",
                     workers.server.log.text())


def test_one_that_keeps_dying_waits_longer(make_server):
    workers = Workers(make_server, one={"after": 1, "exit": 3}, two={})
    workers.server.expect("GH0663")
    workers.wait(4, seconds=20)
    delays = [int(n) for n in re.findall(r"signal 3 .* started again in (\d+) s",
                                         workers.server.log.text())]
    assert delays[:4] == [0, 1, 2, 4][:len(delays[:4])] and len(delays) >= 3, delays
    assert len(workers.reports("two")) == 1
    assert not [report for report in workers.reports()[:3] if exists(report["pid"])], "zombies"
    # its pause does not hold up the end of httpd
    begin = time.monotonic()
    workers.server.stop()
    assert time.monotonic() - begin < 5


def test_one_that_is_asked_to_end_before_it_has_begun(make_server):
    workers = Workers(make_server, one={}, start=False)
    server = workers.server
    server.preload = environment.check_library("slowfork")
    assert server.preload.exists(), "run make check"
    server.start()
    for _ in range(3):      # returns with the first fork, which is the worker's
        server.graceful()
    workers.wait(1)
    time.sleep(1)           # what was lost would have begun by now
    assert len(processes_of(server)) == 1


def test_graceful_replaces_it(make_server):
    workers = Workers(make_server, one={"lock": "/nowhere"}, start=False)
    lock = str(workers.folder(workers.server) / "lock")
    workers.configure(one={"lock": lock, "number": 0})
    workers.server.start()
    workers.wait(1)
    for number in range(1, 6):
        workers.configure(one={"lock": lock, "number": number})
        workers.server.graceful()
        report = workers.wait(number + 1)
        assert report["configuration"]["number"] == number
    wait_until(lambda: processes_of(workers.server) == [report["pid"]], SOON,
               what="one worker alone")
    assert len(workers.reports(what="end")) == 5
    assert "AH00488" not in workers.server.log.text()
    wait_until(lambda: not [pid for pid in workers.server.children() if state_of(pid) == "Z"], SOON,
               what="the end of zombies")


def test_a_graceful_restart_does_not_wait_for_a_deaf_one(make_server):
    workers = Workers(make_server, one={"deaf": 1})
    first = workers.wait(1)["pid"]
    begin = time.monotonic()
    workers.server.graceful()
    workers.wait(2)
    assert time.monotonic() - begin < 3
    # its own thread ends it half a second after it was asked
    wait_until(lambda: not exists(first), SOON, what="the end of the former worker")
    assert "AH00488" not in workers.server.log.text()


def test_a_graceful_restart_without_it_ends_it(make_server):
    workers = Workers(make_server, one={}, two={})
    pid = workers.wait(1)["pid"]
    workers.wait(1, "two")
    workers.configure(two={})
    workers.server.graceful()
    workers.wait(2, "two")
    wait_until(lambda: not exists(pid), SOON, what="the end of the worker")
    assert len(workers.reports("one")) == 1


def test_it_ends_with_a_killed_parent(make_server):
    workers = Workers(make_server, one={})
    pid = workers.wait(1)["pid"]
    server = workers.server
    os.kill(server.process.pid, signal.SIGKILL)
    workers.wait(1, what="end")
    wait_until(lambda: not exists(pid), SOON, what="the end of the worker")
    server.kill_all()


def test_a_stubborn_one_is_killed_with_httpd(make_server):
    workers = Workers(make_server, one={})
    pid = workers.wait(1)["pid"]
    os.kill(pid, signal.SIGSTOP)        # it does not even see that it is asked
    begin = time.monotonic()
    workers.server.stop()
    assert time.monotonic() - begin < 15
    assert not exists(pid)


@pytest.mark.parametrize("mpm", ["prefork", "worker"])
def test_other_mpms(make_server, mpm):
    workers = Workers(lambda content, start: make_server(content, start=start, mpm=mpm), one={})
    pid = workers.wait(1)["pid"]
    workers.server.expect("GH0663")
    os.kill(pid, signal.SIGKILL)
    workers.wait(2)
    workers.server.graceful()
    workers.wait(3)
    workers.server.stop()
    assert not exists(workers.reports()[-1]["pid"])


def test_a_program_that_is_not_there(make_server):
    workers = Workers(make_server, start=False, program="gatehouse-no-such-program", one={})
    workers.server.expect("GH0665", "AH00020")
    with pytest.raises(AssertionError, match="did not start"):
        workers.server.start()
    assert "gatehouse-no-such-program of worker one is neither beside the modules nor in" \
        in workers.server.log.text()
