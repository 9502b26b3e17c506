# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Profiles are completed and delivered to a UEM, whatever that does."""

import datetime
import json
import os
import re
import signal
import sqlite3
import subprocess
import uuid

import pytest

from harness.clock import Clock
from harness.credentials import encryption, signing, upload_of
from harness.escrow import Identity
from harness.server import wait_until
from harness.uem import KILLED, SKELETON, TROUBLE, Delivering, section, start_uem
from uem import CLIENT, PASSWORD, SECRET, TENANT, Proxy


@pytest.fixture(scope="module")
def module_delivering(make_module_server, tmp_path_factory):
    uem = start_uem(tmp_path_factory.mktemp("uem"))
    yield Delivering(make_module_server, uem, tmp_path_factory.mktemp("devices"),
                     UEMAvailable=uem.url + "/api/devices/{{device.uuid}}/credentials")
    uem.close()


@pytest.fixture
def delivering(module_delivering):
    uem = module_delivering.uem
    module_delivering.server.allow(*TROUBLE)
    uem.faults.clear()
    uem.latency = 0.0
    uem.start()
    yield module_delivering
    uem.faults.clear()
    uem.latency = 0.0
    uem.start()
    uem.check()


def one_delivery(delivering, device, made, serial):
    """Exactly one, which the device can open."""
    taken, = delivering.delivered(device)
    assert device.open(taken["document"]) == [serial]
    state = delivering.wait_state(made, "delivered")
    assert len(delivering.uem.of_device(device.uuid)) == 1
    return taken, state


def test_upload_then_skeleton(delivering):
    device = delivering.device()
    serial = delivering.upload(device)
    profile = str(uuid.uuid4())
    made = delivering.skeleton(device, profile)
    taken, state = one_delivery(delivering, device, made, serial)
    assert taken["profile"] == profile and taken["type"] == "application/json"
    assert taken["said"]["user_uuid"] == device.user
    assert taken["document_type"] == "application/x-apple-aspen-config"
    assert len(state["deliveries"]) == 1


def test_skeleton_then_upload(delivering):
    device = delivering.device()
    made = delivering.skeleton(device)
    assert made["status"] == "waiting" and made["waiting_for"] == ["encryption"]
    serial = delivering.upload(device)
    one_delivery(delivering, device, made, serial)


def test_notice(delivering):
    """The UEM is told that there are credentials."""
    device = delivering.device()
    delivering.upload(device)
    notice = wait_until(lambda: [one for one in delivering.uem.notices.values()
                                 if one["device"] == device.uuid], 30)[0]
    assert notice["said"] == {"device_uuid": device.uuid, "user_uuid": device.user}


def test_newer_credentials_are_delivered_anew(delivering):
    device = delivering.device()
    first = delivering.upload(device)
    made = delivering.skeleton(device)
    one_delivery(delivering, device, made, first)
    second = delivering.upload(device, key_name="rsa2048-02")
    before, after = delivering.delivered(device, 2)
    assert device.open(after["document"]) == [second] and before["key"] != after["key"]


@pytest.mark.parametrize("fault", [
    {"kind": "status", "code": 500}, {"kind": "status", "code": 502, "bare": True},
    {"kind": "status", "code": 429, "retry_after": 1},
    {"kind": "status", "code": 409}, {"kind": "drop"}, {"kind": "half"}, {"kind": "lost"},
    {"kind": "hang"}, {"kind": "failed", "code": 503}])
def test_trouble_ends_in_one_effect(delivering, fault):
    """Whatever is no answer is tried again, under the same key, with the same bytes."""
    fault = delivering.uem.faults.add(on="deliver", times=1, **fault)
    device = delivering.device()
    serial = delivering.upload(device)
    made = delivering.skeleton(device)
    one_delivery(delivering, device, made, serial)
    assert fault.hits == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_final(delivering, code):
    """A status that another try will not change."""
    delivering.server.expect("GH1252")
    delivering.uem.faults.add("status", on="deliver", times=1, code=code)
    device = delivering.device()
    delivering.upload(device)
    made = delivering.skeleton(device)
    state = delivering.wait_state(made, "failed")
    assert "GH1246" in state["reason"] and str(code) in state["reason"]
    assert not delivering.uem.of_device(device.uuid)


