#!/bin/sh
# CHANGES begins with the version that configure.ac builds, and says something about it.
set -u
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$top/tests/guards/common"

cd "$top" || exit 1
version=$(sed -n 's/^AC_INIT(\[gatehouse\], \[\([^]]*\)\].*/\1/p' configure.ac)
[ -n "$version" ] || missing "the version in configure.ac"
for file in README.md LICENSE CHANGES DEVELOPING.md packages quickstart check .ci/run; do
    if [ -s "$file" ]; then ok "$file is there"; else not_ok "$file is there"; fi
done
first=$(sed -n 's/^Changes with Gatehouse //p' CHANGES | head -n 1)
if [ "$first" = "$version" ]; then
    ok "CHANGES begins with $version"
else
    not_ok "CHANGES begins with $version, not with \"$first\""
fi
entries=$(awk -v v="Changes with Gatehouse $version" '$0 == v { on = 1; next } /^Changes with/ { on = 0 }
    on && /^  \*\) / { n++ } END { print n + 0 }' CHANGES)
if [ "$entries" -gt 0 ]; then ok "CHANGES has entries"; else not_ok "CHANGES has entries"; fi
if grep -qE '(^|[^#]*)\./check' .ci/run; then ok ".ci/run calls ./check"; else not_ok ".ci/run calls ./check"; fi
finish
