# Licensed under the Apache License, Version 2.0. See LICENSE.
"""httpd.conf of a test server."""

from . import environment

MPM = {
    "event": """StartServers 2
ServerLimit 4
ThreadsPerChild 16
MaxRequestWorkers 64
MinSpareThreads 8
MaxSpareThreads 64
""",
    "prefork": """StartServers 4
ServerLimit 24
MaxRequestWorkers 24
MinSpareServers 2
MaxSpareServers 24
""",
}
MPM["worker"] = MPM["event"]


def frame(server):
    """The part that every server has."""
    uid, _, user, group = environment.run_as()
    lines = [
        f'ServerRoot "{server.root}"',
        "ServerName localhost",
        'DefaultRuntimeDir "run"',
        'PidFile "run/httpd.pid"',
        f"Listen 127.0.0.1:{server.port}",
        environment.load_module(f"mpm_{server.mpm}").strip(),
        MPM[server.mpm].strip(),
        *(environment.load_module(name).strip()
          for name in ("unixd", "authn_core", "authz_core", "watchdog")),
        *(environment.load_module(name).strip() for name in server.modules),
        *(f"LoadModule {name}_module {environment.module('mod_' + name)}"
          for name in server.own_modules),
        *([f"User {user}", f"Group {group}"] if environment.IS_ROOT else []),
        f'ErrorLog "{server.error_log_path}"',
        f"LogLevel {server.loglevel}",
        'LogFormat "%h %t \\"%r\\" %>s %b %{X-Request-Id}o" access',
        'CustomLog "log/access.log" access',
        "LimitRequestLine 65536",
        "KeepAlive On",
        "Timeout 30",
        "GracefulShutdownTimeout 10",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def gatehouse(server):
    """The directives of mod_gatehouse that every server needs."""
    lines = []
    if server.store_uri:
        lines.append(f'GatehouseStore "{server.store_uri}"')
    lines += [
        f"GatehousePublicURL {server.public_url}",
        f"GatehouseSealingKey file:{server.secret('sealing-key')}",
        f'GatehouseAuditLog "{server.audit_path}"',
        "GatehouseNode test-node",
    ]
    if server.profiles:
        lines.append(f'Include "{environment.SOURCE}/conf.d/profiles.conf"')
    return "\n".join(lines) + "\n"


def issuer(authority, name=None, crl="validity=7d publish=24h delay=1s", key=None, extra=""):
    return f"""<Issuer {name or authority.name}>
    IssuerCertificate "{authority.certificate_path}"
    IssuerKey {key or '"%s"' % authority.key_path}
    IssuerChain "{authority.root_path}"
    IssuerCRL {crl}
{extra}</Issuer>
"""


def location(path, *lines):
    body = "".join(f"    {line}\n" for line in lines)
    return f'<Location "{path}">\n{body}</Location>\n'


CRL_AND_CA = (location("/crl", "SetHandler gatehouse-crl")
              + location("/ca", "SetHandler gatehouse-ca"))
