#!/bin/sh
# A file of more than 600 lines does two jobs, and a function of more than 80 cannot be seen at once:
# both are split before they grow there.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
sources '*.c' '*.h' '*.py' '*.sh' '*.am' >"${TMPDIR:-/tmp}/guard.$$"
trap 'rm -f "${TMPDIR:-/tmp}/guard.$$"' EXIT
need_files "sources" <"${TMPDIR:-/tmp}/guard.$$"

# shellcheck disable=SC2086
lines=$(wc -l $files quickstart check) || missing "a source"
verdict "no file of more than 600 lines" "$(printf '%s\n' "$lines" \
    | awk '$1 > 600 && $2 != "total" { print $2 ": " $1 " lines" }')"

c_files=$(c_sources)
[ -n "$c_files" ] || missing "C sources"
# A function's body begins and ends with a brace in the first column.
# shellcheck disable=SC2086
long=$(awk '
    FNR == 1 { begin = 0 }
    /^\{/ { begin = FNR }
    /^\}/ { if (begin && FNR - begin + 1 > 80) print FILENAME ":" begin ": " FNR - begin + 1 " lines"
            begin = 0 }' $c_files)
verdict "no function of more than 80 lines" "$long"
finish
