#!/usr/bin/env bash
# Checks the dependencies against the RustSec advisories without a network, where the snapshot
# ../shared/advisory-db is at hand. cargo-deny reads advisories from a git repository of its own
# cache only, so the snapshot is committed to one there.
set -euo pipefail
cd "$(dirname "$0")/.."

snapshot=../shared/advisory-db
# The folder's name is cargo-deny's: the repository's name and a hash of its address.
cache=.cache/advisory-db/advisory-db-3157b0e258782691

if ! [ -d "$snapshot/crates" ]; then
    echo "advisories: not checked, there is no RustSec snapshot at $snapshot." \
        "With a network, 'cargo deny check advisories' fetches the current one."
    exit 0
fi

newest=$(grep -rhoE '^date = "[0-9-]+"' "$snapshot/crates" | cut -d'"' -f2 | sort | tail -1)
if [ "$(cat "$cache/.git/snapshot" 2>/dev/null)" != "$newest" ]; then
    rm -rf "$cache"
    mkdir -p "$cache"
    cp -r "$snapshot/." "$cache"
    chmod -R u+w "$cache"
    git -C "$cache" init --quiet
    git -C "$cache" add --all
    # The commit's date is the newest advisory's: cargo-deny judges the snapshot's age by it.
    GIT_COMMITTER_DATE="$newest 00:00:00 +0000" git -C "$cache" \
        -c user.name=snapshot -c user.email=snapshot@localhost \
        commit --quiet --message "RustSec advisories up to $newest"
    echo "$newest" > "$cache/.git/snapshot"
fi
echo "advisories: RustSec up to $newest"
# A plain `cargo metadata` first: offline, cargo-deny can't fetch a crate that is missing here.
cargo fetch --quiet
exec cargo deny --offline check advisories
