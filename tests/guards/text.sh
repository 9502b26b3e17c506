#!/bin/sh
# The text of the sources: no tabs, no blanks at line ends, no long lines in C, the licence in each C
# file, no marks of unfinished work, and nothing that names the machine it was written on.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
c_files=$(c_sources)
[ -n "$c_files" ] || missing "C sources"
all=$(sources '*.c' '*.h' '*.py' '*.sh' '*.am' '*.conf' '*.md' '*.txt' common install-packages \
    | grep -v '^tests/fixtures/.*\.txt$')
all="$all quickstart check README.md DEVELOPING.md CHANGES packages configure.ac Makefile.am"
tab=$(printf '\t')
no_tabs=$(printf '%s\n' $all | grep -vE '\.am$')

# shellcheck disable=SC2086
{
verdict "no tabs" "$(grep -n "$tab" $no_tabs | cut -c1-100)"
verdict "no blanks at line ends" "$(grep -nE '[[:blank:]]+$' $all | cut -c1-100)"
verdict "no C line of more than 100 columns" "$(awk 'length($0) > 100 { print FILENAME ":" FNR }' $c_files)"
verdict "each C file names its licence first" "$(awk '
    BEGIN { licence = "/* Licensed under the Apache License, Version 2.0. See LICENSE. */" }
    FNR == 1 && index($0, licence) == 0 { print FILENAME }' $c_files)"
verdict "no marks of unfinished work" "$(grep -nE '\b(TODO|FIXME|XXX)\b' $all | grep -v '^tests/guards/')"
verdict "no paths of a particular machine" \
    "$(grep -nE '(^|[^A-Za-z0-9_./$}])/(work|home|root|farm)/' $all | grep -v '^tests/guards/' | cut -c1-120)"
# of each file its name in a line, and what stands behind its last line end
verdict "files end with a line end" "$(tail -c 1 -v $all | awk '
    /^==> .* <==$/ { file = $2; next }
    $0 != "" { print file }')"
}
finish
