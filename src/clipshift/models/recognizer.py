"""The network: a 2D backbone on every frame, a classifier, and the consensus over time.

Layouts: B clips, T segments (frames of a clip), H height, W width, D features of a frame, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipshift.config.schema import ModelConfig
from clipshift.errors import ConfigError
from clipshift.models.backbones import build_backbone, feature_width, fixed_size
from clipshift.models.placement import insert_shift
from clipshift.models.pretrained import fetch_pretrained


class DropoutScaledInInference(nn.Module):
    """Dropout that leaves the kept features as they are in training, and shrinks all by 1 - p in inference.

    Paddle's mode `downscale_in_infer`; PyTorch's dropout grows the kept features in training instead.

    Args:
        p: Probability that a feature is zeroed.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        kept = 1 - self.p
        return F.dropout(x, self.p) * kept if self.training else x * kept


class Recognizer(nn.Module):
    """TSN (Wang et al., ECCV 2016) or TSM (Lin et al., ICCV 2019) with random weights.

    Args:
        model: Architecture, backbone, shift and dropout; `pretrained` is left to
            [build_recognizer][clipshift.models.recognizer.build_recognizer].
        segments: Frames per clip, T. TSM takes clips of exactly this length, TSN of any (with `model.motion` it does
            not, either).
        classes: Number of classes, K.
        crop: Side in pixels of the frames, for backbones that are built for one size.
        generator: Source of the initial weights; without one they are the same at every call.

    Raises:
        ConfigError: The backbone is unknown, or TSM has no rule for it.
    """

    def __init__(
        self,
        model: ModelConfig,
        *,
        segments: int,
        classes: int,
        crop: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.model = model
        self.segments = segments
        self.backbone = build_backbone(model.backbone, activation=model.activation, crop=crop, generator=generator)
        if model.architecture == "tsm":
            insert_shift(self.backbone, model, segments=segments, generator=generator)
        dropout = nn.Dropout if model.dropout_scaling == "training" else DropoutScaledInInference
        self.dropout = dropout(model.dropout)
        self.distances = motion_distances(segments) if model.motion else ()
        self.classifier = nn.Linear(self._width(), classes)
        nn.init.normal_(self.classifier.weight, std=model.classifier_std, generator=generator)
        nn.init.zeros_(self.classifier.bias)

    def _width(self) -> int:
        return feature_width(self.backbone) * (1 + len(self.distances))

    def read_motion(self, motion: bool) -> None:
        """Let the classifier read motion, too, or no longer (`model.motion`); what it has learnt is lost: it is zero.

        Args:
            motion: Whether it does from now on.
        """
        self.model = self.model.model_copy(update={"motion": motion})
        self.distances = motion_distances(self.segments) if motion else ()
        old = self.classifier.weight
        with torch.random.fork_rng([]):  # what PyTorch draws for it must change nothing else that is drawn
            self.classifier = nn.Linear(self._width(), len(old), device=old.device, dtype=old.dtype)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def features(self, clips_BTCHW: Tensor) -> Tensor:
        """Pooled features of each frame.

        Args:
            clips_BTCHW: Normalized frames, floating point (B, T, 3, H, W).

        Returns:
            Features (B, T, D).

        Raises:
            ValueError: The shape is not (B, T, 3, H, W), or T is not the number of segments of a TSM, or of a network
                whose classifier reads motion.
            ConfigError: The backbone is built for frames of another size.
        """
        self._check(clips_BTCHW)
        features = self.backbone(clips_BTCHW.flatten(0, 1))
        return features.unflatten(0, (-1, clips_BTCHW.shape[1]))  # type: ignore[no-any-return]

    def summarize(self, features_BTD: Tensor) -> Tensor:
        """What is known of clips from the features of their frames, without dropout.

        Args:
            features_BTD: Features (B, T, D).

        Returns:
            The mean over the frames (B, D). With `model.motion` D' = D (1 + n): behind it, for each of the n distances
            d, the mean of |f(t + d) - f(t)| over the frames t.
        """
        mean_BD = features_BTD.mean(dim=1)
        changes = [(features_BTD[:, d:] - features_BTD[:, :-d]).abs().mean(dim=1) for d in self.distances]
        return torch.cat([mean_BD, *changes], dim=1) if changes else mean_BD

    def embed(self, features_BTD: Tensor) -> Tensor:
        """What the classifier reads of clips, from the features of their frames.

        TSN averages the frames' features, then drops, then classifies. TSM drops in every frame by itself, classifies
        every frame and averages the scores; as the classifier is linear, that equals to classify the average of the
        dropped features, which is what is computed. Without dropout the two are the same. With `model.motion` what
        is known of the whole clip is dropped from: differences of dropped features would be those of the dropping.

        Args:
            features_BTD: Features (B, T, D).

        Returns:
            One vector a clip (B, D), as `summarize` gives it.
        """
        if self.model.architecture == "tsn" or self.distances:
            return self.dropout(self.summarize(features_BTD))  # type: ignore[no-any-return]
        return self.dropout(features_BTD).mean(dim=1)  # type: ignore[no-any-return]

    def classify(self, features_BTD: Tensor) -> Tensor:
        """Class scores of clips from the features of their frames: the classifier on what `embed` gives.

        Args:
            features_BTD: Features (B, T, D).

        Returns:
            Logits (B, K).
        """
        return self.classifier(self.embed(features_BTD))  # type: ignore[no-any-return]

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        """Class scores of clips: frames (B, T, 3, H, W) to logits (B, K)."""
        return self.classify(self.features(clips_BTCHW))

    def _check(self, clips_BTCHW: Tensor) -> None:
        shape = tuple(clips_BTCHW.shape)
        if len(shape) != 5 or shape[2] != 3:
            raise ValueError(f"clips must have the shape (clips, frames, 3, height, width), got {shape}")
        if (self.model.architecture == "tsm" or self.distances) and shape[1] != self.segments:
            raise ValueError(f"this network takes clips of {self.segments} frames, got {shape[1]}")
        size = fixed_size(self.backbone)
        if size is not None and shape[3:] != size:
            raise ConfigError(
                "The backbone is built for frames of another size.",
                where=f"model.backbone: {self.model.backbone}",
                got=f"{shape[3]}x{shape[4]} pixels",
                allowed=f"{size[0]}x{size[1]} pixels",
                remedy=f"input.crop={size[0]} input.resize={size[0] * 8 // 7}, or another backbone",
            )


def motion_distances(segments: int) -> tuple[int, ...]:
    """Distances in frames between which changes of features are measured: the powers of two up to half of a clip.

    Args:
        segments: Frames per clip.
    """
    return tuple(2**power for power in range(segments.bit_length() - 1))


def build_recognizer(
    model: ModelConfig,
    *,
    segments: int,
    classes: int,
    crop: int | None = None,
    generator: torch.Generator | None = None,
) -> Recognizer:
    """Build a recognizer to train; with timm's published weights in its backbone when `model.pretrained` says so.

    The arguments are those of [Recognizer][clipshift.models.recognizer.Recognizer].

    Raises:
        ConfigError: The backbone is unknown, or TSM has no rule for it.
        WeightsError: The published weights do not exist or cannot be fetched.
    """
    network = Recognizer(model, segments=segments, classes=classes, crop=crop, generator=generator)
    if model.pretrained:
        network.backbone.load_state_dict(fetch_pretrained(model.backbone, crop=crop))
    return network
