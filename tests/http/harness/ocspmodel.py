# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What an OCSP responder may say while status changes: a model that knows nothing of how it works,
and clients that ask on many kept connections."""

import base64
import datetime
import http.client
import random
import threading
import time
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp as x509ocsp

from . import ocsp

LOST = (OSError, http.client.HTTPException)


class State:
    """What holds from a change on. begin, acknowledged: monotonic seconds; acknowledged is None
    until whoever asked for the change was told that it is done."""

    def __init__(self, status, reason=None, begin=0.0, acknowledged=0.0):
        self.status = status
        self.reason = reason            # name of x509.ReasonFlags
        self.begin = begin
        self.acknowledged = acknowledged
        self.at = datetime.datetime.utcnow()

    def explains(self, number, status, reason, when):
        """when: of a revocation; that of the first state is not known"""
        if (self.status, self.reason) != (status, reason):
            return False
        return (status != ocsp.REVOKED or not number
                or abs((when - self.at).total_seconds()) <= 5)

    def __repr__(self):
        return f"{self.status.name}/{self.reason}@{self.begin:.2f}-{self.acknowledged or 0:.2f}"


class Certificate:
    """The states that a serial number has had, and how far somebody has seen them."""

    def __init__(self, serial, status, reason=None):
        self.serial = serial
        self.states = [State(status, reason)]
        self.seen = 0
        self.first_seen = [0.0]         # when, of each of them that somebody has seen

    @property
    def last(self):
        return self.states[-1]

    def begin(self, status, reason=None):
        state = State(status, reason, time.monotonic(), None)
        if status == ocsp.REVOKED == self.last.status:
            state.at = self.last.at     # a hold that became a revocation lasts since then
        self.states.append(state)
        return state

    def see(self, number, received):
        while len(self.first_seen) <= number:
            self.first_seen.append(received)
        self.seen = len(self.first_seen) - 1

    def floor(self, before):
        """The last state that somebody saw before a time."""
        return max(number for number, at in enumerate(self.first_seen) if at <= before)

    def permitted(self, said, floor, sent, received, lag):
        """The first state that explains an answer, by its number. said: status, reason, when

        A state may be seen from when its change began until one that came after it has been
        acknowledged for as long as the lag; and never after a later one was seen."""
        for number in range(floor, len(self.states)):
            state = self.states[number]
            after = self.states[number + 1] if number + 1 < len(self.states) else None
            over = after is not None and after.acknowledged is not None \
                and sent > after.acknowledged + lag
            if state.begin <= received and not over and state.explains(number, *said):
                return number
        return None


class Model:
    """Certificates of one authority.

    lag: seconds by which answers may be late; but what one process of a node knows all do"""

    def __init__(self, name, authority, unknown, lag):
        self.name = name
        self.authority = authority
        self.unknown = unknown          # status of serial numbers that are not there
        self.lag = lag
        self.certificates = {}
        self.order = []
        self.lock = threading.Lock()
        self.templates = {}
        self.signer = None              # certificate

    def add(self, serial, status, reason=None):
        made = self.certificates[serial] = Certificate(serial, status, reason)
        self.order.append(made)
        return made

    def change(self, changes):
        """Begins changes: [(certificate, status, reason)]. @return a function to acknowledge"""
        with self.lock:
            states = [one.begin(status, reason) for one, status, reason in changes]

        def acknowledge():
            with self.lock:
                now = time.monotonic()
                for state in states:
                    state.acknowledged = now
        return acknowledge

    def request(self, serial, digest, nonce):
        """DER; made from a template, for speed."""
        template = self.templates.get((digest, bool(nonce)))
        if template is None:
            template = self.templates[(digest, bool(nonce))] = ocsp.request_for(
                self.authority, [int.from_bytes(SERIAL_MARK, "big")], digest,
                NONCE_MARK if nonce else None)
        der = template.replace(SERIAL_MARK, serial.to_bytes(16, "big"))
        return der.replace(NONCE_MARK, nonce) if nonce else der


SERIAL_MARK = b"\x51" + b"serial-number-x"
NONCE_MARK = b"nonce-of-request"


def random_serial():
    """One of 16 bytes."""
    return random.getrandbits(126) | 1 << 126


class Asker(threading.Thread):
    """Asks random questions on kept connections, until there were enough of them."""

    def __init__(self, server, models, budget, paths, connections=8, seed=None):
        super().__init__(daemon=True)
        self.server = server
        self.models = models
        self.budget = budget
        self.paths = paths
        self.random = random.Random(seed)
        self.connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
                            for _ in range(connections)]
        self.faults = []
        self.asked = self.lost = self.later = 0
        self.kinds = set()

    def run(self):
        try:
            while self.budget.take() and len(self.faults) < 5:
                self.ask()
        except Exception as error:      # a thread that dies unnoticed would prove nothing
            self.faults.append(repr(error))
        finally:
            for connection in self.connections:
                connection.close()

    def send(self, path, method, der):
        connection = self.random.choice(self.connections)
        try:
            if method == "GET":
                text = quote(base64.b64encode(der).decode(), safe="")
                connection.request("GET", f"{path}/{text}")
            else:
                connection.request("POST", path, der, {"Content-Type": ocsp.REQUEST})
            response = connection.getresponse()
            return response.status, response.read()
        except LOST:
            connection.close()
            return None

    def ask(self):
        pick = self.random
        model = pick.choice(self.models)
        if pick.random() < 0.05:
            serial = random_serial()
        else:
            serial = pick.choice(model.order[-30:] if pick.random() < 0.4 else model.order).serial
        nonce = pick.getrandbits(128).to_bytes(16, "big") if pick.random() < 0.35 else None
        kind = (model.name, pick.choice(self.paths), pick.choice(("GET", "POST")),
                pick.choice(("sha1", "sha256")), bool(nonce))
        der = model.request(serial, kind[3], nonce)
        known = model.certificates.get(serial)
        with model.lock:
            sent = time.monotonic()
            floor = known.floor(sent) if known else 0
        answer = self.send(kind[1], kind[2], der)
        received = time.monotonic()
        self.asked += 1
        if answer is None:
            self.lost += 1
            return
        self.kinds.add(kind)
        fault = self.judge(model, serial, known, floor, sent, received, nonce, answer)
        if fault:
            self.faults.append(f"{kind} {serial:x}: {fault}; sent {sent:.2f}, received "
                               f"{received:.2f}, seen {floor}, states "
                               f"{known.states if known else None}")

    def judge(self, model, serial, known, floor, sent, received, nonce, answer):
        status, body = answer
        if status != 200:
            return f"HTTP status {status}"
        response = x509ocsp.load_der_ocsp_response(body)
        if response.response_status == ocsp.TRY_LATER:
            self.later += 1
            return None
        if response.response_status != ocsp.SUCCESSFUL:
            return f"error {response.response_status}"
        fault = check_form(response, model, serial, nonce)
        if fault:
            return fault
        reason = response.revocation_reason.name if response.revocation_reason else None
        got = response.certificate_status
        if known is None:
            return None if got == model.unknown else f"{got} of an unknown one"
        with model.lock:
            said = (got, reason, response.revocation_time)
            number = known.permitted(said, floor, sent, received, model.lag)
            if number is None:
                return f"{got.name}/{reason} at {response.revocation_time}"
            known.see(number, received)
        return None


def check_form(response, model, serial, nonce):
    """What has to be right in every answer."""
    now = datetime.datetime.utcnow()
    if response.serial_number != serial:
        return f"is about {response.serial_number:x}"
    if not response.this_update <= now < response.next_update:
        return f"holds from {response.this_update} to {response.next_update}"
    nonces = [one.value.nonce for one in response.extensions
              if isinstance(one.value, ocsp.x509.OCSPNonce)]
    if nonces != ([nonce] if nonce else []):
        return f"has the nonces {nonces}"
    if response.certificates != [model.signer]:
        return "has another signer"
    try:
        model.signer.public_key().verify(response.signature, response.tbs_response_bytes,
                                         ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return "has a wrong signature"
    return None


class Budget:
    """How many questions are still to be asked, by all."""

    def __init__(self, count):
        self.left = count
        self.lock = threading.Lock()

    def take(self):
        with self.lock:
            self.left -= 1
            return self.left >= 0
