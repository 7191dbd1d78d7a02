#!/usr/bin/env bash
# Builds the static program and puts it, host.json, the function folders and the licences of what is linked into it into a zip that Azure Functions takes as it is
# (azure-docs `functions-custom-handlers`, "Application structure"). The same sources and program give the same bytes.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: deploy/package.sh [--target TRIPLE] [--binary FILE] [--out FILE]

  --target TRIPLE  what to build for [x86_64-unknown-linux-musl]; install it with `rustup target add TRIPLE`
  --binary FILE    packs this program instead of building one
  --out FILE       the zip [target/package/adxingestor.zip]

Needs Info-ZIP's `zip`, GNU coreutils and cargo; to build for the default target `musl-gcc` (Debian: musl-tools).
SOURCE_DATE_EPOCH sets the time of the entries [1980-01-01, the oldest that a zip can hold].
USAGE
}

fail() { echo "package.sh: $*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
target=x86_64-unknown-linux-musl
binary=
out=$root/target/package/adxingestor.zip
while [ $# -gt 0 ]; do
  case $1 in
    --target | --binary | --out)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in --target) target=$2 ;; --binary) binary=$(realpath -- "$2") ;; --out) out=$(realpath -m -- "$2") ;; esac
      shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
command -v zip > /dev/null || fail "zip is missing; on Debian: apt-get install zip"

cd "$root"
if [ -z "$binary" ]; then
  case $target in *-musl) ;; *-gnu) export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" ;; esac
  cargo build --locked --release --target "$target" --bin adxingestor
  binary=${CARGO_TARGET_DIR:-target}/$target/release/adxingestor
  # The Functions image has a C library of its own, older or newer than the one here.
  if command -v readelf > /dev/null && readelf --program-headers "$binary" | grep -q INTERP; then
    fail "$binary is not static: it asks for a loader"
  fi
fi
[ -f "$binary" ] || fail "$binary is no file"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
# Where host.json says that the handler is.
handler=$(sed -n 's/.*"defaultExecutablePath": *"\([^"]*\)".*/\1/p' host.json)
[ -n "$handler" ] || fail "host.json names no defaultExecutablePath"
install -D -m 755 "$binary" "$stage/$handler"
install -m 644 host.json LICENSE "$stage"
deploy/third-party.sh "$target" > "$stage/THIRD-PARTY.txt"
chmod 644 "$stage/THIRD-PARTY.txt"
for function in */function.json; do
  install -D -m 644 "$function" "$stage/$function"
done

# Times in a zip are local and even: one zone, one time. `-X` leaves out users and further times, `-D` folders.
export TZ=UTC
find "$stage" -exec touch --date="@${SOURCE_DATE_EPOCH:-315532800}" {} +
mkdir -p "$(dirname "$out")"
rm -f "$out"
(cd "$stage" && find . -type f -printf '%P\n' | LC_ALL=C sort | zip -q -X -D "$out" -@)

echo "path:   $out"
echo "size:   $(stat --format=%s "$out") bytes"
echo "sha256: $(sha256sum "$out" | cut -d ' ' -f 1)"
