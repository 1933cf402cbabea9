"""The configuration: every setting of clipshift, its type, its range, its default and its meaning.

The models are frozen: a configuration is made once, by [clipshift.config.resolve][], and then only read. The text
under a field is its documentation; `clipshift config` and the JSON schema show it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
# What becomes the size of an array has an upper bound, too: a slip of the finger must not take all memory.
Frames = Annotated[int, Field(ge=1, le=1024)]
Pixels = Annotated[int, Field(ge=1, le=8192)]
Clips = Annotated[int, Field(ge=1, le=1000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Color = tuple[float, float, float]
Region = tuple[float, float, float, float]
"""Left edge, upper edge, width and height, as shares of the picture."""


def _known_region(value: object) -> object:
    if value != "motion" and (isinstance(value, str) or (isinstance(value, list) and len(value) != 4)):
        raise ValueError(f"must be left, top, width and height as shares of the picture, or motion, got {value!r}")
    return tuple(value) if isinstance(value, list) else value  # JSON has no tuples


RegionSetting = Annotated[Region | Literal["motion"] | None, BeforeValidator(_known_region)]
Sampling = Literal["middle", "middle_float", "middle_or_first", "block_middle", "ends", "dense"]
TrainSampling = Literal["random", "block_random", "block_random_or_first", "block_random_or_spread", "dense"]
TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow", "dvc"]
Crops = Literal["center", "three", "three_small", "ten"]
CropsSetting = Annotated[Crops, BeforeValidator(lambda value: "center" if value == "centre" else value)]
"""Crops in a file or setting, where earlier versions wrote `centre`."""

MOST_CLIPS: dict[Sampling, int] = {"middle_float": 2, "middle_or_first": 1, "block_middle": 1, "ends": 1}
"""Sets of frames per video that a rule of sampling knows; `middle` and `dense` know any number of them."""

_ROUNDING, _THINNEST = 1e-6, 1e-4
"""Shares of the picture: how far rounding may push a region's edge out, and the least width and height of one."""


def check_region(region: Region) -> None:
    """Sees that a region lies inside the picture, and has an area.

    Raises:
        ValueError: It does not, or has none.
    """
    x, y, width, height = region
    if min(x, y) < 0 or min(width, height) <= 0 or max(x + width, y + height) > 1 + _ROUNDING:
        raise ValueError(
            f"region must lie inside the picture, as shares of it, and have an area: left, top, width, height with "
            f"left + width <= 1 and top + height <= 1; got {list(region)}"
        )
    if max(x, y) > 1 - _THINNEST or min(width, height) < _THINNEST:
        raise ValueError(f"region is thinner than {_THINNEST:g} of the picture, got {list(region)}")


IMAGENET_MEAN: Color = (0.485, 0.456, 0.406)
IMAGENET_STD: Color = (0.229, 0.224, 0.225)


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, no conversions between types, finite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class ShiftConfig(Section):
    """The temporal shift of TSM (Lin et al. 2019, section 3)."""

    fold_div: Annotated[int, Field(ge=2)] = 8
    """One part in `fold_div` of the channels moves in each direction (the paper: 8; PaddleVideo: segments)."""
    order: Literal["future_first", "past_first", "past_only"] = "future_first"
    """Where the first moved channels come from: frame t+1 (the paper, MIT, mmaction2) or t-1 (PaddleVideo); the second
    ones come from the other side. `past_only`: there are no second ones (MIT's online TSM, for streams)."""
    rounding: Literal["each", "total"] = "each"
    """Where C / fold_div is not whole: both folds have C // fold_div channels (`each`: MIT, mmaction2), or they end
    at C // fold_div and 2 C // fold_div (`total`: PaddleVideo)."""
    deep_networks: Literal["every_second_block", "every_block"] = "every_second_block"
    """Where a residual network with a stage of 23 blocks or more (ResNet-101) shifts: in every second block (MIT,
    mmaction2), or in every one (PaddleVideo)."""


