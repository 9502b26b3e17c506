# Licensed under the Apache License, Version 2.0. See LICENSE.
"""An event of a UEM whose certificates are issued by a CA behind a gateway."""

import json

from harness import remote
from harness.remote import start_gateway
from harness.server import wait_until
from harness.uem import Delivering, start_uem

PURPOSES = {"signing": "smime-non-repudiation", "encryption": "smime-key-encipherment"}


def test_event(make_server, tmp_path, tmp_path_factory):
    """Keys are made here, the gateway issues, the device gets its profile; also when the gateway is
    slow at first, fails, and loses an answer: no certificate is issued twice."""
    gateway = start_gateway(tmp_path_factory.mktemp("gateway"))
    gateway.profiles.update({profile: {} for profile in PURPOSES.values()})
    uem = start_uem(tmp_path)

    def more(server):
        return remote.issuer(server, gateway, "mail") + remote.worker_path(server) + \
            "EscrowMailDomains example.com\nEscrowProvide event=148 issuer=mail " + \
            " ".join(f"{use}={profile}" for use, profile in PURPOSES.items()) + "\n"

    delivering = Delivering(make_server, uem, tmp_path, more=more, modules=remote.MODULES)
    server = delivering.server
    server.allow(*remote.TROUBLE, "GH0782")
    for number, faults in enumerate(((), ({"kind": "status", "code": 503}, {"kind": "lost"}))):
        for fault in faults:
            gateway.faults.add(on="enroll", times=1, **fault)
        before = len(gateway.issued())
        device = delivering.device()
        event = {"EventId": 148, "DeviceUUID": device.uuid, "EnrollmentUserUUID": device.user,
                 "EnrollmentEmailAddress": f"user{number}@example.com", "EventTime": str(number),
                 "EnrollmentUserName": "ada"}
        made = delivering.skeleton(device)
        answer = delivering.ask("/v1/events", "POST", event)
        assert answer.status == 202, answer.body
        taken, = delivering.delivered(device, seconds=120)
        delivering.wait_state(made, "delivered")
        wait_until(lambda: delivering.ask("/v1/events", "POST", event).status == 200, 60, 0.2)
        issued = gateway.issued()[before:]
        assert len(issued) == 2
        said = delivering.ask(f"/v2/certificates?device_uuid={device.uuid}"
                              f"&user_uuid={device.user}")
        stored = {one["use"]: int(one["serial"], 16)
                  for one in json.loads(said.body)["credentials"]}
        assert set(stored.values()) == {one.serial for one in issued}
        assert device.open(taken["document"]) == [stored["encryption"]]
    uem.close()
    gateway.close()
    gateway.check()
