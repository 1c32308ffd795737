#!/usr/bin/env bash
# Puts Debian's slowhttptest where its test looks for it, target/tools/bin, unless it is on PATH. Nothing
# is installed on the machine: the package is only unpacked. Where it can't be had, the test is skipped,
# with a word on stderr here and there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=target/tools
skip() {
    echo "skipped $tools/bin/slowhttptest: $1" >&2
    exit 0
}

command -v slowhttptest >/dev/null && exit 0
[ ! -e "$tools/bin/slowhttptest" ] || exit 0
{ command -v apt-get && command -v dpkg-deb; } >/dev/null || skip "this is no Debian system"

mkdir -p "$tools/bin"
work=$(mktemp -d "$tools/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && timeout 120 apt-get -qq -o APT::Sandbox::User=root download slowhttptest) \
    >"$work/log" 2>&1 || skip "apt could not download it: $(tail -n 1 "$work/log")"
dpkg-deb -x "$work"/slowhttptest_*.deb "$work/unpacked"
mv "$work/unpacked/usr/bin/slowhttptest" "$tools/bin/"
