#!/bin/sh
# rustc with LLVM's SanitizerCoverage pass: counters at every edge, and the operands of comparisons, which let the fuzzer guess magic
# numbers. cargo calls it for the crates of the workspace alone (RUSTC_WORKSPACE_WRAPPER): dependencies are those of every other build.
case " $* " in
*" --crate-name build_script_"* | *" --crate-type proc-macro "*) exec "$@" ;;
esac
# The lints of the code under test are judged where it is built for use; and most of the time of a short run is building.
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 \
    -Copt-level=1 \
    -Clink-dead-code \
    -Cdebug-assertions=yes \
    -Awarnings
