# One demo instance: where its files are, what its configuration says, how it starts and stops.
# Sourced by ./quickstart after common.sh.
#
#   DIR     what people look at: quickstart.env, gatehousectl
#   $state  everything else. As root it is under /var/lib, since the user whom httpd runs as must be
#           able to read it whatever the permissions above DIR are; as a user it is DIR itself.

umask 022
changed=''
profile=scep-digital-signature-key-encipherment

locate_instance() {
    dir=${dir:-$top/run}
    case $dir in
    /*) ;;
    *) dir=$PWD/$dir ;;
    esac
    dir=$(realpath -m -- "$dir")
    if is_root; then
        state=/var/lib/gatehouse-quickstart/$(printf %s "$dir" | sha256sum | cut -c1-12)
        run_as=www-data
    else
        state=$dir
        run_as=$(id -un)
    fi
    case $state in
    *[*?[]*) die "$state has a *, ? or [, a pattern for httpd: give another folder with --dir" ;;
    esac
    [ ! -e "$state/settings" ] || [ -r "$state/settings" ] || die "$dir belongs to somebody else"
}

url() {
    if [ "$1" = http ]; then say "http://127.0.0.1:$http"; else say "https://127.0.0.1:$https"; fi
}

# Prints words so that a shell reads them back unchanged.
quoted() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

# Writes standard input to a file, in one step, and says by $changed whether that changed anything.
put() {
    local file=$1 mode=$2
    (umask 077; cat >"$file.new")
    chmod "$mode" "$file.new"
    if [ -f "$file" ] && cmp -s "$file" "$file.new"; then
        rm -f "$file.new"
    else
        mv -f "$file.new" "$file"
        changed=yes
    fi
}

read_settings() { . "$state/settings"; }

write_settings() {
    local before=$changed
    put "$state/settings" 600 <<TXT
GH_QS_HTTP=$http
GH_QS_HTTPS=$https
GH_QS_STORE=$(quoted "$store")
GH_QS_DIR=$(quoted "$dir")
GH_QS_SLOW=$slow
TXT
    changed=$before
}

# The store as GatehouseStore takes it.
store_uri() {
    if [ "$store" = sqlite ]; then say "sqlite3:$state/store/gatehouse.db"; else say "$store"; fi
}

# The same without a password.
store_shown() {
    store_uri | sed -e "s/password *= *\('[^']*'\|[^ ]*\)/password=.../" -e 's,//\([^:/@]*\):[^@]*@,//\1:...@,'
}

# "down --purge" removes what it finds under its names, so a new instance begins in a folder without
# files of somebody else's. Only what an interrupted beginning leaves does not count.
check_folder() {
    local other
    [ ! -f "$state/settings" ] || return 0
    [ -e "$dir" ] || return 0
    [ -d "$dir" ] || die "$dir is not a folder: give a new or an empty one with --dir DIR"
    other=$(find "$dir" -mindepth 1 -maxdepth 1 ! -name .lock ! -name settings.new -print -quit) \
        || die "cannot look into $dir: give a new or an empty folder with --dir DIR"
    [ -z "$other" ] || die "$dir is no quickstart instance of this user's, and not empty" \
        "(${other##*/} is there): give a new or an empty folder with --dir DIR"
}

