#!/bin/sh
# Signs a release of the agent: the signature's comment says what agents check.
#
#   deploy/sign-release.sh VERSION ARCHITECTURE FILE SECRET_KEY      (minisign -G makes a key)
#
# ARCHITECTURE is amd64 or arm64. Put FILE and FILE.minisig into the hub's downloads folder as
# cloudcore-agent-VERSION-linux-ARCHITECTURE and cloudcore-agent-VERSION-linux-ARCHITECTURE.minisig.
set -eu
[ $# -eq 4 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
exec minisign -S -s "$4" -m "$3" -t "cloudcore-agent $1 linux-$2"