def test_down_and_up_again(delivering):
    """The breaker opens; when the UEM is back all is delivered, once."""
    delivering.uem.stop()
    waiting = []
    for _ in range(8):
        device = delivering.device()
        waiting.append((device, delivering.upload(device), delivering.skeleton(device)))
    wait_until(lambda: "GH0817" in delivering.server.log.text(), 60)
    delivering.uem.start()
    for device, serial, made in waiting:
        one_delivery(delivering, device, made, serial)


def test_kill_of_the_worker_in_calls(delivering):
    """What the UEM had taken when the worker died is the same delivery when it comes again."""
    delivering.server.allow(*KILLED)
    delivering.uem.faults.add("late", on="deliver", times=3, seconds=1.5)
    waiting = []
    for _ in range(3):
        device = delivering.device()
        waiting.append((device, delivering.upload(device), delivering.skeleton(device)))
    wait_until(lambda: all(delivering.uem.of_device(device.uuid) for device, _, _ in waiting), 60)
    os.kill(delivering.worker(), signal.SIGKILL)
    for device, serial, made in waiting:
        one_delivery(delivering, device, made, serial)


def test_no_secret_is_to_be_seen(delivering):
    """In logs, the store, the processes, and what the UEM gets of profiles."""
    device = delivering.device()
    delivering.upload(device)
    delivering.delivered(device) if delivering.skeleton(device) else None
    root = delivering.server.root
    texts = [path.read_bytes() for folder in ("log", "store", "run")
             if (root / folder).is_dir() for path in (root / folder).iterdir() if path.is_file()]
    for pid in (*delivering.workers(), *delivering.server.children()):
        texts += [open(f"/proc/{pid}/{name}", "rb").read() for name in ("environ", "cmdline")]
    for secret in (PASSWORD, TENANT):
        assert not [text for text in texts if secret.encode() in text]


# other ways to say it

def deliver_one(delivering):
    device = delivering.device()
    serial = delivering.upload(device)
    made = delivering.skeleton(device, labels={"group": "a b/?&"})
    return one_delivery(delivering, device, made, serial)[0]


def test_oauth2(make_server, tmp_path):
    """A token is fetched once; one that is not good any more is fetched anew."""
    uem = start_uem(tmp_path, authentication="oauth2", tenant=False)
    delivering = Delivering(
        make_server, uem, tmp_path, UEMHeaderSecret=None, UEMCredential="", uems=lambda server:
        section(server, uem, UEMHeaderSecret=None, UEMCredential=(
            f"oauth2 {uem.url}/oauth/token client={CLIENT} scope=escrow "
            f"secret=file:{server.make_secret('uem-client', SECRET)}")))
    deliver_one(delivering)
    deliver_one(delivering)
    assert len(uem.calls_of("token")) == 1
    uem.forget_tokens()
    deliver_one(delivering)
    assert len(uem.calls_of("token")) == 2
    uem.close()
    uem.check()


def test_client_certificate_templates_and_proxy(make_server, tmp_path):
    """mTLS; a body of bytes, labels in the URL and a header; over a proxy, which is told of the
    host."""
    uem = start_uem(tmp_path, authentication=None, clients=True, tenant=False)
    proxy = Proxy()
    uem.tls.credential("uem.p12", passphrase="mtls", alias="gatehouse")

    def uems(server):
        return section(
            server, uem, UEMHeaderSecret=None, UEMMethod="POST", UEMProxy=proxy.url,
            UEMURL=uem.url + "/api/devices/{{device.uuid}}/profiles/{{profile.uuid}}"
                             "?group={{labels.group}}",
            UEMHeader='X-Group "of {{labels.group}}"', UEMBody='"{{document}}"',
            UEMCredential=f'mtls "{tmp_path}/uem.p12" alias=gatehouse '
                          f'passphrase=file:{server.make_secret("mtls", "mtls")}')

    taken = deliver_one(Delivering(make_server, uem, tmp_path, uems=uems))
    assert taken["target"].endswith("?group=a%20b%2F%3F%26")
    assert taken["headers"]["X-Group"] == "of a b/?&"
    assert taken["type"] == "application/x-apple-aspen-config"
    assert uem.peers[-1] == "gatehouse"
    assert proxy.asked == [("CONNECT", f"127.0.0.1:{uem.port}")]
    uem.close()
    proxy.close()
    uem.check()


