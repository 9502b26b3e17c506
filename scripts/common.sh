# What ./quickstart and ./check share: messages, packages, the build. Sourced by bash; expects $top,
# the folder of the sources, and `set -eu`.

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

say()  { printf '%s\n' "$*"; }
head1() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die()  { warn "$*"; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Prints the entries of sections of the file "packages".
packages_of() {
    local section
    for section in "$@"; do
        awk -v want="[$section]" '
            /^#/ || /^$/ { next }
            /^\[/ { in_it = ($0 == want); found += in_it; next }
            in_it { print }
            END { if (!found) exit 1 }' "$top/packages" \
            || die "the file packages has no section [$section]"
    done
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs what is missing of some sections. Says nothing and takes no time if nothing is.
install_packages() {
    local package missing=() quiet
    command -v dpkg-query >/dev/null \
        || die "this script installs Debian packages; elsewhere, see DEVELOPING.md for what is needed"
    for package in $(packages_of "$@" | sort -u); do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    head1 "Installing ${#missing[@]} packages: ${missing[*]}"
    quiet=$(packages_of quiet | paste -sd, -)
    local as_root=()
    if ! is_root; then
        command -v sudo >/dev/null \
            || die "these packages are missing, and there is no sudo to install them: ${missing[*]}"
        as_root=(sudo)
    fi
    "${as_root[@]}" "$top/scripts/install-packages" --quiet "$quiet" "${missing[@]}" \
        || die "the packages could not be installed; apt-get says why, above"
}

# Builds in $top/build, which ./quickstart, ./check and "make bench" share; one at a time.
# Arguments go to configure if it has to run, and make it run again if it ran without them.
build_tree() {
    local build=$top/build log=$top/build/build.log option again=''
    mkdir -p "$build" || die "cannot write to $build: run this as the owner of the sources"
    exec 9>"$build/.lock" || die "cannot write to $build: run this as the owner of the sources"
    flock -n 9 || { say "Waiting for another build in $build ..."; flock 9; }
    : >"$log" || die "cannot write $log: run this as the owner of the sources"
    if [ ! -f "$build/config.status" ] || [ ! -x "$top/configure" ]; then
        again=yes
    else
        for option in "$@"; do
            grep -q -e "$option" "$build/config.status" || again=yes
        done
    fi
    if [ -n "$again" ]; then
        say "Configuring in $build"
        if [ ! -x "$top/configure" ] || [ "$top/configure.ac" -nt "$top/configure" ]; then
            (cd "$top" && run_logged "$log" autoreconf -fi) || return 1
        fi
        (cd "$build" && run_logged "$log" "$top/configure" -q "$@") || return 1
    fi
    say "Building in $build"
    run_logged "$log" make -C "$build" -j"$(getconf _NPROCESSORS_ONLN)" \
        ${GH_LIBTOOL:+"LIBTOOL=$GH_LIBTOOL"} || return 1
    exec 9>&-
}

# Runs a command with its output in a file; shows the end of that if the command fails.
run_logged() {
    local log=$1
    shift
    if ! "$@" >>"$log" 2>&1 9>&-; then
        tail -n 40 "$log" >&2
        warn "failed: $* (all of its output is in $log)"
        return 1
    fi
}
