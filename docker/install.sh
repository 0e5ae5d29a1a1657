#!/bin/sh
# Makes a virtual environment from lock files and nothing else:
#   install.sh VENV LOCK [LOCK...]
# The image and the desk's .venv are both made by this script, so they hold the same packages.
set -eu

venv="$1"
shift
# The CAs that a build of the image is to trust, when it was given any (CA_BUNDLE of build_and_push.sh).
[ ! -s /run/secrets/ca_bundle ] || export PIP_CERT=/run/secrets/ca_bundle

# pip's copy of every download would be 4 GB, read again only if this environment were made anew.
export PIP_NO_CACHE_DIR=1
# An index that says nothing for a while has not gone: pip's own limits are 15 seconds and 5 times.
export PIP_DEFAULT_TIMEOUT=60 PIP_RETRIES=10

# A few packages come as source. The tools that build them come first and from the lock too
# (--no-build-isolation below), else each build would fetch whatever is newest that day.
build_tools() { awk '/^[a-z]/ { keep = /^(pip|setuptools)==/ } keep' "$1"; }

# A venv that another Python made holds packages that this one cannot use.
identity='import sys; print(sys.version, sys.base_prefix)'
python="${PYTHON:-python3}"
clear=--clear
[ "$("$venv/bin/python" -c "$identity" 2>/dev/null)" != "$("$python" -c "$identity")" ] || clear=''
"$python" -m venv $clear "$venv"
build_tools "$1" >"$venv/build-tools.txt"
"$venv/bin/python" -m pip install --quiet --require-hashes --no-deps -r "$venv/build-tools.txt"
for lock in "$@"; do
    hashes=--require-hashes
    grep -q -e --hash= "$lock" || { hashes='' && echo "$lock has no hashes: what it names is pinned by version alone"; }
    "$venv/bin/python" -m pip install --progress-bar off $hashes --no-deps --no-build-isolation -r "$lock"
done

# OpenVINO and NNCF report each use to their makers, without asking, when they find this package; without it they work
# and say nothing. Its metadata stays, for `pip check`.
rm -rf "$venv"/lib/python3*/site-packages/openvino_telemetry
