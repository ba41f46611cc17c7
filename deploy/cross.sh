#!/usr/bin/env bash
# Builds the agent for a 64-bit Raspberry Pi (Linux on arm64) on another machine.
#
#   deploy/cross.sh [ARGUMENTS OF CARGO BUILD…]    → target/aarch64-unknown-linux-gnu/…
#   deploy/cross.sh --by                           says with what: cross, rustup or debian
#
# It is built by `cross` where that and its container engine are there (cross.toml); else by
# rustup's Rust where that has the target (`rustup target add aarch64-unknown-linux-gnu`); else by
# Debian's own Rust, with the target's library that `deploy/setup.sh cross` has unpacked. The last
# two take Debian's C and C++ compilers for arm64. CROSS_BY=cross, rustup or debian chooses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=aarch64-unknown-linux-gnu

by() {
  if [ -n "${CROSS_BY:-}" ]; then echo "$CROSS_BY"
  elif command -v cross >/dev/null && { docker info || podman info; } >/dev/null 2>&1; then echo cross
  elif rustup target list --installed 2>/dev/null | grep -qx "$target"; then echo rustup
  else echo debian
  fi
}

by=$(by)
if [ "${1:-}" = --by ]; then
  echo "$by"
  exit
fi
build=(build --target "$target" -p cloudcore-agent "$@")
case $by in
  cross) CROSS_CONFIG=cross.toml exec cross "${build[@]}" ;;
  rustup) ;;
  debian)
    sysroot=$PWD/.cache/cross/sysroot
    [ -d "$sysroot" ] || { echo "cross: no library for $target: run deploy/setup.sh cross" >&2; exit 1; }
    export RUSTC=/usr/bin/rustc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="--sysroot $sysroot"
    ;;
  *) echo "cross: CROSS_BY is '$by'; known are cross, rustup and debian" >&2; exit 2 ;;
esac
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# The V4L2 camera's bindings are made from the target's headers.
export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu=-I/usr/aarch64-linux-gnu/include
exec cargo "${build[@]}"
