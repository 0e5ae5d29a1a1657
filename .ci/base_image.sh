#!/usr/bin/env bash
# Makes the base image of docker/Dockerfile from Debian's own packages, for a machine that can reach
# Debian's mirrors but no registry of images. Trusts inside what this host trusts, so that pip works
# in the build behind a company proxy. Does nothing when the tag is already there.
set -euo pipefail

tag="${BASE_IMAGE:-debian:bookworm-slim}"
docker="${ENGINE:-docker}"
bundle=/etc/ssl/certs/ca-certificates.crt

have_image() { "$docker" image inspect "$tag" >/dev/null 2>&1; }

bootstrap() {
    debootstrap --variant=minbase --include=ca-certificates bookworm "$1" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
}

trust_what_the_host_trusts() {
    find /usr/local/share/ca-certificates -name '*.crt' \
        -exec cp -t "$1/usr/local/share/ca-certificates" {} + 2>/dev/null || true
    chroot "$1" update-ca-certificates >/dev/null 2>&1
}

# Debian's own slim images leave out the same things.
slim() {
    rm -rf "$1"/usr/share/{doc,man,info,locale,lintian}/* "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*
    printf 'path-exclude /usr/share/%s/*\n' doc man info locale >"$1/etc/dpkg/dpkg.cfg.d/slim"
}

import() {
    tar -C "$1" --numeric-owner -c . |
        "$docker" import -c "ENV PIP_CERT=$bundle" -c 'CMD ["bash"]' - "$tag" >/dev/null
}

if have_image; then
    echo "base image: $tag is here"
    exit 0
fi
if timeout 120 "$docker" pull --quiet "$tag" 2>/dev/null; then
    exit 0
fi
echo "base image: $tag cannot be pulled, making it with debootstrap"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
bootstrap "$root" >"$root.log" 2>&1 || {
    tail -20 "$root.log" >&2
    echo "base image: debootstrap failed; set DEBIAN_MIRROR to a mirror that can be reached, or BASE_IMAGE to an image you have" >&2
    exit 1
}
trust_what_the_host_trusts "$root"
slim "$root"
import "$root"
rm -f "$root.log"
echo "base image: made $tag ($("$docker" image inspect --format '{{.Size}}' "$tag" | numfmt --to=si)B)"
