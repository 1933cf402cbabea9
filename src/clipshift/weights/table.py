"""The weights that PaddleVideo, mmaction2 and MIT published for TSN, TSM and their PP networks, by name.

A name says what the file is: `MODEL-FRAMESf-DATA-VARIANT-HOME`, for example `tsm-r50-8f-k400-dense-mit`.

- MODEL is a model of the zoo, FRAMES how many frames its training took from a clip. PaddleVideo's own networks
  (`pp...`) leave `8f` out.
- DATA is `k400`, `ucf101`, `hmdb51`, `sthv1`, `sthv2` or `jester`: what the classifier was trained on.
- VARIANT sets files of the same network and data apart, in this order: `from-DATA` (where the training started),
  `dense` (trained and tested on windows of 64 frames), `distilled` or `dml` (deep mutual learning), `student`, `100e`
  (epochs), `amp` (mixed precision), `nhwc` (channels last).
- HOME is `paddlevideo`, `mmaction2` or `mit`; the `pp` networks have one home only and leave it out.

Backbones for images are named `NETWORK-imagenet1k-paddle`, with `-ssld` before the end where they were distilled.

Addresses and numbers are those of the homes' pages; where two pages disagree the note says so. No file was fetched to
check its address. MIT's files moved: earlier versions of its page name hanlab.mit.edu with the same paths.
Left out are networks that clipshift does not build (with non-local blocks, ResNeXt, DenseNet, Swin, MobileOne, optical
flow), and MIT's online network, whose file is part of a demonstration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal
from urllib.parse import urlsplit

from clipshift.config import Crops
from clipshift.errors import ConfigError

_MMACTION2_DIGEST = re.compile(r"-([0-9a-f]{8})\.pth$")
_CROPS: dict[Crops, int] = {"centre": 1, "three": 3, "three_small": 3, "ten": 10}


@dataclass(frozen=True)
class DataSet:
    """A data set that published weights classify.

    Attributes:
        title: What people call it.
        classes: Number of its classes.
    """

    title: str
    classes: int


@dataclass(frozen=True)
class Home:
    """Who published a file.

    Attributes:
        name: The project.
        licence: SPDX name of the licence of its repository; none of the homes names another one for the weights.
    """

    name: str
    licence: str


@dataclass(frozen=True)
class Views:
    """What of a video an accuracy was measured on.

    Attributes:
        frames: Frames of one clip.
        clips: Clips of one video.
        crops: Crops of each frame.
        side: Side of a crop in pixels, of frames whose short side is 256 pixels.
        sampling: Frames spread over the whole video, or taken from windows of 64 frames.
    """

    frames: int
    clips: int = 1
    crops: Crops = "centre"
    side: int = 224
    sampling: Literal["uniform", "dense"] = "uniform"

    def __str__(self) -> str:
        if self.frames == 1:
            return f"images, {self.crops} crop of {self.side} px"
        clips = f"{self.clips} {'dense ' if self.sampling == 'dense' else ''}clip{'s' * (self.clips > 1)}"
        crops = _CROPS[self.crops]
        return f"{clips} of {self.frames} frames, {crops} crop{'s' * (crops > 1)} of {self.side} px"


@dataclass(frozen=True)
class Measured:
    """A published accuracy; clipshift did not measure it.

    Attributes:
        top1: Per cent of the validation videos whose first class is right.
        top5: Per cent whose class is among the first five, or None where it is not published.
        views: What each video was seen through.
    """

    top1: float
    top5: float | None
    views: Views

    def __str__(self) -> str:
        top5 = "" if self.top5 is None else f", top 5 {self.top5} %"
        return f"{self.top1} %{top5} ({self.views})"


@dataclass(frozen=True)
class PublishedWeights:
    """A published file of weights.

    Attributes:
        what: The network and its training, in one phrase.
        model: Name of the zoo's model; for a backbone, of the model that starts from it.
        data: What the classifier was trained on: a key of `DATA_SETS`.
        segments: Frames per clip in training; 1 for networks of single images.
        url: Where the file lies.
        home: Who published it.
        page: The page that links it.
        measured: Published accuracies.
        size: Bytes, where known.
        sha256: SHA-256 of the file in hexadecimal digits, where known.
        note: Where the pages disagree, or what else to know.
    """

    what: str
    model: str
    data: str
    segments: int
    url: str
    home: Home
    page: str
    measured: tuple[Measured, ...] = ()
    size: int | None = None
    sha256: str | None = None
    note: str | None = None

    @property
    def classes(self) -> int:
        """Number of classes of the classifier."""
        return DATA_SETS[self.data].classes

    @property
    def file_name(self) -> str:
        """Name of the published file."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def sha256_prefix(self) -> str | None:
        """How the SHA-256 must begin: all of it, the 8 digits in the names of mmaction2's files, or None."""
        if self.sha256 is not None:
            return self.sha256
        match = _MMACTION2_DIGEST.search(self.url) if self.home == _MMACTION2 else None
        return match.group(1) if match is not None else None


