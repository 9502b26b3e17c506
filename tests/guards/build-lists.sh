#!/bin/sh
# Every source is in the Makefile fragment of its folder, so that it is built and is in the tarball;
# every unit test function is registered, since one that never runs cannot fail.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
fragments=$(sources '*.am')
files=$(c_sources)
[ -n "$fragments" ] && [ -n "$files" ] || missing "Makefile fragments and C sources"
# shellcheck disable=SC2086
listed=$(sed 's/#.*//' Makefile.am $fragments | tr -s ' \t\\=+' '\n' | sort -u)

verdict "every C file is listed in a Makefile fragment" "$(not_in "$files" "$listed")"

gone=$(printf '%s\n' "$listed" | grep -E '^(lib|mod_[a-z]*|tools|tests|bench|fcgi)/.*\.[ch]$' | while read -r file; do
    [ -f "$file" ] || echo "$file"
done)
verdict "every listed C file exists" "$gone"

tests=$(printf '%s\n' "$files" | grep '^tests/unit/.*\.c$')
[ -n "$tests" ] || missing "unit tests"
# shellcheck disable=SC2086
unregistered=$(awk '
    /^static void [a-z_0-9]+\(void \*\*/ {
        name = $0; sub(/^static void /, "", name); sub(/\(.*/, "", name); defined[name] = FILENAME ":" FNR }
    { line = $0
      while (match(line, /cmocka_unit_test[a-z_]*\([a-z_0-9]+/)) {
          name = substr(line, RSTART, RLENGTH); sub(/.*\(/, "", name); used[name] = 1
          line = substr(line, RSTART + RLENGTH) } }
    END { for (name in defined) if (!(name in used)) print defined[name] ": " name }' $tests)
verdict "every unit test is registered" "$unregistered"
finish
