#!/bin/sh
# Who may know whom. The library builds without httpd and holds no state of its own; so does the core
# of a protocol module, which unit tests link without httpd. What a protocol module has to do with
# httpd, its glue, knows no ASN.1. A file is one or the other.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
library=$(product_sources | grep '^lib/')
[ -n "$library" ] || missing "sources of the library"
protocol=$(product_sources | grep '^mod_' | grep -v '^mod_gatehouse/')
[ -n "$protocol" ] || missing "sources of protocol modules"

include='^[[:blank:]]*#[[:blank:]]*include[[:blank:]]*'
httpd="$include"'[<"]([a-z_]*/)?(ap_[a-z_]*|http[a-z_]*|util_[a-z_]*|mod_[a-z_]*|mpm_[a-z_]*|scoreboard|unixd)\.h[>"]'

# shellcheck disable=SC2086
verdict "lib/ includes no httpd headers" "$(grep -nHE "$httpd" $library)"

# The glue: what includes httpd headers, and what includes a header that does.
# shellcheck disable=SC2086
glue=$(grep -lE "$httpd" $protocol)
for _ in 1 2 3; do
    for header in $(printf '%s\n' "$glue" | grep '\.h$'); do
        # shellcheck disable=SC2086
        glue=$(printf '%s\n' "$glue" $(grep -lE "$include\"([a-z_]*/)?$(basename "$header")\"" $protocol) | sort -u)
    done
done
cores=$(printf '%s\n' "$protocol" | while read -r file; do
    printf '%s\n' "$glue" | grep -qxF "$file" || echo "$file"
done)
[ -n "$glue" ] && [ -n "$cores" ] || missing "glue and core of a protocol module"

# shellcheck disable=SC2086
verdict "protocol glue includes no ASN.1" "$(grep -nHE \
    "$include<openssl/(asn1|asn1t|cms|pkcs7|pkcs12|x509|x509v3|objects)\.h>" $glue)"

# Objects of unit tests, and of the libraries in a module's folder that both module and tests link, see
# no header of httpd: HTTPD_CPPFLAGS is for the modules alone. The main file of a program (*_main.c)
# stands for itself.
# shellcheck disable=SC2046
fragments=$(sed -e 's/#.*//' -e :a -e '/\\$/N; s/\\\n/ /; ta' $(sources '*.am'))
linked=$(printf '%s\n' "$fragments" | sed -n -e 's/^tests_unit_.*_SOURCES *+*= *//p' \
    -e 's/^mod_[a-z]*_lib[a-z]*_la_SOURCES *+*= *//p' | tr -s ' \t' '\n')
[ -n "$linked" ] || missing "sources of unit tests"
verdict "protocol cores are built into unit tests, without httpd" "$(printf '%s\n' "$cores" | grep '\.c$' | grep -v '_main\.c$' \
    | while read -r file; do
    printf '%s\n' "$linked" | grep -qxF "$file" || echo "$file"
done)"
verdict "only modules see httpd's headers" "$(printf '%s\n' "$fragments" | grep 'HTTPD_CPPFLAGS' \
    | grep -vE '^(bench_|tests_fixtures_)?mod_[a-z_]+_la_CPPFLAGS')"

# Mutable data at file level: a definition that begins in the first column, is not const, not a
# function and not a type.
# shellcheck disable=SC2086
globals=$(without_comments $library $cores \
    | sed -n 's/^\([^:]*:[0-9]*\):\(.*\)$/\1 \2/p' \
    | grep -E '^[^ ]*\.c:[0-9]+ (static )?[A-Za-z_][A-Za-z0-9_ ]*[ *]+[A-Za-z_][A-Za-z0-9_]*(\[[^]]*\])?( *=.*|;)$' \
    | grep -vE ' (extern|typedef|return|struct [A-Za-z_]+;|union|enum|goto|const .*|static const .*|.*\bconst\b.*)' \
    | grep -vE 'pthread_once_t|_Thread_local')
verdict "no mutable global state in the library and the cores" "$globals"
finish
