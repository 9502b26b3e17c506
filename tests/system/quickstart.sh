#!/usr/bin/env bash
# ./quickstart as people use it: first run with the tour, second run, what is refused, stop and purge.
# Prints "ok NAME" and "not ok NAME" lines, as the guards do.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/gatehouse-quickstart.XXXXXX")
chmod 755 "$work"
dir="$work/with blank"
status=0
watcher=''

ok() { echo "ok quickstart: $1"; }
not_ok() {
    echo "not ok quickstart: $1"
    [ ! -s "$work/out" ] || sed 's/^/# /' "$work/out"
    status=1
}

finish() {
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
    "$top/quickstart" down --dir "$dir" --purge >/dev/null 2>&1
    "$top/tests/fixtures/postgres" remove "$work/postgres" >/dev/null 2>&1
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' HUP INT TERM

# free_ports COUNT...: ports that so many free ones begin with; below those that the system gives to
# whoever wants any.
free_ports() {
    /usr/bin/python3 -c '
import random, socket, sys
sockets = []
def is_free(port):
    sockets.append(socket.socket())
    try:
        sockets[-1].bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
for count in map(int, sys.argv[1:]):
    first = 0
    while not first or not all(is_free(first + i) for i in range(count)):
        first = random.randrange(20000, 32000)
    print(first, end=" ")
print()' "$@"
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

# Notes the command lines of all processes, each once, until it is killed.
watch_command_lines() {
    exec /usr/bin/python3 -c '
import glob, sys, time
seen = set()
with open(sys.argv[1], "w", buffering=1) as notes:
    while True:
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                line = open(path, "rb").read()
            except OSError:
                continue
            if line not in seen:
                seen.add(line)
                notes.write(line.replace(b"\0", b" ").decode(errors="replace") + "\n")
        time.sleep(0.02)' "$1"
}

read -r http https other third <<<"$(free_ports 1 3 1 3)"

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
run 1 "so is one that the escrow needs" up --http "$other" --https "$((http - 2))" --no-tour
says "the refusal names that port and the option" "port $http.*--https"
kill "$taker"
wait "$taker" 2>/dev/null

# a folder with something in it
mkdir -p "$dir/logs"
echo mine >"$dir/logs/mine"
run 1 "a folder with other files is refused" up --http "$http" --https "$https" --no-tour
says "the refusal names the folder and what is in it" "with blank is no quickstart instance.*logs"
run 0 "down --purge there does nothing" down --purge
[ "$(cd "$dir" && find . | sort | xargs)" = ". ./logs ./logs/mine" ] \
    && ok "the folder is as it was" || not_ok "the folder is as it was"
rm -r "$dir"

watch_command_lines "$work/command-lines" &
watcher=$!
run 0 "the first run works, with its tour" --http "$http" --https "$https" --demo-slow-ca
kill "$watcher"
watcher=''
says "the tour enrolled a device" "A device enrols"
says "the tour verified a chain" "cert.pem: OK"
says "the tour asked by OCSP" "cert.pem: good"
says "OCSP told of the revocation" "cert.pem: revoked"
says "the tour showed a revocation in the CRL" "certificate revoked"
says "the tour had keys made for mail" "encryption ada@example.com [0-9a-f]+"
says "the tour's phone opened what the UEM was delivered" "2 PKCS#12 files"
says "nobody else opened it" "Error decrypting CMS"
says "the tour read mail with the key that was delivered" "The meeting is at nine"
says "the tour uploaded a key, with a receipt" '"stored":\[\{"use":"archived"'
says "what was uploaded reached the phone" "3.p12: subject=CN = ada@example.com"
says "the tour's stranger was refused" '"gh":"GH1150"'
says "the tour got policies as Windows does" "<commonName>DemoUser<"
says "the tour enrolled as Windows does" "subject=CN = ada$"
says "the tour enrolled a device at the slow CA" "issuer=CN = Gateway SLOW"
run 0 "status of the running instance is 0" status
says "status has key: value lines" "^state: running$"
says "it tells of the slow CA" "^slow CA: https://127.0.0.1:[0-9]*/cagw, process [0-9]*$"
standin=$(sed -n 's/^slow CA: .*, process //p' "$work/out")
says "it tells of the UEM" "^UEM: https://127.0.0.1:[0-9]*, process [0-9]*$"
uem=$(sed -n 's/^UEM: .*, process //p' "$work/out")

environment=$dir/quickstart.env
# shellcheck disable=SC1090
. "$environment"
missing=''
for key in GH_HTTP GH_HTTPS GH_TLS_CA GH_ROOT GH_CA GH_CONF GH_ERROR_LOG GH_AUDIT_LOG GH_PIDFILE \
    GH_STORE GH_CTL GH_SCEP_URL GH_SCEP_CHALLENGE GH_SCEP_LEGACY_URL GH_SCEP_MANUAL_URL \
    GH_SCEP_RENEW_URL GH_SCEP_SLOW_URL GH_OCSP_URL GH_CRL_URL GH_ESCROW_URL GH_ESCROW_CERT \
    GH_ESCROW_KEY GH_ESCROW_ADMIN_URL GH_ESCROW_ADMIN_CERT GH_ESCROW_ADMIN_KEY GH_UEM_OUTBOX \
    GH_WSTEP_URL GH_XCEP_URL GH_WSTEP_USER GH_WSTEP_PASSWORD; do
    case ${!key-} in
    ''|*/) missing="$missing $key" ;;
    esac
done
if [ -z "$missing" ]; then ok "quickstart.env has its keys"; else not_ok "quickstart.env lacks$missing"; fi
missing=''
for key in GH_TLS_CA GH_ROOT GH_CA GH_CONF GH_ERROR_LOG GH_AUDIT_LOG GH_PIDFILE GH_CTL \
    GH_ESCROW_CERT GH_ESCROW_KEY GH_ESCROW_ADMIN_CERT GH_ESCROW_ADMIN_KEY GH_UEM_OUTBOX; do
    case ${!key} in
    /*) [ -e "${!key}" ] || missing="$missing $key" ;;
    *) missing="$missing $key" ;;
    esac
done
if [ -z "$missing" ]; then ok "its paths are absolute and exist"; else not_ok "wrong paths:$missing"; fi

curl -sf --noproxy '*' "$GH_SCEP_RENEW_URL?operation=GetCACaps" >"$work/out" \
    && grep -qx Renewal "$work/out" && ok "certificates can be renewed at GH_SCEP_RENEW_URL" \
    || not_ok "certificates can be renewed at GH_SCEP_RENEW_URL"

# escrow CERT KEY URL: the status of a request with a client certificate
escrow() {
    curl -sS --noproxy '*' --cacert "$GH_TLS_CA" --cert "$1" --key "$2" -o "$work/out" \
        -w '%{http_code}' "$3"
}
[ "$(escrow "$GH_ESCROW_CERT" "$GH_ESCROW_KEY" "$GH_ESCROW_URL/v1/openapi.json")" = 200 ] \
    && ok "GH_ESCROW_CERT is let in" || not_ok "GH_ESCROW_CERT is let in"
[ "$(escrow "$GH_ESCROW_ADMIN_CERT" "$GH_ESCROW_ADMIN_KEY" \
    "$GH_ESCROW_ADMIN_URL/v1/configuration")" = 200 ] \
    && ok "so is GH_ESCROW_ADMIN_CERT" || not_ok "so is GH_ESCROW_ADMIN_CERT"
says "the configuration has the demo's pin" '"role":"uem"'
[ "$(escrow "$GH_ESCROW_CERT" "$GH_ESCROW_KEY" "$GH_ESCROW_ADMIN_URL/v1/configuration")" = 403 ] \
    && ok "each at its own place" || not_ok "each at its own place"
[ "$(find "$GH_UEM_OUTBOX" -name '*.profile' | wc -l)" = 2 ] \
    && ok "GH_UEM_OUTBOX has what was delivered" || not_ok "GH_UEM_OUTBOX has what was delivered"

openssl ocsp -issuer "$GH_CA" -serial 0x1234 -url "$GH_OCSP_URL" -no_nonce -CAfile "$GH_ROOT" \
    -verify_other "$GH_CA" >"$work/out" 2>&1
says "what the CA did not issue is unknown to OCSP" "0x1234: unknown"
says "the demo's OCSP signer is the CA's" "Response verify OK"
"$GH_CTL" check >"$work/out" 2>&1 && ok "check finds nothing wrong" \
    || not_ok "check finds nothing wrong"

# everybody on a machine can read command lines
grep -E "^getcert request .* -l " "$work/command-lines" >"$work/out" \
    && grep -q "^pki --scep --options " "$work/command-lines" \
    && ok "the commands of the tour were seen" || not_ok "the commands of the tour were seen"
grep -E -e "$GH_SCEP_CHALLENGE" -e "$GH_WSTEP_PASSWORD" -e "$(cat "$(dirname "$GH_CONF")/secrets/vault.key")" \
    -e "$(cut -d: -f2 "$(dirname "$GH_CONF")/secrets/uem-user")" -e "^(getcert|pki) .*(-L|--challenge-password|--password) " \
    "$work/command-lines" >"$work/out"
[ ! -s "$work/out" ] \
    && ok "no secret is on a command line" || not_ok "no secret is on a command line"

curl -sS --noproxy '*' -D - "$GH_HTTP" >"$work/out" 2>&1
says "the URL that is printed shows a page" "^Content-Type: text/html"
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
kill -0 "$standin" 2>/dev/null \
    && ok "nor the CA of --demo-slow-ca" || not_ok "nor the CA of --demo-slow-ca"
kill -0 "$uem" 2>/dev/null && ok "nor the UEM" || not_ok "nor the UEM"
run 1 "other ports are refused" up --http "$other" --https "$third" --no-tour
run 1 "another store is refused" up --store pgsql:dbname=none --no-tour
run 2 "an unknown option is a usage error" up --frobnicate
run 0 "down stops it" down
run 3 "status of the stopped instance is 3" status
kill -0 "$pid" 2>/dev/null && not_ok "the server is gone" || ok "the server is gone"
kill -0 "$standin" 2>/dev/null && not_ok "the slow CA is gone" || ok "the slow CA is gone"
kill -0 "$uem" 2>/dev/null && not_ok "the UEM is gone" || ok "the UEM is gone"
slow_ca=$(dirname "$GH_CONF")/slow/ca/SLOW.pem
slow_before=$(openssl x509 -in "$slow_ca" -noout -fingerprint)
run 0 "it starts again" up --no-tour
"$GH_CTL" --json cert list >"$work/list" 2>"$work/out"
[ "$before" = "$(wc -l <"$work/list")" ] && ok "with its state" || not_ok "with its state"
[ "$slow_before" = "$(openssl x509 -in "$slow_ca" -noout -fingerprint)" ] \
    && "$GH_CTL" issuer test slow >"$work/out" 2>&1 \
    && ok "the slow CA is the same as before" || not_ok "the slow CA is the same as before"
[ "$(escrow "$GH_ESCROW_CERT" "$GH_ESCROW_KEY" "$GH_ESCROW_URL/v1/hc")" = 200 ] \
    && "$GH_CTL" vault verify >"$work/out" 2>&1 && grep -q "good: [1-9]" "$work/out" \
    && ok "what is in escrow is whole" || not_ok "what is in escrow is whole"
before=$(openssl x509 -in "$GH_CA" -noout -fingerprint)
echo mine >"$dir/mine"
run 0 "up --purge makes another one, with other ports" up --purge --http "$other" \
    --https "$third" --no-tour
[ "$before" != "$(openssl x509 -in "$GH_CA" -noout -fingerprint)" ] \
    && ok "it has a CA of its own" || not_ok "it has a CA of its own"
! grep -q SLOW "$environment" && [ ! -e "$(dirname "$GH_CONF")/slow" ] \
    && ok "without --demo-slow-ca there is nothing of it" \
    || not_ok "without --demo-slow-ca there is nothing of it"
run 0 "--demo-slow-ca is added to an instance" up --demo-slow-ca --no-tour
run 0 "status of that" status
standin=$(sed -n 's/^slow CA: .*, process //p' "$work/out")
url=$(. "$environment" && echo "$GH_SCEP_SLOW_URL")
curl -sf --noproxy '*' "$url?operation=GetCACaps" >"$work/out" && [ -n "$standin" ] \
    && ok "it answers at GH_SCEP_SLOW_URL" || not_ok "it answers at GH_SCEP_SLOW_URL"
[ "$(cat "$dir/mine")" = mine ] \
    && ok "what others put there stays" || not_ok "what others put there stays"
rm "$dir/mine"
run 0 "down --purge removes it" down --purge
[ ! -e "$dir" ] && [ ! -e "$(dirname "$GH_CONF")" ] && ok "nothing is left of it" || not_ok "nothing is left of it"
kill -0 "$standin" 2>/dev/null && not_ok "its slow CA is gone, too" || ok "its slow CA is gone, too"

# PostgreSQL: tables that are somebody else's
if database=$("$top/tests/fixtures/postgres" start "$work/postgres" 2>"$work/out"); then
    ok "a database server for the test started"
else
    not_ok "a database server for the test started"
    exit 1
fi
sql() { psql -qXAt -v ON_ERROR_STOP=1 -d "${database#pgsql:}" -c "$1"; }
tables() {
    sql "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables
        WHERE schemaname = 'public'"
}
sql "CREATE TABLE theirs (id INT); CREATE TABLE device (id INT)"
run 1 "a database with tables of these names is refused" up --store "$database" --http "$http" \
    --https "$https" --no-tour
says "the refusal names them" "\(device\).*--store"
sql "DROP TABLE device"
run 0 "it works with PostgreSQL" up --store "$database" --http "$http" --https "$https" --no-tour
case $(tables) in
*certificate_der*theirs*) ok "its tables are in the database" ;;
*) not_ok "its tables are in the database: $(tables)" ;;
esac
. "$environment"
[ "$(escrow "$GH_ESCROW_CERT" "$GH_ESCROW_KEY" "$GH_ESCROW_URL/v1/hc")" = 200 ] \
    && ok "with its escrow" || not_ok "with its escrow"
run 0 "down --purge removes it from the database" down --purge
[ "$(tables)" = theirs ] && ok "and nothing else" || not_ok "and nothing else: $(tables)"
exit "$status"
