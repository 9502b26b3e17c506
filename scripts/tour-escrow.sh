# The tour's part about mail: keys are made, and reach a phone and nobody else. Clients are curl and
# openssl. Sourced by ./quickstart after tour.sh.

phone='' phone_uuid='' user_uuid=''

new_uuid() { cat /proc/sys/kernel/random/uuid; }

# call NAME PATH OPTION...: a request of the UEM, or of a provider; the answer comes to be in
# $phone/NAME.
call() {
    local name=$1 path=$2
    shift 2
    escrow_curl "$path" --fail-with-body -o "$phone/$name" "$@" 2>>"$phone/log" || {
        cat "$phone/$name" >&2
        tour_failed "the escrow refused $path"
    }
}

show_answer() { (cat "$phone/$1"; say) | sed 's/,"/, "/g' | fold -s -w 94 \
    | sed -e 's/ *$//' -e '/^$/d' | shown; }

pair() { say "device_uuid=$phone_uuid&user_uuid=$user_uuid"; }

has_credentials() {
    call credentials "/v2/certificates?$(pair)"
    grep -q '"encryption"' "$phone/credentials" && grep -q '"signing"' "$phone/credentials"
}

# What is in escrow: use, address and serial number.
list_credentials() {
    sed 's/{"use"/\n&/g' "$phone/credentials" | sed -n \
        's/.*"use":"\([a-z]*\)".*"serial":"\([0-9a-f]*\)".*"email":"\([^"]*\)".*/\1 \3 \2/p'
}

mail_event() {
    new_device mail
    phone=$device phone_uuid=$(new_uuid) user_uuid=$(new_uuid)
    step "A phone is taken into management (UEM), which tells of it: keys for mail are made"
    say "   It has a certificate with its UUID by SCEP, as the laptop above; Ada is its user. What"
    say "   follows is said with a certificate that is pinned:"
    typed "alias curl='curl --cacert root.pem --cert client.pem --key client.key'"
    enrol "$phone" "$(scep_url demo)" "$(challenge_file)" -N "CN=$phone_uuid" \
        || tour_failed "the phone got no certificate"
    cat >"$phone/event.json" <<TXT
{ "EventId": 148, "EventType": "MDM Enrollment Complete", "EventTime": "$(date -u +%FT%TZ)",
  "DeviceUUID": "$phone_uuid", "EnrollmentUserName": "ada",
  "EnrollmentUserUUID": "$user_uuid", "EnrollmentEmailAddress": "ada@example.com" }
TXT
    typed "cat event.json"
    shown <"$phone/event.json"
    typed "curl --json @event.json $(escrow_url)/v1/events"
    call event /v1/events --json "@$phone/event.json"
    show_answer event
    typed "curl '$(escrow_url)/v2/certificates?device_uuid=...&user_uuid=...'"
    wait_until 60 has_credentials || tour_failed "no credentials were made"
    list_credentials | shown
}

# The profile as an administrator of the UEM writes it, with tokens for what he does not have.
mail_skeleton() {
    step "The UEM sends a skeleton; what comes back is encrypted to the phone"
    cat >"$phone/skeleton.mobileconfig" <<TXT
<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
    <key>PayloadType</key><string>Configuration</string>
    <key>PayloadVersion</key><integer>1</integer>
    <key>PayloadIdentifier</key><string>com.example.mail</string>
    <key>PayloadUUID</key><string>$(new_uuid)</string>
    <key>PayloadContent</key><array>
$(mail_payload signing 0)
$(mail_payload encryption 0)
$(mail_payload archived '*')
    </array>
</dict></plist>
TXT
    cat >"$phone/profile.json" <<TXT
{ "profile_uuid": "$(new_uuid)", "device_uuid": "$phone_uuid", "user_uuid": "$user_uuid",
  "format": "mobileconfig",
  "skeleton": "$(base64 -w 0 <"$phone/skeleton.mobileconfig")",
  "recipient_certificate": "$(openssl x509 -in "$phone/cert.pem" -outform DER | base64 -w 0)" }
TXT
    typed "cat skeleton.mobileconfig"
    grep -A 5 'escrow.encryption\[0\].pkcs12' "$phone/skeleton.mobileconfig" | head -n 2 | shown
    typed "curl --json @profile.json $(escrow_url)/v1/profiles"
    call profile /v1/profiles --json "@$phone/profile.json"
    show_answer profile
    wait_until 60 is_delivered 1 || tour_failed "nothing was delivered to the UEM"
    typed "ls $state/outbox"
    say "${delivered##*/}" | shown
    typed "cat ${delivered##*/}"
    sed 's,<key>,\n&,g' "$delivered" | grep -a -e IsEncrypted -e EncryptedPayloadContent \
        | cut -c 1-90 | sed 's/$/ .../' | shown
}

# mail_payload USE POSITION
mail_payload() {
    cat <<TXT
        <dict>
            <key>PayloadType</key><string>com.apple.security.pkcs12</string>
            <key>PayloadVersion</key><integer>1</integer>
            <key>PayloadIdentifier</key><string>com.example.mail.$1</string>
            <key>PayloadUUID</key><string>$(new_uuid)</string>
            <key>PayloadContent</key><string>{{escrow.$1[$2].pkcs12}}</string>
            <key>Password</key><string>{{escrow.$1[$2].password}}</string>
        </dict>
TXT
}

