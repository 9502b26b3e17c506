#!/usr/bin/env bash
# ./quickstart as people use it: first run with the tour, second run, what is refused, stop and purge.
# Prints "ok NAME" and "not ok NAME" lines, as the guards do.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/gatehouse-quickstart.XXXXXX")
chmod 755 "$work"
dir="$work/with blank"
status=0

ok() { echo "ok quickstart: $1"; }
not_ok() {
    echo "not ok quickstart: $1"
    [ ! -s "$work/out" ] || sed 's/^/# /' "$work/out"
    status=1
}

finish() {
    "$top/quickstart" down --dir "$dir" --purge >/dev/null 2>&1
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' HUP INT TERM

free_ports() {
    /usr/bin/python3 -c '
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))' "$1"
}

# run EXPECTED NAME ARGUMENT...: ./quickstart with these arguments ends with that exit status.
run() {
    local expected=$1 name=$2 got=0
    shift 2
    "$top/quickstart" "$@" --dir "$dir" >"$work/out" 2>&1 </dev/null || got=$?
    if [ "$got" = "$expected" ]; then ok "$name"; else not_ok "$name (exit status $got)"; fi
}

says() {
    if grep -qE -- "$2" "$work/out"; then ok "$1"; else not_ok "$1"; fi
}

read -r http https other third <<<"$(free_ports 4)"

run 3 "status before the first run is 3" status

# a taken port
/usr/bin/python3 -c '
import socket, sys, time
s = socket.socket()
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen()
time.sleep(600)' "$http" &
taker=$!
for _ in $(seq 50); do
    (exec 3<>"/dev/tcp/127.0.0.1/$http") 2>/dev/null && break
    sleep 0.1
done
run 1 "a taken port is refused" up --http "$http" --https "$https" --no-tour
says "the refusal names the port and the option" "$http.*--http"
kill "$taker"
wait "$taker" 2>/dev/null

run 0 "the first run works, with its tour" --http "$http" --https "$https"
says "the tour enrolled a device" "A device enrols"
says "the tour verified a chain" "cert.pem: OK"
says "the tour showed a revocation in the CRL" "certificate revoked"
run 0 "status of the running instance is 0" status
says "status has key: value lines" "^state: running$"

environment=$dir/quickstart.env
# shellcheck disable=SC1090
. "$environment"
missing=''
for key in GH_HTTP GH_HTTPS GH_TLS_CA GH_ROOT GH_CA GH_CONF GH_ERROR_LOG GH_AUDIT_LOG GH_PIDFILE \
    GH_STORE GH_CTL GH_SCEP_URL GH_SCEP_CHALLENGE GH_SCEP_LEGACY_URL GH_SCEP_MANUAL_URL GH_CRL_URL; do
    case ${!key-} in
    ''|*/) missing="$missing $key" ;;
    esac
done
if [ -z "$missing" ]; then ok "quickstart.env has its keys"; else not_ok "quickstart.env lacks$missing"; fi
missing=''
for key in GH_TLS_CA GH_ROOT GH_CA GH_CONF GH_ERROR_LOG GH_AUDIT_LOG GH_PIDFILE GH_CTL; do
    case ${!key} in
    /*) [ -e "${!key}" ] || missing="$missing $key" ;;
    *) missing="$missing $key" ;;
    esac
done
if [ -z "$missing" ]; then ok "its paths are absolute and exist"; else not_ok "wrong paths:$missing"; fi

curl -sS --noproxy '*' --cacert "$GH_TLS_CA" -o /dev/null "$GH_HTTPS/crl/devices.crl" 2>"$work/out" \
    && ok "https is verified by GH_TLS_CA" || not_ok "https is verified by GH_TLS_CA"
"$GH_CTL" --json cert list >"$work/list" 2>"$work/out" && [ -s "$work/list" ] \
    && ok "GH_CTL works" || not_ok "GH_CTL works"
before=$(wc -l <"$work/list") pid=$(cat "$GH_PIDFILE")

run 0 "a second run works" up --no-tour
"$GH_CTL" --json cert list >"$work/list" 2>"$work/out"
[ "$before" = "$(wc -l <"$work/list")" ] && [ "$pid" = "$(cat "$GH_PIDFILE")" ] \
    && ok "it keeps state and does not restart what runs" \
    || not_ok "it keeps state and does not restart what runs"
run 1 "other ports are refused" up --http "$other" --https "$third" --no-tour
run 1 "another store is refused" up --store pgsql:dbname=none --no-tour
run 2 "an unknown option is a usage error" up --frobnicate
run 0 "down stops it" down
run 3 "status of the stopped instance is 3" status
kill -0 "$pid" 2>/dev/null && not_ok "the server is gone" || ok "the server is gone"
run 0 "it starts again" up --no-tour
"$GH_CTL" --json cert list >"$work/list" 2>"$work/out"
[ "$before" = "$(wc -l <"$work/list")" ] && ok "with its state" || not_ok "with its state"
run 0 "down --purge removes it" down --purge
[ ! -e "$dir" ] && [ ! -e "$(dirname "$GH_CONF")" ] && ok "nothing is left of it" || not_ok "nothing is left of it"
exit "$status"
