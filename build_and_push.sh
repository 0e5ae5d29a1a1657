#!/usr/bin/env bash
# Builds the image, pushes it to Amazon ECR and prints its URI by digest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
usage: build_and_push.sh [--build-only]

  Builds the image and pushes it to Amazon ECR under an immutable tag and as `latest`.
  The last line of its output is the image's URI by digest; it is also written to .image_uri.

  --build-only   build and stop

Settings, from the environment:
  IMAGE        name of the image and of the ECR repository   sagemaker-image-classifier
  TAG          tag of this build                             what `git describe` says
  REGION       AWS region            AWS_REGION, or the AWS CLI's configured one
  ACCOUNT      AWS account           the one your AWS credentials belong to
  PLATFORM     platform to build for                         linux/amd64
  BASE_IMAGE   the image to build on                         debian:bookworm-slim
  ENGINE       the docker client to use                      the first on PATH that answers and can build
TEXT
}

fail() {
    echo "build_and_push: $*" >&2
    exit 1
}

image="${IMAGE:-sagemaker-image-classifier}"
platform="${PLATFORM:-linux/amd64}"

version() { git describe --tags --always --dirty 2>/dev/null || date -u +%Y%m%d-%H%M%S; }
revision() { git rev-parse --verify --quiet HEAD || echo unknown; }

find_engine() {
    engine="$("${PYTHON:-python3}" scripts/local.py engine)"
    [[ -n $engine ]] || fail "no container engine answers; start Docker, or name its client with ENGINE=path"
}

# SageMaker takes Docker's own manifest and no other. buildx would add attestations, which turn it into
# an OCI index; older builders neither do so nor know these flags.
plain_manifest_flags() {
    if "$engine" build --help 2>/dev/null | grep -q -- --provenance; then
        echo --provenance=false --sbom=false
    fi
}

build() {
    local flags=()
    read -ra flags <<<"$(plain_manifest_flags)"
    [[ -z ${BASE_IMAGE:-} ]] || flags+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
    DOCKER_BUILDKIT=1 "$engine" build --platform "$platform" \
        --build-arg "VERSION=$tag" --build-arg "REVISION=$(revision)" \
        "${flags[@]}" -f docker/Dockerfile -t "$image:latest" . ||
        fail "the image was not built; the reason is in the builder's lines above"
}

aws_or_fail() {
    local remedy="$1"
    shift
    aws "$@" || fail "\`aws $1 $2\` failed: $remedy"
}

find_account_and_region() {
    command -v aws >/dev/null || fail "the AWS CLI is not on PATH; install it (pip install awscli)"
    region="${REGION:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}"
    [[ -n $region ]] || fail "no AWS region is set; set REGION, or run: aws configure set region us-east-1"
    account="${ACCOUNT:-$(aws_or_fail 'check your AWS credentials (aws configure), or set ACCOUNT' \
        sts get-caller-identity --region "$region" --query Account --output text)}"
    local domain=amazonaws.com
    [[ $region != cn-* ]] || domain=amazonaws.com.cn
    registry="$account.dkr.ecr.$region.$domain"
}

log_in() {
    aws_or_fail "the credentials need ecr:GetAuthorizationToken" ecr get-login-password --region "$region" |
        "$engine" login --username AWS --password-stdin "$registry" >/dev/null ||
        fail "logging in to $registry failed; the line above says why"
}

ensure_repository() {
    aws ecr describe-repositories --region "$region" --repository-names "$image" >/dev/null 2>&1 && return
    echo "creating the ECR repository $image"
    aws_or_fail "the credentials need ecr:CreateRepository, or ask for a repository named $image" \
        ecr create-repository --region "$region" --repository-name "$image" >/dev/null
}

push() {
    local name
    for name in "$registry/$image:$tag" "$registry/$image:latest"; do
        "$engine" tag "$image:latest" "$name"
        "$engine" push "$name" || fail "pushing $name failed; the line above says why"
    done
}

print_uri() {
    local uri
    uri="$("$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$registry/$image:$tag" |
        grep -m 1 "^$registry/$image@")" || fail "$registry/$image:$tag was pushed, but its digest is unknown"
    echo "$uri" >.image_uri
    echo "$uri"
}

case "${1:-}" in
    -h | --help) usage && exit ;;
    "" | --build-only) ;;
    *) fail "unknown option $1; see build_and_push.sh --help" ;;
esac

tag="${TAG:-$(version)}"
find_engine
[[ ${1:-} == --build-only ]] || find_account_and_region
build
if [[ ${1:-} == --build-only ]]; then
    echo "built $image:latest ($tag)"
    exit
fi
log_in
ensure_repository
push
print_uri
