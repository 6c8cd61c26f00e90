#!/bin/sh
# Build the wheel and use it from a directory that has no tree to shadow it.
set -eu
root=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" -m build --quiet --wheel --no-isolation --outdir "$work" "$root"
"$PYTHON" -m pip install --quiet --no-deps --target "$work/site" "$work"/fgexpo-*.whl
rm -rf "$root/build"
cd "$work"
# -I and an explicit path first: the editable install must not answer in the wheel's stead.
"$PYTHON" -I - "$work/site" <<'PY'
import sys
sys.path.insert(0, sys.argv[1])
import fgexpo
from fgexpo.callbacks import AKLCallback
from fgexpo.datamodules import CurriculumDataModule
from fgexpo.module import GRPOModule
for part in (fgexpo, sys.modules["fgexpo.callbacks"], sys.modules["fgexpo.datamodules"]):
    assert part.__file__.startswith(sys.argv[1]), part.__file__
assert not __import__("glob").glob(sys.argv[1] + "/fgexpo/*.pyi"), "type bridges leaked"
assert fgexpo.__file__.replace("__init__.py", "py.typed") in __import__("glob").glob(sys.argv[1] + "/fgexpo/*")
print("wheel ok", fgexpo.__version__)
PY
# The console script and the configurations are in it: two steps in an empty folder.
mkdir "$work/empty"
cd "$work/empty"
fgexpo() { "$PYTHON" -I -c "import sys; sys.path.insert(0, '$work/site'); from fgexpo.__main__ import run; sys.exit(run())" "$@"; }
grep -q "fgexpo = fgexpo.__main__:run" "$work"/site/fgexpo-*.dist-info/entry_points.txt
short="--progress null --model.evaluation.rollouts=1 --model.evaluation.ks=[1]"
fgexpo fit --config tiny_base --steps=2 --export.low=0 --export.high=1 $short >"$work/base.log" 2>&1 || { cat "$work/base.log"; exit 1; }
fgexpo fit --config tiny --steps=2 --data.questions_per_step=16 $short >"$work/fit.log" 2>&1 || { cat "$work/fit.log"; exit 1; }
test -f runs/tiny/version_0/checkpoints/last.ckpt
fgexpo export --ckpt_path runs/tiny/version_0/checkpoints/last.ckpt --out my-model >"$work/export.log" 2>&1 || { cat "$work/export.log"; exit 1; }
grep -q "^base_model" my-model/README.md || grep -q "^library_name: transformers" my-model/README.md
fgexpo study --example >study.yaml
grep -q "^arms:" study.yaml
echo "wheel runs"
