# How ./check runs its steps and counts what they say. Sourced by bash after common.sh.

passed=0 failed=0 skipped=0
failures=()
step_status=0

count_pass() { passed=$((passed + 1)); say "  passed: $1"; }

count_failure() { failed=$((failed + 1)); failures+=("$1"); say "  FAILED: $1"; }

# count_all NAME PASSED FAILED SKIPPED: adds what a step counted.
count_all() {
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
    say "  $1: $2 passed, $3 failed, $4 skipped"
    [ "$3" = 0 ] || failures+=("$1: $3 failed")
    [ "$4" = 0 ] || failures+=("$1: $4 skipped, which counts as a failure")
}

show_failures() {
    local line
    [ ${#failures[@]} -gt 0 ] || return 0
    head1 "What did not pass"
    for line in "${failures[@]}"; do say "  $line"; done
    say ""
}

# run_step NAME SECONDS LOG COMMAND...: runs a command with its output in a file and a limit of
# time; its exit status is left in step_status.
run_step() {
    local name=$1 seconds=$2 log=$3 begin=$SECONDS
    shift 3
    mkdir -p "$(dirname "$log")"
    step_status=0
    timeout --kill-after=10 "$seconds" "$@" >"$log" 2>&1 </dev/null || step_status=$?
    [ "$step_status" != 124 ] || say "$name took longer than $seconds s and was stopped" | tee -a "$log"
    if [ "$step_status" != 0 ]; then
        say "  $name: exit status $step_status; the end of $log:"
        tail -n 60 "$log" | sed 's/^/    /'
    else
        say "  $name: $((SECONDS - begin)) s"
    fi
}

# Lines "ok NAME" and "not ok NAME" of a guard. A guard that says nothing, or that fails without
# saying why, is a failure itself.
count_ok_lines() {
    local name=$1 log=$2 status=$3 good bad
    good=$(grep -c '^ok ' "$log") || true
    bad=$(grep -c '^not ok ' "$log") || true
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    if [ "$status" = 0 ] && { [ "$bad" -gt 0 ] || [ "$good" = 0 ]; }; then bad=$((bad + 1)); fi
    count_all "$name" "$good" "$bad" 0
}

# The programs that "make check" ran in a build folder, by their tests. A program that ended otherwise
# than it says, or that says nothing, counts as one failed test.
count_cmocka() {
    local build=$1 log=$2 status=$3 result good=0 bad=0 left_out=0 p f s programs=0
    while IFS= read -r result; do
        programs=$((programs + 1))
        p=$(($(sum_of 'PASSED ' "${result%.trs}.log") + $(inputs_of "${result%.trs}.log")))
        f=$(sum_of 'FAILED ' "${result%.trs}.log")
        s=$(sum_of 'SKIPPED' "${result%.trs}.log")
        if grep -q '^:test-result: PASS' "$result"; then
            [ "$((p + f))" -gt 0 ] || f=1
        else
            [ "$f" -gt 0 ] || f=1
            say "  $(basename "$result" .trs) failed; see ${result%.trs}.log"
        fi
        good=$((good + p)) bad=$((bad + f)) left_out=$((left_out + s))
    done < <(find "$build/tests" -name '*.trs' | sort)
    [ "$programs" -gt 0 ] || bad=$((bad + 1))
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    count_all "$programs unit test programs" "$good" "$bad" "$left_out"
}

# "[  PASSED  ] 12 test(s)." as cmocka writes it, once for each group of a program
sum_of() {
    awk -v word="[  $1 ]" 'index($0, word) == 1 { split(substr($0, length(word) + 1), n, " "); sum += n[1] }
        END { print sum + 0 }' "$2" 2>/dev/null || echo 0
}

# "112 inputs, ..." as the replay of a corpus says
inputs_of() {
    sed -n 's/^\([0-9][0-9]*\) inputs.*/\1/p' "$1" 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'
}

# The report of pytest.
count_junit() {
    local name=$1 report=$2 log=$3 status=$4 counts
    if [ ! -s "$report" ]; then
        count_all "$name" 0 1 0
        return 0
    fi
    counts=$(/usr/bin/python3 - "$report" <<'PY'
import sys
import xml.etree.ElementTree as tree

total = failed = skipped = 0
for suite in tree.parse(sys.argv[1]).getroot().iter("testsuite"):
    total += int(suite.get("tests"))
    failed += int(suite.get("failures")) + int(suite.get("errors"))
    skipped += int(suite.get("skipped"))
print(max(total - failed - skipped, 0), failed, skipped)
PY
    ) || counts='0 1 0'
    # shellcheck disable=SC2086
    set -- $counts
    if [ "$status" != 0 ] && [ "$2" = 0 ]; then set -- "$1" 1 "$3"; fi
    count_all "$name" "$1" "$2" "$3"
}
