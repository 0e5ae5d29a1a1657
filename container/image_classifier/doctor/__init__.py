"""Behind `doctor`: says before a job or an endpoint starts what SageMaker would say after it failed."""
