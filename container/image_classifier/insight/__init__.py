"""What training tells about itself: the SageMaker Debugger hook."""