class ModelConfig(Section):
    """The network: a 2D backbone over sampled frames."""

    architecture: Literal["tsn", "tsm"] = "tsm"
    """`tsn`: frames are seen apart and their scores averaged; `tsm`: features are shifted between frames."""
    backbone: str = "mobilenetv2_100"
    """Name of a timm network (`clipshift models` lists the tried ones)."""
    activation: Literal["default", "leaky_relu"] = "default"
    """The backbone's own activations, or leaky ReLU (slope 0.01) in place of all of them (PP-TSM)."""
    shift: ShiftConfig = ShiftConfig()
    temporal_attention: bool = False
    """Weigh the frames of a clip against one another before the shift (PP-TSMv2; networks that shift once)."""
    motion: bool = False
    """The classifier also reads how much each feature changes between frames that lie 1, 2, 4 ... apart."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Probability that a feature before the classifier is zeroed in training."""
    dropout_scaling: Literal["training", "inference"] = "training"
    """Where dropout makes up for the zeroed features: kept ones grow in training (PyTorch), or all shrink by
    1 - `dropout` in inference (PaddleVideo's MobileNetV3 and PP-TSMv2)."""
    classifier_std: Positive = 0.001
    """Standard deviation of a new classifier's weights (TSM: 0.001; TSN, PP-TSN and PP-TSM: 0.01)."""
    pretrained: bool = True
    """Start from timm's published ImageNet weights (fetched when online); ignored when `--weights` is given."""

    @property
    def is_past_only(self) -> bool:
        """Whether its frames take from earlier ones only, as networks of streams do."""
        return self.architecture == "tsm" and self.shift.order == "past_only"

    @model_validator(mode="after")
    def _attention_has_its_shift(self) -> Self:
        if self.temporal_attention and self.architecture != "tsm":
            raise ValueError("model.temporal_attention=true needs model.architecture=tsm")
        return self


