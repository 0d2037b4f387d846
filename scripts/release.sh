#!/usr/bin/env bash
# release.sh [OUT]: what a release consists of, in build/release: an archive for each platform with the program, manual pages,
# shell completion, licence, docs and examples, and SHA256SUMS. Linux x86-64 with the C kernels, linked statically, so that it asks for
# no glibc; Linux arm64, with the C kernels where CC_ARM64 or aarch64-linux-gnu-gcc is there, else without; and with CUDA=1
# x86-64 with the CUDA backend (docs/cuda.md), whose glibc floor is checked. The same tag and toolchain give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/release}
floor=${GLIBC_FLOOR:-2.34}
version=$(git describe --tags --always --dirty 2>/dev/null || echo unknown)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pack NAME PROGRAM: the archive of a program
pack() {
  local name=longlora-$version-$1 dir=$work/longlora-$version-$1
  mkdir -p "$dir/man" "$dir/completion"
  cp "$2" "$dir/longlora"
  cp -r LICENSE README.md CHANGELOG.md docs configs examples "$dir"
  "$work/here" man --out "$dir/man" >/dev/null
  for shell in bash zsh fish; do "$work/here" completion "$shell" >"$dir/completion/longlora.$shell"; done
  tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$work" -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"
  echo "$out/$name.tar.gz"
}

# The commit is stamped, whatever GOFLAGS says, and the tag where there is one; where this is no repository, nothing is.
stamp=true
git rev-parse HEAD >/dev/null 2>&1 || stamp=false
export GOFLAGS="${GOFLAGS:-} -trimpath -buildvcs=$stamp"

build() { go build "$@" ./cmd/longlora; }

build -o "$work/here" # pages and completion come from a program that runs on this machine
GOARCH=amd64 CGO_ENABLED=1 build -tags netgo,osusergo -ldflags '-s -w -linkmode external -extldflags "-static"' -o "$work/amd64"
if readelf -d "$work/amd64" | grep -q NEEDED; then echo "release.sh: the x86-64 program is not static" >&2; exit 1; fi
pack linux-amd64 "$work/amd64"

cc=${CC_ARM64:-$(command -v aarch64-linux-gnu-gcc || true)}
if [ -n "$cc" ]; then
  CC=$cc GOARCH=arm64 CGO_ENABLED=1 build -tags netgo,osusergo -ldflags '-s -w -linkmode external -extldflags "-static"' -o "$work/arm64"
else
  echo "note: no compiler for arm64: that program has no C kernels, and is several times slower" >&2
  GOARCH=arm64 CGO_ENABLED=0 build -ldflags '-s -w' -o "$work/arm64"
fi
pack linux-arm64 "$work/arm64"

if [ -n "${CUDA:-}" ]; then
  make cuda
  needs=$(objdump -T bin/longlora-cuda | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -1)
  if [ "$(printf '%s\n%s\n' "$needs" "$floor" | sort -V | tail -1)" != "$floor" ]; then
    echo "release.sh: the CUDA program asks for glibc $needs; the floor is $floor: build it on an older system" >&2
    exit 1
  fi
  echo "glibc $needs is the floor of the CUDA program"
  pack linux-amd64-cuda bin/longlora-cuda
fi
(cd "$out" && sha256sum longlora-"$version"-*.tar.gz >SHA256SUMS && cat SHA256SUMS)
