# Licensed under the Apache License, Version 2.0. See LICENSE.
"""slapd with accounts and groups as Active Directory has them."""

import base64
import shutil
import struct
import subprocess
import tempfile
import pathlib

from .directory import PASSWORD, READER, SUFFIX, Directory, program
from .server import free_port, wait_until

# The names and object identifiers of Active Directory, with rules to compare by
ATTRIBUTES = {
    "sAMAccountName": ("1.4.221", "caseIgnoreMatch", "15"),
    "userPrincipalName": ("1.4.656", "caseIgnoreMatch", "15"),
    "servicePrincipalName": ("1.4.771", "caseIgnoreMatch", "15"),
    "dNSHostName": ("1.4.619", "caseIgnoreMatch", "15"),
    "objectSid": ("1.4.146", "octetStringMatch", "40"),
    "objectGUID": ("1.4.2", "octetStringMatch", "40"),
    "primaryGroupID": ("1.4.98", "integerMatch", "27"),
    "userAccountControl": ("1.4.8", "integerMatch", "27"),
    "accountExpires": ("1.4.159", "integerMatch", "27"),
    "lockoutTime": ("1.4.662", "integerMatch", "27"),
    "msDS-User-Account-Control-Computed": ("1.4.1460", "integerMatch", "27"),
    "tokenGroups": ("1.4.1301", "octetStringMatch", "40"),
}
ROOT_ATTRIBUTES = {"supportedCapabilities": ("1.4.1455", "objectIdentifierMatch", "38")}
# Of certificate templates (MS-CRTD); octet strings and texts have no rule to compare by there
TEMPLATE_ATTRIBUTES = {
    "flags": ("1.4.38", "integerMatch", "27"),
    "revision": ("1.4.145", "integerMatch", "27"),
    "nTSecurityDescriptor": ("1.2.281", "octetStringMatch", "40"),
    "pKIDefaultKeySpec": ("1.4.1327", "integerMatch", "27"),
    "pKIExpirationPeriod": ("1.4.1331", "octetStringMatch", "40"),
    "pKIOverlapPeriod": ("1.4.1332", "octetStringMatch", "40"),
    "pKIExtendedKeyUsage": ("1.4.1333", "caseIgnoreMatch", "15"),
    "pKIDefaultCSPs": ("1.4.1334", "caseIgnoreMatch", "15"),
    "msPKI-RA-Signature": ("1.4.1429", "integerMatch", "27"),
    "msPKI-Enrollment-Flag": ("1.4.1430", "integerMatch", "27"),
    "msPKI-Private-Key-Flag": ("1.4.1431", "integerMatch", "27"),
    "msPKI-Certificate-Name-Flag": ("1.4.1432", "integerMatch", "27"),
    "msPKI-Minimal-Key-Size": ("1.4.1433", "integerMatch", "27"),
    "msPKI-Template-Schema-Version": ("1.4.1434", "integerMatch", "27"),
    "msPKI-Template-Minor-Revision": ("1.4.1435", "integerMatch", "27"),
    "msPKI-Cert-Template-OID": ("1.4.1436", "caseIgnoreMatch", "15"),
}
MULTIPLE = ("supportedCapabilities", "tokenGroups", "servicePrincipalName",
            "pKIExtendedKeyUsage", "pKIDefaultCSPs")
DOMAIN = (21, 1004336348, 1177238915, 682003330)


def sid(relative):
    """objectSid of an account of the domain."""
    parts = DOMAIN + (relative,)
    return bytes([1, len(parts), 0, 0, 0, 0, 0, 5]) + struct.pack(f"<{len(parts)}I", *parts)


def sid_text(relative):
    return "S-1-5-" + "-".join(str(part) for part in DOMAIN + (relative,))