class InputConfig(Section):
    """How frames are taken from a clip and become the network's input; travels with the trained model."""

    pixel_aspect: Literal["ignore", "apply"] = "ignore"
    """Videos whose pixels are not square (DVD, DV, anamorphic): their frames are taken as stored (`ignore`: all
    published systems), or scaled in width as players show them (`apply`), before everything else."""
    region: RegionSetting = None
    """The part of the picture that is looked at, cut out before everything else: left edge, upper edge, width and
    height, as shares of the picture, such as [0.25, 0, 0.5, 1] for the middle half; or `motion`: in each clip that in
    which most changes from frame to frame. None: all of it."""
    segments: Frames = 8
    """Frames per clip: the video is cut into as many equal parts and one frame is taken from each."""
    rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames a second that the network sees, by the times at which they are shown: a window of `segments` ticks, at a
    random place in training, in the middle in a test; `sampling` and `augment.sampling` have no part in it then. None:
    frames are spread over the whole clip, as published."""
    sampling: Sampling = "middle"
    """The frame of each part in a test: its `middle`; the same in floating point (`middle_float`: mmaction2, MIT);
    that or, of videos with at most `segments` frames, always the first one (`middle_or_first`: PaddleVideo's left);
    the middle of a whole number of frames (`block_middle`: its mid); evenly from first to last (`ends`: linspace); or
    every (64 // `segments`)-th frame of windows of 64 frames, one for each clip (`dense`)."""
    resize: Pixels = 256
    """Short side in pixels to which frames are scaled before a test crop."""
    aspect: Literal["keep", "four_thirds"] = "keep"
    """Shape of the scaled frame: its own, or always 4:3 unless the short side is `resize` already (PaddleVideo)."""
    resize_rounding: Literal["nearest", "down"] = "nearest"
    """How the long side is rounded that keeps the aspect: half up (mmaction2), or down (torchvision, PaddleVideo)."""
    crop: Pixels = 224
    """Side in pixels of the square that the network sees."""
    crop_rounding: Literal["down", "even"] = "down"
    """Where a center crop begins if the space around it is odd: half of it rounded down (mmaction2), or to the even
    neighbor (torchvision, PaddleVideo)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Interpolation of all resizing."""
    antialias: bool = True
    """Resizing averages over all pixels that it drops (Pillow), or takes only the nearest ones, as OpenCV does."""
    mean: Color = IMAGENET_MEAN
    """Per-channel (RGB) mean that is subtracted, of values in [0, 1]."""
    std: Color = IMAGENET_STD
    """Per-channel (RGB) standard deviation that values are divided by."""

    @property
    def fixed_region(self) -> Region | None:
        """The region where it is the same in every clip; None also where it is found in each."""
        return None if self.region == "motion" else self.region

    @model_validator(mode="after")
    def _region_lies_inside(self) -> Self:
        if self.fixed_region is not None:
            check_region(self.fixed_region)
        return self

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop > self.resize:
            raise ValueError(f"crop ({self.crop}) must not be larger than resize ({self.resize})")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self


class AugmentConfig(Section):
    """Random changes of the training clips; one draw per clip, the same for all its frames."""

    sampling: TrainSampling = "random"
    """Training frames: one of each part, all reachable (`random`); of parts of a whole number of frames, where fewer
    frames than segments are begun again (`block_random`: PaddleVideo's mid), give the first only
    (`block_random_or_first`: its left, MIT) or are spread (`block_random_or_spread`: mmaction2); or every
    (64 // `input.segments`)-th frame of a window of 64 frames at a random place (`dense`)."""
    scale: Literal["none", "keep", "four_thirds"] = "none"
    """Scale frames to the short side `input.resize` before they are cropped: not at all (TSM), with their own shape
    (TSN), or to 4:3 as `input.aspect` does (PP-TSM)."""
    crop_scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 0.875, 0.75, 0.66)
    """Multi-scale crop (TSN, section 3.2): width and height are each one of these shares of the short side, at
    most one step apart; the crop is then scaled to `crop_resize`."""
    crop_resize: Annotated[int, Field(ge=0, le=8192)] = 0
    """Side to which the multi-scale crop is scaled and from which a square of `input.crop` is then cut at random
    (PP-TSM: 256); 0: scaled to `input.crop`, nothing cut."""
    crop_positions: Literal["five", "thirteen", "any"] = "thirteen"
    """Where crops lie: corners and center, these and eight between them, or anywhere."""
    flip: Fraction = 0.5
    """Probability of a horizontal mirror; where left and right tell classes apart set 0, or `flip_pairs`."""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    """Classes that a mirror turns into one another, by name: a mirrored clip of one gets the label of the other."""
    flip_others: bool = True
    """Whether clips of classes that are in none of the pairs are mirrored, too."""
    brightness: Fraction = 0.0
    """Largest relative change of brightness."""
    contrast: Fraction = 0.0
    """Largest relative change of contrast."""
    saturation: Fraction = 0.0
    """Largest relative change of saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest turn of the hue, in whole turns of the color circle."""
    rand_augment: Annotated[int, Field(ge=0, le=4)] = 0
    """Operations of RandAugment on a clip (Cubuk et al. 2020: 2), drawn of fourteen; 0 switches it off."""
    rand_augment_magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Their strength, of 30."""
    erase: Fraction = 0.0
    """Probability that a box of 2 to 33 % of the area is covered with the mean color (Zhong et al. 2020)."""
    mixup: NonNegative = 0.0
    """Alpha of mixup's Beta distribution (Zhang et al. 2018); 0 switches it off."""
    cutmix: NonNegative = 0.0
    """Alpha of CutMix (Yun et al. 2019): a box of another clip, the same in all frames; 0 switches it off. Of mixup,
    `cutmix` and `videomix`, each that is on is as likely for a batch."""
    videomix: NonNegative = 0.0
    """Alpha of VideoMix (Yun et al. 2020): as `cutmix`, with a box that begins and ends in time, too; 0: off."""

    @model_validator(mode="after")
    def _a_class_has_one_partner(self) -> Self:
        # A class may be its own partner: it looks the same from the other side.
        names = [name for pair in self.flip_pairs for name in dict.fromkeys(pair)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"flip_pairs names a class twice: {', '.join(twice)}")
        return self


class ReadingConfig(Section):
    """How clips are found and opened; travels with the trained model. In a configuration, settings of `data`."""

    frame_pattern: str = "img_{:05d}.jpg"
    """File names inside a frame folder; numbered from 1 (a folder that starts at 0 is recognized)."""
    max_pixels: PositiveInt = 8192 * 4320
    """Largest frame, in pixels (width x height), that is decoded."""
    max_frames: PositiveInt = 1_000_000
    """Longest video, in frames, that is decoded."""
    max_seconds: Positive = 36_000.0
    """Longest video, in seconds, that is decoded."""
    background: NonNegative = 0.0
    """Of lists of spans: clips from stretches without a label, for each span; their class is `background`. 0: none."""
    background_seconds: Positive | None = None
    """Seconds that such a clip lasts; none: the median length of the spans."""
    track_seconds: Positive | None = None
    """Of lists of tracks: a track is cut into equal clips that last so long at most; none: a clip for each label, or
    for the whole track."""
    track_margin: Annotated[float, Field(ge=0, le=10)] = 0.25
    """Share by which the box of a track is made wider and higher before the clip is cut out of the picture."""

    @property
    def reading(self) -> ReadingConfig:
        """These settings alone, also of a `DataConfig`: what a trained model keeps."""
        return ReadingConfig(**{key: getattr(self, key) for key in ReadingConfig.model_fields})


class DataConfig(ReadingConfig):
    """Which clips, how they are read, and what happens to bad ones."""

    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the groups of clips held out for validation when the data set brings no split of its own."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of that split."""
    rate_from_spans: bool = False
    """Of lists of spans, where nobody sets `input.rate`: it becomes the one at which `input.segments` frames last as
    long as the median span."""
    windows: Literal["inside", "middle"] = "inside"
    """Of lists of spans, with `input.rate`, the windows of time that a training sees: those that lie in their span, or
    all whose middle does, as they come along a stream. Then clips of the background reach up to the spans, too."""
    max_bad: Fraction = 0.01
    """Training stops when more than this share of the training clips turned out unreadable."""
    workers: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = "auto"
    """Processes that decode clips, per device; 0 decodes in the main process; `auto`: as the cores allow."""


class OptimConfig(Section):
    """The optimizer, its groups and its schedule."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """`sgd`: with momentum, as published; `adamw` (Loshchilov and Hutter 2019): less sensitive to the rate."""
    lr: Positive = 0.01
    """Peak learning rate for a batch of `lr_batch_size` clips; scaled linearly to the real batch size."""
    lr_batch_size: PositiveInt = 64
    """The batch size that `lr` is meant for."""
    head_lr: Positive = 1.0
    """Factor on the learning rate of the classifier's weight (TSM's published training: 5)."""
    head_bias_lr: Positive = 1.0
    """Factor on the learning rate of the classifier's bias (TSM's published training: 10)."""
    head_weight_decay: NonNegative | None = None
    """Decay of the classifier's weight, where it is not `weight_decay` (PaddleVideo's TSM on UCF-101)."""
    attention_lr: Positive = 1.0
    """Factor on the learning rate of the temporal attention's weight (PP-TSMv2: 5)."""
    attention_bias_lr: Positive = 1.0
    """Factor on the learning rate of the temporal attention's bias, which never decays (PP-TSMv2: 10)."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate from each stage of the backbone to the one before it; 1: none. A stage ends where
    the resolution halves, as for `train.frozen_stages`; the last one has 1."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD; for AdamW the first of its two decays, the second being 0.999."""
    nesterov: bool = True
    """Nesterov's form of SGD's momentum."""
    weight_decay: NonNegative = 1e-4
    """Decay of weights (SGD: added to the gradient; AdamW: decoupled)."""
    decay_norms: bool = False
    """Let the scales and offsets of batch norms decay, too (PaddleVideo's and mmaction2's TSN)."""
    decay_biases: bool = False
    """Let biases decay, too (PaddleVideo's and mmaction2's TSN, PaddleVideo's MobileNets and PP-TSMv2)."""
    clip_norm: NonNegative = 20.0
    """Gradients are scaled down to this global norm; 0 switches it off."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the rate falls after the warm-up, iteration by iteration (cosine) or at the `steps`."""
    steps: tuple[NonNegative, ...] = ()
    """Epochs at which the step schedule multiplies the rate by `gamma`."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear warm-up; may be a fraction."""
    warmup_start: Fraction = 0.1
    """Share of the peak rate at which the warm-up starts."""


