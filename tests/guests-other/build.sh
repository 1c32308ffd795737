#!/usr/bin/env bash
# Builds target/test-guests/js.wasm and py.wasm with the public toolchains of their languages.
# A guest whose toolchain is not here, or can't be downloaded, is skipped with a word on stderr.
set -euo pipefail
cd "$(dirname "$0")/../.."

JS=0.23.0 # @bytecodealliance/componentize-js, from npm
PY=0.25.1 # componentize-py, from PyPI

sources=tests/guests-other
tools=target/tools
guests=target/test-guests

main() {
    mkdir -p "$tools" "$guests"
    work=$(mktemp -d "$tools/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    guest js "$sources/js"
    guest py "$sources/python"
}

# guest NAME FOLDER: builds one guest, unless it is newer than what it is made from.
guest() {
    local file=$guests/$1.wasm
    if [ -e "$file" ] && [ -z "$(find "$2" "$sources/build.sh" -type f -newer "$file")" ]; then
        return
    fi
    # An outdated guest must not be tested in place of the one that is skipped.
    "install_$1" || { rm -f "$file"; return 0; }
    echo "building $file" >&2
    "build_$1" "$2" "$work/$1.wasm" >"$work/log" 2>&1 || {
        echo "$file could not be built:" >&2
        tail -n 20 "$work/log" >&2
        exit 1
    }
    mv "$work/$1.wasm" "$file"
}

install_js() {
    { command -v node && command -v npm; } >/dev/null || { skip js "there is no npm"; return 1; }
    fetch js "$JS" npm install --prefix "$tools/js" --save-exact --no-audit --no-fund \
        --fetch-retries 1 "@bytecodealliance/componentize-js@$JS"
}

install_py() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || {
        skip py "there is no python3 with venv and pip"
        return 1
    }
    fetch py "$PY" pip_install "componentize-py==$PY"
}

pip_install() {
    python3 -m venv --clear "$tools/py" &&
        "$tools/py/bin/pip" install --disable-pip-version-check --retries 1 --only-binary :all: "$1"
}

# fetch NAME VERSION COMMAND...: runs the command, which installs the tool, unless it has been.
fetch() {
    local stamp=$tools/$1/installed
    [ "$(cat "$stamp" 2>/dev/null)" != "$2" ] || return 0
    echo "installing $tools/$1" >&2
    "${@:3}" >"$work/log" 2>&1 || {
        skip "$1" "its toolchain could not be installed:"
        tail -n 12 "$work/log" >&2
        return 1
    }
    echo "$2" >"$stamp" # last, so that half an installation doesn't count
}

skip() {
    echo "skipped $guests/$1.wasm: $2" >&2
}

build_js() {
    # JavaScript imports an interface by its full name, so the version comes from the WIT.
    local wit version
    wit=$(wasi_http) || return
    version=$(sed -n 's/^package wasi:http\(@.*\);.*/\1/p' "$wit/deps/http.wit")
    sed "s|'wasi:http/types'|'wasi:http/types$version'|" "$1/app.js" >"$work/app.js"
    "$tools/js/node_modules/.bin/componentize-js" "$work/app.js" \
        --wit "$wit" --world-name wasi:http/proxy --out "$2"
}

build_py() {
    local wit
    wit=$(wasi_http) || return
    cp -R "$1" "$work/python" # Python leaves a __pycache__ beside what it imports
    "$tools/py/bin/componentize-py" --quiet --wit-path "$wit" --world wasi:http/proxy \
        componentize --python-path "$work/python" app --output "$2"
}

# wasi_http: the WIT folder of the crate that the host serves wasi:http with.
wasi_http() {
    local platform manifest
    platform=$(rustc -vV | sed -n 's/^host: //p') # else cargo wants all platforms' crates
    manifest=$(cargo metadata --locked --format-version 1 --filter-platform "$platform" |
        grep -o '"manifest_path":"[^"]*/wasmtime-wasi-http[^/"]*/Cargo.toml"' | cut -d '"' -f 4) || return
    echo "${manifest%/*}/wit"
}

main
