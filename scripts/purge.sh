# Removes a demo instance. Sourced by ./quickstart after instance.sh.

purge_instance() {
    local name
    [ -f "$state/settings" ] || { say "Nothing to remove in $dir"; return 0; }
    read_settings
    case $GH_QS_STORE in
    pgsql:*) purge_tables "$GH_QS_STORE" ;;
    esac
    for name in quickstart.env quickstart.env.new gatehousectl gatehousectl.new; do
        rm -f "$dir/$name"
    done
    if is_root; then rm -f "$dir/state"; fi
    # settings nearly last: without them nobody would know whose the rest is
    for name in software software.new software.old ca ca.new secrets store ocsp tls logs run tour slow \
        escrow uem outbox wstep httpd.conf httpd.conf.new settings.new settings .lock; do
        rm -rf "${state:?}/$name"
    done
    say "Removed the demo CA, its store and its configuration"
    rm -f "$state/www/index.html" "$state/www/index.html.new"
    rmdir "$state/www" 2>/dev/null || true
    for name in "$state" "$dir"; do
        [ ! -d "$name" ] || rmdir "$name" 2>/dev/null || say "What else is in $name stays there"
        [ "$state" != "$dir" ] || break
    done
}

# Names of the store's tables, separated by commas.
store_tables() {
    sed -n 's/^ *"CREATE TABLE \(IF NOT EXISTS \)\{0,1\}\([a-z_]*\) (.*/\2/p' \
        "$top/lib/store/migrations.c" | paste -sd, -
}

# A PostgreSQL database is not ours, but the tables in it are: a new CA cannot go on with them. psql
# takes a connection string on its command line only, where --store was already.
purge_tables() {
    local tables
    tables=$(store_tables)
    if ! psql -qX -v ON_ERROR_STOP=1 -d "${1#pgsql:}" -c \
        "DROP TABLE IF EXISTS $tables; DROP SEQUENCE IF EXISTS change_seq" >/dev/null; then
        warn "the tables in the database could not be removed: $tables"
    fi
}
