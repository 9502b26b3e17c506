# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Random questions during continuous changes, against a model: an answer is late by a second at
most, and once a revocation was seen or is a second old, the certificate is never good again."""

import datetime
import json
import random
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from harness import environment, ocsp
from harness.config import location
from harness.ocspmodel import Asker, Budget, Model, random_serial
from harness.pki import Authority
from harness.server import wait_until

QUESTIONS = environment.count(10000, 100000)
REASONS = {"keyCompromise": "key_compromise", "superseded": "superseded",
           "cessationOfOperation": "cessation_of_operation", "unspecified": None}
FLAGS = {flag.name: flag for flag in x509.ReasonFlags}
HELD = "certificate_hold"
GOOD, REVOKED, UNKNOWN = ocsp.GOOD, ocsp.REVOKED, ocsp.UNKNOWN
POPULATION = 300


def next_state(certificate):
    """What may happen to a certificate: (action, status, reason); None if it is the end."""
    last = certificate.last
    if last.status == UNKNOWN:
        return "issued", GOOD, None
    if last.status == REVOKED and last.reason != HELD:
        return None
    if last.reason == HELD and random.random() < 0.6:
        return "unsuspended", GOOD, None
    if last.status == GOOD and random.random() < 0.6:
        return "suspended", REVOKED, HELD
    return "revoked", REVOKED, random.choice(list(REASONS))


class Store:
    """An <Issuer> of the server, changed by gatehousectl."""

    def __init__(self, server, model):
        self.server = server
        self.model = model
        self.events([(model.add(random_serial(), UNKNOWN), "issued", GOOD, None)
                     for _ in range(POPULATION)])

    def events(self, changes):
        """changes: [(certificate, action, status, reason as in events)]"""
        lines = [json.dumps({"action": action, "serialNumber": f"{one.serial:x}", **(
            {"reason": reason} if action == "revoked" else {})})
            for one, action, _, reason in changes]
        acknowledge = self.model.change([(one, status, REASONS.get(reason, reason))
                                         for one, _, status, reason in changes])
        self.server.ctl_ok("cert", "events", "--issuer", self.model.name, "-",
                           stdin="\n".join(lines))
        acknowledge()

    def single(self, one):
        """By a command of its own."""
        action, status, reason = next_state(one) or (None, None, None)
        command = {"revoked": "revoke", "suspended": "hold", "unsuspended": "release"}.get(action)
        if not command:
            return
        options = ["--reason", reason] if command == "revoke" else []
        acknowledge = self.model.change([(one, status, REASONS.get(reason, reason))])
        self.server.ctl_ok("cert", command, f"{one.serial:x}", *options)
        acknowledge()

    def step(self):
        recent = self.model.order[-40:]
        batch = {one.serial: one for one in random.sample(self.model.order, 12) + recent[:8]}
        changes = [(one, *following) for one in batch.values()
                   if (following := next_state(one)) is not None]
        with self.model.lock:
            fresh = [self.model.add(random_serial(), UNKNOWN) for _ in range(4)]
        self.events(changes + [(one, "issued", GOOD, None) for one in fresh])
        self.single(random.choice(recent))
        time.sleep(0.05)


class Files:
    """A CA that publishes files; what they say is written anew with each step."""

    def __init__(self, server, model):
        self.server = server
        self.model = model
        self.number = 0
        for _ in range(POPULATION):
            model.add(random_serial(), GOOD)
        self.publish()

    def path(self, ending):
        return self.server.root / "run" / f"{self.model.name}.{ending}"

    def write(self, ending, data):
        path = self.path(ending)
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.rename(path)

    def step(self):
        chosen = random.sample(self.model.order, 15)
        changes = []
        for one in chosen:
            following = next_state(one)
            if following:
                changes.append((one, following[1], REASONS.get(following[2], following[2])))
        acknowledge = self.model.change(changes)
        self.publish()
        acknowledge()
        time.sleep(1 + random.random())


class Crl(Files):
    def publish(self):
        self.number += 1
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateRevocationListBuilder()
                   .issuer_name(self.model.authority.certificate.subject).last_update(now)
                   .next_update(now + datetime.timedelta(days=1))
                   .add_extension(x509.CRLNumber(self.number), False))
        for one in self.model.order:
            if one.last.status != REVOKED:
                continue
            entry = (x509.RevokedCertificateBuilder().serial_number(one.serial)
                     .revocation_date(one.last.at))
            if one.last.reason:
                entry = entry.add_extension(x509.CRLReason(FLAGS[one.last.reason]), False)
            builder = builder.add_revoked_certificate(entry.build())
        self.write("crl", builder.sign(self.model.authority.key_source, hashes.SHA256())
                   .public_bytes(ocsp.DER))


class CrlAndSerials(Crl):
    def publish(self):
        if not self.number:
            self.write("serials", "".join(f"{one.serial:x}\n" for one in self.model.order).encode())
        super().publish()


class Index(Files):
    WORDS = {"key_compromise": "keyCompromise", "superseded": "superseded",
             "cessation_of_operation": "cessationOfOperation", HELD: "certificateHold"}

    def publish(self):
        lines = []
        for one in self.model.order:
            state, revoked = "V", ""
            if one.last.status == REVOKED:
                state = "R"
                revoked = one.last.at.strftime("%y%m%d%H%M%SZ")
                if one.last.reason:
                    revoked += f",{self.WORDS[one.last.reason]}"
            lines.append(f"{state}\t350101000000Z\t{revoked}\t{one.serial:X}\tunknown\t/CN=x\n")
        self.write("txt", "".join(lines).encode())


# name: (kind, key of the CA, status of what is not there, sources)
KINDS = {
    "devices": (Store, "rsa2048-11", UNKNOWN, ["store"]),
    "listed": (Crl, "rsa2048-09", GOOD, ["crl file://{run}/listed.crl interval=1s"]),
    "counted": (CrlAndSerials, "rsa2048-10", UNKNOWN,
                ["crl file://{run}/counted.crl interval=1s",
                 "serials file://{run}/counted.serials interval=1s"]),
    "indexed": (Index, "rsa2048-12", UNKNOWN, ["index {run}/indexed.txt interval=1s"]),
}


@pytest.fixture
def world(make_server):
    """A server with the four kinds of sources, and what changes them."""
    server = make_server("", start=False, own_modules=ocsp.OWN_MODULES,
                         loglevel="notice")
    models, text = {}, ""
    for name, (_, key, unknown, sources) in KINDS.items():
        authority = server.authority if name == "devices" else Authority(
            server.root / "ca", name, key)
        paths = ocsp.signer(authority)
        # files are looked at every second
        models[name] = Model(name, authority, unknown, 1 if name == "devices" else 2)
        models[name].signer = x509.load_pem_x509_certificate(paths[0].read_bytes())
        lines = [f"OCSPSource {one.format(run=server.root / 'run')}" for one in sources]
        if name != "devices":
            lines.append(f'OCSPCertificate "{authority.certificate_path}"')
        text += ocsp.section(name, *lines, 'OCSPSigner "{}" "{}"'.format(*paths))
    # enough to sign: nothing is to be tryLater, or without its nonce
    server.configure(ocsp.base(server) + ocsp.directory(server) + "OCSPFastPath /ocsp\n"
                     "OCSPMaxSigning 64 live=64\nAllowEncodedSlashes NoDecode\nMergeSlashes Off\n"
                     + location("/inside", "SetHandler gatehouse-ocsp") + text)
    changers = [KINDS[name][0](server, models[name]) for name in KINDS if name != "devices"]
    server.start()
    server.allow("GH0763", "GH0554", "GH0561", "GH0562")
    changers.append(Store(server, models["devices"]))

    def all_known():
        for model in models.values():
            der = model.request(model.order[-1].serial, "sha1", None)
            answer = ocsp.parse(ocsp.post(server, der))
            if answer.response_status != ocsp.SUCCESSFUL or answer.certificate_status != GOOD:
                return False
        return True

    wait_until(all_known, 10, what="knowledge of all sources")
    return server, list(models.values()), changers


def run_changes(changer, ended, faults):
    try:
        while not ended.is_set():
            changer.step()
    except Exception as error:
        faults.append(f"{changer.model.name}: {error!r}")


def test_answers_during_changes(world):
    server, models, changers = world
    ended, faults = threading.Event(), []
    budget = Budget(QUESTIONS)
    askers = [Asker(server, models, budget, ("/ocsp", "/inside")) for _ in range(6)]
    threads = [threading.Thread(target=run_changes, args=(changer, ended, faults), daemon=True)
               for changer in changers]
    server.allow("AH00052", "GH0663")   # what is killed below
    for thread in threads + askers:
        thread.start()
    try:
        # restarts and a killed child must not bring anything back
        for part in (0.7, 0.4):
            wait_until(lambda part=part: budget.left < QUESTIONS * part
                       or not any(asker.is_alive() for asker in askers), 600, what="questions")
            server.graceful()
            server.kill_children(most=1)
        for asker in askers:
            asker.join()
    finally:
        budget.left = 0
        ended.set()
        for thread in threads:
            thread.join()
    faults += [fault for asker in askers for fault in asker.faults]
    assert not faults, "\n".join(faults[:10])
    asked = sum(asker.asked for asker in askers)
    assert asked >= QUESTIONS
    assert len(set().union(*(asker.kinds for asker in askers))) == len(KINDS) * 2 * 2 * 2 * 2
    assert sum(asker.lost for asker in askers) < asked / 50
    assert sum(asker.later for asker in askers) < asked / 100
    # much has happened meanwhile, and was seen
    for model in models:
        changes = sum(len(one.states) - 1 for one in model.order)
        seen = sum(one.seen for one in model.order)
        assert changes > 60 and seen > changes / 4, (model.name, changes, seen)
    print(f"{asked} questions", {model.name: sum(len(one.states) - 1 for one in model.order)
                                 for model in models})
