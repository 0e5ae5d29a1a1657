#!/usr/bin/env bash
# Makes the repository, the bucket and the execution role with CloudFormation, and prints their names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
usage: deploy.sh

  Deploys template.yaml as one stack, or brings the stack up to date, and prints its outputs. A repository or bucket
  that is there already is used and left alone. Deleting the stack keeps the repository and the bucket.

Settings, from the environment; when a stack is updated, those not given stay as they are:
  IMAGE              name of the ECR repository                 sagemaker-image-classifier
  REGION             AWS region                                 AWS_REGION, or the AWS CLI's configured one
  STACK              name of the stack                          IMAGE, with hyphens only
  BUCKET             name of the bucket                         IMAGE-ACCOUNT-REGION, with hyphens only
  ROLE_NAME          name of the execution role                 made up by CloudFormation
  KMS_KEY            ARN of a KMS key of your own               AWS's own keys
  PULL_ACCOUNTS      other accounts that may pull, with commas  none
  GITHUB_REPOSITORY  OWNER/NAME that may push (ci.yml)          none
TEXT
}

fail() {
    echo "infra: $*" >&2
    exit 1
}

find_account_and_region() {
    command -v aws >/dev/null || fail "the AWS CLI is not on PATH; install it (pip install awscli)"
    region="${REGION:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}"
    [[ -n $region ]] || fail "no AWS region is set; set REGION, or run: aws configure set region us-east-1"
    export AWS_DEFAULT_REGION="$region" AWS_REGION="$region" AWS_PAGER=""
    account="$(aws sts get-caller-identity --query Account --output text)" ||
        fail "AWS does not know these credentials; run: aws configure, or aws sso login"
}

# A stack cannot make what is there already, such as the repository that `make push` made or an earlier stack kept.
add_what_a_new_stack_needs() {
    local bucket="${BUCKET:-$plain_name-$account-$region}"
    parameters+=("BucketName=$bucket")
    ! aws ecr describe-repositories --repository-names "$image" >/dev/null 2>&1 || parameters+=(RepositoryExists=true)
    ! aws s3api head-bucket --bucket "$bucket" >/dev/null 2>&1 || parameters+=(BucketExists=true)
}

add() { [[ -z $2 ]] || parameters+=("$1=$2"); }

collect_parameters() {
    parameters=("ImageName=$image")
    if aws cloudformation describe-stacks --stack-name "$stack" >/dev/null 2>&1; then
        add BucketName "${BUCKET:-}"
    else
        add_what_a_new_stack_needs
    fi
    add RoleName "${ROLE_NAME:-}"
    add KmsKeyArn "${KMS_KEY:-}"
    add PullAccounts "${PULL_ACCOUNTS:-}"
    add GitHubRepository "${GITHUB_REPOSITORY:-}"
}

deploy() {
    aws cloudformation deploy --stack-name "$stack" --template-file template.yaml --no-fail-on-empty-changeset \
        --capabilities CAPABILITY_NAMED_IAM --parameter-overrides "${parameters[@]}" >&2 ||
        fail "the stack $stack was not deployed; ask why with: aws cloudformation describe-stack-events" \
            "--region $region --stack-name $stack"
}

print_outputs() {
    aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query 'Stacks[0].Outputs[].[OutputKey,OutputValue]' | awk '{ printf "%-12s %s\n", $1, $2 }'
}

case "${1:-}" in
    -h | --help) usage && exit ;;
    "") ;;
    *) fail "unknown option $1; see deploy.sh --help" ;;
esac

image="${IMAGE:-sagemaker-image-classifier}"
plain_name="${image//[._\/]/-}"
stack="${STACK:-$plain_name}"
find_account_and_region
collect_parameters
deploy
print_outputs
