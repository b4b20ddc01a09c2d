"""Declare two operators of torchvision's compiled extension, so that torchvision can be imported without it.

PyPI's torchvision is not compatible with PyTorch's CPU build: its extension does not load, and torchvision cannot be imported, although
Qwen3-VL's processor does not use the extension. After this declaration the import works, and calling one of the operators fails.
The environment of the vLLM tests imports this module at every start (by a ``.pth`` file, see the Makefile). Other environments should
install compatible wheels instead.
"""

import torch

LIBRARY = torch.library.Library("torchvision", "DEF")
for _operator in ("nms", "qnms"):
    LIBRARY.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
