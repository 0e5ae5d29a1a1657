"""SageMaker's API on this desk: jobs, tuning, endpoints and transforms run for real; moto answers the rest."""
