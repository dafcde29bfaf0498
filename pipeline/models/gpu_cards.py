"""The cards of the large networks, which want a GPU.

Their hubs were out of reach when these cards were written, so nobody here has run the published files: input and output
are as the authors' own code has them, and tested on small files of the same contract. Each sha256 and size is the one
that several independent public projects pin for that file; a download that differs is refused like any other.
"""

from __future__ import annotations

from mattemill.pipeline.models.card import ByHand, InputContract, ModelCard, OutputContract

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_UNTESTED = "Not yet run here with the published weights; their sha256 is the one that several public projects pin."

RTDETR_V2_R18 = ModelCard(
    name="rtdetr_v2_r18",
    family="rtdetr",
    task="coco_detection",
    sha256="583a236ac21c95a7fd94f284fc21485e42355bfef82c27011ba78fbc09ee87e2",
    size_bytes=81_057_510,
    weights_licence="Apache-2.0",
    code_licence="Apache-2.0",
    origin="Lv et al., RT-DETRv2, 2024 (lyuwenyu/RT-DETR); ONNX export by onnx-community",
    source=ByHand(
        page="https://huggingface.co/onnx-community/rtdetr_v2_r18vd-ONNX",
        how="onnx/model.onnx, 640 px",
    ),
    input=InputContract(
        name="pixel_values",
        size=(640, 640),
        fit="stretch",
        divisor=255.0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        resample="bilinear",
    ),
    output=OutputContract(
        names=("logits", "pred_boxes"),
        meaning="float32 (1, 300, 80) logits of each query's classes; (1, 300, 4) cx, cy, w, h in 0..1 of the picture",
    ),
    notes=("Trained on COCO 2017: its 80 classes leave most catalogue goods out.", _UNTESTED),
)

VITMATTE_SMALL = ModelCard(
    name="vitmatte_small",
    family="vitmatte",
    task="matting",
    sha256="bf28d2e0be2c073286e88d60ad649d7123da2749a2d99133fd1098d5887e0225",
    size_bytes=103_885_865,
    weights_licence="Apache-2.0",
    code_licence="MIT (hustvl/ViTMatte)",
    origin="Yao et al., ViTMatte, 2023 (hustvl/ViTMatte); ONNX export by Xenova",
    source=ByHand(
        page="https://huggingface.co/Xenova/vitmatte-small-composition-1k",
        how="onnx/model.onnx, any size in multiples of 32 px",
    ),
    input=InputContract(
        name="pixel_values",
        size=(32, 32),
        fit="tiles",
        divisor=255.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        resample="area",
    ),
    output=OutputContract(
        names=("alphas",),
        meaning="float32 (n, 1, h, w), alpha 0..1; the input's fourth plane is the trimap, 0, .5, 1, not normalised",
    ),
    notes=(
        "non-commercial training data: trained on Adobe's Composition-1k, whose terms allow research only; "
        "have it cleared before commercial use.",
        _UNTESTED,
    ),
)
