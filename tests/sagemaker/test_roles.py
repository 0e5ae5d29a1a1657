"""What the SDK asks IAM about a role before it begins a job."""

from started import ROLE, Api

from local_sagemaker import roles


def test_the_role_of_the_desk_is_sagemakers_and_may_do_everything(api: Api) -> None:
    iam, asked = api.client("iam"), ["sagemaker:CreateTrainingJob", "s3:GetObject"]
    answer = iam.simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=asked)
    assert [(one["EvalActionName"], one["EvalDecision"]) for one in answer["EvaluationResults"]] == [
        (action, "allowed") for action in asked
    ]
    role = iam.get_role(RoleName=roles.NAME)["Role"]
    assert role["Arn"] == ROLE
    [trusted] = [one["Principal"]["Service"] for one in role["AssumeRolePolicyDocument"]["Statement"]]
    assert trusted == "sagemaker.amazonaws.com"
