#!/usr/bin/env bash
# From an empty Debian to a joined node and back, in a container with systemd: `make test-edge`.
# Needs root, and what `deploy/setup.sh edge` installs. The hub runs on this machine; the
# container shares its network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
bin=${CLOUDCORE_BIN:-$root/target/debug}
cache=$root/.cache/edge
work=$(mktemp -d "${TMPDIR:-/tmp}/cloudcore-edge.XXXXXX")
node=$work/node
hub_pid='' nspawn_pid='' passed=0

say() { printf 'edge: %s\n' "$*" >&2; }
finish() {
  local code=$?
  trap - EXIT
  if [ "$code" -ne 0 ]; then
    say "FAILED; the last of the logs:"
    tail -n 15 "$work/hub.log" >&2 || true
    inside 'journalctl -u cloudcore-agent -n 30 --no-pager' >&2 || true
  fi
  [ -z "$nspawn_pid" ] || { kill -TERM "$nspawn_pid" 2>/dev/null || true; wait "$nspawn_pid" || true; }
  [ -z "$hub_pid" ] || { kill "$hub_pid" 2>/dev/null || true; wait "$hub_pid" 2>/dev/null || true; }
  rm -rf "$work"
  [ "$code" -ne 0 ] || say "$passed checks passed"
  exit "$code"
}
trap finish EXIT
trap 'exit 1' INT TERM

ok() { passed=$((passed + 1)); say "ok: $*"; }
fail() { say "NOT OK: $*"; exit 1; }
# until_true SECONDS WHAT COMMAND...
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || fail "waited for: $what"
    sleep 0.5
  done
}

# A command in the container, by a shared folder: a machine that is not registered has no shell
# of its own to call. Prints its output; its exit code is this one's.
serial=0
inside() {
  serial=$((serial + 1))
  local name=$$.$serial.$RANDOM
  printf '%s\n' "$1" > "$node/rig/$name.tmp"
  mv "$node/rig/$name.tmp" "$node/rig/$name.cmd"
  local end=$((SECONDS + 90))
  until [ -e "$node/rig/$name.rc" ]; do
    [ "$SECONDS" -lt "$end" ] || { say "no answer to: $1"; return 124; }
    sleep 0.05
  done
  cat "$node/rig/$name.out"
  return "$(cat "$node/rig/$name.rc")"
}

