#!/bin/sh
# Installs the CloudCore edge agent from the hub that serves this script, and makes this machine
# a member of that hub:
#
#   curl -fsSL http://HUB:5000/install.sh | sh -s -- --token TOKEN
#
#   --token TOKEN       the join token (or CLOUDCORE_TOKEN: arguments are seen by every user)
#   --node NAME         this node's name, the token's; this machine's host name where absent
#   --device-id ID      the device's id; the token's, or the node's name, where absent
#   --camera URL        v4l2:///dev/video0, file:///pictures
#   --update-key KEY    the minisign public key of releases that the hub may install later
#   --allow-reboot      let the hub restart this machine
#   --apps              let the agent use this machine's Docker engine, which makes it as
#                       powerful as root
#   --hub HOST:PORT     another address of the hub's agents' port than it says
#   --cacert FILE       the CA of the hub's HTTPS
#
# It may be run again: what is there is renewed, and a member stays the member it is.
set -eu

base=@BASE@
hub=@HUB@
releases=@RELEASES@
bin=/usr/local/bin
data=/var/lib/cloudcore-agent

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: error: %s\n' "$*" >&2; exit 1; }

# Runs nothing before all of the script has arrived.
main() {
  token=${CLOUDCORE_TOKEN:-} node='' cacert='' apps=''
  joined=$data/node.pem
  options=$(mktemp) || die "no temporary file can be made"
  work=''
  trap 'rm -rf "$options" ${work:+"$work"}' EXIT
  while [ $# -gt 0 ]; do
    case $1 in
      --token | --node | --device-id | --camera | --update-key | --hub | --cacert)
        [ $# -ge 2 ] || die "$1 wants a value"
        case $1 in
          --token) token=$2 ;;
          --node) node=$2 ;;
          --hub) hub=$2 ;;
          --cacert) cacert=$2 ;;
          *) printf '%s\n%s\n' "$1" "$2" >> "$options" ;;
        esac
        shift 2 ;;
      --allow-reboot) printf '%s\n' "$1" >> "$options"; shift ;;
      --apps) apps=1; shift ;;
      *) die "unknown option $1" ;;
    esac
  done

  [ "$(uname -s)" = Linux ] || die "this is for Linux, and here is $(uname -s)"
  [ "$(id -u)" -eq 0 ] ||
    die "this installs a service and needs root: run it as '… | sudo sh -s -- …'"
  [ -n "$token" ] || [ -e "$joined" ] ||
    die "--token is missing: an operator gets one from the hub (POST /api/kubeedge/token/generate)"
  case $(uname -m) in
    x86_64 | amd64) architecture=amd64 ;;
    aarch64 | arm64) architecture=arm64 ;;
    *) die "there is no agent for $(uname -m): it runs on x86_64 and on 64-bit ARM" ;;
  esac
  found=$(printf '%s\n' "$releases" | grep "^$architecture ") ||
    die "the hub offers no agent for $architecture: its operator puts one into the hub's downloads folder"
  # shellcheck disable=SC2086 # three words
  set -- $found
  file=$2 hash=$3

  install_program "$file" "$hash"
  front
  if [ -n "$apps" ]; then
    getent group docker > /dev/null || die "--apps wants Docker, and there is no group 'docker'"
    mkdir -p /etc/systemd/system/cloudcore-agent.service.d
    printf '[Service]\nSupplementaryGroups=docker\n' \
      > /etc/systemd/system/cloudcore-agent.service.d/apps.conf
    say "the agent may use the Docker engine"
  fi
  if [ -e "$joined" ]; then
    "$bin/cloudcore-agent" service install || die "the service could not be installed"
    say "this machine is a member already and stays it; the agent was restarted"
  else
    set --
    while IFS= read -r word; do set -- "$@" "$word"; done < "$options"
    [ -z "$node" ] || set -- --edgenode-name "$node" "$@"
    CLOUDCORE_TOKEN=$token "$bin/cloudcore-agent" join --cloudcore-ipport "$hub" "$@" ||
      die "the agent is installed and this machine did not join; run this again with a good token"
  fi
  say "done: 'cloudcore-agent status' shows the membership, 'keadm reset' undoes it"
}

# install_program FILE SHA256
install_program() {
  if [ -e "$bin/cloudcore-agent" ] && has_hash "$bin/cloudcore-agent" "$2"; then
    say "$bin/cloudcore-agent is $1 already"
    return
  fi
  mkdir -p "$bin"
  # On the same file system, so that it takes its place at once.
  work=$(mktemp -d "$bin/.cloudcore.XXXXXX")
  say "fetching $base/downloads/$1"
  curl -fsSL ${cacert:+--cacert "$cacert"} -o "$work/agent" "$base/downloads/$1" ||
    die "fetching the agent failed"
  has_hash "$work/agent" "$2" ||
    die "what arrived is not what the hub announced (SHA-256): nothing was installed; try again"
  chmod 755 "$work/agent"
  "$work/agent" --version > /dev/null || die "the agent does not run on this system: nothing was installed"
  mv "$work/agent" "$bin/cloudcore-agent"
  say "installed $bin/cloudcore-agent"
}

has_hash() { printf '%s  %s\n' "$2" "$1" | sha256sum -c > /dev/null 2>&1; }

# `keadm` is a name of the agent; KubeEdge's own is left alone.
front() {
  other=$(command -v keadm || true)
  if [ -n "$other" ] && [ "$(readlink "$other" || true)" != cloudcore-agent ]; then
    say "$other is another program and stays; use 'cloudcore-agent join' and 'reset' instead of keadm"
    return
  fi
  ln -sf cloudcore-agent "$bin/keadm"
}

main "$@"