def schema():
    lines = []
    for name, (oid, rule, syntax) in {**ATTRIBUTES, **TEMPLATE_ATTRIBUTES,
                                        **ROOT_ATTRIBUTES}.items():
        single = "" if name in MULTIPLE else " SINGLE-VALUE"
        lines.append(f"attributetype ( 1.2.840.113556.{oid} NAME '{name}' EQUALITY {rule} "
                     f"SYNTAX 1.3.6.1.4.1.1466.115.121.1.{syntax}{single} )")
    names = " $ ".join(ATTRIBUTES)
    lines += [
        f"objectclass ( 1.2.840.113556.1.5.9 NAME 'user' SUP top STRUCTURAL "
        f"MAY ( cn $ sn $ mail $ userPassword $ userCertificate $ {names} ) )",
        "objectclass ( 1.2.840.113556.1.3.30 NAME 'computer' SUP user STRUCTURAL )",
        f"objectclass ( 1.2.840.113556.1.5.177 NAME 'pKICertificateTemplate' SUP top STRUCTURAL "
        f"MUST cn MAY ( displayName $ {' $ '.join(TEMPLATE_ATTRIBUTES)} ) )",
        "objectclass ( 1.2.840.113556.1.5.8 NAME 'group' SUP top STRUCTURAL "
        "MUST cn MAY ( member $ objectSid $ sAMAccountName $ mail ) )"]
    return "\n".join(lines) + "\n"


def ldif(dn, **attributes):
    lines = [f"dn: {dn}"]
    for name, values in attributes.items():
        for value in values if isinstance(values, (list, tuple)) else [values]:
            if isinstance(value, bytes):
                lines.append(f"{name}:: {base64.b64encode(value).decode()}")
            else:
                lines.append(f"{name}:: {base64.b64encode(str(value).encode()).decode()}")
    return "\n".join(lines) + "\n\n"


def user(name, suffix=SUFFIX, relative=1104, **attributes):
    entry = {"objectClass": "user", "cn": name, "sAMAccountName": name,
             "userPrincipalName": f"{name}@example.com", "mail": f"{name}@example.com",
             "objectSid": sid(relative), "objectGUID": relative.to_bytes(16, "big"),
             "primaryGroupID": 513, "userAccountControl": 512, "userPassword": PASSWORD}
    entry.update(attributes)
    return ldif(f"cn={name},cn=Users,{suffix}", **{k: v for k, v in entry.items() if v is not None})


def computer(name, suffix=SUFFIX, relative=1201, **attributes):
    host = f"{name.lower()}.example.com"
    entry = {"objectClass": "computer", "cn": name, "sAMAccountName": f"{name}$",
             "dNSHostName": host, "objectSid": sid(relative),
             "objectGUID": relative.to_bytes(16, "big"), "primaryGroupID": 515,
             "servicePrincipalName": [f"HOST/{name}", f"HOST/{host}"], "userAccountControl": 4096}
    entry.update(attributes)
    return ldif(f"cn={name},cn=Computers,{suffix}",
                **{k: v for k, v in entry.items() if v is not None})


def group(name, members, relative, suffix=SUFFIX):
    return ldif(f"cn={name},cn=Users,{suffix}", objectClass="group", cn=name, sAMAccountName=name,
                objectSid=sid(relative), member=members or [])


CONTAINER = f"cn=Certificate Templates,cn=Public Key Services,cn=Services,cn=Configuration,{SUFFIX}"


def template_containers():
    names = CONTAINER[:-len(SUFFIX) - 1].split(",")
    text = ""
    for i in range(len(names) - 1, -1, -1):
        text += ldif(",".join([*names[i:], SUFFIX]), objectClass="applicationProcess",
                     cn=names[i].split("=")[1])
    return text


def period(seconds):
    return struct.pack("<q", -seconds * 10_000_000)


