#!/bin/sh
# Functions that cannot be used safely, or that the project has decided against: unbounded copies,
# conversions that hide errors, hidden state between calls, PKCS7_* (CMS_* does the same and more),
# and comparisons of secrets whose time depends on the bytes.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
files=$(product_sources)
[ -n "$files" ] || missing "C sources of the product"
# shellcheck disable=SC2086
text=$(without_comments $files)
[ -n "$text" ] || missing "text of the sources"

names='strcpy strcat strncpy strncat sprintf vsprintf gets atoi atol atoll atof strtok alloca asctime
ctime gmtime localtime rand srand random tmpnam mktemp system popen setjmp longjmp assert'
suspects=$(printf '%s\n' "$text" \
    | grep -E "(^|[^A-Za-z0-9_>.])($(printf '%s' "$names" | tr ' \n' '||')) *\(")
for name in $names; do
    verdict "no $name()" "$(printf '%s\n' "$suspects" | grep -E "(^|[^A-Za-z0-9_>.])$name *\(")"
done
verdict "no PKCS7_* of OpenSSL" "$(printf '%s\n' "$text" | grep -E '(^|[^A-Za-z0-9_])(d2i_|i2d_)?PKCS7_[A-Za-z]|[^A-Za-z0-9_](d2i|i2d)_PKCS7')"
verdict "no ERR_print_errors" "$(printf '%s\n' "$text" | grep 'ERR_print_errors')"

# malloc and its kin only where no pool can serve: rows and queues that outlive the call they came
# with (the store, workers), and buffers that grow while a file or pipe is read (tools, what a feeder fetches).
pools='^(lib/store/|lib/status/index_build\.c:|tools/ctl_(file|process)\.c:|mod_ocsp/feeder/ocsp_(buffer|document)\.c:|fcgi/(framework|listener)\.c:)'
verdict "memory comes from pools" "$(printf '%s\n' "$text" \
    | grep -E '(^|[^A-Za-z0-9_])(malloc|calloc|realloc|strdup|strndup) *\(' | grep -vE "$pools")"
finish
