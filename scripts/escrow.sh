# The escrow of the demo: its API with client certificates (port of --https plus 1), its configuration
# API (plus 2), and a stand-in of a management system (UEM) that profiles are delivered to. Sourced by
# ./quickstart after standins.sh.
#
#   $state/escrow         certificates of the two clients, and the file with the pin of the second
#   $state/uem/data       what the UEM keeps
#   $state/outbox         what was delivered to it

escrow_url() { say "https://127.0.0.1:$((https + 1))"; }
escrow_admin_url() { say "https://127.0.0.1:$((https + 2))"; }

uem_shown() { standin_shown uem data; }

# escrow_client NAME: a self-signed certificate, as clients of the escrow have them; what counts is
# its thumbprint. It is made anew in its last month.
escrow_client() {
    local folder=$state/escrow name=$1
    if [ -s "$folder/$name.pem" ] \
        && openssl x509 -in "$folder/$name.pem" -noout -checkend 2592000 >/dev/null; then
        return 0
    fi
    (umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=Demo $name of the escrow" -addext extendedKeyUsage=clientAuth \
        -keyout "$folder/$name.key.new" -out "$folder/$name.pem.new" 2>/dev/null) \
        || die "openssl makes no certificate in $folder"
    chmod 644 "$folder/$name.pem.new"
    mv -f "$folder/$name.key.new" "$folder/$name.key"
    mv -f "$folder/$name.pem.new" "$folder/$name.pem"
}

thumbprint() { openssl x509 -in "$1" -outform DER | openssl dgst -sha256 -r | cut -d' ' -f1; }

make_escrow() {
    mkdir -p "$state/escrow"
    escrow_client client
    escrow_client admin
    # the role admin is given in a file alone, which httpd's children read
    put "$state/escrow/pins" 644 <<TXT
sha256:$(thumbprint "$state/escrow/admin.pem") admin
TXT
    [ -s "$state/secrets/vault.key" ] \
        || openssl rand -hex 32 | put "$state/secrets/vault.key" 600
}

start_uem() {
    make_standin uem data uem gatewayca standin standintls
    mkdir -p "$state/outbox"
    [ -s "$state/secrets/uem-user" ] \
        || say "gatehouse:$(openssl rand -hex 16)" | put "$state/secrets/uem-user" 600
    put "$state/uem/data/user" 600 <"$state/secrets/uem-user"
    if is_root; then chown "$run_as:" "$state/outbox"; fi
    is_standin_running uem data || start_standin uem data uem --keep --outbox "$state/outbox" \
        --user-file "$state/uem/data/user"
}

stop_uem() { stop_standin uem data; }

# escrow_location PATH DIRECTIVE...
escrow_location() {
    say "        <Location \"$1\">"
    shift
    printf '            %s\n' "$@"
    say "        </Location>"
}

# escrow_host PORT: the lines that both virtual hosts begin with.
escrow_host() {
    cat <<TXT
    <VirtualHost 127.0.0.1:$1>
        SSLEngine on
        SSLCertificateFile "$state/tls/server.pem"
        SSLCertificateKeyFile "$state/tls/server-key.pem"
        # any certificate is taken, also a self-signed one: the thumbprint decides
        SSLVerifyClient optional_no_ca
TXT
}

# What both have in common: the APIs stand at the root.
escrow_configuration() {
    cat <<TXT

# Escrow. Keys of mail lie sealed in the store, and leave inside of profiles for devices.
EscrowVaultKey demo "file:$state/secrets/vault.key"
EscrowPinFile "$state/escrow/pins"
# The UEM tells of a device (event 148): keys and certificates for its user are made.
EscrowProvide event=148 issuer=devices signing=smime-non-repudiation encryption=smime-key-encipherment
EscrowMailDomains example.com
# Devices' certificates are those that the issuer above gave them. Its challenge is known to all here.
EscrowDeviceCA issuer=devices challenges=trusted
# Where profiles go.
<UEM demo>
    UEMURL $(standin_url uem)/api/devices/{{device.uuid}}/profiles/{{profile.uuid}}
    UEMMethod PUT
    UEMCredential basic "file:$state/secrets/uem-user"
    UEMTrust "$state/uem/data/tls-ca.pem"
</UEM>
TXT
}

escrow_hosts() {
    local handler="SetHandler gatehouse-escrow" by="AuthType gatehouse-cert"
    escrow_host $((https + 1))
    say "        EscrowTLS escrow"
    escrow_location /v2/certificates "$handler" "$by" "Require thumbprint pinned role=provider"
    escrow_location /v2/certificates/status "Require thumbprint pinned role=uem"
    escrow_location /v1/profiles "$handler" "$by" "Require thumbprint pinned role=uem" \
        "EscrowDeliver demo"
    escrow_location /v1/events "$handler" "$by" "Require thumbprint pinned role=provider"
    escrow_location /v1/openapi.json "$handler" "$by" "Require thumbprint pinned"
    escrow_location /v1/hc "SetHandler gatehouse-escrow-configuration" "$by" \
        "Require thumbprint pinned"
    say "    </VirtualHost>"
    escrow_host $((https + 2))
    escrow_location /v1 "SetHandler gatehouse-escrow-configuration" "$by" \
        "Require thumbprint pinned role=admin"
    say "    </VirtualHost>"
}

escrow_environment() {
    entry GH_ESCROW_URL "$(escrow_url)"
    entry GH_ESCROW_CERT "$state/escrow/client.pem"
    entry GH_ESCROW_KEY "$state/escrow/client.key"
    entry GH_ESCROW_ADMIN_URL "$(escrow_admin_url)"
    entry GH_ESCROW_ADMIN_CERT "$state/escrow/admin.pem"
    entry GH_ESCROW_ADMIN_KEY "$state/escrow/admin.key"
    entry GH_UEM_OUTBOX "$state/outbox"
}

# escrow_curl PATH OPTION...: a request with the certificate of the demo's client.
escrow_curl() {
    local path=$1
    shift
    curl -sS --max-time 30 --noproxy '*' --cacert "$state/ca/root.pem" \
        --cert "$state/escrow/client.pem" --key "$state/escrow/client.key" "$@" \
        "$(escrow_url)$path"
}

# The client's pin is in the store, where gatehousectl and the configuration API change it.
pin_escrow_client() {
    local pin role
    pin=$(thumbprint "$state/escrow/client.pem")
    for role in provider uem; do
        "$dir/gatehousectl" --json pin list | grep "$pin" | grep -q "\"$role\"" \
            || "$dir/gatehousectl" pin add "sha256:$pin" --role "$role" \
                --label "client of the demo" >/dev/null || die "the demo's client was not pinned"
    done
    wait_until 30 escrow_answers \
        || die "the escrow does not answer at $(escrow_url); the error log is $state/logs/error.log"
}

escrow_answers() { escrow_curl /v1/hc -f -o /dev/null 2>/dev/null; }
