# The CA of --demo-slow-ca: a stand-in of a CA gateway on this machine, which takes its time, and the
# issuer "slow" that goes through it. Sourced by ./quickstart after instance.sh.
#
#   $state/slow/program   the stand-in, with keys made for this instance
#   $state/slow/ca        certificates, credential, and what was issued

slow_ca_latency=2

slow_ca_url() { say "$(url http)/scep/demo/slow/$profile"; }

slow_ca_pid() { cat "$state/slow/pid"; }

is_slow_ca_running() {
    [ -s "$state/slow/pid" ] || return 1
    tr '\0' ' ' <"/proc/$(slow_ca_pid)/cmdline" 2>/dev/null | grep -qF -- "--dir $state/slow/ca "
}

slow_ca_gateway() { json url <"$state/slow/told"; }

slow_ca_shown() {
    if is_slow_ca_running; then
        say "$(slow_ca_gateway), process $(slow_ca_pid)"
    else
        say "stopped"
    fi
}

slow_ca_key() {
    local file=$state/slow/program/keys/$1.pem
    shift
    [ -s "$file" ] || { openssl genpkey "$@" -out "$file.new" 2>/dev/null \
        && mv "$file.new" "$file"; } || die "openssl makes no key in $file"
}

# As root, the stand-in runs as the user that httpd runs as, who may not be able to read the sources.
make_slow_ca() {
    local name before=$changed
    changed=''
    mkdir -p "$state/slow"
    (umask 077; mkdir -p "$state/slow/program/keys" "$state/slow/ca")
    for name in cagateway gatewayca standin standintls; do
        put "$state/slow/program/$name.py" 600 <"$top/tests/fixtures/$name.py"
    done
    [ -z "$changed" ] || stop_slow_ca
    changed=$before
    (umask 077
        for name in rsa2048-12 rsa2048-09 rsa2048-08; do
            slow_ca_key "$name" -algorithm RSA -pkeyopt rsa_keygen_bits:2048
        done
        slow_ca_key p256-01 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
        slow_ca_key p384-01 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
        [ -s "$state/slow/passphrase" ] || openssl rand -hex 16 >"$state/slow/passphrase")
    if is_root; then
        chown -R "$run_as:" "$state/slow/program" "$state/slow/ca" "$state/slow/passphrase"
    fi
}

# It gets another port if it is started again, which write_configuration takes up.
start_slow_ca() {
    local as_user=()
    make_slow_ca
    ! is_slow_ca_running || return 0
    if is_root; then
        as_user=(setpriv "--reuid=$run_as" "--regid=$(id -gn "$run_as")" --clear-groups)
    fi
    rm -f "$state/slow/told" "$state/slow/pid"
    PYTHONDONTWRITEBYTECODE=1 setsid "${as_user[@]}" /usr/bin/python3 \
        "$state/slow/program/cagateway.py" --dir "$state/slow/ca" --ca SLOW \
        --latency "$slow_ca_latency" --keep --passphrase-file "$state/slow/passphrase" \
        >"$state/slow/told" 2>"$state/logs/slow-ca.log" </dev/null 8>&- &
    say $! >"$state/slow/pid"
    wait_until 20 test -s "$state/slow/told" || {
        cat "$state/logs/slow-ca.log" >&2
        die "the stand-in of a slow CA did not start"
    }
}

stop_slow_ca() {
    local pid
    is_slow_ca_running || return 0
    pid=$(slow_ca_pid)
    kill "$pid" 2>/dev/null || true
    wait_until 10 is_gone "$pid" || kill -9 "$pid" 2>/dev/null || true
    rm -f "$state/slow/pid"
}

# The socket of the worker is reached by its path, which has to be short and plain; elsewhere the
# worker looks for work by itself once a second.
slow_ca_worker() {
    case $state/run/ca-worker.sock in
    *[!A-Za-z0-9_./-]*) ;;
    *) [ ${#state} -gt 80 ] || say "ProxyPass \"/-/worker/\"" \
        "\"unix:$state/run/ca-worker.sock|fcgi://localhost/\" timeout=10 retry=0" ;;
    esac
}

# slow_ca_configuration CHALLENGE: a device that gets nothing within a second is told to come back.
slow_ca_configuration() {
    cat <<TXT

# The CA of this issuer is elsewhere, and slow. A worker asks it; devices wait, or come back.
<Issuer slow>
    IssuerBackend cagw $(slow_ca_gateway) ca=SLOW
    IssuerCertificate "$state/slow/ca/SLOW.pem"
    IssuerChain "$state/slow/ca/SLOW-root.pem"
    IssuerCredential "$state/slow/ca/client.p12" "passphrase=file:$state/slow/passphrase"
    IssuerTrust "$state/slow/ca/tls-ca.pem"
    IssuerWait 1s max-waiting=8
</Issuer>
$(slow_ca_worker)
<Location "/scep/demo/slow/$profile">
    SCEPTenant demo slow
    SCEPProfiles $profile
    $1
</Location>
TXT
}

# Its RA has a certificate of that CA as well.
wait_for_slow_ca() {
    wait_until 60 quiet_get "$(slow_ca_url)?operation=GetCACert" || {
        tail -n 20 "$state/logs/error.log" >&2
        die "the server does not answer at $(slow_ca_url); its error log is $state/logs/error.log"
    }
}
