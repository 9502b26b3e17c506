# Licensed under the Apache License, Version 2.0. See LICENSE.
"""lib/directory against slapd with accounts as Active Directory has them."""

import json
import socket
import subprocess
import time

import pytest

from harness import environment
from harness.active_directory import (PASSWORD, READER, SUFFIX, ActiveDirectory, computer, group,
                                      ldif, sid, sid_text, user)
from harness.server import free_port
from test_ocsp_fetching import tls      # noqa: F401

SECOND = 1000
ALICE = f"cn=alice,cn=Users,{SUFFIX}"


def entries():
    return (user("alice") + user("bob", relative=1105, userAccountControl=514)
            + computer("PC1") + user("a(b)*", relative=1106, userPrincipalName=None)
            + user("carol", relative=1107, userPrincipalName="bob2@elsewhere.example")
            + ldif(f"cn=twin1,cn=Users,{SUFFIX}", objectClass="user", cn="twin1",
                   sAMAccountName="twin")
            + ldif(f"cn=twin2,cn=Users,{SUFFIX}", objectClass="user", cn="twin2",
                   sAMAccountName="twin")
            + group("Domain Users", [], 513) + group("Domain Computers", [], 515)
            + group("PKI", [], 1300) + group("Staff", [], 1301) + group("All", [], 1302))


