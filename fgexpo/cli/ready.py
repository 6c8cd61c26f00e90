"""What the server of :mod:`fgexpo.study.processes` has done before a process is forked from it.

Beside the imports that is the catalogue of the project's own classes, a second of work that each
command would do again. Plug-ins are not among them: which there are is each process's own affair.
"""

from ..catalogue import read_catalogue
from . import command_line  # noqa: F401

read_catalogue()
