#!/bin/sh
# Makes a Debian package of an agent that is built already.
#
#   deploy/deb/build.sh VERSION ARCHITECTURE PROGRAM FOLDER     → FOLDER/cloudcore-agent_…deb
#
# It needs nothing but dpkg-deb, and packages for arm64 on amd64 as well.
set -eu
[ $# -eq 4 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
install -D -m 755 "$3" "$work/usr/bin/cloudcore-agent"
# `keadm` is a name of the agent; KubeEdge's own program is in another folder and comes first.
ln -s cloudcore-agent "$work/usr/bin/keadm"
install -D -m 644 "$here/../../LICENSE" "$work/usr/share/doc/cloudcore-agent/copyright"
install -d -m 755 "$work/DEBIAN"
sed -e "s/@VERSION@/$1/" -e "s/@ARCHITECTURE@/$2/" \
  -e "s/@SIZE@/$(du -sk "$work/usr" | cut -f1)/" "$here/control" > "$work/DEBIAN/control"
for script in postinst prerm postrm; do
  install -m 755 "$here/$script" "$work/DEBIAN/$script"
done
mkdir -p "$4"
dpkg-deb --root-owner-group -Zxz --build "$work" "$4/cloudcore-agent_$1_$2.deb"
