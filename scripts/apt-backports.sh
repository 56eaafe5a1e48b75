#!/usr/bin/env bash
# apt-get or apt-cache with Debian's backports beside the system's own sources: `apt-backports.sh FOLDER COMMAND...`. What it
# knows is in FOLDER, and the system's lists of packages and its sources stay as they are.
set -euo pipefail
folder=$(realpath -m "$1")
shift
mkdir -p "$folder/lists/partial"
suite=bookworm
if [ ! -e "$folder/sources.list" ]; then
  # The mirror that this machine uses.
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    sed -n "s/ $suite main\$//p" | head -n 1)
  [ -n "$mirror" ] || { echo "apt-backports: this is not Debian 12 ($suite), or its package lists are missing: apt-get update" >&2; exit 1; }
  {
    [ ! -e /etc/apt/sources.list ] || cat /etc/apt/sources.list
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite-backports main"
  } >"$folder/sources.list"
fi
program=apt-get
[ "$1" != show ] || program=apt-cache
# APT's sandbox user could not read a folder of ours.
exec "$program" -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::State::Lists="$folder/lists" \
  -o APT::Sandbox::User=root "$@"
