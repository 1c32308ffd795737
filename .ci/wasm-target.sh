#!/usr/bin/env bash
# Makes `cargo build --target wasm32-wasip2` work with the active Rust toolchain.
#
# 1. Nothing to do if the target is already there.
# 2. `rustup target add`, the normal way.
# 3. Where rustup's download server cannot be reached but Debian's archive can:
#    build the target's standard library from Debian's `rust-src` of the very same
#    Rust version, with Debian's `wasi-libc`, and put it where rustup would.
#    apt checks the archive's signatures. Takes about a minute.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # so that `sh .ci/wasm-target.sh` works too
set -euo pipefail

target=wasm32-wasip2
sysroot=$(rustc --print sysroot)
target_dir=$sysroot/lib/rustlib/$target

have_target() { compgen -G "$target_dir/lib/libstd-*.rlib" >/dev/null; }

have_target && exit 0
echo "wasm-target: adding $target to $sysroot" >&2
if command -v rustup >/dev/null && timeout 120 rustup target add "$target" >/dev/null 2>&1 && have_target; then
    exit 0
fi

command -v apt-get >/dev/null || {
    echo "wasm-target: rustup could not add $target and this is no Debian system; install the target by hand" >&2
    exit 1
}

rust_version=$(rustc --version | awk '{print $2}')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,archives/partial,unpacked}

mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m1 '/debian/\?$' || true)
[ -n "$mirror" ] || { echo "wasm-target: apt names no Debian archive to take rust-src from" >&2; exit 1; }
for suite in trixie trixie-backports forky sid; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
done >"$work/sources.list"
apt_private() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
versions_of() {
    apt-cache -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        madison "$1" | awk -F' *\\| *' '{print $2}' | sort -uV
}
apt_private update
source_version=$(versions_of rust-src | grep -F "$rust_version+" | tail -1 || true)
libc_version=$(versions_of wasi-libc | tail -1)
if [ -z "$source_version" ]; then
    echo "wasm-target: Debian has no rust-src $rust_version (it has: $(versions_of rust-src | tr '\n' ' '))" >&2
    exit 1
fi
(cd "$work" && apt_private download "rust-src=$source_version" "wasi-libc=$libc_version")
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done

# Cargo's -Zbuild-std looks for the library's source inside the sysroot.
library_home=$sysroot/lib/rustlib/src
mkdir -p "$library_home"
rm -rf "$library_home/rust"
cp -a "$work/unpacked/usr/src/rustc-$rust_version" "$library_home/rust"
mkdir -p "$target_dir/lib/self-contained"
cp "$work/unpacked/usr/lib/$target/"* "$target_dir/lib/self-contained/"

mkdir -p "$work/seed/src"
printf '[package]\nname = "seed"\nversion = "0.0.0"\nedition = "2024"\n' >"$work/seed/Cargo.toml"
echo 'fn main() {}' >"$work/seed/src/main.rs"
# The same toolchain builds its own library, so its unstable flag is safe here;
# embedded bitcode lets plugins be linked with LTO.
(cd "$work/seed" && RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR="$work/build" \
    cargo build --quiet --release --target "$target" -Zbuild-std=std,panic_abort,proc_macro,test)
find "$work/build/$target/release/deps" -name '*.rlib' -exec cp {} "$target_dir/lib/" \;

have_target || { echo "wasm-target: the build left no standard library" >&2; exit 1; }
echo "wasm-target: built $target from Debian's rust-src $source_version and wasi-libc $libc_version" >&2
