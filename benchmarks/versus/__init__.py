"""The parts of ``benchmarks/vs_trl.py``: the work, each side's program, and the check of equals."""
