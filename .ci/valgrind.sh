#!/usr/bin/env bash
# Exits with 0 where there is a valgrind, or apt could bring one.
set -euo pipefail

command -v valgrind >/dev/null && exit 0
if command -v apt-get >/dev/null; then
    apt-get -qq update >/dev/null 2>&1 || true
    apt-get -qq install --no-install-recommends -y valgrind >/dev/null 2>&1 || true
fi
command -v valgrind >/dev/null
