#!/bin/sh
# Makes .venv-retinaface: the PyPI package retinaface-pytorch, to compare our RetinaFace with. It pins torch 1.9, which is long gone, so
# it is installed without its dependencies in an environment of its own, which borrows torch, numpy and OpenCV from .venv.
set -eu
cd "$(dirname "$0")/.."
done_mark=.venv-retinaface/retinaface-pytorch-0.0.8.installed
[ -e "$done_mark" ] && exit 0
rm -rf .venv-retinaface
.venv/bin/python -m venv .venv-retinaface
.venv/bin/python -c 'import site; print(site.getsitepackages()[0])' > "$(.venv-retinaface/bin/python -c 'import site; print(site.getsitepackages()[0])')/borrowed.pth"
.venv-retinaface/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
    retinaface-pytorch==0.0.8 torchvision==0.28.0 albumentations==2.0.8 albucore==0.0.24 stringzilla==5.3.2 simsimd==6.5.16 pillow==13.0.0 pyyaml==6.0.3
echo "*" > .venv-retinaface/.gitignore
touch "$done_mark"