def test_client_certificate_in_pem(make_server, tmp_path):
    """Key and certificate in one file, as httpd has them for its own proxies."""
    uem = start_uem(tmp_path, authentication=None, clients=True, tenant=False)
    path = uem.tls.client_pem("gatehouse")
    deliver_one(Delivering(make_server, uem, tmp_path, uems=lambda server: section(
        server, uem, UEMHeaderSecret=None, UEMCredential=f'mtls "{path}"')))
    assert uem.peers[-1] == "gatehouse"
    uem.close()
    uem.check()


def test_other_ciphers(make_server, tmp_path):
    """EscrowPKCS12 modern, EscrowKeyTransport oaep; EscrowProfileLife and EscrowMaxCredentials."""
    uem = start_uem(tmp_path)
    deliver_one(Delivering(make_server, uem, tmp_path, more="EscrowPKCS12 modern\n"
                           "EscrowKeyTransport oaep\nEscrowProfileLife 1\n"
                           "EscrowMaxCredentials 5\n"))
    uem.close()


def test_signed(make_server, tmp_path):
    """A profile that is to be signed is, by EscrowProfileSigner; others are not."""
    uem = start_uem(tmp_path)
    made = Delivering(make_server, uem, tmp_path, start=False)
    signer = Identity(made.server.root / "ca", "profile-signer", "rsa2048-06")
    made.server.configure(made.server.content
                          + f'EscrowProfileSigner "{signer.path}" "{signer.key_path}"\n')
    made.server.start()
    device = made.device()
    serial = made.upload(device)
    made.skeleton(device, sign=True)
    taken, = made.delivered(device)
    done = subprocess.run(["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-CAfile",
                           str(signer.path), "-purpose", "any"], input=taken["document"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert device.open(done.stdout) == [serial]
    uem.close()


@pytest.mark.parametrize("no_proxy, used", [("", 1), ("127.0.0.1,other.example", 0)])
def test_proxy_of_the_environment(make_server, tmp_path, monkeypatch, no_proxy, used):
    uem = start_uem(tmp_path)
    proxy = Proxy(user="somebody:secret")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//somebody:secret@"))
    monkeypatch.setenv("NO_PROXY", no_proxy)
    delivering = Delivering(make_server, uem, tmp_path, UEMProxy="env")
    deliver_one(delivering)
    assert (len(proxy.asked) > 0) == used
    assert "somebody:secret" not in delivering.server.log.text()
    uem.close()
    proxy.close()


def test_life(make_server, tmp_path):
    """After UEMLife nothing is tried any more, and somebody is told."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path, UEMLife="3s")
    delivering.server.expect("GH1252")
    uem.faults.add("status", on="deliver", code=503)
    device = delivering.device()
    delivering.upload(device)
    state = delivering.wait_state(delivering.skeleton(device), "failed")
    assert "GH1256" in state["reason"]
    uem.close()


# what is kept, and how long

DAY = 86400
HOUR = datetime.timedelta(hours=1)


def pair_of(device):
    return {"device_uuid": device.uuid, "user_uuid": device.user}


def keep(delivering, device, status=201, **uses):
    answer = delivering.ask("/v2/certificates", "POST", upload_of(pair_of(device), **uses))
    assert answer.status == status, (answer.status, answer.body)
    return json.loads(answer.body)


def kept(delivering, device):
    """What is told of a pair: use, index and thumbprint of each."""
    answer = delivering.ask(f"/v2/certificates?device_uuid={device.uuid}&user_uuid={device.user}")
    return [(one["use"], one["index"], one["thumbprint_sha256"])
            for one in json.loads(answer.body)["credentials"]]


def with_archived():
    payload = SKELETON["PayloadContent"][0]
    archived = {**payload, "PayloadIdentifier": payload["PayloadIdentifier"] + ".archived",
                "PayloadUUID": "4B1F6B0C-9C0D-4B6E-8C3E-0E8A7A9B3F11",
                "PayloadContent": "{{escrow.archived[*].pkcs12}}",
                "Password": "{{escrow.archived[*].password}}"}
    return {**SKELETON, "PayloadUUID": str(uuid.uuid4()).upper(),
            "PayloadContent": [payload, archived]}


def serial_of(credential):
    return credential.certificate.serial_number


@pytest.fixture(scope="module")
def moving(make_module_server, tmp_path_factory):
    """A server whose clock can be set; it goes on only."""
    uem = start_uem(tmp_path_factory.mktemp("uem"))
    delivering = Delivering(make_module_server, uem, tmp_path_factory.mktemp("devices"),
                            start=False)
    delivering.clock = Clock(delivering.server)
    delivering.server.start()
    yield delivering
    uem.close()


def test_archived_ones_last_as_long_as_newer_ones(moving):
    """Old mail stays readable over renewals, however short each of them lasts."""
    def valid(key_name, days):
        return encryption(key_name, days=days, start=moving.clock.now() - HOUR)

    device = moving.device()
    old = encryption("rsa2048-01", days=1, start=moving.clock.now() - 48 * HOUR)
    first = valid("rsa2048-02", 4)
    keep(moving, device, archived=[old], encryption=[first])
    moving.clock.set(3 * DAY)
    second = valid("rsa2048-05", 5)
    keep(moving, device, archived=[old], encryption=[second])
    moving.clock.set(6 * DAY)
    # what is archived alone is kept as long as what is there
    other = encryption("rsa2048-06", days=1, start=moving.clock.now() - 48 * HOUR)
    receipt = keep(moving, device, archived=[other])
    assert receipt["expires_at"] >= f"{second.certificate.not_valid_after:%Y-%m-%d}"
    moving.clock.set(7 * DAY)
    third = valid("rsa2048-08", 6)
    keep(moving, device, encryption=[third])
    moving.clock.set(12 * DAY)
    assert kept(moving, device) == [("encryption", 0, third.sha256)] + [
        ("archived", index, one.sha256) for index, one in enumerate((old, first, other, second))]
    moving.skeleton(device, skeleton=with_archived())
    taken, = moving.delivered(device)
    assert device.open(taken["document"]) == [serial_of(one)
                                              for one in (third, old, first, other, second)]


def test_what_has_expired_is_not_delivered(moving):
    """Not to anybody, before it is removed as after; what remains moves up."""
    begin = moving.clock.now() - HOUR
    device, alone = moving.device(), moving.device()
    brief = encryption("rsa2048-02", days=2, start=begin)
    lasting = encryption("rsa2048-05", days=5, start=begin)
    keep(moving, device, encryption=[brief, lasting])
    keep(moving, alone, encryption=[brief])
    moving.clock.set(moving.clock.offset + 3 * DAY)
    assert moving.skeleton(alone)["status"] == "waiting"
    assert kept(moving, alone) == []
    assert kept(moving, device) == [("encryption", 0, lasting.sha256)]
    made = moving.skeleton(device)
    one_delivery(moving, device, made, serial_of(lasting))
    keep(moving, alone, encryption=[lasting])
    taken, = moving.delivered(alone)
    assert alone.open(taken["document"]) == [serial_of(lasting)]


def test_expired_ones_are_removed(moving):
    """All of them, soon: also more than one round of cleaning takes."""
    device = moving.device()
    keep(moving, device, encryption=[encryption(start=moving.clock.now() - HOUR)])
    path = f"{moving.server.root}/store/gatehouse.db"
    with sqlite3.connect(path, timeout=30) as store:
        row = dict(zip([one[1] for one in store.execute("PRAGMA table_info(escrow_credential)")],
                       store.execute("SELECT * FROM escrow_credential WHERE device = ?",
                                     (device.uuid,)).fetchone()))
        row["expires"] = int((moving.clock.now() - datetime.datetime(1970, 1, 1)
                              + HOUR).total_seconds()) * 1000000
        for i in range(1200):
            row["id"], row["device"] = f"{i:032x}", f"crowd-{i}"
            store.execute(f"INSERT INTO escrow_credential ({','.join(row)})"
                          f" VALUES ({','.join('?' * len(row))})", tuple(row.values()))
    store.close()

    def crowd():
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30) as opened:
            return opened.execute("SELECT count(*) FROM escrow_credential"
                                  " WHERE device LIKE 'crowd-%'").fetchone()[0]

    assert crowd() == 1200
    moving.clock.set(moving.clock.offset + 2 * 3600)
    wait_until(lambda: crowd() == 0, 50, 0.2, "what has expired to be removed")
    assert len(kept(moving, device)) == 1


def test_removed_once_the_uem_has_it(make_server, tmp_path):
    """EscrowRetention consumption: not before the UEM has said so; and the same upload is stored
    again, for a profile that comes later."""
    uem = start_uem(tmp_path)
    delivering = Delivering(make_server, uem, tmp_path, more="EscrowRetention consumption\n")
    fault = uem.faults.add("status", on="deliver", code=503)
    device, mail, sign = delivering.device(), encryption(), signing()
    keep(delivering, device, encryption=[mail], signing=[sign])
    made = delivering.skeleton(device)
    wait_until(lambda: fault.hits > 1, 60)
    assert kept(delivering, device) == [("signing", 0, sign.sha256),
                                        ("encryption", 0, mail.sha256)]
    uem.faults.clear()
    one_delivery(delivering, device, made, serial_of(mail))
    assert kept(delivering, device) == [("signing", 0, sign.sha256)]

    receipt = keep(delivering, device, encryption=[mail], signing=[sign])
    assert receipt["completes"] == []
    assert ("encryption", 0, mail.sha256) in kept(delivering, device)
    assert keep(delivering, device, 200, encryption=[mail], signing=[sign]) == receipt
    later = delivering.skeleton(device)
    delivering.wait_state(later, "delivered")
    assert kept(delivering, device) == [("signing", 0, sign.sha256)]
    assert len(uem.of_device(device.uuid)) == 2
    uem.close()


# configuration

@pytest.mark.parametrize("change, number", [
    ({"UEMURL": None}, "GH1275"),
    ({"UEMURL": "http://uem.example.com/"}, "GH1260"),
    ({"UEMURL": "https://{{device.uuid}}.example.com/"}, "GH1260"),
    ({"UEMURL": "https://user:secret@uem.example.com/"}, "GH1260"),
    ({"UEMURL": "https://uem.example.com/{{nothing}}"}, "GH1242"),
    ({"UEMURL": "https://uem.example.com/{{document.base64}}"}, "GH1242"),
    ({"UEMMethod": "GET"}, "GH1261"),
    ({"UEMHeader": "Authorization x"}, "GH1262"),
    ({"UEMHeader": '"X-A\r" x'}, "GH1262"),
    ({"UEMHeaderSecret": "aw-tenant-code secret"}, "GH1263"),
    ({"UEMBody": "{} nonsense"}, "GH1264"),
    ({"UEMBody": "file:/nowhere/body.json"}, "GH1281"),
    ({"UEMBody": '"{{document}} x"'}, "GH1242"),
    ({"UEMCredential": "basic secret"}, "GH1265"),
    ({"UEMCredential": "oauth2 https://uem.example.com/token client=a"}, "GH1265"),
    ({"UEMCredential": "mtls /a.p12 passphrase=secret"}, "GH1265"),
    ({"UEMTrust": '""'}, "GH1266"),
    ({"UEMProxy": "http://user:secret@proxy.example.com:3128"}, "GH1267"),
    ({"UEMLimits": "timeout=1d"}, "GH1268"),
    ({"UEMLife": "1y"}, "GH1269"),
    ({"UEMAvailable": "http://uem.example.com/"}, "GH1270"),
    ({"SetHandler": "none"}, "GH1282"),
])
def test_refused_by_configtest(make_server, delivering, tmp_path, change, number):
    made = Delivering(make_server, delivering.uem, tmp_path, start=False, **change)
    tested = made.server.configtest()
    assert tested.returncode != 0
    assert number in tested.stderr, tested.stderr
    assert "secret" not in re.sub(r"UEMHeaderSecret|passphrase=|secret=SOURCE|secret never", "",
                                  tested.stderr), tested.stderr


@pytest.mark.parametrize("text, number", [
    ("UEMURL https://uem.example.com/\n", "GH1271"),
    ("<UEM a>\nUEMMethod PUT\nUEMMethod PUT\n</UEM>\n", "GH1272"),
    ("<UEM a:b>\n</UEM>\n", "GH1273"),
    ("<UEM mdm>\n</UEM>\n", "GH1274"),
    ("<Location /x>\nEscrowDeliver nowhere\n</Location>\n", "GH1278"),
    ("EscrowPoll 1ms\n", "GH1280"),
])
def test_sections(make_server, delivering, tmp_path, text, number):
    made = Delivering(make_server, delivering.uem, tmp_path, start=False, more=text)
    tested = made.server.configtest()
    assert tested.returncode != 0 and number in tested.stderr, tested.stderr


def test_secrets_that_cannot_be_used(make_server, delivering, tmp_path):
    made = Delivering(make_server, delivering.uem, tmp_path, start=False, uems=lambda server:
                      section(server, delivering.uem, UEMCredential="basic file:"
                              + str(server.make_secret("bad", "no colon"))))
    tested = made.server.configtest()
    assert tested.returncode != 0 and "GH1276" in tested.stderr, tested.stderr


def test_operator(delivering):
    """gatehousectl escrow: what has failed is found, and delivered once the UEM takes it."""
    server, device = delivering.server, delivering.device()
    server.allow("GH1246", "GH1252")
    delivering.uem.faults.add("status", on="deliver", code=403)
    serial = delivering.upload(device)
    made = delivering.skeleton(device)
    delivering.wait_state(made, "failed")
    row, = server.ctl_ok("escrow", "list", "--device", device.uuid, "--state", "failed").objects
    assert row["id"] == made["id"] and row["uem"] == "mdm" and row["user_uuid"] == device.user
    shown = server.ctl_ok("escrow", "show", made["id"]).object
    assert shown["deliveries"][0]["status"] == 403 and shown["deliveries"][0]["gh"] == "GH1246"
    assert made["id"] in server.ctl_ok("escrow", "list", as_json=False).out
    assert "403" in server.ctl_ok("escrow", "show", made["id"], as_json=False).out
    delivering.uem.faults.clear()
    server.ctl_ok("escrow", "retry", made["id"])
    one_delivery(delivering, device, made, serial)
    server.ctl_ok("escrow", "forget", device.uuid.upper())
    for arguments, status, number in (
            (("forget", device.uuid), 3, "GH1315"), (("show", "0" * 32), 3, "GH1314"),
            (("retry", "0" * 32), 3, "GH1215"), (("list", "--state", "lost"), 2, "GH1313"),
            (("purge", "--older-than", "ever"), 2, "GH1316")):
        refused = server.ctl("escrow", *arguments)
        assert refused.status == status and number in refused.err, refused


def test_purge(delivering):
    """What is over goes, what was delivered stays."""
    server, device = delivering.server, delivering.device()
    delivering.upload(device)
    kept = delivering.skeleton(device)
    delivering.wait_state(kept, "delivered")
    device = delivering.device()
    made = delivering.skeleton(device)
    assert delivering.ask("/v1/profiles/" + made["id"], "DELETE").status in (200, 204)
    assert server.ctl_ok("escrow", "purge").object == {"purged": 0}

    def gone():
        server.ctl_ok("escrow", "purge", "--older-than", "1s")
        return server.ctl("escrow", "show", made["id"]).status == 3

    wait_until(gone, 10, 0.2, "what is over to be removed")
    server.ctl_ok("escrow", "show", kept["id"])


def test_store_has_what_became_of_it(delivering):
    """The audit log says to whom what was delivered, without keys."""
    device = delivering.device()
    serial = delivering.upload(device)
    made = delivering.skeleton(device)
    taken, _ = one_delivery(delivering, device, made, serial)
    line, = wait_until(lambda: [line for line in delivering.server.audit()
                                if line.get("transaction") == taken["key"]], 10)
    assert line["event"] == "deliver" and line["result"] == "done"
    assert device.uuid in line["subject"] and json.dumps(line)
