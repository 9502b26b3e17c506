#!/bin/sh
# Message numbers are what people search for and what tests expect, so each stands in one place of the
# sources, none is used twice, and lib/messages.txt lists them all, with what to do: one line each,
# "GHnnnn|what went wrong|what to do", in order and without gaps. The list only grows: a number that
# was released keeps its line, for the text of a message may change but its number may not.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
list=lib/messages.txt
[ -s "$list" ] || missing "$list"
files=$(product_sources)
[ -n "$files" ] || missing "C sources of the product"

# shellcheck disable=SC2086
used=$(without_comments $files | grep -v '^lib/log\.h:' | grep -oE 'GHNO\([0-9A-Za-z]*\)' \
    | sed 's/GHNO(\(.*\))/GH\1/')
[ -n "$used" ] || missing "GHNO() in the sources"
listed=$(cut -d'|' -f1 "$list")

verdict "each line has a number, what went wrong and what to do" \
    "$(grep -nvE '^GH[0-9]{4}\|[^|]+\|[^|]+$' "$list")"
verdict "numbers are in order and without gaps" "$(printf '%s\n' "$listed" \
    | awk '{ n = substr($0, 3) + 0 } NR > 1 && n != last + 1 { print last " is followed by " n }
           { last = n }' )"
verdict "no number is used twice" "$(printf '%s\n' "$used" | sort | uniq -d)"
verdict "every number used is listed" "$(not_in "$used" "$listed" | sort -u)"
verdict "every number listed is used" "$(not_in "$listed" "$used")"
# A message without a number would be found by nobody.
# shellcheck disable=SC2086
verdict "every failure has a number" "$(awk '
    { line = $0 }
    /(gh_result_fail|gh_result_openssl)\(/ && FILENAME !~ /lib\/result\.[ch]$/ {
        call = ""; begin = FNR; open = 1 }
    # a macro passes on what its users say
    /^#define/ { macro = 1 }
    macro { open = 0; if (line !~ /\\$/) macro = 0; next }
    open { call = call line " "
           if (line ~ /;[[:blank:]]*$/) {
               if (call !~ /GHNO\(/ && call !~ /format/) print FILENAME ":" begin
               open = 0 } }' $files)"

if git rev-parse --verify -q HEAD >/dev/null 2>&1 && git cat-file -e "HEAD:$list" 2>/dev/null; then
    before=$(git show "HEAD:$list" | cut -d'|' -f1)
    verdict "no number of the last commit is gone" "$(not_in "$before" "$listed")"
fi
verdict "docs/messages.md agrees with $list" \
    "$(sh scripts/messages-page "$list" | diff docs/messages.md - 2>&1 | head -n 20)"
finish
