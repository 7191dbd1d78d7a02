#!/usr/bin/env bash
# Prints the licences of all that is linked into the program: each crate with its terms, then the texts that come with them, each
# once. Of a crate that brings no text the terms and the address tell.
set -euo pipefail

fail() { echo "third-party.sh: $*" >&2; exit 1; }

target=${1:?"usage: deploy/third-party.sh TARGET-TRIPLE"}
cd "$(dirname "$0")/.."
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
crates=$(cargo tree --locked --package adxingestor --target "$target" --edges normal,no-proc-macro --no-dedupe --prefix none \
  --format '{p}|{l}|{r}' | grep -v "($PWD" | LC_ALL=C sort -u)

echo "What is linked into adxingestor, and under which terms. Its own licence is the file LICENSE."
echo
declare -A holders texts
while IFS='|' read -r package terms address; do
  name=${package%% *}
  version=${package#* v}
  folder=$(find "$sources" -mindepth 2 -maxdepth 2 -name "$name-${version%% *}" -print -quit)
  [ -n "$folder" ] || fail "the source of $package is not below $sources; \`cargo fetch --locked\` brings it"
  echo "$name $version: ${terms:-see its text}, $address"
  while read -r text; do
    sum=$(sha256sum < "$text")
    texts[$sum]=$text
    holders[$sum]="${holders[$sum]:+${holders[$sum]}, }$name $version"
  done < <(find "$folder" -maxdepth 1 -type f \( -iname 'license*' -o -iname 'licence*' -o -iname 'copying*' -o -iname 'notice*' \
    -o -iname 'copyright*' -o -iname 'unlicense*' \) | LC_ALL=C sort)
done <<< "$crates"
echo "The standard library of Rust, copyright The Rust Project contributors: MIT OR Apache-2.0, https://github.com/rust-lang/rust"
case $target in *-musl) echo "The C library musl, copyright Rich Felker and others: MIT, https://musl.libc.org" ;; esac

for sum in $(for sum in "${!texts[@]}"; do echo "${holders[$sum]}|$sum"; done | LC_ALL=C sort | sed 's/.*|//; s/ .*//'); do
  sum="$sum  -"
  printf '\n%s\n%s\n\n' "--------------------------------------------------------------------------------" "${holders[$sum]}"
  cat "${texts[$sum]}"
done
