"""The cards of the large networks, which want a GPU.

Their hubs were out of reach when these cards were written, so nobody here has run the published files: input and output
are as the authors' own code has them, and tested on small files of the same contract. Each sha256 and size is the one
that several independent public projects pin for that file; a download that differs is refused like any other.
"""

from __future__ import annotations

from mattemill.pipeline.models.card import Address, InputContract, ModelCard, OutputContract

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_UNTESTED = "Not yet run here with the published weights; their sha256 is the one that several public projects pin."

_BIREFNET_ORIGIN = "Zheng et al., BiRefNet: Bilateral Reference for High-Resolution DIS, 2024 (ZhengPeng7/BiRefNet)"
_BIREFNET_FILES = "https://github.com/ZhengPeng7/BiRefNet/releases/download/v1"
_GENERAL_DATA = "DIS5K and P3M-10k"
_MATTING_DATA = "P3M-10k, AM-2k, AIM-500 and Distinctions-646"


def _birefnet(name: str, file: str, sha256: str, size_bytes: int, data: str, work: str) -> ModelCard:
    return ModelCard(
        name=name,
        family="birefnet",
        task="saliency",
        sha256=sha256,
        size_bytes=size_bytes,
        weights_licence="MIT",
        code_licence="MIT",
        origin=_BIREFNET_ORIGIN,
        source=Address(f"{_BIREFNET_FILES}/{file}", size_bytes),
        input=InputContract(
            name="input_image",
            size=(1024, 1024),
            fit="stretch",
            divisor=255.0,
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
            resample="bilinear",
        ),
        output=OutputContract(
            names=("output_image",),
            meaning="float32 (1, 1, 1024, 1024), logits; their sigmoid is the mask, or the matte",
            values="logits",
        ),
        notes=(
            f"non-commercial training data: trained on {data}, among others, whose terms allow research only; have it "
            "cleared before commercial use. Figures on those sets flatter it.",
            f"{work} Run at 1024 px and at nothing else.",
            _UNTESTED,
        ),
    )


BIREFNET_GENERAL = _birefnet(
    "birefnet_general",
    "BiRefNet-general-epoch_244.onnx",
    "58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
    972_666_916,
    _GENERAL_DATA,
    "Swin-L, about 2.5 TFLOP an image: for a GPU.",
)

BIREFNET_LITE = _birefnet(
    "birefnet_lite",
    "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
    "5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333",
    224_005_088,
    _GENERAL_DATA,
    "Swin-T, about 0.64 TFLOP an image: for a GPU.",
)

BIREFNET_MATTING = _birefnet(
    "birefnet_matting",
    "BiRefNet-matting-epoch_100.onnx",
    "6065d27c615ea27308f5b88598dd8db116eb07436c7a323ca40d13b2866c309e",
    972_667_742,
    _MATTING_DATA,
    "Gives a matte without a trimap; Swin-L, about 2.5 TFLOP an image: for a GPU.",
)

RTDETR_V2_R18 = ModelCard(
    name="rtdetr_v2_r18",
    family="rtdetr",
    task="coco_detection",
    sha256="583a236ac21c95a7fd94f284fc21485e42355bfef82c27011ba78fbc09ee87e2",
    size_bytes=81_057_510,
    weights_licence="Apache-2.0",
    code_licence="Apache-2.0",
    origin="Lv et al., RT-DETRv2, 2024 (lyuwenyu/RT-DETR); ONNX export by onnx-community",
    source=Address(
        "https://huggingface.co/onnx-community/rtdetr_v2_r18vd-ONNX/resolve/main/onnx/model.onnx", 81_057_510
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
    source=Address(
        "https://huggingface.co/Xenova/vitmatte-small-composition-1k/resolve/"
        "6bc1297f6140f055a227b6d2cfe8c093281f35d2/onnx/model.onnx",
        103_885_865,
    ),
    input=InputContract(
        name="pixel_values",
        size=(32, 32),
        fit="tiles",
        divisor=255.0,
        # As transformers' processor has it, which the export goes with; the authors' own code was not at hand.
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

GPU_CARDS = (BIREFNET_GENERAL, BIREFNET_LITE, BIREFNET_MATTING, RTDETR_V2_R18, VITMATTE_SMALL)
"""All of them, in the order in which they are listed."""