class TrainConfig(Section):
    """The training loop."""

    epochs: PositiveInt = 25
    batch_size: BatchSize = 8
    """Clips per device and forward pass."""
    accumulate: PositiveInt = 1
    """Forward passes whose gradients are averaged into one update."""
    seed: Annotated[int, Field(ge=0)] = 0
    """All randomness is a function of this seed, the epoch, the step and the sample."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes (Szegedy et al. 2016)."""
    multi_label: bool = False
    """A clip may have several labels (lists with `path 1,5,7`): each class has its own yes or no (a sigmoid, binary
    cross entropy), and predictions do not add up to 1."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """`focal` (Lin et al. 2017): a clip counts the less, the more confident the network is of its class already."""
    focal_gamma: NonNegative = 2.0
    """How much less: the factor is (1 - p)^gamma."""
    class_weights: Literal["none", "auto"] | tuple[Positive, ...] = "none"
    """Factors on the losses of the classes' clips: `auto`, inversely to their frequency, with the mean 1 over the
    training clips; or one number for each class, in the order of the classes. With `multi_label` on the losses of
    clips that have a label: `auto`, the clips without it for each clip with it, at least 1."""
    balanced: bool = False
    """An epoch has as many clips of each class, rare ones again with other random crops; as long as without."""
    start: Literal["imagenet", "auto"] = "imagenet"
    """Without `--weights`, where `model.pretrained` is true: from ImageNet; or, `auto`, from published weights of
    Kinetics-400 for the same network, if they can be had."""
    add_classes: bool = False
    """Keep the classes of the model that `--weights` names, and add those of the data (docs/training.md)."""
    rehearse: bool = True
    """With `add_classes`: of old classes that the data has no clips of, train on those of the old model's run, where
    they still lie where they were."""
    probe: bool = False
    """Start a new classifier from a linear probe on the starting network's features (LP-FT, Kumar et al. 2022)."""
    choose_motion: bool = False
    """With `probe`, where nobody sets `model.motion`: it becomes what held-out training clips speak for, answered by
    linear probes that read motion and by others that do not (docs/small_data.md). Not with `multi_label`, nor for
    networks of streams (`model.shift.order=past_only`)."""
    frozen_stages: Annotated[int, Field(ge=0)] = 0
    """Stages of the backbone, from the input on, that do not learn; a stage ends where the resolution halves."""
    freeze_bn: Literal["none", "all", "all_but_first"] = "none"
    """Batch norms that keep their statistics, scale and offset: none, all, or all but the first (TSN's partial BN)."""
    precise_bn: Annotated[int, Field(ge=0)] = 0
    """Before a validation, batch norms get the statistics of this many training batches (per device), measured with
    the weights as they are, in place of the moving average; 0: off."""
    precise_bn_every: PositiveInt = 1
    """Epochs from one such measurement to the next; the first and the last epoch always have one."""
    precise_bn_variance: Literal["pooled", "mean"] = "pooled"
    """`pooled`: the variance of all values; `mean`: the average of the batches' variances (PaddleVideo)."""
    amp: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the forward pass: full, or mixed; fp16 needs a GPU."""
    channels_last: bool = True
    """Keep convolutions in channels-last memory order."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per update of an exponential moving average of the weights, which is then validated and kept; 0: off."""
    metric: Literal["top1", "top5", "mean_class", "mean_ap", "loss"] = "top1"
    """What decides which epoch is the best; of equal ones, the one with the lower loss. `mean_ap`, the mean average
    precision, is for `multi_label`, where `top1` is the share of clips whose likeliest class is among their labels."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better `metric`; 0: never."""
    examine: bool = True
    """At the end, look what the kept network has learnt: validation clips without their order, motion and middle, and a
    linear probe on still frames, for the log and the report (docs/trust.md); not with `multi_label`."""
    fit_events: bool = True
    """At the end, where clips are spans of long videos and the network is causal: run it along the validation videos
    and fit its rules of events to them, as `clipshift fit-events` does (docs/timeline.md)."""
    unknown: bool = True
    """At the end, remember the features of training clips (at most 1000), so that `predict` can tell clips that are
    unlike all of them (docs/trust.md); not with `multi_label`."""
    checkpoint_minutes: Positive = 10.0
    """A checkpoint is also written within an epoch after this many minutes."""
    log_every: PositiveInt = 10
    """Updates between two lines of `metrics.jsonl`."""
    track: tuple[TrackerName, ...] = ()
    """Trackers that are told of settings, metrics, plots, report and model (docs/tracking.md); what fails or hangs
    there neither stops nor changes the training."""
    track_seconds: Positive = 60.0
    """The longest that the end of a training waits for its trackers, which may have to send a model somewhere."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the network on a CPU; 0 leaves PyTorch's choice."""

    @model_validator(mode="after")
    def _something_to_measure(self) -> Self:
        if self.precise_bn and self.freeze_bn == "all":
            raise ValueError("train.precise_bn has nothing to measure with train.freeze_bn=all")
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.metric == "mean_ap" and not self.multi_label:
            raise ValueError("train.metric=mean_ap needs train.multi_label=true")
        if self.balanced and self.multi_label:
            raise ValueError("train.balanced=true needs clips of one label; with several, use train.class_weights=auto")
        return self