def certificate_template(name, descriptor, **attributes):
    """As the template "User" has it, duplicated: CN of the subject, UPN, client authentication."""
    entry = {"objectClass": "pKICertificateTemplate", "cn": name, "displayName": f"A {name}",
             "flags": 0x2023A, "revision": 100, "nTSecurityDescriptor": descriptor,
             "pKIDefaultKeySpec": 1, "pKIExpirationPeriod": period(365 * 86400),
             "pKIOverlapPeriod": period(42 * 86400),
             "pKIDefaultCSPs": ["2,Microsoft Base Provider", "1,Microsoft Enhanced Provider"],
             "msPKI-RA-Signature": 0, "msPKI-Enrollment-Flag": 0x29,
             "msPKI-Private-Key-Flag": 0x10 | 0x5050000,
             "msPKI-Certificate-Name-Flag": 0x42000000, "msPKI-Minimal-Key-Size": 2048,
             "msPKI-Template-Schema-Version": 4, "msPKI-Template-Minor-Revision": 7,
             "msPKI-Cert-Template-OID": f"1.3.6.1.4.1.311.21.8.1.2.3.{len(name)}.{ord(name[0])}"}
    entry["pKIExtendedKeyUsage"] = "1.3.6.1.5.5.7.3.2"
    entry.update({key.replace("_", "-"): value for key, value in attributes.items()})
    return ldif(f"cn={name},{CONTAINER}", **{k: v for k, v in entry.items() if v is not None})


class ActiveDirectory(Directory):
    """entries: LDIF behind the containers. closed: only who binds may read. before: lines of
    slapd.conf for the whole server. certificate: for TLS. active: it says that it is Active
    Directory, whose accounts have tokenGroups."""

    def __init__(self, entries="", suffix=SUFFIX, closed=False, certificate=None, key=None,
                 before="", ports=None, active=False):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-ad-"))
        self.suffix = suffix
        self.port, self.tls_port = ports or (free_port(), free_port())
        self.certificate = certificate
        (self.root / "db").mkdir()
        (self.root / "ad.schema").write_text(schema())
        tls = f'TLSCertificateFile "{certificate}"\nTLSCertificateKeyFile "{key}"\n' \
            if certificate else ""
        if active:
            (self.root / "root.ldif").write_text(
                "dn:\nsupportedCapabilities: 1.2.840.113556.1.4.800\n")
            before += f"\nrootDSE {self.root}/root.ldif"
        readers = "by anonymous auth by users read" if closed else "by * read"
        (self.root / "slapd.conf").write_text(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n"
            "include /etc/ldap/schema/inetorgperson.schema\n"
            f"include {self.root}/ad.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
            f"moduleload memberof\n{tls}{before}\n"
            f'pidfile "{self.root}/pid"\n'
            f'database mdb\nsuffix "{suffix}"\ndirectory "{self.root}/db"\nmaxsize 134217728\n'
            f"overlay memberof\nmemberof-group-oc group\nmemberof-member-ad member\n"
            f'rootdn "cn=root,{suffix}"\nrootpw "{PASSWORD}"\n'
            f"access to * {readers}\n")
        self.add(self.containers() + entries)
        self.process = None
        self.start()

    def containers(self):
        first = self.suffix.split(",")[0].split("=")[1]
        text = ldif(self.suffix, objectClass=["dcObject", "organization"], o="Example", dc=first)
        for name in ("Users", "Computers"):
            text += ldif(f"cn={name},{self.suffix}", objectClass="applicationProcess", cn=name)
        return text + ldif(f"cn=reader,{self.suffix}", objectClass="person", sn="reader",
                           cn="reader", userPassword=PASSWORD)

    def add(self, text):
        """While it does not run. Memberships are written as overlays do, at the end."""
        subprocess.run([program("slapadd"), "-f", str(self.root / "slapd.conf")], input=text,
                       text=True, check=True, timeout=30, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)

    def start(self):
        addresses = f"ldap://127.0.0.1:{self.port}"
        if self.certificate:
            addresses += f" ldaps://127.0.0.1:{self.tls_port}"
        self.process = subprocess.Popen(
            [program("slapd"), "-d", "0", "-f", str(self.root / "slapd.conf"), "-h", addresses],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, 10, what="slapd")

    def stop(self):
        self.process.kill()
        self.process.wait(10)

    def close(self):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


__all__ = ["ActiveDirectory", "PASSWORD", "READER", "SUFFIX", "computer", "group", "ldif", "sid",
           "sid_text", "user"]
