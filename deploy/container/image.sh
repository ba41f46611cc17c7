#!/usr/bin/env bash
# Makes an image of a program that is built already, where no registry is at hand: the program, the
# libraries that it needs, and roots of trust. What `docker load`, `podman load`, `skopeo copy
# oci-archive:…` and `ctr image import` read; the same bytes for the same files.
#
#   deploy/container/image.sh hub|agent VERSION PROGRAM FILE.tar
#
# It runs where the program does: the libraries are this machine's. The names in it are
# ghcr.io/cloudcore-edge/cloudcore-hub:VERSION, or …-agent.
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
kind=$1 version=$2 program=$3 output=$(realpath "$4")
user=65532
case $kind in
  hub) state=/var/lib/cloudcore arguments='["serve"]' what='The CloudCore cloud hub' ;;
  agent) state=/var/lib/cloudcore-agent arguments='["run"]' what='The CloudCore edge agent' ;;
  *) echo "image: '$kind' is neither hub nor agent" >&2; exit 2 ;;
esac
name=cloudcore-$kind
time=$(date -u -d "@${SOURCE_DATE_EPOCH:-0}" +%Y-%m-%dT%H:%M:%SZ)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

install -D -m 755 "$program" "$root/usr/local/bin/$name"
# `ldd` names each library and the loader by its path; what the kernel maps has none.
ldd "$program" | grep -o '/[^ ]*' | sort -u | while read -r library; do
  install -D -m 755 "$library" "$root$library"
  # Each by its own licence.
  package=$(dpkg -S "*${library#/usr}" 2>/dev/null | head -1 | cut -d: -f1 || true)
  [ -z "$package" ] || install -D -m 644 "/usr/share/doc/$package/copyright" \
    "$root/usr/share/doc/$package/copyright"
done
install -D -m 644 "$here/../../LICENSE" "$root/usr/share/doc/$name/copyright"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%s:%s:nonroot:/:/sbin/nologin\n' $user $user > "$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:%s:\n' $user > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
install -d -m 1777 "$root/tmp"
install -d -m 755 "$root/var/lib"
install -d -m 700 "$work/state$state"

pack() { # FOLDER OWNER MORE…: to be the same each time
  tar -C "$1" --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --numeric-owner --owner="$2" \
    --group="$2" --format=gnu "${@:3}"
}
pack "$root" 0 -cf "$work/layer.tar" .
pack "$work/state" $user -rf "$work/layer.tar" ".$state"

blobs=$work/archive/blobs/sha256
mkdir -p "$blobs"
# store FILE: moves it to where its hash names it, and says its descriptor's parts.
store() {
  local hash
  hash=$(sha256sum "$1" | cut -d' ' -f1)
  mv "$1" "$blobs/$hash"
  printf '"digest":"sha256:%s","size":%s' "$hash" "$(stat -c %s "$blobs/$hash")"
}
digest() { sed 's/.*sha256:\([0-9a-f]*\).*/\1/' <<< "$1"; }

layer=$(store "$work/layer.tar")
healthcheck=
[ "$kind" = agent ] || healthcheck="\"Healthcheck\":{\"Test\":[\"CMD\",\"/usr/local/bin/$name\",\"health\"],\"StartPeriod\":300000000000},\"ExposedPorts\":{\"5000/tcp\":{},\"10000/udp\":{},\"1883/tcp\":{}},"
cat > "$work/config" <<JSON
{"architecture":"$(dpkg --print-architecture)","os":"linux","created":"$time",
"config":{"User":"$user:$user","Entrypoint":["/usr/local/bin/$name"],"Cmd":$arguments,$healthcheck
"Env":["PATH=/usr/local/bin","CLOUDCORE_DATA_DIR=$state"],"WorkingDir":"$state","Volumes":{"$state":{}},"StopSignal":"SIGTERM",
"Labels":{"org.opencontainers.image.title":"$name","org.opencontainers.image.description":"$what","org.opencontainers.image.version":"$version","org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.source":"https://github.com/cloudcore-edge/cloudcore-edge"}},
"rootfs":{"type":"layers","diff_ids":["sha256:$(digest "$layer")"]},
"history":[{"created":"$time","created_by":"deploy/container/image.sh"}]}
JSON
config=$(store "$work/config")
cat > "$work/manifest" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.image.config.v1+json",$config},
"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",$layer}]}
JSON
manifest=$(store "$work/manifest")
tag=ghcr.io/cloudcore-edge/$name:$version
printf '{"imageLayoutVersion":"1.0.0"}' > "$work/archive/oci-layout"
cat > "$work/archive/index.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$manifest,
"annotations":{"io.containerd.image.name":"$tag","org.opencontainers.image.ref.name":"$version"}}]}
JSON
# The older form, which `docker load` reads.
cat > "$work/archive/manifest.json" <<JSON
[{"Config":"blobs/sha256/$(digest "$config")","RepoTags":["$tag"],"Layers":["blobs/sha256/$(digest "$layer")"]}]
JSON
mkdir -p "$(dirname "$output")"
pack "$work/archive" 0 -cf "$output" .
printf '%s\n' "$tag"
