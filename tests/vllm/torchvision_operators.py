"""Declares two operators of torchvision's compiled part, for environments whose torchvision was built beside another torch than theirs.

PyTorch's plain CPU build and PyPI's torchvision do not fit: the compiled part does not load, and without it torchvision cannot be imported,
although Qwen3-VL's processor uses nothing of it. Once the operators are declared it imports; calling one of them fails, as it should.
The environment of the vLLM tests imports this module at every start (a ``.pth`` file, see the Makefile). Others install wheels that fit.
"""

import torch

LIBRARY = torch.library.Library("torchvision", "DEF")
for _operator in ("nms", "qnms"):
    LIBRARY.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