class Asker:
    def __init__(self, directory, scheme="ldap", **options):
        urls = options.pop("urls", None) or [directory.url(scheme)]
        config = {"urls": urls, "base": SUFFIX, "deadline": 10 * SECOND, "connect": 5 * SECOND,
                  "domains": [{"dns": "example.com", "netbios": "EXAMPLE"}]}
        config.update(options)
        self.process = subprocess.Popen(
            [str(environment.build() / "ask_directory"), json.dumps(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words):
        self.process.stdin.write("\t".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()


@pytest.fixture
def asker():
    made = []

    def make(*arguments, **options):
        made.append(Asker(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def make_ad():
    made = []

    def make(*arguments, **options):
        made.append(ActiveDirectory(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def join(directory, *memberships):
    """Memberships are made while it runs: the overlay then writes memberOf."""
    text = "".join(f"dn: cn={name},cn=Users,{SUFFIX}\nchangetype: modify\nadd: member\n"
                   f"member: {member}\n\n" for name, member in memberships)
    subprocess.run(["ldapmodify", "-x", "-H", directory.url(), "-D", f"cn=root,{SUFFIX}", "-w",
                    PASSWORD], input=text, text=True, check=True, timeout=30,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_accounts(make_ad, asker):
    ad = make_ad(entries(), before="", closed=False)
    join(ad, ("PKI", ALICE), ("Staff", f"cn=PKI,cn=Users,{SUFFIX}"),
         ("All", f"cn=Staff,cn=Users,{SUFFIX}"), ("PKI", f"cn=All,cn=Users,{SUFFIX}"))
    ask = asker(ad)
    alice = ask("alice", "EXAMPLE")
    assert alice["dn"].lower() == ALICE.lower()
    assert (alice["cn"], alice["account"], alice["mail"]) == ("alice", "alice",
                                                              "alice@example.com")
    assert alice["sid"] == sid_text(1104)
    assert alice["guid"] == (1104).to_bytes(16, "big").hex()
    assert not alice["machine"] and not alice["disabled"]
    names = {dn.split(",")[0].lower() for dn in alice["groups"]}
    # through a circle of groups, and by the primary group
    assert names == {"cn=pki", "cn=staff", "cn=all", "cn=domain users"}
    for form in (("ALICE", "example.com"), ("alice@example.com",), ("alice",),
                 ("alice", "Example.COM")):
        assert ask(*form)["sid"] == sid_text(1104), form
    pc = ask("PC1$", "EXAMPLE")
    assert pc["machine"] and pc["host"] == "pc1.example.com"
    assert pc["services"] == ["HOST/PC1", "HOST/pc1.example.com"]
    assert [dn.split(",")[0] for dn in pc["groups"]] == ["cn=Domain Computers"]
    assert ask("HOST/pc1.example.com", "EXAMPLE")["account"] == "PC1$"
    assert ask("bob", "EXAMPLE")["disabled"]
    assert ask("member", f"CN=staff, CN=users, {SUFFIX.upper()}", "alice")["member"]
    assert not ask("member", f"CN=staff, CN=users, {SUFFIX.upper()}", "bob")["member"]


def test_who_is_not_there(make_ad, asker):
    ask = asker(make_ad(entries()))
    assert ask("nobody", "EXAMPLE")["number"] == "GH1408"
    assert ask("twin", "EXAMPLE")["number"] == "GH1409"
    assert ask("alice", "OTHER")["number"] == "GH1411"
    assert ask("bob2@elsewhere.example")["account"] == "carol"
    assert ask("bob2", "elsewhere.example")["account"] == "carol"


def test_domains_below_a_domain(make_ad, asker):
    """A Global Catalog has all domains of a forest: an account is looked for in its own alone."""
    emea = f"dc=emea,{SUFFIX}"
    ad = make_ad(entries() + ldif(emea, objectClass=["dcObject", "organization"], o="E", dc="emea")
                 + ldif(f"cn=Users,{emea}", objectClass="applicationProcess", cn="Users")
                 + user("alice", suffix=emea, relative=1900) + user("erin", suffix=emea,
                                                                    relative=1901))
    ask = asker(ad, domains=[{"dns": "example.com", "netbios": "EXAMPLE"},
                             {"dns": "emea.example.com", "netbios": "EMEA"}])
    assert ask("alice", "EXAMPLE")["sid"] == sid_text(1104)
    assert ask("alice", "EMEA")["sid"] == sid_text(1900)
    assert ask("erin", "EMEA")["sid"] == sid_text(1901)
    assert ask("erin", "EXAMPLE")["number"] == "GH1408"


def test_names_with_a_meaning_in_filters(make_ad, asker):
    ask = asker(make_ad(entries()))
    assert ask("a(b)*", "EXAMPLE")["account"] == "a(b)*"
    for name in ("*", "al*", "alice)(objectClass=*", "*)(|(cn=*", "\\2a", "a(b)\\2a",
                 "alice\\00", "x)(!(cn=y)"):
        assert ask(name, "EXAMPLE")["number"] == "GH1408", name


def test_a_name_does_not_give_way_to_a_principal(make_ad, asker):
    """Who may write his own principal name is not taken for another."""
    ask = asker(make_ad(entries() + user("mallory", relative=1109,
                                         userPrincipalName="bob@example.com")))
    assert ask("bob", "EXAMPLE")["sid"] == sid_text(1105)
    assert ask("bob@example.com")["sid"] == sid_text(1105)


def test_who_has_logged_on(make_ad, asker):
    """user@domain may have been checked as an account's own name or as a user principal name: who
    may write the latter is not taken for another, nor another for him."""
    emea = f"dc=emea,{SUFFIX}"
    ad = make_ad(entries() + user("mallory", relative=1109, userPrincipalName="bob@example.com")
                 + user("oscar", relative=1110, userPrincipalName="PC1$")
                 + user("asmith", relative=1111, userPrincipalName="anna@example.com")
                 + user("anton", relative=1112, userPrincipalName=None)
                 + ldif(emea, objectClass=["dcObject", "organization"], o="E", dc="emea")
                 + ldif(f"cn=Users,{emea}", objectClass="applicationProcess", cn="Users")
                 + user("alice", suffix=emea, relative=1900, userPrincipalName=None)
                 + user("eve", suffix=emea, relative=1901, userPrincipalName="anton@example.com")
                 + user("erin", suffix=emea, relative=1902))
    ask = asker(ad, domains=[{"dns": "example.com", "netbios": "EXAMPLE"},
                             {"dns": "emea.example.com", "netbios": "EMEA"}])
    for name in ("bob", "PC1$", "anton"):
        answer = ask("logon", name, "example.com")
        assert answer["number"] == "GH1522", (name, answer)
        assert "cn=" not in answer["message"] and "cn=" in answer["cause"]
    assert ask("logon", "anna", "example.com")["sid"] == sid_text(1111)
    assert ask("logon", "ANNA", "example.com")["sid"] == sid_text(1111)
    assert ask("logon", "asmith", "example.com")["sid"] == sid_text(1111)
    assert ask("logon", "alice", "example.com")["sid"] == sid_text(1104)
    assert ask("logon", "alice", "emea.example.com")["sid"] == sid_text(1900)
    assert ask("logon", "erin", "example.com")["sid"] == sid_text(1902)
    for name in ("nobody", "*", "anna)(cn=*"):
        assert ask("logon", name, "example.com")["number"] == "GH1408", name
    # mallory's own domain is not where he has put the name
    apart = asker(ad, domains=[{"dns": "emea.example.com", "netbios": "EMEA"}])
    assert apart("logon", "erin", "emea.example.com")["sid"] == sid_text(1902)


def test_part_of_a_domain(make_ad, asker):
    """Accounts elsewhere in the domain are not known; groups are."""
    staff = f"ou=Staff,{SUFFIX}"
    ad = make_ad(entries() + ldif(staff, objectClass="organizationalUnit", ou="Staff")
                 + ldif(f"cn=Users,{staff}", objectClass="applicationProcess", cn="Users")
                 + user("frank", suffix=staff, relative=1120))
    ask = asker(ad, base=staff)
    frank = ask("frank", "EXAMPLE")
    assert frank["sid"] == sid_text(1120)
    assert [dn.split(",")[0] for dn in frank["groups"]] == ["cn=Domain Users"]
    assert ask("logon", "frank", "example.com")["sid"] == sid_text(1120)
    assert ask("alice", "EXAMPLE")["number"] == "GH1408"
    assert ask("logon", "alice", "example.com")["number"] == "GH1408"


def test_spelling(make_ad, asker):
    """What a directory takes for the same name is another one to whoever has checked it."""
    ask = asker(make_ad(entries() + user("two", relative=1130, sAMAccountName="two  names")))
    assert ask("two  names", "EXAMPLE")["sid"] == sid_text(1130)
    for words in (("two names", "EXAMPLE"), ("logon", "two names", "example.com")):
        assert ask(*words)["number"] == "GH1523"


def windows_time(seconds):
    return int((time.time() + seconds + 11644473600) * 10_000_000)


def test_barred_accounts(make_ad, asker):
    computed = "msDS-User-Account-Control-Computed"
    cases = {
        "enabled": ({}, False),
        "never": ({"accountExpires": 2 ** 63 - 1}, False),
        "zero": ({"accountExpires": 0, "lockoutTime": 0, computed: 0}, False),
        "later": ({"accountExpires": windows_time(3600)}, False),
        "expired": ({"accountExpires": windows_time(-3600)}, True),
        "locked": ({computed: 0x10, "lockoutTime": windows_time(-60)}, True),
        "unlocked": ({computed: 0, "lockoutTime": windows_time(-86400)}, False),
        "perhaps": ({"lockoutTime": windows_time(-60)}, True),
        "disabled": ({"userAccountControl": 514, computed: 0}, True),
    }
    text = "".join(user(name, relative=1500 + i, **attributes)
                   for i, (name, (attributes, _)) in enumerate(cases.items()))
    ask = asker(make_ad(text))
    for name, (_, barred) in cases.items():
        assert ask(name, "EXAMPLE")["disabled"] is barred, name


def test_active_directory(make_ad, asker):
    """Its groups are those that the server counts with, however many: the names of 250 are had by
    their identifiers. What does not let itself be read is not taken for good."""
    many = "".join(group(f"group{i}", [], 3000 + i) for i in range(250))
    token = [sid(3000 + i) for i in range(250)] + [sid(513)]
    ad = make_ad(entries() + many + user("grace", relative=1600, tokenGroups=token)
                 + user("heidi", relative=1601)
                 + user("ivan", relative=1602, userAccountControl=None, tokenGroups=token)
                 + user("judy", relative=1603, objectSid=None, tokenGroups=token), active=True)
    ask = asker(ad)
    grace = ask("grace", "EXAMPLE")
    assert {dn.split(",")[0] for dn in grace["groups"]} \
        == {f"cn=group{i}" for i in range(250)} | {"cn=Domain Users"}
    assert len(grace["groups"]) == 251
    assert ask("member", f"CN=GROUP249,CN=Users,{SUFFIX}", "grace")["member"]
    assert ask("heidi", "EXAMPLE")["number"] == "GH1524"
    assert ask("ivan", "EXAMPLE")["number"] == "GH1525"
    assert ask("judy", "EXAMPLE")["number"] == "GH1525"


def test_bind_and_tls(make_ad, asker, tls):         # noqa: F811
    certificate, key, ca = tls
    ad = make_ad(entries(), closed=True, certificate=certificate, key=key)
    bound = {"bind": READER, "password": PASSWORD, "trust": ca}
    assert asker(ad, "ldaps", **bound)("alice")["sid"] == sid_text(1104)
    assert asker(ad, starttls=True, **bound)("alice")["sid"] == sid_text(1104)
    assert asker(ad, "ldaps", trust=ca)("alice")["number"] == "GH1413"
    assert asker(ad, "ldaps", **{**bound, "password": "wrong"})("alice")["number"] == "GH1406"
    assert asker(ad, "ldaps", bind=READER, password=PASSWORD)("alice")["number"] == "GH1406"
    assert asker(ad, "ldaps", urls=[f"ldaps://localhost:{ad.tls_port}"],
                 **bound)("alice")["number"] == "GH1406"


def test_a_server_that_goes_and_comes(make_ad, asker):
    ad = make_ad(entries())
    ask = asker(ad)
    assert ask("alice")["sid"] == sid_text(1104)
    ad.stop()
    assert ask("alice")["number"] == "GH1406"
    # left alone for a moment: the answer is there at once
    assert ask("alice")["number"] == "GH1406"
    ad.start()
    for _ in range(200):
        answer = ask("alice")
        if "sid" in answer:
            break
        assert answer["number"] == "GH1406"
        time.sleep(0.1)
    assert answer["sid"] == sid_text(1104)
    # a connection that has ended meanwhile is not an error
    ad.stop()
    ad.start()
    assert ask("alice")["sid"] == sid_text(1104)


def test_another_server(make_ad, asker):
    ad = make_ad(entries())
    gone = f"ldap://127.0.0.1:{free_port()}"
    ask = asker(ad, urls=[gone, ad.url()])
    assert ask("alice")["sid"] == sid_text(1104)


def test_servers_that_hang(make_ad, asker):
    ad = make_ad(entries())
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        url = f"://127.0.0.1:{silent.getsockname()[1]}"
        for scheme in ("ldap", "ldaps"):
            ask = asker(ad, urls=[scheme + url], deadline=SECOND, connect=SECOND, connections=2)
            answers = ask("many", 6, "alice")
            assert {answer["number"] for answer in answers} <= {"GH1406", "GH1407"}
            # who waits for a place has waited no longer than his own deadline
            assert max(answer["seconds"] for answer in answers) < 8
            # the breaker is open: nobody waits
            quick = [ask("alice") for _ in range(5)]
            assert {answer["number"] for answer in quick} == {"GH1406"}
            assert min(answer["seconds"] for answer in quick) < 0.5


def test_a_server_that_hangs_leaves_time_for_the_next(make_ad, asker):
    ad = make_ad(entries())
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        hangs = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        ask = asker(ad, urls=[hangs, ad.url()], deadline=6 * SECOND, connect=6 * SECOND)
        assert ask("alice").get("sid") == sid_text(1104)
        # the one that hangs is left alone for a while
        assert ask("alice").get("sid") == sid_text(1104)


def test_answers_are_kept_for_a_while(make_ad, asker):
    ad = make_ad(entries())
    kept, not_kept = asker(ad, keep=60 * SECOND), asker(ad)
    assert kept("alice")["sid"] == not_kept("alice")["sid"] == sid_text(1104)
    assert kept("nobody")["number"] == "GH1408"
    ad.stop()
    assert kept("alice")["sid"] == sid_text(1104)
    assert not_kept("alice")["number"] == "GH1406"
    assert kept("nobody")["number"] == "GH1406"


def test_referrals(make_ad, asker):
    other = "dc=sub,dc=example,dc=org"
    first, second = (free_port(), free_port()), (free_port(), free_port())
    domains = [{"dns": "example.com"}, {"dns": "sub.example.org"}]
    here = make_ad(entries(), ports=first, before=f"referral ldap://127.0.0.1:{second[0]}")
    make_ad(user("dave", suffix=other, relative=2000), suffix=other, ports=second,
            before=f"referral ldap://127.0.0.1:{first[0]}")
    assert asker(here, referrals=3, domains=domains)("dave", "sub.example.org")["sid"] \
        == sid_text(2000)
    # the group of a foreign domain's account is looked for here, and referred to nobody
    assert asker(here, domains=domains)("dave", "sub.example.org")["number"] == "GH1408"
    # neither has it: they name each other
    lost = [{"dns": "nowhere.example"}]
    assert asker(here, referrals=4, domains=lost)("erin", "nowhere.example")["number"] == "GH1412"


def referring(make_ad, *referrals):
    """At the root of its domain it names others, as Active Directory does."""
    text = "".join(
        ldif(f"{dn},{SUFFIX}", objectClass=["referral", "extensibleObject"],
             **{dn.split("=")[0]: dn.split("=")[1], "ref": f"{url}/{dn},{SUFFIX}"})
        for dn, url in referrals)
    return make_ad(entries() + text)


def test_references(make_ad, asker):
    """Each is one hop, however many there are; parts that have no accounts are not gone to."""
    child = f"dc=child,{SUFFIX}"
    other = make_ad(user("dave", suffix=child, relative=2000, userPrincipalName="d@elsewhere.test"),
                    suffix=child)
    gone = f"ldap://127.0.0.1:{free_port()}"
    ad = referring(make_ad, ("dc=a", other.url()), ("dc=b", other.url()),
                   ("dc=child", other.url()), ("cn=Configuration", gone),
                   ("dc=DomainDnsZones", gone), ("dc=ForestDnsZones", gone))
    ask = asker(ad, referrals=1, domains=[{"dns": "example.com"}, {"dns": "child.example.com"}])
    assert ask("dave", "child.example.com")["sid"] == sid_text(2000)
    assert ask("d@elsewhere.test")["sid"] == sid_text(2000)
    assert ask("nobody", "example.com")["number"] == "GH1408"
    other.stop()
    answer = ask("nobody", "example.com")
    assert answer["number"] == "GH1410"
    # what a server says is for operators
    assert "127.0.0.1" in answer["cause"] and "127.0.0.1" not in answer["message"]


def test_large_answers(make_ad, asker):
    """Entries of ten megabytes are not collected."""
    text = "".join(user(f"large{i}", relative=2100 + i, userPrincipalName=None,
                        sAMAccountName="large", servicePrincipalName=["x" * 60000 + str(j)
                                                                      for j in range(14)])
                   for i in range(12))
    answer = asker(make_ad(text), domains=[{"dns": "example.com"}])("large", "example.com")
    assert answer["number"] == "GH1413" and "too large" in answer["cause"]


def test_many_at_once(make_ad, asker):
    ask = asker(make_ad(entries()), connections=4)
    answers = ask("many", 32, "alice")
    assert [answer.get("sid") for answer in answers] == [sid_text(1104)] * 32
    assert sid(1104)[0] == 1
