# The CA of --demo-slow-ca: a stand-in of a CA gateway on this machine, which takes its time, and the
# issuer "slow" that goes through it. Sourced by ./quickstart after standins.sh.
#
#   $state/slow/ca        certificates, credential, and what was issued

slow_ca_latency=2

slow_ca_url() { say "$(url http)/scep/demo/slow/$profile"; }

slow_ca_shown() { standin_shown slow ca; }

make_slow_ca() {
    local name
    make_standin slow ca cagateway gatewayca standin standintls
    (umask 077
        for name in rsa2048-12 rsa2048-09 rsa2048-08; do
            standin_key slow "$name" -algorithm RSA -pkeyopt rsa_keygen_bits:2048
        done
        [ -s "$state/slow/passphrase" ] || openssl rand -hex 16 >"$state/slow/passphrase")
    if is_root; then chown "$run_as:" "$state/slow/passphrase"; fi
}

start_slow_ca() {
    make_slow_ca
    is_standin_running slow ca || start_standin slow ca cagateway --ca SLOW \
        --latency "$slow_ca_latency" --keep --passphrase-file "$state/slow/passphrase"
}

stop_slow_ca() { stop_standin slow ca; }

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
    IssuerBackend cagw $(standin_url slow) ca=SLOW
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