class DistillConfig(Section):
    """Learning from other networks beside the labels."""

    method: Literal["none", "mutual", "teacher"] = "none"
    """`mutual`: a second network is trained along and each learns from the other (Zhang et al. 2018; PaddleVideo's
    DML); `teacher`: the soft answers of trained networks that stay as they are (Hinton et al. 2015)."""
    teacher: tuple[str, ...] = ()
    """`teacher`: run folders, model folders or published weights, of several the mean answer; `mutual`: one recipe,
    one of the tried models, or a trained model to start from."""
    temperature: Positive = 1.0
    """Divides the logits of both sides in the soft part of the loss, which is multiplied by its square to make up."""
    weight: NonNegative = 1.0
    """Factor of the soft part of the loss."""
    label_weight: NonNegative = 1.0
    """Factor of the labels' part of the student's loss; 0 learns from the teacher alone."""
    stored: bool = False
    """`teacher`: its answers are computed once, for the test view of every training clip, and kept in the run; they
    do not follow the random crops and frames that the student sees."""

    @model_validator(mode="after")
    def _method_has_its_teacher(self) -> Self:
        if self.method == "none" and self.teacher:
            raise ValueError("distill.teacher needs distill.method=teacher or distill.method=mutual")
        if self.method != "none" and not self.teacher:
            raise ValueError(f"distill.method={self.method} needs distill.teacher, for example distill.teacher=[RUN]")
        if self.method == "mutual" and len(self.teacher) > 1:
            raise ValueError("distill.method=mutual trains one teacher along, not several")
        if self.method == "mutual" and self.stored:
            raise ValueError("distill.stored=true needs distill.method=teacher: a mutual teacher changes all the time")
        return self


