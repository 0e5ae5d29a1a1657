"""Trains and serves image classifiers in one SageMaker container.

`training` and `serving` are the two doors; they stand on the modules of this folder and never import each other.
"""

__version__ = "0.1.0"
