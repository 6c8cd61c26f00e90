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
print("wheel ok", fgexpo.__version__)
PY
