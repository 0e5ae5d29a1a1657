#!/usr/bin/env bash
# Builds the image, pushes it to Amazon ECR, verifies it there and prints its URI by digest.
# Here: the help, and a Python to run the steps with. The steps: scripts/push.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
usage: build_and_push.sh [--build-only] [--dry-run]

  Builds the image, pushes it to Amazon ECR under a tag that stays, reads it back, starts it, and lets `latest`
  lead to it. The last line of its output is the image's URI by digest; it is also written to .image_uri.
  A push that was interrupted goes on where it was when this is run again.

  --build-only   build and stop; needs no AWS
  --dry-run      say what would be done

Settings, from the environment:
  IMAGE        name of the image and of the ECR repository   sagemaker-image-classifier
  TAG          tag that stays            what `git describe` says, and a hash of the files in the image
  REGION       AWS region                AWS_REGION, or the AWS configuration's
  ACCOUNT      AWS account of the ECR    the one your AWS credentials belong to
  PLATFORM     platform to build for     linux/amd64
  BASE_IMAGE   the image to build on, such as a mirror's     debian:bookworm-slim
  ACCELERATOR  packages to build with    cuda; docker/Dockerfile lists them
  ENGINE       client of the builder     the first docker that answers, then podman, then buildah
  KMS_KEY      key that encrypts a repository made here      ECR's own
  CA_BUNDLE    file of CAs to trust, for the build, AWS and the registry
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY      reach the build and everything else
  PYTHON       Python 3.11 or newer      python3.11, or python3

A repository that is missing is made: all tags stay but `latest`, scan on push, encrypted, and a lifecycle policy
that removes only images without a tag. A repository of yours is left as it is.
IAM actions: ecr:GetAuthorizationToken, ecr:BatchCheckLayerAvailability, ecr:InitiateLayerUpload,
ecr:UploadLayerPart, ecr:CompleteLayerUpload, ecr:PutImage, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer;
to make a repository also ecr:DescribeRepositories, ecr:CreateRepository, ecr:PutLifecyclePolicy.
TEXT
}

fail() {
    echo "build_and_push: $*" >&2
    exit 1
}

[[ " $* " != *" -h "* && " $* " != *" --help "* ]] || { usage && exit; }
python="${PYTHON:-$(command -v python3.11 || command -v python3 || true)}"
[[ -n $python ]] || fail "there is no Python; install Python 3.11 or newer, or name it with PYTHON=path"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python cannot be used; name Python 3.11 or newer with PYTHON=path"
exec "$python" scripts/push.py "$@"
