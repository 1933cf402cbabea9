"""nncf with accuracy control: ranges are measured, all layers become int8, and some go back until the score holds.

nncf measures the ranges of all activations on calibration clips, corrects the biases, and writes weights of eight bits
with a scale for each output channel. Give it networks in their form for engines
([engine_form][clipshift.models.engine_form.engine_form]): it does not carry quantizers through the temporal
shift of the trained form, and the convolutions behind it would stay in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipshift.exporting.log_filters import errors_only

Outputs = NDArray[np.float32]
Score = Callable[[Outputs], float]
"""How good logits (N, K) of all validation inputs are, in their order; more is better."""
Run = Callable[[NDArray[Any]], Outputs]
"""A model opened by its engine: one input with its batch axis, to logits (B, K)."""
Layers = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of all convolutions and linear layers, and of those that compute in floating point."""

_LOG = logging.getLogger(__name__)
_RANKED = 8
"""Validation inputs on which the layers are put in the order of their harm."""


@dataclass(frozen=True)
class Quantized:
    """A quantized model.

    Attributes:
        model: Of the same kind as the model that was given.
        excluded: Names of the convolutions and linear layers that compute in floating point.
        layers: How many convolutions and linear layers there are.
        score: What the score said of its outputs.
        score_before: What it said of the given model's.
    """

    model: Any
    excluded: tuple[str, ...]
    layers: int
    score: float
    score_before: float


class TooManyExcludedError(Exception):
    """More layers than are allowed would have to stay in floating point.

    Args:
        excluded: How many do so far.
        layers: How many there are.
    """

    def __init__(self, excluded: int, layers: int) -> None:
        super().__init__(f"{excluded} of {layers} layers stay in floating point")
        self.excluded = excluded
        self.layers = layers


@dataclass(frozen=True)
class Demands:
    """What a quantized model has to reach.

    Attributes:
        score: Says how good outputs are, logits (N, K) of the validation inputs in their order; more is better. For
            example [agreement][clipshift.exporting.quantization.accuracy_control.agreement] with the given model.
        least: The least score that is good enough. Until it is reached, layers go back to floating point, one after
            the other, first those that change the logits most.
        most_excluded: Share of the layers that may stay in floating point, in [0, 1]; the search ends beyond it.
    """

    score: Score
    least: float
    most_excluded: float = 1.0


def agreement(reference: Outputs) -> Score:
    """A score: the share of inputs, in [0, 1], whose best class is that of `reference`, logits (N, K)."""
    best = reference.argmax(axis=1)
    return lambda outputs: float((outputs.argmax(axis=1) == best).mean())


def quantize_until_good_enough(
    model: Any,  # noqa: ANN401 - nncf takes models of several frameworks
    open_model: Callable[[Any], Run],
    calibration: Sequence[Any],
    validation: Sequence[NDArray[Any]],
    demands: Demands,
    layers_of: Callable[[Any], Layers],
    *,
    as_input: Callable[[Any], Any] = lambda inputs: inputs,
) -> Quantized:
    """Quantize a model of any framework that nncf knows; layers go back to float32 until its score is good enough.

    Args:
        model: In float32; not changed.
        open_model: Opens it, or its quantized form, with the engine that will run it.
        calibration: Inputs with their batch axis that ranges are measured on.
        validation: Inputs of one clip each that the score is computed on.
        demands: Score and bounds.
        layers_of: The layers of a quantized model, and those of them in floating point.
        as_input: From an item of `calibration` to what the framework takes as its inputs.

    Raises:
        ValueError: The given model itself does not reach the least score, or there are no inputs.
        TooManyExcludedError: More layers than allowed would have to stay in floating point.
    """
    import nncf

    if not calibration or not validation:
        raise ValueError("quantizing needs inputs to measure ranges on, and inputs to judge by")
    validator = _Validator(model, open_model, validation, demands, layers_of)
    before = validator.score_before
    if before < demands.least:
        raise ValueError(f"the model that is to be quantized scores {before}, less than {demands.least}")
    # Not `nncf.set_log_level`, which changes the levels of all handlers that somebody gave its logger, for good.
    with errors_only("nncf"):
        quantized = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(calibration, as_input),
            nncf.Dataset(range(len(validation)), lambda number: validation[number]),
            validation_fn=validator,
            max_drop=before - demands.least,
            subset_size=len(calibration),
            # Zero points let signed activations, those of leaky ReLU, use the whole of their eight bits.
            preset=nncf.QuantizationPreset.MIXED,
            **_advanced_parameters(len(validation)),
        )
    layers, excluded = validator.check_layers(quantized)
    return Quantized(quantized, excluded, len(layers), validator.score_of(quantized), before)


