# What stands in for services elsewhere, so that the demo needs nobody else: programs of the tests, on
# 127.0.0.1, with keys and passwords made for this instance. Sourced by ./quickstart after instance.sh.
#
#   $state/NAME/program   the program, and its keys
#   $state/NAME/FOLDER    what it keeps
#   $state/NAME/told      what it says of itself; process and log are in NAME/pid and logs/NAME.log

standin_pid() { cat "$state/$1/pid"; }

# is_standin_running NAME FOLDER
is_standin_running() {
    [ -s "$state/$1/pid" ] || return 1
    tr '\0' ' ' <"/proc/$(standin_pid "$1")/cmdline" 2>/dev/null \
        | grep -qF -- "--dir $state/$1/$2 "
}

standin_url() { json url <"$state/$1/told"; }

standin_shown() {
    if is_standin_running "$1" "$2"; then
        say "$(standin_url "$1"), process $(standin_pid "$1")"
    else
        say "stopped"
    fi
}

# standin_key NAME KEY OPTION...: with options of "openssl genpkey".
standin_key() {
    local file=$state/$1/program/keys/$2.pem
    shift 2
    [ -s "$file" ] || { openssl genpkey "$@" -out "$file.new" 2>/dev/null \
        && mv "$file.new" "$file"; } || die "openssl makes no key in $file"
}

# make_standin NAME FOLDER SOURCE...: puts the sources where the user whom httpd runs as can read
# them; as root, that user runs them.
make_standin() {
    local name=$1 folder=$2 source before=$changed
    shift 2
    changed=''
    mkdir -p "$state/$name"
    (umask 077; mkdir -p "$state/$name/program/keys" "$state/$name/$folder")
    for source in "$@"; do
        put "$state/$name/program/$source.py" 600 <"$top/tests/fixtures/$source.py"
    done
    [ -z "$changed" ] || stop_standin "$name" "$folder"
    changed=$before
    (umask 077
        standin_key "$name" p256-01 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
        standin_key "$name" p384-01 -algorithm EC -pkeyopt ec_paramgen_curve:P-384)
}

# start_standin NAME FOLDER SOURCE OPTION...: it gets another port each time, which
# write_configuration takes up.
start_standin() {
    local name=$1 folder=$2 source=$3 as_user=()
    shift 3
    if is_root; then
        chown -R "$run_as:" "$state/$name/program" "$state/$name/$folder"
        as_user=(setpriv "--reuid=$run_as" "--regid=$(id -gn "$run_as")" --clear-groups)
    fi
    rm -f "$state/$name/told" "$state/$name/pid"
    PYTHONDONTWRITEBYTECODE=1 setsid "${as_user[@]}" /usr/bin/python3 \
        "$state/$name/program/$source.py" --dir "$state/$name/$folder" "$@" \
        >"$state/$name/told" 2>"$state/logs/$name.log" </dev/null 8>&- &
    say $! >"$state/$name/pid"
    wait_until 20 test -s "$state/$name/told" || {
        cat "$state/logs/$name.log" >&2
        die "$source.py, the stand-in of a service elsewhere, did not start"
    }
}

stop_standin() {
    local pid
    is_standin_running "$1" "$2" || return 0
    pid=$(standin_pid "$1")
    kill "$pid" 2>/dev/null || true
    wait_until 10 is_gone "$pid" || kill -9 "$pid" 2>/dev/null || true
    rm -f "$state/$1/pid"
}
