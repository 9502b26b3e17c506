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

# Names that stand in files as words of their own
words_of() { cat "$@" | tr -cs 'A-Za-z0-9' '\n' | sort -u; }

# wrong_sections PAGE NAME...: what is lacking in the sections of directives that are in a page
wrong_sections() {
    file=$1
    shift
    awk -v names="$*" '
        BEGIN { count = split(names, list, " ")
                rows = split("Description Syntax Default Context Status Module Since", row, " ") }
        /^## [A-Za-z0-9]+ directive$/ { name = $2; there[name] = 1; next }
        /^## / { name = "" }
        name != "" && /^\| [A-Z][a-z]+: \| .+ \|$/ {
            what = $2; sub(/:$/, "", what); has[name " " what] = 1
            if (what == "Syntax" && $0 !~ "^\\| Syntax: \\| `<?" name "[ >]") syntax[name] = 1 }
        { line = $0
          while (match(line, /\[[A-Za-z0-9]+\]\(#[a-z0-9]+-directive\)/)) {
              link = substr(line, RSTART + 1, RLENGTH - 1); text = link
              sub(/\].*/, "", text); sub(/.*\(#/, "", link)
              if (link == tolower(text) "-directive)") linked[text] = 1
              line = substr(line, RSTART + RLENGTH) } }
        END { for (i = 1; i <= count; i++) {
                  name = list[i]
                  if (!(name in there)) continue
                  for (k = 1; k <= rows; k++)
                      if (!((name " " row[k]) in has)) print name ":no-" row[k]
                  if (name in syntax) print name ":Syntax"
                  if (!(name in linked)) print name ":not-in-the-list" } }' "$file"
}

check_module() {
    module=$1 page=docs/$1.md names=$2
    [ -s "$page" ] || missing "$page"
    there=$(sed -n 's/^## \([A-Za-z0-9]*\) directive$/\1/p' "$page")
    verdict "$module: every directive is in conf.d" "$(not_in "$names" "$conf_words")"
    verdict "$module: every directive is in $page" "$(not_in "$names" "$there")"
    verdict "$module: every directive is in a test" "$(not_in "$names" "$test_words")"
    # shellcheck disable=SC2086
    verdict "$module: $page says syntax, default, context, status, module and since" \
        "$(wrong_sections "$page" $names)"
    verdict "$module: $page has no other directives" "$(not_in "$there" "$names")"
}

# shellcheck disable=SC2086
conf_words=$(words_of $conf)
# shellcheck disable=SC2086
test_words=$(words_of $tests)
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
    all="$all
$names"
    check_module "$folder" "$names"
done
[ -n "$all" ] || missing "modules"

# Directives of ours in the shipped configuration, also in comments that show how one is used
# shellcheck disable=SC2086
verdict "conf.d has no unknown directives" "$(grep -hoE \
    '^[[:blank:]#]*<?(Gatehouse[A-Z][A-Za-z]*|<Issuer|Issuer[A-Z][A-Za-z]*|CertificateProfile|Profile[A-Z][A-Za-z]*|SCEP[A-Z][A-Za-z]*|OCSP[A-Z][A-Za-z]*|Escrow[A-Z][A-Za-z]*|Thumbprint[A-Z][A-Za-z]*|WSTEP[A-Z][A-Za-z]*|<CertificateTemplate|Template[A-Z][A-Za-z]*)([[:blank:]]|>|$)' $conf \
    | tr -d '[:blank:]#<>' | sort -u | grep -vxF -e "$all")"
finish
