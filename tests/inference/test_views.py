from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from clipshift.config import AugmentConfig, Config, DataConfig, InputConfig
from clipshift.datasets.manifest import Clip, Manifest, read_manifest
from clipshift.errors import ConfigError, VideoError
from clipshift.inference import views as stream
from clipshift.inference.views import prefetch_views, read_views, views_of_frames
from clipshift.preprocessing import transforms
from clipshift.preprocessing.sampling import frame_sets, segment_middles
from clipshift.training import samples as dataset
from clipshift.training.samples import TrainingClips
from clipshift.video import decode, open_clip
from tests.datasets.clips import touch, write_classes
from tests.video.making import make_video, pictures

DATA = DataConfig()
SETTINGS = InputConfig(segments=4, resize=36, crop=32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, ...]:
    root = write_classes(tmp_path_factory.mktemp("data"), ["a", "b"], 4, frames=15)
    touch(root / "a" / "clip_2.mp4")
    return read_manifest(root, DATA).clips


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_views_are_the_crops_of_each_set_of_frames(clips: tuple[Clip, ...]) -> None:
    views = read_views(clips[0], SETTINGS, DATA, crops="three", clips=2)
    assert views.shape == (6, 4, 3, 36, 36)
    for number in range(2):
        frames = decode(clips[0].path, segment_middles(15, 4, number, 2))
        assert torch.equal(views[3 * number : 3 * number + 3], transforms.evaluation_views(frames, SETTINGS, "three"))


def test_a_clip_shorter_than_the_segments_repeats_frames(clips: tuple[Clip, ...]) -> None:
    settings = InputConfig(segments=40, resize=36, crop=32)
    views = read_views(clips[0], settings, DATA, crops="center")
    frames = decode(clips[0].path, segment_middles(15, 40))
    assert torch.equal(views, transforms.evaluation_views(frames, settings, "center"))


@pytest.mark.parametrize("sampling", ["middle_float", "middle_or_first", "block_middle", "ends"])
@pytest.mark.parametrize("segments", [4, 18])  # fewer and more than the 15 frames
def test_frames_are_those_of_the_sampling(clips: tuple[Clip, ...], sampling: str, segments: int) -> None:
    settings = InputConfig.model_validate({"segments": segments, "resize": 36, "crop": 32, "sampling": sampling})
    views = read_views(clips[0], settings, DATA, crops="center")
    [indices] = frame_sets(settings.sampling, 15, segments)
    everything = decode(clips[0].path, range(15))
    assert torch.equal(views, transforms.evaluation_views(everything[indices], settings, "center"))
    assert torch.equal(views, views_of_frames(everything, settings, crops="center"))


@pytest.mark.parametrize("workers", [0, 2])
def test_more_sets_of_frames_than_the_sampling_knows(clips: tuple[Clip, ...], workers: int) -> None:
    settings = InputConfig(segments=4, resize=36, crop=32, sampling="ends")
    with pytest.raises(ConfigError, match=r"clips=2 with input\.sampling=ends"):
        list(prefetch_views(clips, settings, DATA, clips_per_video=2, workers=workers))
    assert reading_threads() == []


def test_a_clip_becomes_what_paddlevideo_makes_of_it(shared: Path) -> None:
    path = shared / "videos/clips/archery_320x240_mpeg4_131f.avi"
    settings = InputConfig(sampling="block_middle", aspect="four_thirds", crop_rounding="even")
    with np.load(shared / "reference/preprocessing/pptsm_archery.npz") as arrays:
        [indices] = frame_sets("block_middle", 131, 8)
        assert indices == arrays["frame_indices"].tolist()
        count = len(arrays["decoded"])  # of the first frames alone
        assert np.array_equal(decode(path, indices[:count]), arrays["decoded"])
        views = read_views(Clip(path, path.name, None), settings, DATA, crops="center")
        assert views.shape == (1, 8, 3, 224, 224)
        missed = views[0, :count].permute(0, 2, 3, 1).numpy().astype(int) - arrays["cropped"]
    assert np.abs(missed).max() <= 1
    assert np.count_nonzero(missed) < 0.001 * missed.size