DATA_SETS = {
    "kinetics400": DataSet("Kinetics-400", 400),
    "ucf101": DataSet("UCF-101", 101),
    "hmdb51": DataSet("HMDB51", 51),
    "sthv1": DataSet("Something-Something V1", 174),
    "sthv2": DataSet("Something-Something V2", 174),
    "jester": DataSet("Jester", 27),
    "imagenet1k": DataSet("ImageNet-1k", 1000),
}
"""Every data set of the table by its name."""

_PADDLEVIDEO = Home("PaddleVideo", "Apache-2.0")
_PADDLECLAS = Home("PaddleClas", "Apache-2.0")
_MMACTION2 = Home("mmaction2", "Apache-2.0")
_MIT = Home("MIT temporal-shift-module", "MIT")

_PADDLE_PAGES = "https://github.com/PaddlePaddle/PaddleVideo/blob/develop/docs/zh-CN/model_zoo/recognition/"
_PADDLE_TSN = f"{_PADDLE_PAGES}tsn.md"
_PADDLE_TSM = f"{_PADDLE_PAGES}tsm.md"
_PADDLE_PPTSN = f"{_PADDLE_PAGES}pp-tsn.md"
_PADDLE_PPTSM = f"{_PADDLE_PAGES}pp-tsm.md"
_MMACTION2_PAGES = "https://github.com/open-mmlab/mmaction2/blob/"
_MMACTION2_TSN = f"{_MMACTION2_PAGES}v1.2.0/configs/recognition/tsn/README.md"
_MMACTION2_TSM = f"{_MMACTION2_PAGES}v1.2.0/configs/recognition/tsm/README.md"
_MMACTION2_V0_TSN = f"{_MMACTION2_PAGES}v0.24.1/configs/recognition/tsn/README.md"
_MMACTION2_V0_TSM = f"{_MMACTION2_PAGES}v0.24.1/configs/recognition/tsm/README.md"
_MIT_PAGE = "https://github.com/mit-han-lab/temporal-shift-module/blob/master/README.md"