# is_delivered COUNT: so many profiles of this phone came; $delivered is the last one.
is_delivered() {
    local notes
    # shellcheck disable=SC2012
    notes=$(ls -t "$state/outbox"/*.json 2>/dev/null | tr '\n' '\0' \
        | xargs -0 grep -lF "$phone_uuid" 2>/dev/null)
    [ "$(printf '%s\n' "$notes" | grep -c .)" -ge "$1" ] || return 1
    delivered=$(printf '%s\n' "$notes" | head -n 1)
    delivered=${delivered%.json}.profile
}

# data_of KEY: what is in the data elements of property lists behind that key.
data_of() {
    tr -d '\n\t ' | sed "s,<key>$1</key><\(data\|string\)>,\n&,g" \
        | sed -n "s,^<key>$1</key><\(data\|string\)>\([^<]*\)<.*,\2,p"
}

# decrypted WHO: opens what was delivered with the key of a device of the tour.
decrypted() {
    data_of EncryptedPayloadContent <"$delivered" | openssl base64 -d -A \
        | openssl cms -decrypt -binary -inform DER -inkey "$state/tour/$1/key.pem" \
            -recip "$state/tour/$1/cert.pem" 2>>"$phone/log"
}

# Opens the profile, and each PKCS#12 in it.
open_profile() {
    local i=0 file
    rm -f "$phone"/*.p12 "$phone"/*.password "$phone"/*.opened
    (umask 077
        decrypted mail >"$phone/content.plist" || exit 1
        data_of Password <"$phone/content.plist" >"$phone/passwords"
        data_of PayloadContent <"$phone/content.plist" >"$phone/contents"
        while read -r file || [ -n "$file" ]; do
            i=$((i + 1))
            printf %s "$file" | openssl base64 -d -A >"$phone/$i.p12"
            sed -n "${i}p" "$phone/passwords" >"$phone/$i.password"
            openssl pkcs12 -legacy -in "$phone/$i.p12" -passin "file:$phone/$i.password" -nodes \
                -out "$phone/$i.opened" 2>>"$phone/log" || exit 1
        done <"$phone/contents") || tour_failed "the phone cannot open what was delivered"
    [ -s "$phone/1.opened" ] || tour_failed "there is nothing in what was delivered"
}

show_opened() {
    local file
    for file in "$phone"/*.opened; do
        say "${file##*/}: $(openssl x509 -in "$file" -noout -subject -serial -ext keyUsage \
            | sed -e 's/^ *//' -e '/^X509v3/d' | paste -sd' ')" | sed 's/opened:/p12:/'
    done | shown
}

open_mail_profile() {
    step "The phone opens it, and nobody else"
    typed "openssl cms -decrypt -inform DER -in content.p7m -recip router.pem -inkey router-key.pem"
    ! decrypted router >/dev/null || tour_failed "another device can open the profile"
    tail -n 1 "$phone/log" | shown
    typed "openssl cms -decrypt -inform DER -in content.p7m -recip phone.pem -inkey phone-key.pem"
    open_profile
    grep -c . "$phone/passwords" | sed 's/$/ PKCS#12 files, each with a password of its own/' | shown
    typed "openssl pkcs12 -legacy -passin file:1.password -in 1.p12 ..."
    show_opened
    say "   Mail that is encrypted to Ada can be read there:"
    typed "openssl cms -encrypt ada.pem <mail | openssl cms -decrypt -inkey 2.p12"
    read_mail "$phone/2.opened"
}

read_mail() {
    local text="The meeting is at nine."
    [ "$(printf %s "$text" | openssl cms -encrypt -aes256 -binary -outform DER "$1" \
        | openssl cms -decrypt -binary -inform DER -inkey "$1" -recip "$1" 2>>"$phone/log")" = "$text" ] \
        || tour_failed "mail cannot be read with the key that was delivered"
    say "$text" | shown
}

upload_former_key() {
    step "A provider uploads Ada's former key: a receipt for him, and the phone gets it, too"
    (umask 077
        openssl rand -hex 16 >"$phone/upload-password"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=ada@example.com" \
            -addext keyUsage=keyEncipherment -addext subjectAltName=email:ada@example.com \
            -keyout "$phone/former.key" -out "$phone/former.pem" 2>>"$phone/log"
        openssl pkcs12 -export -in "$phone/former.pem" -inkey "$phone/former.key" \
            -passout "file:$phone/upload-password" -out "$phone/former.p12"
        cat >"$phone/upload.json" <<TXT
{ "device_uuid": "$phone_uuid", "user_uuid": "$user_uuid",
  "smime_certificates": { "archived": [ {
    "pkcs12": "$(base64 -w 0 <"$phone/former.p12")",
    "password": "$(cat "$phone/upload-password")" } ] } }
TXT
    ) || tour_failed "openssl makes no PKCS#12 file"
    typed "curl --json @upload.json $(escrow_url)/v2/certificates"
    call receipt /v2/certificates --json "@$phone/upload.json"
    show_answer receipt
    wait_until 60 is_delivered 2 || tour_failed "nothing more was delivered to the UEM"
    open_profile
    show_opened
    grep -q "$(openssl x509 -in "$phone/former.pem" -noout -serial)" <<<"$(show_opened)" \
        || tour_failed "the former key did not reach the phone"
}

mail_stays_shut() {
    local pin said
    step "Who is not pinned learns nothing"
    typed "gatehousectl pin list"
    ctl pin list | cut -c 1-110 | shown
    typed "curl --cert stranger.pem ... $(escrow_url)/v2/certificates"
    said=$(curl -s --noproxy '*' --cacert "$state/ca/root.pem" --cert "$state/tour/router/cert.pem" \
        --key "$state/tour/router/key.pem" -o "$phone/stranger" -w '%{http_code}' \
        "$(escrow_url)/v2/certificates?$(pair)") || true
    [ "$said" = 403 ] || tour_failed "a stranger was answered with $said"
    show_answer stranger
}

show_escrow_tour() {
    local laptop=$device
    mail_event
    mail_skeleton
    open_mail_profile
    upload_former_key
    mail_stays_shut
    device=$laptop
}
