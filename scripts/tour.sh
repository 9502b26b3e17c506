# The tour: what Gatehouse does, shown with the clients that devices use. Sourced by ./quickstart
# after instance.sh, once the server runs. Every step either works or ends the tour with a reason.

number=0
device=''

step() { number=$((number + 1)); head1 "$number. $*"; }

# Shows a command as one would type it.
typed() { say "   \$ $*"; }

shown() { sed 's/^/     /'; }

tour_failed() {
    [ ! -s "$device/log" ] || sed 's/^/     /' "$device/log" >&2
    warn "the tour stopped: $*"
    warn "the server's error log is $state/logs/error.log"
    exit 1
}

new_device() {
    device=$state/tour/$1
    rm -rf "$device"
    (umask 077; mkdir -p "$device")
}

ctl() { "$dir/gatehousectl" "$@"; }

serial_of() { openssl x509 -in "$1" -noout -serial | sed 's/^serial=//' | tr A-F a-f; }

describe() {
    openssl x509 -in "$1" -noout -subject -issuer -enddate -ext keyUsage | sed 's/^ */     /'
}

verifies() { openssl verify -CAfile "$state/ca/root.pem" -untrusted "$state/ca/devices.pem" "$1"; }

enrol_device() {
    step "A device enrols by SCEP"
    say "   certmonger keeps the certificates of many Linux systems; it has no idea that this is a demo."
    new_device laptop
    typed "getcert add-scep-ca -c gatehouse -u $(scep_url demo)"
    typed "getcert request -c gatehouse -k key.pem -f cert.pem -l challenge -N CN=laptop-17"
    enrol "$device" "$(scep_url demo)" "$(challenge_file)" -N "CN=laptop-17,O=Example" \
        -D laptop-17.example.com || tour_failed "the device got no certificate"
    describe "$device/cert.pem"
}

verify_chain() {
    step "Its chain verifies"
    typed "openssl verify -CAfile root.pem -untrusted devices.pem cert.pem"
    verifies "$device/cert.pem" 2>&1 | sed "s,$device/,," | shown
    verifies "$device/cert.pem" >/dev/null 2>&1 || tour_failed "the chain does not verify"
}

wrong_challenge() {
    local laptop=$device
    step "Who does not know the challenge gets nothing"
    new_device stranger
    typed "getcert request ... -l guessed -N CN=stranger"
    say guessed >"$device/guessed"
    ! enrol "$device" "$(scep_url demo)" "$device/guessed" -N CN=stranger \
        || tour_failed "a stranger got a certificate"
    say "     refused; the audit log says why:"
    tail -n 1 "$state/logs/audit.jsonl" | shown
    device=$laptop
}

legacy_device() {
    local laptop=$device
    step "An old device, that knows no better than 3DES, has a place of its own"
    new_device router
    typed "pki --scepca --url $(scep_url legacy) --caout ca --raout ra"
    (cd "$device" && timeout 60 pki --scepca --url "$(scep_url legacy)" --caout ca.der --raout ra.der \
        >>log 2>&1 8>&-) || tour_failed "strongSwan's pki got no CA certificate"
    typed "pki --scep --url $(scep_url legacy) --cipher des3 --dn CN=router-3" \
        "--options challenge ..."
    (umask 077; openssl genrsa -traditional -out "$device/key.pem" 2048 2>/dev/null
        say "--password $(challenge)" >"$device/challenge")
    (cd "$device" && timeout 60 pki --scep --options challenge --url "$(scep_url legacy)" \
        --in key.pem --dn "C=CH, O=Example, CN=router-3" --cipher des3 --interval 2 \
        --cacert-enc ra.der --cacert-sig ra.der --cacert ca.der --cacert "$state/ca/root.pem" \
        --outform pem >cert.pem 2>>log 8>&-) || true
    [ -s "$device/cert.pem" ] || tour_failed "strongSwan's pki got no certificate"
    verifies "$device/cert.pem" >/dev/null 2>&1 || tour_failed "its chain does not verify"
    describe "$device/cert.pem"
    device=$laptop
}

waiting_id() {
    ctl --json enrolment list --state waiting | grep -F "$1" | json id
}

# The device that was told to wait asks again, until it has its certificate.
ask_again() {
    typed "getcert refresh ..."
    timeout 60 "$top/scripts/certmonger-device" "$device" sh -c '
        for try in 1 2 3 4 5 6 7 8 9 10; do
            getcert refresh -s -i device
            sleep 1
            [ ! -s "$1" ] || exit 0
        done' - "$device/cert.pem" >>"$device/log" 2>&1 8>&- || true
}

manual_approval() {
    local laptop=$device name id
    name=phone-$(date +%H%M%S)
    step "Somebody approves each request, where the profile says so"
    new_device phone
    typed "getcert request ... -N CN=$name      at $(scep_url manual scep-manual)"
    enrol "$device" "$(scep_url manual scep-manual)" "$(challenge_file)" \
        -N "CN=$name,O=Example" || true
    id=$(waiting_id "$name")
    [ -n "$id" ] || tour_failed "the request is not in the list"
    say "     the device is told to wait"
    typed "gatehousectl enrolment list --state waiting"
    ctl enrolment list --state waiting | shown
    typed "gatehousectl enrolment approve $id"
    ctl enrolment approve "$id" | shown
    sleep 1
    ask_again
    [ -s "$device/cert.pem" ] || tour_failed "the device got no certificate after the approval"
    describe "$device/cert.pem"
    device=$laptop
}