def _advanced_parameters(validation: int) -> dict[str, Any]:
    from nncf.quantization.advanced_parameters import (
        AdvancedAccuracyRestorerParameters,
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )

    return {
        "advanced_quantization_parameters": AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE,
            # One scale for all channels of a map, also before depthwise convolutions: only so has the shift's
            # convolution, which is one, the scale of the channels that stay.
            activations_quantization_params=QuantizationParameters(per_channel=False),
        ),
        "advanced_accuracy_restorer_parameters": AdvancedAccuracyRestorerParameters(
            ranking_subset_size=min(_RANKED, validation)
        ),
    }


class _Validator:
    """What nncf asks after each change: how good a model is, on all validation inputs or on a few of them."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        open_model: Callable[[Any], Run],
        validation: Sequence[NDArray[Any]],
        demands: Demands,
        layers_of: Callable[[Any], Layers],
    ) -> None:
        self._open_model = open_model
        self._validation = validation
        self._demands = demands
        self._layers_of = layers_of
        self._warned = False
        self._scored: list[float] = []
        self._exact = self._logits(model, range(len(validation)))
        self.score_before = demands.score(np.concatenate(self._exact))

    def __call__(self, model: Any, numbers: Iterable[int]) -> tuple[float, list[float]]:  # noqa: ANN401
        """The score of all inputs and, to choose layers by, how near the logits of each are to the given model's.

        Asked for a few inputs, with one layer in floating point: the nearer the logits are, the more does that help.
        (nncf can also compare logits itself, for OpenVINO alone, and takes back first the layer that helps least.)
        """
        chosen = list(numbers)
        layers, excluded = self._layers_of(model)
        given = len(excluded) == len(layers)  # the first model that nncf asks about; its answers are known
        found = [self._exact[number] for number in chosen] if given else self._logits(model, chosen)
        nearness = [_nearness(logits, self._exact[number]) for logits, number in zip(found, chosen, strict=True)]
        if len(chosen) < len(self._validation):
            return float(np.mean(nearness)), nearness
        scored = self._demands.score(np.concatenate(found))
        if not given:
            self._scored.append(scored)
            self._warn_once(scored)
            self._check_share(len(excluded), len(layers))
        return scored, nearness

    def check_layers(self, model: Any) -> Layers:  # noqa: ANN401
        """The layers of a quantized model, unless too many of them are in floating point."""
        layers, excluded = self._layers_of(model)
        self._check_share(len(excluded), len(layers))
        return layers, excluded

    def _check_share(self, excluded: int, layers: int) -> None:
        if excluded > self._demands.most_excluded * layers:
            raise TooManyExcludedError(excluded, layers)

    def score_of(self, model: Any) -> float:  # noqa: ANN401
        """The score, over all validation inputs, of the model that nncf gave back."""
        if len(self._scored) == 1:  # the one that it asked about
            return self._scored[0]
        return self._demands.score(np.concatenate(self._logits(model, range(len(self._validation)))))

    def _logits(self, model: Any, numbers: Iterable[int]) -> list[Outputs]:  # noqa: ANN401
        run = self._open_model(model)
        return [run(self._validation[number]) for number in numbers]

    def _warn_once(self, scored: float) -> None:
        if scored >= self._demands.least or self._warned:
            return
        _LOG.warning(
            "With all layers in int8 the score is %.3f, at least %.3f is asked for. Layers go back to float32, one "
            "after the other, until it holds; that can take minutes.",
            scored,
            self._demands.least,
        )
        self._warned = True


def _nearness(logits: Outputs, exact: Outputs) -> float:
    """Minus the squared error, in parts of the exact logits' squares: 0 where they are equal, else below."""
    return -float(np.square(logits - exact).sum() / np.square(exact).sum())
