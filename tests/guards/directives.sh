#!/bin/sh
# A directive that is in its module's table is also in the configuration that is shipped, in its page
# of the manual with all that the httpd manual says of a directive, and in a test; and none of these
# speaks of a directive that does not exist. People find directives in these places, and nowhere else.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
conf=$(sources '*.conf' | grep '^conf\.d/')
[ -n "$conf" ] || missing "conf.d/*.conf"
tests=$(find tests/unit tests/http -type f \( -name '*.c' -o -name '*.py' \))
[ -n "$tests" ] || missing "tests"

# Names in the tables of a module's folder: MACRO("Name", ...) or MACRO("<Name", ...) between
# "command_rec" and the end of the array
table_of() {
    cat "$1"/*.c | awk '/command_rec .*\{$/ { on = 1; next } /^\};/ { on = 0 } on' | tr '\n' ' ' \
        | grep -oE '[A-Z0-9_]+\([[:blank:]]*"<?[A-Za-z0-9]+"' | sed -e 's/.*("<\{0,1\}//' -e 's/"$//'
}

profile_table() {
    cat lib/x509/profile*.c | tr '\n' ' ' | grep -oE '\{[[:blank:]]*"Profile[A-Za-z]+"' | sed 's/.*"\(.*\)"/\1/'
}

# Rows of a directive's section in a page: "Syntax Default Context Status Module Since"
rows_of() {
    awk -v heading="## $2 directive" '
        $0 == heading { on = 1; next }
        /^## / { on = 0 }
        on && /^\| [A-Z][a-z]+: \| .+ \|$/ { sub(/^\| /, ""); sub(/:.*/, ""); print }' "$1"
}

syntax_of() {
    awk -v heading="## $2 directive" '
        $0 == heading { on = 1; next }
        /^## / { on = 0 }
        on && /^\| Syntax: \| / { sub(/^\| Syntax: \| `/, ""); print }' "$1"
}

check_module() {
    module=$1 page=docs/$1.md names=$2
    [ -s "$page" ] || missing "$page"
    absent_conf='' absent_page='' absent_test='' wrong=''
    for name in $names; do
        # shellcheck disable=SC2086
        grep -qE "(^|[^A-Za-z])$name([^A-Za-z]|\$)" $conf || absent_conf="$absent_conf $name"
        # shellcheck disable=SC2086
        grep -qE "(^|[^A-Za-z])$name([^A-Za-z]|\$)" $tests || absent_test="$absent_test $name"
        if ! grep -qx "## $name directive" "$page"; then
            absent_page="$absent_page $name"
            continue
        fi
        rows=$(rows_of "$page" "$name")
        for row in Description Syntax Default Context Status Module Since; do
            printf '%s\n' "$rows" | grep -qx "$row" || wrong="$wrong $name:no-$row"
        done
        syntax_of "$page" "$name" | grep -qvE "^<?$name[ >]" && wrong="$wrong $name:Syntax"
        anchor=$(printf %s "$name" | tr 'A-Z' 'a-z')-directive
        grep -q "\[$name\](#$anchor)" "$page" || wrong="$wrong $name:not-in-the-list"
    done
    verdict "$module: every directive is in conf.d" "${absent_conf# }"
    verdict "$module: every directive is in $page" "${absent_page# }"
    verdict "$module: every directive is in a test" "${absent_test# }"
    verdict "$module: $page says syntax, default, context, status, module and since" "${wrong# }"
    verdict "$module: $page has no other directives" "$(sed -n 's/^## \([A-Za-z]*\) directive$/\1/p' "$page" \
        | while read -r name; do
        printf '%s\n' $names | grep -qx "$name" || echo "$name"
    done)"
}

all=''
for folder in mod_*; do
    names=$(table_of "$folder" | sort -u)
    if [ "$folder" = mod_gatehouse ]; then
        profile=$(profile_table | sort -u)
        [ -n "$profile" ] || missing "the table of profile directives in lib/x509"
        verdict "mod_gatehouse has the profile directives of lib/x509, and no others" \
            "$(printf '%s\n%s\n' "$(printf '%s\n' "$names" | grep '^Profile')" "$profile" | sort | uniq -u)"
    fi
    [ -n "$names" ] || missing "the table of directives in $folder"
    all="$all $names"
    check_module "$folder" "$names"
done
[ -n "$all" ] || missing "modules"

# Directives of ours in the shipped configuration, also in comments that show how one is used
# shellcheck disable=SC2086
verdict "conf.d has no unknown directives" "$(grep -hoE \
    '^[[:blank:]#]*<?(Gatehouse[A-Z][A-Za-z]*|<Issuer|Issuer[A-Z][A-Za-z]*|CertificateProfile|Profile[A-Z][A-Za-z]*|SCEP[A-Z][A-Za-z]*|OCSP[A-Z][A-Za-z]*|Escrow[A-Z][A-Za-z]*|Thumbprint[A-Z][A-Za-z]*|WSTEP[A-Z][A-Za-z]*|<CertificateTemplate|Template[A-Z][A-Za-z]*)([[:blank:]]|>|$)' $conf \
    | tr -d '[:blank:]#<>' | sort -u | while read -r name; do
    printf '%s\n' $all | grep -qx "$name" || echo "$name"
done)"
finish
