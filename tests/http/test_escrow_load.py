# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Many uploads and skeletons while processes are killed: every acknowledged pair is delivered, and
has one effect."""

import concurrent.futures
import os
import random
import signal
import threading
import time

from harness import environment
from harness.postgres import Cluster
from harness.server import wait_until
from harness.uem import KILLED, Delivering, Unexpected, need, start_uem

COUNT = environment.count(100, 2000)
SEED = 41
# what clients see while processes are killed: they come again, as they would
AGAIN = (500, 502, 503, 504)


def again(function, *arguments, **options):
    """Until it is acknowledged; the same once more does no harm."""
    end = time.monotonic() + 120
    while True:
        try:
            return function(*arguments, **options)
        except (OSError, EOFError) as error:
            if time.monotonic() > end:
                raise AssertionError("never acknowledged") from error
        except Unexpected as error:
            if time.monotonic() > end or error.status not in AGAIN:
                raise
        time.sleep(0.1)


def one_pair(delivering, number):
    """In both orders. @return the device and the profile's id"""
    device = delivering.device()
    element, _ = delivering.credential()
    upload = {"device_uuid": device.uuid, "user_uuid": device.user,
              "smime_certificates": {"encryption": [element]}}

    def put():
        need(delivering.ask("/v2/certificates", "POST", upload), 200, 201)

    profile = f"{number:08x}-0000-4000-8000-{SEED:012x}"
    if number % 2:
        again(put)
        made = again(delivering.skeleton, device, profile)
    else:
        made = again(delivering.skeleton, device, profile)
        again(put)
    return device, made


def kill_at_random(delivering, cluster, ended, draw):
    while not ended.wait(draw.uniform(0.5, 2.0)):
        kind = draw.random()
        workers = delivering.workers()
        if cluster and kind < 0.15:
            cluster.crash()
            cluster.start()
        elif workers and kind < 0.6:
            try:
                os.kill(workers[0], signal.SIGKILL)
            except ProcessLookupError:
                pass
        else:
            delivering.server.kill_children(most=1)


def spoil(uem):
    for kind, options in (("lost", {}), ("drop", {}), ("half", {}), ("failed", {"code": 500}),
                          ("status", {"code": 503}), ("status", {"code": 429, "retry_after": 1})):
        uem.faults.add(kind, on="deliver", share=0.02, **options)


def run(delivering, uem, count, cluster=None):
    draw, ended = random.Random(SEED), threading.Event()
    spoil(uem)
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        killer = pool.submit(kill_at_random, delivering, cluster, ended, draw)
        try:
            pairs = list(pool.map(lambda number: one_pair(delivering, number), range(count)))
        finally:
            ended.set()
        killer.result()
    uem.faults.clear()
    for device, _ in pairs:
        delivering.delivered(device, seconds=180)
    for device, made in pairs:
        again(delivering.wait_state, made, "delivered", seconds=120)
        # a skeleton that was sent twice is delivered twice, each once
        keys = {one["key"] for one in uem.of_device(device.uuid)}
        assert len(keys) == len(uem.of_device(device.uuid)) >= 1
    for device, _ in random.Random(SEED).sample(pairs, 5):
        assert len(device.open(uem.of_device(device.uuid)[-1]["document"])) == 1
    uem.check()


def prepare(make_server, tmp_path, **options):
    uem = start_uem(tmp_path, seed=SEED)
    delivering = Delivering(make_server, uem, tmp_path, **options)
    delivering.server.allow(*KILLED, "GH0810", "GH0812", "GH0813", "GH0814", "GH1254")
    return uem, delivering


def test_kills_with_sqlite(make_server, tmp_path):
    uem, delivering = prepare(make_server, tmp_path)
    run(delivering, uem, COUNT)
    uem.close()


def test_kills_with_postgresql(make_server, tmp_path):
    with Cluster() as cluster:
        uem, delivering = prepare(make_server, tmp_path, store=cluster.database())
        # the database goes, and comes back; and goes before httpd does at the end
        delivering.server.allow("GH0078", "GH0083", "GH0087", "GH0089")
        run(delivering, uem, COUNT if environment.FULL else COUNT // 5, cluster)
        uem.close()