def test_reading_in_pieces_gives_the_same_views(clips: tuple[Clip, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_views(clips[0], SETTINGS, DATA, crops="ten", clips=3)
    monkeypatch.setattr(stream, "_PIECE_BYTES", 64 * 48 * 3 * 2)
    assert torch.equal(read_views(clips[0], SETTINGS, DATA, crops="ten", clips=3), whole)


@pytest.mark.parametrize(("segments", "sets"), [(4, 1), (4, 3), (40, 2)])
def test_decoded_frames_give_the_views_of_the_file(clips: tuple[Clip, ...], segments: int, sets: int) -> None:
    settings = InputConfig(segments=segments, resize=36, crop=32)
    views = views_of_frames(decode(clips[0].path, range(15)), settings, crops="three", clips=sets)
    assert torch.equal(views, read_views(clips[0], settings, DATA, crops="three", clips=sets))


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (4, 8, 8), (4, 3, 8, 8)])
def test_arrays_that_are_no_video(shape: tuple[int, ...]) -> None:
    with pytest.raises(VideoError, match="not a video") as caught:
        views_of_frames(np.zeros(shape, np.uint8), SETTINGS, crops="center")
    assert str(shape) in str(caught.value.got)
    with pytest.raises(VideoError, match="not a video"):
        views_of_frames(np.zeros((4, 8, 8, 3), np.float32), SETTINGS, crops="center")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_clips_come_in_order_and_errors_stop_nothing(clips: tuple[Clip, ...], workers: int) -> None:
    results = list(prefetch_views(clips, SETTINGS, DATA, workers=workers))
    assert [result.clip for result in results] == list(clips)
    for result in results:
        bad = result.clip.name == "a/clip_2.mp4"
        assert isinstance(result.error, VideoError) is bad
        assert (result.views is None) is bad
        if result.views is not None:
            assert torch.equal(result.views, read_views(result.clip, SETTINGS, DATA, crops="center"))
    assert reading_threads() == []


def test_an_endless_source_is_read_only_a_little_ahead(clips: tuple[Clip, ...]) -> None:
    taken = 0

    def endless() -> Iterator[Clip]:
        nonlocal taken
        for clip in itertools.cycle(clips):
            taken += 1
            yield clip

    results = prefetch_views(endless(), SETTINGS, DATA, workers=2)
    assert taken == 0
    assert [next(results).clip for _ in range(20)] == list(itertools.islice(itertools.cycle(clips), 20))
    assert taken <= 20 + 4
    assert reading_threads()
    results.close()
    assert reading_threads() == []


def test_an_error_of_the_source_and_a_bug_end_the_threads(
    clips: tuple[Clip, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> Iterator[Clip]:
        yield clips[0]
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        list(prefetch_views(failing(), SETTINGS, DATA, workers=2))
    assert reading_threads() == []

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stream, "read_views", broken)
    with pytest.raises(ZeroDivisionError):
        list(prefetch_views(clips, SETTINGS, DATA, workers=2))
    assert reading_threads() == []


@pytest.mark.parametrize(("choice", "width"), [("ignore", 96), ("apply", 192)])
def test_pixels_that_are_not_square(
    choice: Literal["ignore", "apply"], width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice of the model's input, in tests and in training, before everything else that is done to frames."""
    path = make_video(tmp_path / "a.mp4", pictures(9), pixel_aspect=Fraction(2))
    settings = InputConfig(segments=3, resize=32, crop=32, pixel_aspect=choice)
    with open_clip(path, square_pixels=choice == "apply") as reader:
        frames_THWC = np.stack(list(reader.frames()))
    assert frames_THWC.shape == (9, 64, width, 3)
    clip = Clip(path, "a.mp4", 0)
    expected = views_of_frames(frames_THWC, settings, crops="center")
    assert torch.equal(read_views(clip, settings, DataConfig(), crops="center"), expected)
    augment = AugmentConfig(scale="keep", crop_scales=(1.0,), flip=0.0)
    manifest = Manifest(tmp_path, ("a",), (clip,))
    sizes = []

    def note(
        frames_THWC: np.ndarray,
        settings: InputConfig,
        augment: AugmentConfig,
        random: np.random.Generator,
        *,
        mirrors: bool,
    ) -> tuple[torch.Tensor, bool]:
        sizes.append(frames_THWC.shape)
        return transforms.training_clip(frames_THWC, settings, augment, random, mirrors=mirrors)

    monkeypatch.setattr(dataset, "training_clip", note)
    sample = TrainingClips(manifest, Config(input=settings, augment=augment))[0, 0]
    assert sample["bad"] is None
    assert sizes == [(3, 64, width, 3)]
