"""From the desk to SageMaker: upload, train, tune, deploy, predict, transform, report, clean."""
