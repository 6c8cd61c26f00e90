"""A SLURM of three small scripts: jobs are background processes of this machine."""

import os
from pathlib import Path

SBATCH = """#!/bin/sh
# Each job of the array runs in the background; its end is its state.
cd {here}
id=$(( $(cat next 2>/dev/null || echo 100) + 1 )); echo $id > next
cp "$1" sbatch-$id.sh
run() {{
  echo RUNNING > state-$1
  SLURM_JOB_ID=$1 SLURM_ARRAY_JOB_ID=$2 SLURM_ARRAY_TASK_ID=$3 sh sbatch-$id.sh >>out 2>&1
  if [ $? = 0 ]; then echo COMPLETED > state-$1; else echo FAILED > state-$1; fi
}}
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' sbatch-$id.sh)
if [ -z "$last" ]; then
  (run $id '' '') >/dev/null 2>&1 &
else
  for i in $(seq 0 $last); do (run ${{id}}_$i $id $i) >/dev/null 2>&1 & done
fi
echo "Submitted batch job $id"
"""
SRUN = """#!/bin/sh
[ -n "$SLURM_ARRAY_JOB_ID" ] || unset SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID
while true; do
  case "$1" in
    --unbuffered) shift ;;
    --output|--error) shift 2 ;;
    *) break ;;
  esac
done
exec "$@"
"""
SACCT = """#!/bin/sh
cd {here}
echo "JobID|State|NodeList"
for file in state-*; do echo "${{file#state-}}|$(cat $file)|here"; done
"""


def install(here: Path, monkeypatch) -> None:
    """Put the scripts before everything else on the path."""
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        path = here / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(here=here) if "{here}" in text else text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