make_node() {
  mkdir -p "$cache" "$node"
  [ -e "$cache/debian.tar" ] ||
    mmdebstrap --quiet --variant=minbase \
      --include=systemd,systemd-sysv,dbus,kmod,curl,ca-certificates bookworm "$cache/debian.tar"
  tar -xf "$cache/debian.tar" -C "$node"
  mkdir "$node/rig"
  cat > "$node/rig/serve" <<'SERVE'
#!/bin/bash
# Runs what is put into /rig, until the machine stops.
while :; do
  for file in /rig/*.cmd; do
    [ -e "$file" ] || continue
    name=${file%.cmd}
    mv "$file" "$name.run"
    bash "$name.run" > "$name.out" 2>&1
    echo $? > "$name.rc.tmp"
    mv "$name.rc.tmp" "$name.rc"
  done
  sleep 0.05
done
SERVE
  chmod 755 "$node/rig/serve"
  printf '[Service]\nExecStart=/rig/serve\nKillMode=process\n[Install]\nWantedBy=multi-user.target\n' \
    > "$node/etc/systemd/system/rig.service"
  mkdir -p "$node/etc/systemd/system/multi-user.target.wants"
  ln -s ../rig.service "$node/etc/systemd/system/multi-user.target.wants/rig.service"
}

boot() {
  systemd-nspawn -q -D "$node" --boot --register=no --keep-unit --console=pipe \
    > "$work/console.log" 2>&1 < /dev/null &
  nspawn_pid=$!
  until_true 90 "the container's start" inside true
}

release() { # VERSION FILE [KEY]
  local name=cloudcore-agent-$1-linux-$architecture
  install -m 755 "$2" "$work/downloads/.new"
  deploy/sign-release.sh "$1" "$architecture" "$work/downloads/.new" "${3:-$work/good.key}"
  mv "$work/downloads/.new.minisig" "$work/downloads/$name.minisig"
  mv "$work/downloads/.new" "$work/downloads/$name"
}

start_hub() {
  CLOUDCORE_ADMIN_PASSWORD='correct horse' CLOUDCORE_RATE_LIMIT=0 "$bin/cloudcore-hub" serve \
    --data-dir "$work/hub" --downloads "$work/downloads" --http 127.0.0.1:0 --quic 127.0.0.1:0 \
    --mqtt 127.0.0.1:0 > "$work/ready" 2> "$work/hub.log" &
  hub_pid=$!
  until_true 40 "the hub" grep -q '"ready"' "$work/ready"
  api=http://$(jq -r .http "$work/ready")
  quic=$(jq -r .quic "$work/ready")
  session=$(curl -fsS "$api/api/auth/login" -H 'content-type: application/json' \
    -d '{"username":"admin","password":"correct horse"}' | jq -r .token)
}
call() { curl -sS -H "Authorization: Bearer $session" -H 'content-type: application/json' "$@"; }
online() { call "$api/api/kubeedge/device/edge-1" | jq -e '.device_status.online == true'; }

# How a command ended: its status and, where it failed, the error's term.
command_ends() { # JSON
  local id answer
  id=$(call "$api/api/kubeedge/device/edge-1/command" -d "{\"timeout\":300,$1}" | jq -r .command_id)
  until_true 150 "the end of $1" ended "$id"
  answer=$(call "$api/api/kubeedge/command/$id/status")
  say "  $(jq -c '[.status, .result // .error]' <<< "$answer")"
  printf '%s' "$answer"
}
ended() { call "$api/api/kubeedge/command/$1/status" | jq -e '.status | IN("completed","failed","timed_out","expired","cancelled")'; }
remains() {
  inside 'ls -d /etc/systemd/system/cloudcore* /etc/systemd/system/*/cloudcore* /var/lib/cloudcore* \
    /usr/local/bin/* /usr/bin/cloudcore* /usr/bin/keadm 2>/dev/null
    getent passwd cloudcore; getent group cloudcore
    systemctl list-units --all --plain --no-legend "cloudcore*"'
}
running_pid() { inside 'systemctl show -P MainPID cloudcore-agent'; }

case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; esac
mkdir "$work/downloads"
for key in good bad; do minisign -GWf -p "$work/$key.pub" -s "$work/$key.key" > /dev/null; done
public=$(tail -n 1 "$work/good.pub")
make_node
strip -o "$work/agent" "$bin/cloudcore-agent"
release 0.1.0 "$work/agent"
start_hub
boot
ok "an empty Debian runs"

token=$(call "$api/api/kubeedge/token/generate" -d '{"node_name":"edge-1"}' | jq -r .token)
if said=$(inside "curl -fsSL $api/install.sh | setpriv --reuid=1000 sh -s -- --token x"); then
  fail "anybody installs"
fi
grep -q 'sudo' <<< "$said" || fail "no remedy: $said"
ok "without root it says what to do"
install="curl -fsSL $api/install.sh | sh -s -- --node edge-1 --update-key $public --token"
inside "$install $token" >&2 || fail "the install line"
until_true 40 "the device online" online
ok "one line: installed, joined, online"
inside "$install $token" >&2 || fail "the install line, again"
until_true 40 "the device online" online
ok "the same line again changes nothing"

exposure=$(inside 'systemd-analyze security --no-pager cloudcore-agent' | sed -n 's/.*service: \([0-9.]*\).*/\1/p')
awk -v e="$exposure" 'BEGIN { exit !(e != "" && e <= 2.0) }' || fail "exposure '$exposure'"
ok "exposure $exposure"
[ "$(inside 'stat -c %U /proc/$(systemctl show -P MainPID cloudcore-agent)')" = cloudcore ] || fail "the user"
ok "it runs as its own user"

before=$(running_pid)
inside "kill -9 $before"
until_true 40 "another process" eval '[ "$(running_pid)" != "$before" ] && [ "$(running_pid)" != 0 ] && online'
ok "kill -9: it runs again"
before=$(running_pid)
inside 'mkdir -p /etc/systemd/system/cloudcore-agent.service.d; printf "[Service]\nWatchdogSec=4\n" > /etc/systemd/system/cloudcore-agent.service.d/rig.conf; systemctl daemon-reload; systemctl restart cloudcore-agent'
until_true 40 "the device online" online
before=$(running_pid)
inside "kill -STOP $before"
until_true 40 "the watchdog" eval '[ "$(running_pid)" != "$before" ] && [ "$(running_pid)" != 0 ]'
until_true 40 "the device online" online
ok "an agent that hangs is started again by the watchdog"
inside 'rm /etc/systemd/system/cloudcore-agent.service.d/rig.conf; systemctl daemon-reload; systemctl restart cloudcore-agent'
until_true 40 "the device online" online

command_ends '"command":"restart_agent"' | jq -e '.status == "completed"' > /dev/null || fail "restart_agent"
ok "restart_agent"

update() { command_ends "\"command\":\"update_agent\",\"parameters\":{\"version\":\"$1\",\"confirm_within\":20}"; }
refused() { # VERSION TERM
  update "$1" | jq -e --arg term "$2" '.status == "failed" and (tostring | contains($term))' > /dev/null || fail "$1: not $2"
  until_true 40 "the device online" online
}
release 0.2.0 "$work/agent" "$work/bad.key"
refused 0.2.0 bad_signature
ok "an update with another's signature is refused"
release 0.2.0 "$work/agent"
truncate -s -100 "$work/downloads/cloudcore-agent-0.2.0-linux-$architecture"
refused 0.2.0 bad_signature
ok "a truncated update is refused"
release 0.0.9 "$work/agent"
refused 0.0.9 not_newer
ok "a downgrade is refused"
printf '#!/bin/sh\nexit 1\n' > "$work/crashes"
release 0.2.1 "$work/crashes"
refused 0.2.1 rolled_back
ok "an update that crashes is rolled back"
printf '#!/bin/sh\nsleep 1000\n' > "$work/hangs"
release 0.2.2 "$work/hangs"
refused 0.2.2 rolled_back
ok "an update that hangs is rolled back"
release 0.3.0 "$work/agent"
update 0.3.0 | jq -e '.status == "completed" and .result.version == "0.3.0"' > /dev/null || fail "a good update"
until_true 40 "the device online" online
ok "a good update runs"
command_ends '"command":"restart_agent"' | jq -e '.status == "completed"' > /dev/null || fail "restart_agent"
inside 'readlink /proc/$(systemctl show -P MainPID cloudcore-agent)/exe' | grep -q /releases/0.3.0/ || fail "the release does not stay"
ok "and still runs after a restart"
inside 'systemctl kill -s KILL cloudcore-agent'
until_true 40 "the device online" online
refused 0.2.1 not_newer
ok "no way back to what was before"

command_ends '"command":"reboot"' | jq -e '.status == "failed" and (tostring | contains("not_allowed"))' > /dev/null ||
  fail "a reboot that is not allowed"
inside 'sed -i "s/^allow_reboot = false/allow_reboot = true/" /var/lib/cloudcore-agent/agent.toml && cloudcore-agent service install' >&2 ||
  fail "allowing a reboot"
until_true 40 "the device online" online
command_ends '"command":"reboot"' | jq -e '.status == "completed"' > /dev/null || fail "reboot"
wait "$nspawn_pid" || true
boot
until_true 40 "the device online" online
ok "reboot, where its owner allows it"

inside 'keadm reset --force --programs' >&2 || fail "keadm reset"
left=$(remains || true)
[ -z "$left" ] || fail "reset leaves: $left"
ok "keadm reset leaves nothing"

deploy/deb/build.sh 0.1.0 "$architecture" "$work/agent" "$node/rig" > /dev/null
inside "dpkg -i /rig/cloudcore-agent_0.1.0_$architecture.deb" >&2 || fail "the package"
token=$(call "$api/api/kubeedge/token/generate" -d '{"node_name":"edge-1"}' | jq -r .token)
inside "keadm join -e $quic -i edge-1 -t $token --device-id edge-1" >&2 || fail "keadm join"
until_true 40 "the device online" online
ok "the package joins"
inside 'dpkg -P cloudcore-agent' >&2 || fail "dpkg -P"
left=$(remains || true)
[ -z "$left" ] || fail "purging leaves: $left"
ok "purging it leaves nothing"