# The same for a database: the tables that "down --purge" drops must be this instance's.
check_database() {
    local found
    [ "$store" != sqlite ] && [ ! -f "$state/settings" ] || return 0
    found=$(psql -qXAt -d "${store#pgsql:}" -c "SELECT string_agg(tablename, ', ' ORDER BY tablename)
        FROM pg_catalog.pg_tables WHERE schemaname = current_schema()
        AND tablename IN ('$(store_tables | sed "s/,/','/g")')") \
        || die "the database cannot be used; psql says why, above"
    [ -z "$found" ] || die "the database has tables already that an instance would call its own" \
        "($found): give it an empty database with --store pgsql:CONNINFO"
}

# Makes the two folders and marks them as an instance's before anything else comes to be there.
begin_instance() {
    mkdir -p "$dir" || die "cannot make the folder $dir"
    mkdir -p "$state" || die "cannot make the folder $state"
    lock_instance
    check_settings          # another ./quickstart may have been faster
    write_settings
}

make_folders() {
    mkdir -p "$state/logs" "$state/run" "$state/store" "$state/tls" "$state/www"
    (umask 077; mkdir -p "$state/secrets")
    chmod 700 "$state/store"
    if is_root; then
        chown "$run_as:" "$state/store"
        [ "$dir/state" -ef "$state" ] || ln -sfn "$state" "$dir/state"
    fi
}

lock_instance() {
    [ -d "$state" ] || return 0
    exec 8>"$state/.lock" || die "cannot write to $state"
    flock -w 120 8 || die "another ./quickstart is at work on $dir"
}

# --- software ---

find_httpd() {
    local apxs
    apxs=$(PATH="$PATH:/usr/local/apache2/bin:/usr/sbin" command -v apxs) \
        || die "apxs was not found; on Debian it is in apache2-dev"
    httpd="$("$apxs" -q SBINDIR)/$("$apxs" -q PROGNAME)"
    httpd_modules=$("$apxs" -q LIBEXECDIR)
    [ -x "$httpd" ] || die "there is no httpd at $httpd"
}

# Copies what "make install" installs, if the build is newer than what is there.
install_software() {
    local build=$top/build stage=$top/build/stage newest
    newest=$(find "$build" -path "$stage" -prune -o \( -name '*.so' -o -name gatehousectl -o -name gatehouse-ocsp-feeder -o -name gatehouse-ca-worker -o -name gatehouse-uem-worker \) -newer \
        "$state/software/.installed" -print 2>/dev/null | head -n 1) || true
    if [ -f "$state/software/.installed" ] && [ -z "$newest" ] && ! find "$top/conf.d" -newer \
        "$state/software/.installed" | grep -q .; then
        return 0
    fi
    say "Installing into $state/software"
    rm -rf "$stage" "$state/software.new"
    run_logged "$build/build.log" make -C "$build" install DESTDIR="$stage" \
        || die "make install failed"
    cp -R "$stage" "$state/software.new"
    rm -rf "$stage"
    touch "$state/software.new/.installed"
    rm -rf "$state/software.old"
    [ ! -d "$state/software" ] || mv "$state/software" "$state/software.old"
    mv "$state/software.new" "$state/software"
    rm -rf "$state/software.old"
    changed=yes
}

# Prints where an installed file is.
installed() {
    local found
    found=$(find "$state/software" -name "$1" \( -type f -o -type l \) | head -n 1)
    [ -n "$found" ] || die "the installation in $state/software has no $1"
    say "$found"
}

# Writes DIR/gatehousectl, the command with this instance's configuration.
write_ctl() {
    local program library
    program=$(installed gatehousectl) library=$(installed libgatehouse.so)
    put "$dir/gatehousectl" 755 <<TXT
#!/bin/sh
# gatehousectl with the configuration of this demo instance.
LD_LIBRARY_PATH=$(quoted "${library%/*}")\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec $(quoted "$program") -f $(quoted "$state/httpd.conf") "\$@"
TXT
}

# Writes the programs that httpd starts where it looks for them, beside the modules.
write_programs() {
    local modules=$1 library program found
    library=$(installed libgatehouse.so)
    for program in gatehouse-ocsp-feeder gatehouse-ca-worker gatehouse-uem-worker; do
        found=$(find "$state/software" -path "$modules" -prune -o -name "$program" -print | head -n 1)
        [ -n "$found" ] || die "the installation in $state/software has no $program"
        put "$modules/$program" 755 <<TXT
#!/bin/sh
# The program with the library of this demo instance.
LD_LIBRARY_PATH=$(quoted "${library%/*}")
export LD_LIBRARY_PATH
exec $(quoted "$found") "\$@"
TXT
    done
}

# --- keys ---

make_secrets() {
    [ -s "$state/secrets/scep-challenge" ] \
        || openssl rand -hex 16 | put "$state/secrets/scep-challenge" 600
}

challenge_file() { say "$state/secrets/scep-challenge"; }
challenge() { cat "$(challenge_file)"; }

# A two-tier CA: a root whose key stays out of the server, and the issuing CA "devices".
make_ca() {
    local program library
    [ ! -d "$state/ca" ] || return 0
    say "Making the demo CA"
    program=$(installed gatehousectl) library=$(installed libgatehouse.so)
    rm -rf "$state/ca.new"
    LD_LIBRARY_PATH=${library%/*} "$program" ca init --directory "$state/ca.new" --name devices \
        --public-url "$(url http)" --key RSA-3072 --root-key RSA-3072 \
        --subject "CN=Gatehouse demo issuing CA,O=Gatehouse demo" \
        --root-subject "CN=Gatehouse demo root CA,O=Gatehouse demo" >/dev/null \
        || die "gatehousectl ca init failed"
    mv "$state/ca.new" "$state/ca"
}

# --- configuration ---

load_modules() {
    local module
    for module in "$@"; do
        if [ -f "$httpd_modules/mod_$module.so" ]; then
            say "LoadModule ${module}_module \"$httpd_modules/mod_$module.so\""
        fi
    done
}

# scep_location TENANT PROFILE DIRECTIVE...
scep_location() {
    say "<Location \"/scep/$1/devices/$2\">"
    printf '    SCEPTenant %s devices\n    SCEPProfiles %s\n' "$1" "$2"
    shift 2
    printf '    %s\n' "$@"
    say "</Location>"
}

write_configuration() {
    local static="SCEPChallenge static \"file:$state/secrets/scep-challenge\"" user=''
    local library gatehouse scep ocsp escrow wstep shipped
    library=$(installed libgatehouse.so)
    gatehouse=$(installed mod_gatehouse.so)
    scep=$(installed mod_scep.so)
    ocsp=$(installed mod_ocsp.so)
    escrow=$(installed mod_escrow.so)
    wstep=$(installed mod_wstep.so)
    shipped=$(installed gatehouse.conf)
    if is_root; then user=$(printf 'User %s\nGroup %s' "$run_as" "$(id -gn "$run_as")"); fi
    write_ctl
    write_programs "${gatehouse%/*}"
    put "$state/httpd.conf" 600 <<TXT
# Written by ./quickstart for the demo instance in $dir, again at each start.
ServerRoot "$state"
ServerName 127.0.0.1
DefaultRuntimeDir "$state/run"
PidFile "$state/run/httpd.pid"
ErrorLog "$state/logs/error.log"
LogLevel notice gatehouse:info
$(load_modules mpm_event authn_core authn_file authz_core dir socache_shmcb ssl ${slow:+proxy proxy_fcgi})
SSLSessionCache "shmcb:$state/run/ssl-sessions(512000)"
$user
LogFormat "%h %l %u %t \"%r\" %>s %b" common
CustomLog "$state/logs/access.log" common
ServerTokens Prod
TraceEnable off
StartServers 2
Listen 127.0.0.1:$http
Listen 127.0.0.1:$https http
Listen 127.0.0.1:$((https + 1)) http
Listen 127.0.0.1:$((https + 2)) http

DocumentRoot "$state/www"
<Directory "/">
    AllowOverride None
    Require all denied
</Directory>
<Directory "$state/www">
    Require all granted
    DirectoryIndex index.html
    <Files "index.html">
        ForceType "text/html; charset=utf-8"
    </Files>
</Directory>

# the files of this instance; what is shipped loads modules only where nothing has
LoadFile "$library"
LoadModule gatehouse_module "$gatehouse"
LoadModule scep_module "$scep"
LoadModule ocsp_module "$ocsp"
LoadModule escrow_module "$escrow"
LoadModule wstep_module "$wstep"
Include "${shipped%/*}/*.conf"

GatehouseStore "$(store_uri)"
GatehousePublicURL "$(url http)"
GatehouseSealingKey "file:$state/ca/sealing.key"
GatehouseAuditLog "$state/logs/audit.jsonl"

# The root signs nothing here; its certificate and CRL are served to whoever verifies.
<Issuer root>
    IssuerBackend offline
    IssuerCertificate "$state/ca/root.pem"
    IssuerCRL "file=$state/ca/root.crl"
</Issuer>

<Issuer devices>
    IssuerBackend local
    IssuerCertificate "$state/ca/devices.pem"
    IssuerKey "$state/ca/devices.key"
    IssuerChain "$state/ca/root.pem"
</Issuer>

# Who verifies a certificate asks here. Signer and status come from the issuer of that name.
<OCSPAuthority devices>
    OCSPSigner auto P-256
</OCSPAuthority>
OCSPFastPath /ocsp
OCSPDirectory "$state/ocsp"

# Like $profile, but somebody has to approve each request.
<CertificateProfile scep-manual base=$profile>
    ProfileApproval manual
</CertificateProfile>

<Location "/scep">
    SetHandler gatehouse-scep
</Location>
$(scep_location demo "$profile" "$static")
# For clients that know nothing better.
$(scep_location legacy "$profile" "$static" "SCEPAllow 3des sha1")
$(scep_location manual scep-manual "$static")
# A certificate is renewed on its own word.
$(scep_location renew "$profile" "$static" "SCEPRenewal by-certificate")
# The certificate of the https server below comes from here.
$(scep_location servers privatessl-tls-server "SCEPChallenge onetime")
$(escrow_configuration)
$(wstep_configuration)
$([ -z "$slow" ] || slow_ca_configuration "$static")

<IfFile "$state/tls/server.pem">
    <VirtualHost 127.0.0.1:$https>
        SSLEngine on
        SSLCertificateFile "$state/tls/server.pem"
        SSLCertificateKeyFile "$state/tls/server-key.pem"
        # no client is asked for a certificate: SCEP clients stumble over that
        SSLVerifyClient none
$(wstep_locations)
    </VirtualHost>
$(escrow_hosts)
</IfFile>
TXT
}

# What a browser gets that opens one of the two URLs.
write_page() {
    local before=$changed
    put "$state/www/index.html" 644 <<TXT
<!DOCTYPE html>
<title>Gatehouse demo</title>
<h1>Gatehouse demo</h1>
<p>This is the instance of <code>./quickstart</code>. Devices enrol by SCEP at
<a href="$(scep_url demo)?operation=GetCACaps">/scep/demo/devices/$profile</a>.
<p>For everybody who verifies their certificates:
<ul>
<li><a href="/ca/root.cer">certificate of the root CA</a>, <a href="/crl/root.crl">its CRL</a>
<li><a href="/ca/devices.cer">certificate of the issuing CA</a>,
    <a href="/crl/devices.crl">its CRL</a>
<li>OCSP at <code>$(ocsp_url)</code>
</ul>
TXT
    changed=$before
}

write_environment() {
    local before=$changed
    {
        entry GH_HTTP "$(url http)"
        entry GH_HTTPS "$(url https)"
        entry GH_TLS_CA "$state/ca/root.pem"
        entry GH_ROOT "$state/ca/root.pem"
        entry GH_CA "$state/ca/devices.pem"
        entry GH_CONF "$state/httpd.conf"
        entry GH_ERROR_LOG "$state/logs/error.log"
        entry GH_AUDIT_LOG "$state/logs/audit.jsonl"
        entry GH_PIDFILE "$state/run/httpd.pid"
        entry GH_STORE "$(store_uri)"
        entry GH_CTL "$dir/gatehousectl"
        entry GH_SCEP_URL "$(scep_url demo)"
        entry GH_SCEP_CHALLENGE "$(challenge)"
        entry GH_SCEP_LEGACY_URL "$(scep_url legacy)"
        entry GH_SCEP_MANUAL_URL "$(scep_url manual scep-manual)"
        entry GH_SCEP_RENEW_URL "$(scep_url renew)"
        [ -z "$slow" ] || entry GH_SCEP_SLOW_URL "$(slow_ca_url)"
        entry GH_OCSP_URL "$(ocsp_url)"
        entry GH_CRL_URL "$(url http)/crl/devices.crl"
        escrow_environment
        wstep_environment
    } | put "$dir/quickstart.env" 600
    changed=$before
}

ocsp_url() { say "$(url http)/ocsp"; }
entry() { say "$1=$(quoted "$2")"; }
scep_url() { say "$(url http)/scep/$1/devices/${2:-$profile}"; }

# --- the server ---

running_pid() { cat "$state/run/httpd.pid"; }

is_running() {
    local pid
    [ -s "$state/run/httpd.pid" ] || return 1
    pid=$(cat "$state/run/httpd.pid")
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "-f $state/httpd.conf"
}

# A port that somebody listens on already is found before a long build.
check_free() {
    if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then port_taken "$1" "$2"; fi
}

check_all_free() {
    local port
    check_free http "$http"
    for port in "$https" $((https + 1)) $((https + 2)); do check_free https "$port"; done
}

port_taken() { die "port $2 is taken: choose another one with --$1 PORT"; }

start_httpd() {
    local log=$state/logs/start.log port
    rm -f "$state/run/httpd.pid"
    if "$httpd" -d "$state" -f "$state/httpd.conf" -k start >"$log" 2>&1 8>&-; then
        wait_until 20 is_running || { cat "$log" >&2; tail -n 20 "$state/logs/error.log" >&2
            die "httpd did not start; its error log is $state/logs/error.log"; }
        return 0
    fi
    if grep -q "could not bind to address .*:$http\$" "$log"; then port_taken http "$http"; fi
    for port in "$https" $((https + 1)) $((https + 2)); do
        ! grep -q "could not bind to address .*:$port\$" "$log" || port_taken https "$port"
    done
    cat "$log" >&2
    die "httpd did not start; its error log is $state/logs/error.log"
}

stop_httpd() {
    local pid
    pid=$(running_pid)
    kill "$pid" 2>/dev/null || true
    wait_until 30 is_gone "$pid" || { kill -9 "$pid" 2>/dev/null || true; }
    rm -f "$state/run/httpd.pid"
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

# wait_until SECONDS COMMAND...: tries five times a second.
wait_until() {
    local tries=$(($1 * 5))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.2
    done
}

quiet_get() { curl -sf --max-time 5 --noproxy '*' -o /dev/null "$@"; }

wait_for_scep() {
    wait_until 30 quiet_get "$(scep_url demo)?operation=GetCACert" || {
        tail -n 20 "$state/logs/error.log" >&2
        die "the server does not answer at $(scep_url demo); its error log is $state/logs/error.log"
    }
}

# The server certificate for https: enrolled at our own SCEP service, with a one-time challenge.
make_tls_certificate() {
    local tls=$state/tls
    if ! [ -s "$tls/server.pem" ] \
        || ! openssl x509 -in "$tls/server.pem" -noout -checkend 2592000 >/dev/null; then
        say "Enrolling the certificate of the https server"
        rm -rf "$tls/new"
        (umask 077; mkdir "$tls/new")
        "$dir/gatehousectl" --json challenge new --tenant servers --issuer devices \
            --profile privatessl-tls-server | json challenge >"$tls/new/challenge"
        [ -s "$tls/new/challenge" ] || die "gatehousectl gave no challenge"
        enrol "$tls/new" "$(url http)/scep/servers/devices/privatessl-tls-server" \
            "$tls/new/challenge" -N CN=localhost -D localhost -A 127.0.0.1 \
            || { cat "$tls/new/log" >&2; die "the enrolment failed"; }
        cat "$tls/new/cert.pem" "$state/ca/devices.pem" | put "$tls/server.pem.new" 644
        mv -f "$tls/new/key.pem" "$tls/server-key.pem"
        mv -f "$tls/server.pem.new" "$tls/server.pem"
        rm -rf "$tls/new"
        kill -USR1 "$(running_pid)"
    fi
    wait_until 30 quiet_get --cacert "$state/ca/root.pem" \
        "$(url https)/scep/demo/devices/$profile?operation=GetCACaps" \
        || die "https does not answer at $(url https); the error log is $state/logs/error.log"
}

# enrol FOLDER URL CHALLENGE-FILE OPTION...: certmonger makes FOLDER/key.pem and enrols
# FOLDER/cert.pem, with more options of "getcert request". The challenge is in a file, since
# everybody on a machine can read its command lines.
enrol() {
    local folder=$1 url=$2 challenge=$3
    shift 3
    timeout 60 "$top/scripts/certmonger-device" "$folder" sh -c '
        folder=$1 url=$2 challenge=$3
        shift 3
        getcert add-scep-ca -s -c gatehouse -u "$url" \
            && getcert request -s -c gatehouse -I device -k "$folder/key.pem" -f "$folder/cert.pem" \
                -l "$challenge" -w -v "$@"
        getcert list -s' - "$folder" "$url" "$challenge" "$@" \
        >"$folder/log" 2>&1 8>&- || true
    [ -s "$folder/cert.pem" ]
}

# Prints the first text member of that name in lines of JSON.
json() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1; }

# --- what is said at the end ---

# A command of this script for this instance, as one types it where one is.
command_line() {
    local words="$0 $1" given=$dir
    [ "$dir" = "$(realpath -m -- "$top/run")" ] || {
        case $dir in
        *[!A-Za-z0-9_./-]*) given=$(quoted "$dir") ;;
        esac
        words="$words --dir $given"
    }
    say "$words${2:+ $2}"
}

show_urls() {
    local ctl=$dir/gatehousectl
    case $ctl in
    *[!A-Za-z0-9_./-]*) ctl=$(quoted "$ctl") ;;
    esac
    head1 "What runs"
    cat <<TXT
  SCEP                   $(scep_url demo)
  SCEP, old clients      $(scep_url legacy)
  SCEP, with approval    $(scep_url manual scep-manual)
  SCEP, with renewal     $(scep_url renew)${slow:+
  SCEP, slow CA          $(slow_ca_url)}
  SCEP challenge         $(challenge)
  OCSP                   $(ocsp_url)
  CRL                    $(url http)/crl/devices.crl
  https                  $(url https)   (verify with $state/ca/root.pem)
  Escrow                 $(escrow_url)   (client certificate: $state/escrow/client.pem)
  Escrow configuration   $(escrow_admin_url)   (client certificate: $state/escrow/admin.pem)
  Delivered profiles     $state/outbox
  Windows, policies      $(xcep_url)   (user $wstep_user, password $(cat "$state/secrets/wstep-password"))
  Windows, certificates  $(wstep_url)
  Logs                   $state/logs
  For scripts            . $dir/quickstart.env

What to try next
  $ctl cert list
  $ctl challenge new --tenant servers --issuer devices --profile privatessl-tls-server
  $ctl urls
  $ctl check
  $ctl ocsp status devices
  $ctl escrow list; $ctl pin list; $ctl vault status${slow:+
  $ctl issuer test slow}
  curl "$(scep_url demo)?operation=GetCACaps"
  curl -s $(url http)/crl/devices.pem | openssl crl -noout -text
  $(command_line status); $(command_line down)
TXT
}