class EvaluateConfig(Section):
    """Validation and test."""

    crops: CropsSetting = "center"
    """Crops per frame, as published: one; left, center and right of full height (`three`) or of side `input.crop`
    (`three_small`: PaddleVideo's dense test); corners and center, mirrored too (`ten`)."""
    clips: Clips = 1
    """Sets of frames per video, spread evenly in time."""
    batch_size: BatchSize = 8
    """Videos per forward pass; does not change the result."""
    bad: Literal["wrong", "exclude"] = "wrong"
    """How unreadable videos count: as wrong, or not at all. They are listed in any case."""


class Config(Section):
    """All settings of a run."""

    model: ModelConfig = ModelConfig()
    input: InputConfig = InputConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    distill: DistillConfig = DistillConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _schedule_is_complete(self) -> Self:
        if self.optim.schedule == "step" and not self.optim.steps:
            raise ValueError("optim.schedule=step needs optim.steps, for example optim.steps=[20,40]")
        if self.optim.optimizer == "sgd" and self.optim.nesterov and self.optim.momentum == 0:
            raise ValueError("optim.nesterov=true needs optim.momentum > 0")
        return self

    @model_validator(mode="after")
    def _motion_has_frames(self) -> Self:
        if self.model.motion and self.input.segments < 2:
            raise ValueError("model.motion=true needs input.segments of at least 2")
        if self.model.motion and self.model.is_past_only:
            raise ValueError(
                "model.motion=true reads all frames of a clip, and model.shift.order=past_only is for streams, whose "
                "later frames nobody has: choose one of them"
            )
        return self

    @model_validator(mode="after")
    def _clips_fit_the_sampling(self) -> Self:
        most = None if self.input.rate is not None else MOST_CLIPS.get(self.input.sampling)
        if most is not None and self.evaluate.clips > most:
            raise ValueError(
                f"input.sampling={self.input.sampling} knows at most {most} evaluate.clips; middle knows any"
            )
        return self
