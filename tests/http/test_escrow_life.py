# Licensed under the Apache License, Version 2.0. See LICENSE.
"""How long credentials stay; keys of the vault that change while all is in use; memory of the
processes that have keys."""

import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import resource
import signal
import sqlite3
import time

from harness import environment
from harness.clock import Clock
from harness.credentials import encryption, query_of, signing, upload_of
from harness.server import wait_until
from harness.uem import KILLED, Delivering, start_uem

HOUR = 3600
DAY = 24 * HOUR


def upload(delivering, *given):
    """For a new device. @return the pair"""
    device = delivering.device()
    pair = {"device_uuid": device.uuid, "user_uuid": device.user}
    answer = delivering.ask("/v2/certificates", "POST", upload_of(pair, encryption=list(given)))
    assert answer.status == 201, answer.body
    return pair


def stored(delivering, pair):
    answer = delivering.ask("/v2/certificates" + query_of(pair))
    assert answer.status == 200, answer.body
    status = delivering.ask("/v2/certificates/status" + query_of(pair))
    found = json.loads(answer.body)["credentials"]
    assert json.loads(status.body)["available"] == bool(found)
    return len(found)


def test_retention(make_server, tmp_path):
    """Until the certificate ends; for half a day; until the UEM has taken the profile, and not one
    moment less."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path, start=False)
    server, configured = delivering.server, delivering.server.content
    clock = Clock(server)
    server.start()
    short = upload(delivering, encryption(days=5))
    longer = upload(delivering, encryption("rsa2048-05", days=12))
    clock.set(4 * DAY)
    assert (stored(delivering, short), stored(delivering, longer)) == (1, 1)
    clock.set(6 * DAY)
    wait_until(lambda: stored(delivering, short) == 0, 20, 0.2, "the end of a certificate")
    assert stored(delivering, longer) == 1

    server.configure(lambda _: configured + "EscrowRetention 0.5\n")
    server.graceful()
    half = upload(delivering, encryption(start=clock.now(), days=10))
    clock.set(6 * DAY + 11 * HOUR)
    assert stored(delivering, half) == 1
    clock.set(6 * DAY + 13 * HOUR)
    wait_until(lambda: stored(delivering, half) == 0, 20, 0.2, "the end of half a day")
    assert stored(delivering, longer) == 1, "it was uploaded under another setting"

    server.configure(lambda _: configured + "EscrowRetention consumption\n")
    server.graceful()
    fault = uem.faults.add("status", on="deliver", code=503)
    device = delivering.device()
    pair = {"device_uuid": device.uuid, "user_uuid": device.user}
    serial = delivering.upload(device)
    made = delivering.skeleton(device)
    wait_until(lambda: fault.hits >= 2, 60, 0.1, "tries")
    assert stored(delivering, pair) == 1
    uem.faults.clear()
    taken, = delivering.delivered(device)
    assert device.open(taken["document"]) == [serial]
    delivering.wait_state(made, "delivered")
    wait_until(lambda: stored(delivering, pair) == 0, 20, 0.2, "that it is gone")
    assert stored(delivering, longer) == 1
    uem.close()


def test_rotation_under_load(make_server, tmp_path):
    """The key of the vault is replaced while uploads and deliveries go on: none of them notices."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path)
    server, configured = delivering.server, delivering.server.content
    server.make_secret("new", os.urandom(32).hex())
    new = f'EscrowVaultKey k2 file:{server.secret("new")}\n'
    old = next(line for line in configured.splitlines() if line.startswith("EscrowVaultKey")) + "\n"
    ended = []
    pairs = []

    def work(_):
        while not ended:
            device = delivering.device()
            pairs.append((device, delivering.upload(device), delivering.skeleton(device)))
            time.sleep(0.2)

    def use(keys):
        server.configure(lambda _: configured.replace(old, keys))
        server.graceful()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        working = [pool.submit(work, number) for number in range(3)]
        try:
            wait_until(lambda: len(pairs) >= 3, 60)
            use(new + old)
            wait_until(lambda count=len(pairs): len(pairs) >= count + 3, 60)
            rotated = server.ctl_ok("vault", "rotate").object
            assert rotated["rotated"] >= 3 and rotated["failed"] == 0
            # children of the former generation may have sealed under the old key meanwhile
            wait_until(lambda: server.ctl_ok("vault", "rotate").object["rotated"] == 0, 30, 0.5)
            use(new)
            wait_until(lambda count=len(pairs): len(pairs) >= count + 3, 60)
        finally:
            ended.append(True)
    for one in working:
        one.result()
    for device, _, made in pairs:
        delivering.delivered(device)
        delivering.wait_state(made, "delivered")
    for device, serial, _ in pairs[::len(pairs) // 5]:
        taken, = delivering.delivered(device)
        assert device.open(taken["document"]) == [serial]
    assert server.ctl_ok("vault", "verify").object == {"good": 2 * len(pairs), "failed": 0}
    assert [(row["key"], row["state"], row["secrets"])
            for row in server.ctl_ok("vault", "status").objects] == [
                ("k2", "current", 2 * len(pairs)), ("k1", "gone", 0)]
    uem.close()


def locked(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmLck:")).split()[1])


def test_memory_of_keys(make_server, tmp_path):
    """httpd's parent, children and worker lock memory for keys, nobody of their user may look at it,
    and no core is written of them, also where an administrator has asked for that."""
    uem = start_uem(tmp_path)

    def cores(server):
        folder = server.root / "cores"
        folder.mkdir()
        os.chown(folder, *environment.run_as()[:2])
        return f'CoreDumpDirectory "{folder}"\n'

    delivering = Delivering(make_server, uem, tmp_path, more=cores, start=False)
    server = delivering.server
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)
    server.allow(*KILLED)
    device = delivering.device()
    delivering.upload(device)
    delivering.skeleton(device)
    delivering.delivered(device)
    worker = delivering.worker()
    serving = [pid for pid in server.children() if server._serves(pid)]
    parent = server.process.pid
    for pid in (parent, worker, *serving):
        assert locked(pid) > 0, pid
        if environment.IS_ROOT:         # otherwise its own user's
            assert pathlib.Path(f"/proc/{pid}/mem").stat().st_uid == 0, pid
    for pid in (worker, serving[0]):
        os.kill(pid, signal.SIGSEGV)
        wait_until(lambda gone=pid: not pathlib.Path(f"/proc/{gone}").exists(), 20)
    assert not [path for path in server.root.rglob("core*") if path.is_file()]
    wait_until(lambda: delivering.worker() != worker, 20)
    os.kill(parent, signal.SIGSEGV)
    wait_until(lambda: server.process.poll() is not None, 20)
    server.kill_all()
    assert not [path for path in server.root.rglob("core*") if path.is_file()]
    server.allow("AH00060", "AH00061")
    uem.close()


def test_all_uses_in_one_profile(make_server, tmp_path):
    """Signing and encryption beside each other, and a former one of each, for one pair."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path)
    device = delivering.device()
    pair = {"device_uuid": device.uuid, "user_uuid": device.user}
    past = datetime.datetime.utcnow() - datetime.timedelta(days=400)
    old = encryption("rsa2048-04", start=past, days=365)
    answer = delivering.ask("/v2/certificates", "POST", upload_of(
        pair, signing=[signing()], encryption=[encryption()], archived=[old]))
    assert answer.status == 201, answer.body
    skeleton = {"PayloadType": "Configuration", "PayloadVersion": 1,
                "PayloadIdentifier": "com.example.mail", "PayloadUUID": device.uuid.upper(),
                "PayloadContent": [
                    {"PayloadType": "com.apple.security.pkcs12", "PayloadVersion": 1,
                     "PayloadIdentifier": f"com.example.mail.{use}", "PayloadUUID": number,
                     "PayloadContent": f"{{{{escrow.{use}[{place}].pkcs12}}}}",
                     "Password": f"{{{{escrow.{use}[{place}].password}}}}"}
                    for use, place, number in (
                        ("signing", 0, "0E0F4D6E-0A40-4C9F-8DF4-86A7D7F2D3A1"),
                        ("encryption", 0, "0E0F4D6E-0A40-4C9F-8DF4-86A7D7F2D3A2"),
                        ("archived", "*", "0E0F4D6E-0A40-4C9F-8DF4-86A7D7F2D3A3"))]}
    delivering.skeleton(device, skeleton=skeleton)
    taken, = delivering.delivered(device)
    assert len(device.open(taken["document"])) == 3
    assert old.certificate.serial_number in device.open(taken["document"])
    uem.close()


def write(delivering, statement, *values):
    with sqlite3.connect(f"{delivering.server.root}/store/gatehouse.db", timeout=30) as store:
        return store.execute(statement, values).fetchall()


def swap_secrets(delivering, victim, thief):
    """What is sealed stands in each other's row."""
    columns = "key_id, wrapped, sealed"
    rows = [write(delivering, f"SELECT {columns} FROM escrow_credential WHERE device = ?",
                  device.uuid)[0] for device in (victim, thief)]
    for device, row in ((thief, rows[0]), (victim, rows[1])):
        write(delivering, "UPDATE escrow_credential SET key_id = ?, wrapped = ?, sealed = ?"
              " WHERE device = ?", *row, device.uuid)


def take_over(delivering, victim, thief):
    """A row is said to be of another device and user."""
    write(delivering, "DELETE FROM escrow_credential WHERE device = ?", thief.uuid)
    write(delivering, "UPDATE escrow_credential SET device = ?, user_id = ? WHERE device = ?",
          thief.uuid, thief.user, victim.uuid)


def test_swapped_rows(make_server, tmp_path):
    """Who can write to the store, and exchanges what is sealed in two rows or whose they are, gets
    no key of another user."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path)
    server = delivering.server
    server.expect("GH1255")
    for change in swap_secrets, take_over:
        victim, thief = delivering.device(), delivering.device()
        delivering.upload(victim)
        delivering.upload(thief, key_name="rsa2048-02")
        change(delivering, victim, thief)
        mark = server.log.size()
        made = delivering.skeleton(thief)
        wait_until(lambda: re.search("GH1255.*GH1113", server.log.text(mark)), 30, 0.1,
                   "that it is noticed")
        assert delivering.state(made)["status"] == "completing"
        assert not uem.of_device(thief.uuid)
    result = server.ctl("vault", "verify")
    assert result.status == 1 and "GH1113" in result.err
    uem.close()


def test_prefork(make_server, tmp_path):
    """The same with one process for each request."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path, options={"mpm": "prefork"})
    server = delivering.server
    server.ctl_ok("pin", "list")
    for _ in range(2):
        device = delivering.device()
        serial = delivering.upload(device)
        made = delivering.skeleton(device)
        taken, = delivering.delivered(device)
        assert device.open(taken["document"]) == [serial]
        delivering.wait_state(made, "delivered")
        server.graceful()
    uem.close()
