# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A UEM that is gone for longer than anybody waits: by a clock that jumps."""

import os
import re
import signal

from harness.clock import Clock
from harness.server import wait_until
from harness.uem import KILLED, Delivering, start_uem

DAY = 86400


def tries(delivering):
    """How often a delivery was tried again, as the log has it."""
    return len(re.findall("GH1253", delivering.server.log.text()))


def later(delivering, clock, day):
    """A new worker on another day: the one before has learned to try only once in minutes, which no
    jump of the clock makes shorter."""
    worker = delivering.worker()
    clock.set(day * DAY)
    os.kill(worker, signal.SIGKILL)


def pair(delivering):
    device = delivering.device()
    return device, delivering.upload(device), delivering.skeleton(device)


def test_gone_for_a_week_and_for_good(make_server, tmp_path):
    """After a week all is delivered, once. After two weeks nothing is tried any more and somebody is
    told; an operator can have it delivered all the same."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path, start=False)
    server = delivering.server
    clock = Clock(server)
    server.environment["LD_PRELOAD"] = str(server.preload)     # for gatehousectl
    server.start()
    server.allow(*KILLED)
    uem.stop()
    waiting = [pair(delivering) for _ in range(3)]
    wait_until(lambda: tries(delivering) >= 3, 60, 0.2, "the first tries")
    for day in 1, 3, 6:
        before = tries(delivering)
        later(delivering, clock, day)
        wait_until(lambda count=before: tries(delivering) > count, 60, 0.2, f"a try on day {day}")
    for _, _, made in waiting:
        assert delivering.state(made)["status"] == "queued"
    uem.start()
    later(delivering, clock, 7)
    for device, serial, made in waiting:
        taken, = delivering.delivered(device)
        assert device.open(taken["document"]) == [serial]
        delivering.wait_state(made, "delivered")
        assert len(uem.of_device(device.uuid)) == 1
        assert delivering.state(made)["deliveries"][0]["attempts"] >= 2

    uem.stop()
    device, serial, made = pair(delivering)
    before = tries(delivering)
    wait_until(lambda: tries(delivering) > before, 60, 0.2, "a first try")
    before = tries(delivering)
    later(delivering, clock, 20)
    wait_until(lambda: tries(delivering) > before, 60, 0.2, "a try on the thirteenth day")
    assert delivering.state(made)["status"] == "queued"
    server.expect("GH1252")
    later(delivering, clock, 22)
    state = delivering.wait_state(made, "failed")
    assert "GH1256" in state["reason"]
    line, = wait_until(lambda: [line for line in server.audit() if line["event"] == "deliver"
                                and line["result"] == "failed"], 10)
    assert line["gh"] == "GH1256" and device.uuid in line["subject"]
    uem.start()
    server.ctl_ok("escrow", "retry", made["id"])
    taken, = delivering.delivered(device)
    assert device.open(taken["document"]) == [serial]
    assert len(uem.of_device(device.uuid)) == 1
    uem.close()
    uem.check()
