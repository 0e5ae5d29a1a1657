#!/bin/sh
# Makes a virtual environment from lock files and nothing else:
#   install.sh VENV LOCK [LOCK...]
# The image and the desk's .venv are both made by this script, so they hold the same packages.
set -eu

venv="$1"
shift
# The CAs that a build of the image is to trust, when it was given any (CA_BUNDLE of build_and_push.sh).
[ ! -s /run/secrets/ca_bundle ] || export PIP_CERT=/run/secrets/ca_bundle

# A few packages come as source. The tools that build them come first and from the lock too
# (--no-build-isolation below), else each build would fetch whatever is newest that day.
build_tools() { awk '/^[a-z]/ { keep = /^(pip|setuptools)==/ } keep' "$1"; }

"${PYTHON:-python3}" -m venv "$venv"
build_tools "$1" >"$venv/build-tools.txt"
"$venv/bin/python" -m pip install --quiet --require-hashes --no-deps -r "$venv/build-tools.txt"
for lock in "$@"; do
    "$venv/bin/python" -m pip install --progress-bar off --require-hashes --no-deps --no-build-isolation -r "$lock"
done