PUBLISHED: dict[str, PublishedWeights] = {
    "tsn-r50-3f-k400-paddlevideo": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="kinetics400",
        segments=3,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.2/TSN_k400.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_TSN,
        measured=(Measured(69.81, None, Views(25, crops="ten")),),
    ),
    "tsn-r50-8f-k400-paddlevideo": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.2/TSN_k400_8.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_TSN,
        measured=(Measured(71.7, None, Views(25, crops="ten")),),
    ),
    "tsm-r50-8f-k400-paddlevideo": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/TSM/TSM_k400.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_TSM,
        measured=(Measured(71.06, None, Views(8)),),
        note="the list of all models once gave 70.86 for the same file",
    ),
    "tsm-r50-8f-ucf101-paddlevideo": PublishedWeights(
        what="TSM on ResNet-50, from Kinetics-400",
        model="tsm-r50",
        data="ucf101",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/TSM/TSM_ucf101_nchw.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_TSM,
        measured=(Measured(94.42, None, Views(8)),),
        note="split 1",
    ),
    "tsm-r50-8f-ucf101-amp-paddlevideo": PublishedWeights(
        what="TSM on ResNet-50, from Kinetics-400, trained in mixed precision",
        model="tsm-r50",
        data="ucf101",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/TSM/TSM_ucf101_amp_nchw.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_TSM,
        measured=(Measured(94.4, None, Views(8)),),
        note="split 1",
    ),
    "tsm-r50-8f-ucf101-amp-nhwc-paddlevideo": PublishedWeights(
        what="TSM on ResNet-50, from Kinetics-400, trained in mixed precision with the channels last",
        model="tsm-r50",
        data="ucf101",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/TSM/TSM_ucf101_amp_nhwc.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_TSM,
        measured=(Measured(94.55, None, Views(8)),),
        note="split 1",
    ),
    "pptsn-r50-3f-k400": PublishedWeights(
        what="PP-TSN on ResNet-50-D",
        model="pptsn-r50",
        data="kinetics400",
        segments=3,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.2/ppTSN_k400.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSN,
        measured=(Measured(73.68, None, Views(25, crops="ten")),),
        note="the page speaks of 3 segments, its test configuration takes 25 frames",
    ),
    "pptsn-r50-k400-distilled": PublishedWeights(
        what="PP-TSN on ResNet-50-D, from a distilled network",
        model="pptsn-r50",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.2/ppTSN_k400_8.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSN,
        measured=(Measured(75.06, None, Views(25, crops="ten")),),
        note="an older English page gave 3 segments and no file; the Chinese and the newer English page agree on 8",
    ),
    "pptsm-r50-k400": PublishedWeights(
        what="PP-TSM on ResNet-50-D",
        model="pptsm-r50",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/PPTSM/ppTSM_k400_uniform.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(74.54, None, Views(8)),),
    ),
    "pptsm-r50-k400-distilled": PublishedWeights(
        what="PP-TSM on ResNet-50-D, distilled",
        model="pptsm-r50",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/PPTSM/ppTSM_k400_uniform_distill.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(75.11, None, Views(8)),),
    ),
    "pptsm-r50-k400-dense": PublishedWeights(
        what="PP-TSM on ResNet-50-D, dense clips",
        model="pptsm-r50",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/PPTSM/ppTSM_k400_dense.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(75.69, None, Views(8, clips=10, crops="three_small", sampling="dense")),),
    ),
    "pptsm-r50-k400-dense-distilled": PublishedWeights(
        what="PP-TSM on ResNet-50-D, dense clips, distilled",
        model="pptsm-r50",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.1/PPTSM/ppTSM_k400_dense_distill.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(76.16, None, Views(8, clips=10, crops="three_small", sampling="dense")),),
    ),
    "pptsm-r101-k400-dense": PublishedWeights(
        what="PP-TSM on ResNet-101-D, dense clips",
        model="pptsm-r101",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.2/ppTSM_k400_dense_r101.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(77.15, None, Views(8, clips=10, crops="three_small", sampling="dense")),),
    ),
    "pptsm-r101-k400-distilled": PublishedWeights(
        what="PP-TSM on ResNet-101-D, distilled",
        model="pptsm-r101",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.2/ppTSM_k400_uniform_distill_r101.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(76.35, None, Views(8)),),
        note="the benchmark page names the configuration of the dense network beside this file",
    ),
    "pptsm-mobilenetv2-k400": PublishedWeights(
        what="PP-TSM on MobileNetV2",
        model="pptsm-mobilenetv2",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/ppTSM_mv2_k400.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(68.09, None, Views(8)),),
    ),
    "pptsm-mobilenetv3-k400": PublishedWeights(
        what="PP-TSM on MobileNetV3-Large",
        model="pptsm-mobilenetv3",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/ppTSM_mv3_k400.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(69.84, None, Views(8)),),
    ),
    "pptsmv2-k400": PublishedWeights(
        what="PP-TSMv2 on PP-LCNetV2",
        model="pptsmv2",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/PPTSMv2_k400_8f.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(71.81, None, Views(8)),),
    ),
    "pptsmv2-16f-k400": PublishedWeights(
        what="PP-TSMv2 on PP-LCNetV2",
        model="pptsmv2",
        data="kinetics400",
        segments=16,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/PPTSMv2_k400_16f.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(73.1, None, Views(16)),),
    ),
    "pptsmv2-k400-dml": PublishedWeights(
        what="PP-TSMv2 on PP-LCNetV2, trained together with a PP-TSM",
        model="pptsmv2",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/PPTSMv2_k400_8f_dml.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(72.45, None, Views(8)),),
        note="teacher and student in one file, as the training code saves them; one accuracy is given for both files",
    ),
    "pptsmv2-k400-dml-student": PublishedWeights(
        what="PP-TSMv2 on PP-LCNetV2, trained together with a PP-TSM, the student alone",
        model="pptsmv2",
        data="kinetics400",
        segments=8,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/PPTSMv2_k400_8f_dml_student.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(72.45, None, Views(8)),),
    ),
    "pptsmv2-16f-k400-dml": PublishedWeights(
        what="PP-TSMv2 on PP-LCNetV2 with temporal attention, trained together with a PP-TSM",
        model="pptsmv2",
        data="kinetics400",
        segments=16,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/PPTSMv2_k400_16f_dml.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(75.16, None, Views(16)),),
        note="teacher and student in one file; the benchmark page gives 74.38, which is without temporal attention",
    ),
    "pptsmv2-16f-k400-dml-student": PublishedWeights(
        what="PP-TSMv2 on PP-LCNetV2 with temporal attention, trained together with a PP-TSM, the student alone",
        model="pptsmv2",
        data="kinetics400",
        segments=16,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.3/PPTSMv2_k400_16f_dml_student.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_PPTSM,
        measured=(Measured(75.16, None, Views(16)),),
        note="the benchmark page gives 74.38, which is without temporal attention",
    ),
    "r50-imagenet1k-paddle": PublishedWeights(
        what="ResNet-50, from which PaddleVideo's TSN and TSM start",
        model="tsm-r50",
        data="imagenet1k",
        segments=1,
        url="https://videotag.bj.bcebos.com/PaddleVideo/PretrainModel/ResNet50_pretrain.pdparams",
        home=_PADDLEVIDEO,
        page=_PADDLE_TSM,
        note="no accuracy is published for this file; PaddleVideo's TSN starts from it, too",
    ),
    "r50vd-imagenet1k-ssld-paddle": PublishedWeights(
        what="ResNet-50-D, distilled, from which PP-TSN and PP-TSM start",
        model="pptsm-r50",
        data="imagenet1k",
        segments=1,
        url="https://videotag.bj.bcebos.com/PaddleVideo/PretrainModel/ResNet50_vd_ssld_v2_pretrained.pdparams",
        home=_PADDLECLAS,
        page=_PADDLE_PPTSM,
        measured=(Measured(83.0, 96.4, Views(1)),),
        note="accuracy: PaddleClas's page of ResNet50_vd_ssld_v2",
    ),
    "r101vd-imagenet1k-ssld-paddle": PublishedWeights(
        what="ResNet-101-D, distilled, from which PP-TSM starts",
        model="pptsm-r101",
        data="imagenet1k",
        segments=1,
        url="https://videotag.bj.bcebos.com/PaddleVideo-release2.2/ResNet101_vd_ssld_pretrained.pdparams",
        home=_PADDLECLAS,
        page=_PADDLE_PPTSM,
        measured=(Measured(83.7, 96.7, Views(1)),),
        note="accuracy: PaddleClas's page of ResNet101_vd_ssld",
    ),
    "mobilenetv2-imagenet1k-ssld-paddle": PublishedWeights(
        what="MobileNetV2, distilled, from which PP-TSM starts",
        model="pptsm-mobilenetv2",
        data="imagenet1k",
        segments=1,
        url="https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/MobileNetV2_ssld_pretrained.pdparams",
        home=_PADDLECLAS,
        page=_PADDLE_PPTSM,
        measured=(Measured(76.74, 93.39, Views(1)),),
        note="accuracy: PaddleClas's page of the mobile networks",
    ),
    "mobilenetv3-imagenet1k-ssld-paddle": PublishedWeights(
        what="MobileNetV3-Large, distilled, from which PP-TSM starts",
        model="pptsm-mobilenetv3",
        data="imagenet1k",
        segments=1,
        url="https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models/MobileNetV3_large_x1_0_ssld_pretrained.pdparams",
        home=_PADDLECLAS,
        page=_PADDLE_PPTSM,
        measured=(Measured(78.96, 94.48, Views(1)),),
        note="accuracy: PaddleClas's page of the mobile networks",
    ),
    "pplcnetv2-imagenet1k-ssld-paddle": PublishedWeights(
        what="PP-LCNetV2, distilled, from which PP-TSMv2 starts",
        model="pptsmv2",
        data="imagenet1k",
        segments=1,
        url="https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models/PPLCNetV2_base_ssld_pretrained.pdparams",
        home=_PADDLECLAS,
        page=_PADDLE_PPTSM,
        measured=(Measured(80.07, 94.87, Views(1)),),
        note="PaddleVideo's page gives 80.07, one page of PaddleClas 80.10",
    ),
    "tsn-r50-3f-k400-mmaction2": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="kinetics400",
        segments=3,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb_20220906-cd10898e.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSN,
        measured=(Measured(72.83, 90.65, Views(25, crops="ten")),),
    ),
    "tsn-r50-5f-k400-mmaction2": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="kinetics400",
        segments=5,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x5-100e_kinetics400-rgb/tsn_imagenet-pretrained-r50_8xb32-1x1x5-100e_kinetics400-rgb_20220906-65d68713.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSN,
        measured=(Measured(73.8, 91.21, Views(25, crops="ten")),),
    ),
    "tsn-r50-8f-k400-mmaction2": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="kinetics400",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb_20220906-2692d16c.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSN,
        measured=(Measured(74.12, 91.34, Views(25, crops="ten")),),
    ),
    "tsn-r50-5f-k400-dense-mmaction2": PublishedWeights(
        what="TSN on ResNet-50, dense clips",
        model="tsn-r50",
        data="kinetics400",
        segments=5,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-dense-1x1x5-100e_kinetics400-rgb/tsn_imagenet-pretrained-r50_8xb32-dense-1x1x5-100e_kinetics400-rgb_20220906-dcbc6e01.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSN,
        measured=(Measured(71.37, 89.67, Views(25, crops="ten", sampling="dense")),),
        note="views as on the page; its test configuration takes 10 dense clips and the centre",
    ),
    "tsn-r101-8f-k400-mmaction2": PublishedWeights(
        what="TSN on ResNet-101",
        model="tsn-r101",
        data="kinetics400",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/tsn_imagenet-pretrained-r101_8xb32-1x1x8-100e_kinetics400-rgb/tsn_imagenet-pretrained-r101_8xb32-1x1x8-100e_kinetics400-rgb_20220906-23cff032.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSN,
        measured=(Measured(75.89, 92.07, Views(25, crops="ten")),),
    ),
    "tsn-r50-8f-sthv2-mmaction2": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="sthv2",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-50e_sthv2-rgb/tsn_imagenet-pretrained-r50_8xb32-1x1x8-50e_sthv2-rgb_20230313-06ad7d03.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSN,
        measured=(Measured(35.51, 67.09, Views(25, crops="ten")),),
    ),
    "tsn-r50-16f-sthv2-mmaction2": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="sthv2",
        segments=16,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x16-50e_sthv2-rgb/tsn_imagenet-pretrained-r50_8xb32-1x1x16-50e_sthv2-rgb_20230221-85bcc1c3.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSN,
        measured=(Measured(36.91, 68.77, Views(25, crops="ten")),),
    ),
    "tsm-r50-8f-k400-mmaction2": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="kinetics400",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb_20220831-64d69186.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(73.18, 90.56, Views(8, crops="ten")),),
        note="an older page gave 72.95 for the same file",
    ),
    "tsm-r50-8f-k400-100e-mmaction2": PublishedWeights(
        what="TSM on ResNet-50, 100 epochs",
        model="tsm-r50",
        data="kinetics400",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-100e_kinetics400-rgb/tsm_imagenet-pretrained-r50_8xb16-1x1x8-100e_kinetics400-rgb_20220831-a6db1e5d.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(73.22, 90.22, Views(8, crops="ten")),),
        note="an older page gave 73.11 for the same file",
    ),
    "tsm-r50-16f-k400-mmaction2": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="kinetics400",
        segments=16,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_kinetics400-rgb/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_kinetics400-rgb_20220831-042b1748.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(75.12, 91.55, Views(16, crops="ten")),),
        note="an older page gave 74.64 for the same file",
    ),
    "tsm-r50-8f-k400-dense-mmaction2": PublishedWeights(
        what="TSM on ResNet-50, dense clips",
        model="tsm-r50",
        data="kinetics400",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-dense-1x1x8-50e_kinetics400-rgb/tsm_imagenet-pretrained-r50_8xb16-dense-1x1x8-50e_kinetics400-rgb_20220831-f55d3c2b.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(73.38, 90.78, Views(8, clips=10, crops="ten", sampling="dense")),),
        note="the page says 8 clips and 10 crops; its test configuration takes 10 dense clips",
    ),
    "tsm-mobilenetv2-8f-k400-100e-mmaction2": PublishedWeights(
        what="TSM on MobileNetV2, 100 epochs",
        model="tsm-mobilenetv2",
        data="kinetics400",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb/tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb_20230414-401127fd.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(68.71, 88.32, Views(8, crops="three", side=256)),),
        note="page and test configuration say uniform frames, unlike the dense network of version 0.x",
    ),
    "tsm-r50-8f-sthv2-mmaction2": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="sthv2",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb_20230317-be0fc26e.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(62.72, 87.7, Views(8, clips=2, crops="three", side=256)),),
        note="the page does not mention the second clip of the test configuration",
    ),
    "tsm-r50-16f-sthv2-mmaction2": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="sthv2",
        segments=16,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_sthv2-rgb/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_sthv2-rgb_20230317-ec6696ad.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(64.16, 88.61, Views(16, clips=2, crops="three", side=256)),),
        note="the page does not mention the second clip of the test configuration",
    ),
    "tsm-r101-8f-sthv2-mmaction2": PublishedWeights(
        what="TSM on ResNet-101",
        model="tsm-r101",
        data="sthv2",
        segments=8,
        url="https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r101_8xb16-1x1x8-50e_sthv2-rgb/tsm_imagenet-pretrained-r101_8xb16-1x1x8-50e_sthv2-rgb_20230320-efcc0d1b.pth",
        home=_MMACTION2,
        page=_MMACTION2_TSM,
        measured=(Measured(63.7, 88.28, Views(8, clips=2, crops="three", side=256)),),
        note="the page does not mention the second clip of the test configuration",
    ),
    "tsn-r50-3f-ucf101-mmaction2": PublishedWeights(
        what="TSN on ResNet-50, from ImageNet",
        model="tsn-r50",
        data="ucf101",
        segments=3,
        url="https://download.openmmlab.com/mmaction/recognition/tsn/tsn_r50_1x1x3_75e_ucf101_rgb/tsn_r50_1x1x3_75e_ucf101_rgb_20201023-d85ab600.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSN,
        measured=(Measured(83.03, 96.78, Views(25, crops="three", side=256)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsn-r50-8f-hmdb51-from-imagenet-mmaction2": PublishedWeights(
        what="TSN on ResNet-50, from ImageNet",
        model="tsn-r50",
        data="hmdb51",
        segments=8,
        url="https://download.openmmlab.com/mmaction/recognition/tsn/tsn_r50_1x1x8_50e_hmdb51_imagenet_rgb/tsn_r50_1x1x8_50e_hmdb51_imagenet_rgb_20201123-ce6c27ed.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSN,
        measured=(Measured(48.95, 80.19, Views(8, side=256)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsn-r50-8f-hmdb51-from-k400-mmaction2": PublishedWeights(
        what="TSN on ResNet-50, from Kinetics-400",
        model="tsn-r50",
        data="hmdb51",
        segments=8,
        url="https://download.openmmlab.com/mmaction/recognition/tsn/tsn_r50_1x1x8_50e_hmdb51_kinetics400_rgb/tsn_r50_1x1x8_50e_hmdb51_kinetics400_rgb_20201123-7f84701b.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSN,
        measured=(Measured(56.08, 84.31, Views(8, side=256)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsn-r50-8f-hmdb51-from-mit-mmaction2": PublishedWeights(
        what="TSN on ResNet-50, from Moments in Time",
        model="tsn-r50",
        data="hmdb51",
        segments=8,
        url="https://download.openmmlab.com/mmaction/recognition/tsn/tsn_r50_1x1x8_50e_hmdb51_mit_rgb/tsn_r50_1x1x8_50e_hmdb51_mit_rgb_20201123-01526d41.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSN,
        measured=(Measured(54.25, 83.86, Views(8, side=256)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsm-r50-8f-ucf101-mmaction2": PublishedWeights(
        what="TSM on ResNet-50, from Kinetics-400",
        model="tsm-r50",
        data="ucf101",
        segments=8,
        url="https://download.openmmlab.com/mmaction/recognition/tsm/tsm_k400_pretrained_r50_1x1x8_25e_ucf101_rgb/tsm_k400_pretrained_r50_1x1x8_25e_ucf101_rgb_20210630-1fae312b.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSM,
        measured=(Measured(94.5, 99.58, Views(8)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsm-r50-16f-ucf101-mmaction2": PublishedWeights(
        what="TSM on ResNet-50, from Kinetics-400",
        model="tsm-r50",
        data="ucf101",
        segments=16,
        url="https://download.openmmlab.com/mmaction/recognition/tsm/tsm_k400_pretrained_r50_1x1x16_25e_ucf101_rgb/tsm_k400_pretrained_r50_1x1x16_25e_ucf101_rgb_20210630-8df9c358.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSM,
        measured=(Measured(94.58, 99.37, Views(16)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsm-r50-8f-hmdb51-mmaction2": PublishedWeights(
        what="TSM on ResNet-50, from Kinetics-400",
        model="tsm-r50",
        data="hmdb51",
        segments=8,
        url="https://download.openmmlab.com/mmaction/recognition/tsm/tsm_k400_pretrained_r50_1x1x8_25e_hmdb51_rgb/tsm_k400_pretrained_r50_1x1x8_25e_hmdb51_rgb_20210630-10c74ee5.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSM,
        measured=(Measured(72.68, 92.03, Views(8)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsm-r50-16f-hmdb51-mmaction2": PublishedWeights(
        what="TSM on ResNet-50, from Kinetics-400",
        model="tsm-r50",
        data="hmdb51",
        segments=16,
        url="https://download.openmmlab.com/mmaction/recognition/tsm/tsm_k400_pretrained_r50_1x1x16_25e_hmdb51_rgb/tsm_k400_pretrained_r50_1x1x16_25e_hmdb51_rgb_20210630-4785548e.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSM,
        measured=(Measured(74.77, 93.86, Views(16)),),
        note="split 1; protocol: the test configuration",
    ),
    "tsm-r50-8f-jester-mmaction2": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="jester",
        segments=8,
        url="https://download.openmmlab.com/mmaction/recognition/tsm/tsm_r50_1x1x8_50e_jester_rgb/tsm_r50_1x1x8_50e_jester_rgb-c799267e.pth",
        home=_MMACTION2,
        page=_MMACTION2_V0_TSM,
        measured=(
            Measured(96.5, None, Views(8, side=256)),
            Measured(97.2, None, Views(8, clips=2, crops="three", side=256)),
        ),
    ),
    "tsn-r50-5f-k400-mit": PublishedWeights(
        what="TSN on ResNet-50",
        model="tsn-r50",
        data="kinetics400",
        segments=5,
        url="https://file.lzhu.me/projects/tsm/models/TSM_kinetics_RGB_resnet50_avg_segment5_e50.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(
            Measured(68.8, None, Views(8)),
            Measured(69.9, None, Views(8, crops="ten")),
            Measured(70.6, None, Views(8, clips=10, crops="three", side=256, sampling="dense")),
        ),
    ),
    "tsm-r50-8f-k400-mit": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="kinetics400",
        segments=8,
        url="https://file.lzhu.me/projects/tsm/models/TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(
            Measured(71.2, None, Views(8)),
            Measured(72.8, None, Views(8, crops="ten")),
        ),
    ),
    "tsm-r50-16f-k400-mit": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="kinetics400",
        segments=16,
        url="https://file.lzhu.me/projects/tsm/models/TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment16_e50.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(
            Measured(72.6, None, Views(16)),
            Measured(73.7, None, Views(16, crops="ten")),
        ),
    ),
    "tsm-r50-8f-k400-dense-mit": PublishedWeights(
        what="TSM on ResNet-50, dense clips",
        model="tsm-r50",
        data="kinetics400",
        segments=8,
        url="https://file.lzhu.me/projects/tsm/models/TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e100_dense.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(Measured(74.1, None, Views(8, clips=10, crops="three", side=256, sampling="dense")),),
    ),
    "tsm-mobilenetv2-8f-k400-dense-mit": PublishedWeights(
        what="TSM on MobileNetV2, dense clips",
        model="tsm-mobilenetv2",
        data="kinetics400",
        segments=8,
        url="https://file.lzhu.me/projects/tsm/models/TSM_kinetics_RGB_mobilenetv2_shift8_blockres_avg_segment8_e100_dense.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(Measured(69.5, None, Views(8, clips=10, crops="three", side=256, sampling="dense")),),
    ),
    "tsm-r50-8f-sthv1-mit": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="sthv1",
        segments=8,
        url="https://file.lzhu.me/projects/tsm/models/TSM_something_RGB_resnet50_shift8_blockres_avg_segment8_e45.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(
            Measured(45.6, None, Views(8)),
            Measured(47.2, None, Views(8, clips=2, crops="three", side=256)),
        ),
    ),
    "tsm-r50-16f-sthv1-mit": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="sthv1",
        segments=16,
        url="https://file.lzhu.me/projects/tsm/models/TSM_something_RGB_resnet50_shift8_blockres_avg_segment16_e45.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(
            Measured(47.2, None, Views(16)),
            Measured(48.4, None, Views(16, clips=2, crops="three", side=256)),
        ),
    ),
    "tsm-r101-8f-sthv1-mit": PublishedWeights(
        what="TSM on ResNet-101",
        model="tsm-r101",
        data="sthv1",
        segments=8,
        url="https://file.lzhu.me/projects/tsm/models/TSM_something_RGB_resnet101_shift8_blockres_avg_segment8_e45.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(
            Measured(46.9, None, Views(8)),
            Measured(48.7, None, Views(8, clips=2, crops="three", side=256)),
        ),
    ),
    "tsm-r50-8f-sthv2-mit": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="sthv2",
        segments=8,
        url="https://file.lzhu.me/projects/tsm/models/TSM_somethingv2_RGB_resnet50_shift8_blockres_avg_segment8_e45.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(Measured(61.2, None, Views(8, clips=2, crops="three", side=256)),),
    ),
    "tsm-r50-16f-sthv2-mit": PublishedWeights(
        what="TSM on ResNet-50",
        model="tsm-r50",
        data="sthv2",
        segments=16,
        url="https://file.lzhu.me/projects/tsm/models/TSM_somethingv2_RGB_resnet50_shift8_blockres_avg_segment16_e45.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(Measured(63.1, None, Views(16, clips=2, crops="three", side=256)),),
    ),
    "tsm-r101-8f-sthv2-mit": PublishedWeights(
        what="TSM on ResNet-101",
        model="tsm-r101",
        data="sthv2",
        segments=8,
        url="https://file.lzhu.me/projects/tsm/models/TSM_somethingv2_RGB_resnet101_shift8_blockres_avg_segment8_e45.pth",
        home=_MIT,
        page=_MIT_PAGE,
        measured=(Measured(63.3, None, Views(8, clips=2, crops="three", side=256)),),
    ),
}
"""Every file by its name."""


def find_published(name: str) -> PublishedWeights:
    """The entry of the table.

    Raises:
        ConfigError: The table has no such name.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    near = nearest_published(name)
    raise ConfigError(
        "There are no published weights of this name.",
        got=name,
        allowed=f"nearest names: {', '.join(near)}" if near else None,
        remedy="clipshift models lists all names",
    )


def nearest_published(name: str) -> list[str]:
    """Up to five names of the table that `name` may have meant, the nearest first."""
    return get_close_matches(name, PUBLISHED, n=5)


def with_nearest_names(error: ConfigError, name: str) -> ConfigError:
    """The error that no network is called `name`, with the names of the table that may have been meant, if any."""
    near = nearest_published(name)
    if not near:
        return error
    allowed = f"nearest names of published weights: {', '.join(near)}"
    if error.allowed is not None:
        allowed += f"; of networks: {error.allowed.removeprefix('nearest names: ')}"
    return ConfigError(
        "There are no published weights and no network of this name.", got=name, allowed=allowed, remedy=error.remedy
    )


def list_published() -> list[tuple[str, str]]:
    """(name, what the file is and how accurate) of every entry."""
    return [(name, _summary(entry)) for name, entry in PUBLISHED.items()]


def _summary(entry: PublishedWeights) -> str:
    frames = "" if entry.segments == 1 else f"{entry.segments} frames"
    best = max((result.top1 for result in entry.measured), default=None)
    accuracy = "" if best is None else f"{best} %"
    return ", ".join(part for part in (entry.what, frames, DATA_SETS[entry.data].title, accuracy) if part)
