#!/bin/sh
# Compiles the CUDA kernels of SOURCE into a fatbin beside their sources. Needs nvcc 13 and no GPU.
#
#   sh infra/docker/fatbin.sh SOURCE
set -eu
source=$1
work=$(mktemp -d)
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    -c "$source/constraints.txt" numpy
mkdir "$work/packages"
ln -s "$source" "$work/packages/mattemill"
PYTHONPATH="$work/packages" "$work/venv/bin/python" -m mattemill.kernels.cuda.package
rm -r "$work"
