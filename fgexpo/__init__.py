"""fgexpo: FG-ExPO (arXiv 2605.11403) in PyTorch Lightning.

Importing the package is cheap on purpose: the verifier's worker processes import it too.
"""

__version__ = "0.1.0"