# Prints what OCSP says of a certificate: "good", "revoked", ...
ocsp_says() {
    no_proxy=127.0.0.1 openssl ocsp -issuer "$state/ca/devices.pem" -cert "$1" -url "$(ocsp_url)" -no_nonce \
        -CAfile "$state/ca/root.pem" -verify_other "$state/ca/devices.pem" >"$device/ocsp" 2>&1 \
        || return 1
    grep -q "Response verify OK" "$device/ocsp" || return 1
    sed -n "s,^$1: ,,p" "$device/ocsp"
}

ocsp_is() { [ "$(ocsp_says "$2")" = "$1" ]; }

typed_ocsp() {
    typed "openssl ocsp -issuer devices.pem -cert cert.pem -url $(ocsp_url) -no_nonce" \
        "-CAfile root.pem -verify_other devices.pem"
}

ask_ocsp() {
    step "Whoever verifies it asks by OCSP, too"
    typed_ocsp
    wait_until 10 ocsp_is good "$device/cert.pem" || {
        cat "$device/ocsp" >&2
        tour_failed "OCSP does not say that the certificate is good"
    }
    sed "s,$device/,," "$device/ocsp" | shown
}

ask_ocsp_revoked() {
    typed_ocsp
    wait_until 2 ocsp_is revoked "$device/cert.pem" || {
        cat "$device/ocsp" >&2
        tour_failed "OCSP does not say that the certificate is revoked"
    }
    sed "s,$device/,," "$device/ocsp" | shown
}

in_crl() {
    curl -sf --noproxy '*' "$(url http)/crl/devices.crl" | openssl crl -inform DER -noout -text \
        2>/dev/null | grep -qi "Serial Number: 0*$1\$"
}

revoke_device() {
    local serial wait=10
    serial=$(serial_of "$device/cert.pem")
    step "The laptop is stolen: its certificate is revoked; OCSP says so at once, and the CRL"
    typed "gatehousectl cert revoke $serial --reason keyCompromise"
    ctl cert revoke "$serial" --reason keyCompromise | shown
    ask_ocsp_revoked
    typed "curl $(url http)/crl/devices.crl | openssl crl -inform DER -noout -text"
    [ -n "$fresh" ] || wait=2
    if wait_until "$wait" in_crl "$serial"; then
        curl -sf --noproxy '*' "$(url http)/crl/devices.crl" | openssl crl -inform DER -noout -text \
            | grep -E -A 4 "Last Update|Next Update|CRL Number:|Serial Number: 0*${serial^^}" \
            | grep -E 'Update|Number|Revocation Date|^ *[0-9]+$' | shown
        typed "openssl verify -crl_check ... cert.pem"
        check_revoked
    elif [ -n "$fresh" ]; then
        tour_failed "the CRL does not list it"
    else
        say "     A CRL was published less than a minute ago; the next one, soon, will list it."
    fi
}

check_revoked() {
    local said
    curl -sf --noproxy '*' "$(url http)/crl/devices.pem" >"$device/crl.pem" \
        || tour_failed "there is no CRL at $(url http)/crl/devices.pem"
    said=$(openssl verify -crl_check -CRLfile "$device/crl.pem" -CAfile "$state/ca/root.pem" \
        -untrusted "$state/ca/devices.pem" "$device/cert.pem" 2>&1) || true
    case $said in
    *'certificate revoked'*) printf '%s\n' "$said" | grep revoked | shown ;;
    *) printf '%s\n' "$said" >&2; tour_failed "the certificate still verifies" ;;
    esac
}

slow_device() {
    local laptop=$device
    step "The CA behind another issuer is elsewhere, and takes $slow_ca_latency seconds"
    new_device sensor
    typed "gatehousectl issuer test slow"
    ctl issuer test slow >"$device/test" 2>&1 \
        || { cat "$device/test" >&2; tour_failed "its CA does not answer"; }
    shown <"$device/test"
    typed "getcert request ... -N CN=sensor-5      at $(slow_ca_url)"
    if enrol "$device" "$(slow_ca_url)" "$(challenge_file)" -N "CN=sensor-5,O=Example" \
        -D sensor-5.example.com; then
        say "     it came while the device waited"
    else
        say "     the device is told to come back"
        ask_again
    fi
    [ -s "$device/cert.pem" ] || tour_failed "the device got no certificate from the slow CA"
    openssl verify -CAfile "$state/slow/ca/SLOW-root.pem" -untrusted "$state/slow/ca/SLOW.pem" \
        "$device/cert.pem" >/dev/null 2>&1 || tour_failed "its chain does not verify"
    describe "$device/cert.pem"
    device=$laptop
}

# show_tour FRESH: FRESH is empty where an earlier run has set up the instance.
show_tour() {
    fresh=$1
    enrol_device
    verify_chain
    ask_ocsp
    wrong_challenge
    legacy_device
    manual_approval
    revoke_device
    show_escrow_tour
    show_wstep_tour
    [ -z "$slow" ] || slow_device
}
