"""What names of files, and the settings in them, tell of a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipshift.weights.checkpoint_files import WeightsFile
from clipshift.weights.hints import Told, tell
from clipshift.weights.published import PublishedWeights, published_weights

# Names, and (architecture, fold_div, place, segments, dense) that they tell; those of variants follow below.
NAMES = {
    "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth": ("tsm", 8, "blockres", 8, None),
    "TSM_somethingv2_RGB_resnet101_shift16_block_avg_segment16_e45_dense_nl.pth": ("tsm", 16, "block", 16, True),
    "TSM_kinetics_RGB_resnet50_avg_segment5_e50.pth": ("tsn", None, None, 5, None),
    "tsm_shift4.ckpt": ("tsm", 4, None, None, None),
    "tsm_r50_dense_1x1x16_50e_kinetics400_rgb_20200626-91473a49.pth": ("tsm", None, None, 16, True),
    "tsn_r50_8xb32-1x1x3-100e_x.pth": ("tsn", None, None, 3, None),
    "slowonly_r50_8x8x1_256e.pth": (None, None, None, None, None),
    "PPTSMv2_k400_16f_dml.pdparams": ("tsm", None, None, 16, None),
    "ppTSM_k400_uniform.pdparams": ("tsm", None, None, None, None),
    "from_tsn_to_tsm.pth": (None, None, None, None, None),
    "makeshift4ever.pth": (None, None, None, None, None),
    "shift0_shift.pth": (None, None, None, None, None),
    "weights.pth": (None, None, None, None, None),
}


def _values(told: tuple[Told, ...]) -> tuple[object, ...]:
    if not told:
        return (None,) * 5
    (one,) = told
    return one.architecture, one.fold_div, one.place, one.segments, one.dense


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert _values(tell(Path("somewhere") / name, WeightsFile({}, "torch"))) == NAMES[name]


@pytest.mark.parametrize(("name", "entry"), published_weights().items(), ids=str)
def test_names_of_published_files_do_not_contradict_the_table(name: str, entry: PublishedWeights) -> None:
    for told in tell(Path(entry.file_name), WeightsFile({}, "torch")):
        assert told.segments in (None, entry.segments)
        assert told.fold_div in (None, 8)
        assert told.architecture in (None, "tsm" if "tsm" in entry.model else "tsn")
        assert (told.dense is True) == ("-dense" in name)


def test_configuration_of_mmaction2() -> None:
    text = """
model = dict(
    backbone=dict(type='ResNetTSM', depth=50, shift_div=4, num_segments=16),
    cls_head=dict(type='TSMHead', num_segments=16))
"""
    (told,) = tell(Path("epoch_50.pth"), WeightsFile({}, "torch", config=text))
    assert (told.fold_div, told.segments, told.source) == (4, 16, "the configuration in the file")
    two = text.replace("type='TSMHead', num_segments=16", "type='TSMHead', num_segments=8")
    (told,) = tell(Path("epoch_50.pth"), WeightsFile({}, "torch", config=two))
    assert (told.fold_div, told.segments) == (4, None)
    assert tell(Path("epoch_50.pth"), WeightsFile({}, "torch", config="shift_div = compute()")) == ()


def test_settings_that_cannot_be_true_tell_nothing() -> None:
    for settings in (
        {"shift_div": 0},
        {"shift_div": -4},
        {"shift_div": "x"},
        {"shift_div": 2.5},
        {"shift_place": "up"},
    ):
        assert tell(Path("w.pth"), WeightsFile({}, "torch", settings=dict(settings))) == ()
    (told,) = tell(Path("w.pth"), WeightsFile({}, "torch", settings={"shift": 0, "shift_div": 8, "num_segments": "3"}))
    assert (told.architecture, told.fold_div, told.segments) == ("tsn", None, 3)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50_dense_nl.pth", "non-local blocks"),
        ("tsm_nl_embedded_gaussian_r50_1x1x8.pth", "non-local blocks"),
        ("TSM_kinetics_RGB_resnet50_shift8_blockres_tpool_avg_segment8_e50.pth", "temporal pooling"),
        ("TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth", None),
    ],
)
def test_variants(name: str, variant: str | None) -> None:
    (told,) = tell(Path(name), WeightsFile({}, "torch"))
    assert told.variant == variant
