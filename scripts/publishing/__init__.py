"""Building the image and bringing it into Amazon ECR; `scripts/push.py` puts the steps into order."""
