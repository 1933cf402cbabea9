"""What is right, and gets damaged: small files of every kind, made once in a folder."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.drawing import draw_nothing
from tests.video.making import (
    make_folder,
    make_video,
    pictures,
    with_late_beginning,
    with_packed_pictures,
    with_turning_messages,
)

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "input.segments=2", "input.crop=32", "input.resize=36",
    "train.epochs=2", "train.batch_size=4", "train.threads=1", "data.workers=0", "train.device=cpu",
    "train.checkpoint_minutes=0.0001",
)  # fmt: skip
"""A training of a second."""

SAME = {"fflags": "+bitexact"}
"""Without random numbers in the header: the same file every time."""


def make_samples(folder: Path) -> None:
    """Make everything that needs no training: videos, frame folders, lists, settings, files of weights."""
    for name, make in (("videos", make_videos), ("lists", make_lists), ("settings", make_settings)):
        (folder / name).mkdir(parents=True)
        make(folder / name)


def make_videos(folder: Path) -> None:
    frames = pictures(14)
    h264, h265 = {"g": "5", "bf": "2"}, {"preset": "ultrafast", "x265-params": "log-level=none:keyint=6:bframes=2"}
    mp4 = make_video(folder / "h264.mp4", frames, options=h264)
    make_video(folder / "h264_sound.mp4", frames, options=h264, with_audio=True)
    make_video(folder / "h264.mov", frames, options=h264)
    make_video(folder / "h264.mkv", frames, options=h264, container_options=SAME)
    make_video(folder / "h264.ts", frames, options=h264)
    make_video(folder / "h264.avi", frames, options={"g": "5", "bf": "0"})
    make_video(folder / "uneven.mkv", frames, times=[t * t * 7 for t in range(14)], container_options=SAME)
    parts = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    make_video(folder / "parts.mp4", frames, options=h264, container_options=parts)
    with_late_beginning(folder / "edited.mp4", mp4, 3)
    with_turning_messages(folder / "turned.h264", mp4)
    make_video(folder / "hevc.mp4", frames, codec="libx265", options=h265)
    make_video(folder / "hevc.mkv", frames, codec="libx265", options=h265, container_options=SAME)
    xvid = make_video(folder / "mpeg4.avi", frames, codec="mpeg4", options={"bf": "2", "g": "6"})
    with_packed_pictures(folder / "packed.avi", xvid)
    make_video(folder / "mpeg4.mp4", frames, codec="mpeg4", options={"bf": "2", "g": "6"})
    make_video(folder / "mjpeg.avi", frames, codec="mjpeg", pix_fmt="yuvj420p")
    quick = {"g": "6", "deadline": "realtime"}
    make_video(folder / "vp9.webm", frames, codec="libvpx-vp9", options=quick, container_options=SAME)
    make_video(folder / "vp8.webm", frames, codec="libvpx", options=quick, container_options=SAME)
    make_video(folder / "mpeg2.ts", frames, codec="mpeg2video", options={"bf": "2", "g": "6"})
    make_video(folder / "mpeg1.mpg", frames, codec="mpeg1video", options={"bf": "2", "g": "6"})
    make_video(folder / "ffv1.mkv", frames, codec="ffv1", container_options=SAME)
    make_folder(folder / "jpegs", frames[:6])
    make_folder(folder / "pngs", frames[:6], pattern="img_{:05d}.png")


def make_lists(folder: Path) -> None:
    """Lists and data.yaml beside clips that exist; nothing opens these."""
    for name in ("one", "two", "with blank", "four"):
        (folder / f"{name}.mp4").write_bytes(b"no video")
    (folder / "frames 3").mkdir()
    make_folder(folder / "frames", pictures(3, width=16, height=16))
    for label in ("up", "down"):
        for part, clips in (("train", 3), ("val", 2)):
            (folder / part / label).mkdir(parents=True)
            for number in range(clips):
                (folder / part / label / f"{number}.mp4").write_bytes(b"no video")
    texts = {
        "plain.txt": "one.mp4 0\ntwo.mp4 1\nwith blank.mp4 0\nfour.mp4 1\nframes 3 1\n",
        "tabs.txt": "one.mp4\tup\ntwo.mp4\tdown\nwith blank.mp4\tup and down\nfour.mp4\tup\n",
        "several.txt": "one.mp4 0,1\ntwo.mp4 1\nfour.mp4 0 1 2\nframes 3 1 2\n",
        "comma.csv": 'path,label,frames\none.mp4,up,\n"with blank.mp4","down, and up",\nframes,up,3\n',
        "lines.jsonl": '{"path": "one.mp4", "label": 0}\n{"path": "two.mp4", "label": 1}\n'
        '{"path": "frames", "label": 1, "frames": 3}\n{"path": "four.mp4", "label": [0, 1]}\n',
        "folders.yaml": "root: .\ntrain: train\nvalidation: val\nclasses: [up, down]\n",
        "files.yaml": "train: plain.txt\nval: plain.txt\ntest: plain.txt\nclasses:\n  - up\n  - down\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def make_settings(folder: Path) -> None:
    (folder / "some.yaml").write_text(
        "model:\n  backbone: resnet50\n  shift: {kind: tsm, fraction: 0.125}\ninput:\n  segments: 8\n  crop: 224\n"
        "optim:\n  lr: 1e-3\n  milestones: [10, 20]\ntrain:\n  epochs: 3\n  multi_label: false\n"
        "augment:\n  mixup: 0.2\n",
        encoding="utf-8",
    )
    (folder / "recipe.yaml").write_text("base: finetune\ntrain.epochs: 4\ndata: {workers: 0}\n", encoding="utf-8")


def make_weights(folder: Path) -> None:
    """Files of weights of every format, with the names and shapes of no real network; needs PyTorch."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "conv1.weight": np.arange(216, dtype=np.float32).reshape(8, 3, 3, 3),
        "bn1.running_mean": np.zeros(8, np.float32),
        "bn1.num_batches_tracked": np.array(3, np.int64),
        "fc.weight": np.asfortranarray(np.ones((4, 8), np.float16)),
    }
    tensors = OrderedDict((name, torch.from_numpy(value.copy())) for name, value in arrays.items())
    checkpoint = {"epoch": 3, "arch": "x", "state_dict": OrderedDict((f"module.{k}", v) for k, v in tensors.items())}
    about = {"meta": {"CLASSES": ("up", "down"), "epoch": 2}, "state_dict": tensors, "optimizer": {"lr": 0.1}}
    torch.save(checkpoint, folder / "new.pth.tar")
    torch.save(about, folder / "mmaction.pth")
    torch.save(checkpoint, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(dict(tensors), folder / "plain.safetensors", metadata={"format": "pt"})
    for protocol in (2, 4):
        content = {**arrays, "StructuredToParameterName@@": {name: name for name in arrays}}
        (folder / f"paddle{protocol}.pdparams").write_bytes(pickle.dumps(content, protocol))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    (folder / "arrays.npz").write_bytes(buffer.getvalue())


def make_trained(folder: Path) -> None:
    """A run of two epochs with its checkpoints and evaluation, and its export to ONNX; needs PyTorch."""
    import clipshift
    from clipshift.datasets.motion import write_motion_clips

    clips = write_motion_clips(folder / "clips", clips_per_class=2, validation_per_class=1, frames=6, size=40)
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        clipshift.train(clips, *SMALL, out=folder / "run")
    clipshift.export(folder / "run", to="onnx", out=folder / "export", data=clips / "val", license="Apache-2.0")


def make_exports(folder: Path, run: Path, clips: Path) -> None:
    """The run's exports for the other engines; needs PyTorch and OpenVINO."""
    import clipshift

    for target in ("openvino", "torch"):
        clipshift.export(run, to=target, out=folder / target, data=clips, license="Apache-2.0")


def make_missing(folder: Path, *, torch: bool, exports: bool = False) -> None:
    """Make those samples that are not there.

    Args:
        folder: Of the samples.
        torch: Also those that need PyTorch.
        exports: Also the exports for OpenVINO and PyTorch, which need all the others.
    """
    if not (folder / "settings").exists():
        make_samples(folder)
    if torch and not (folder / "trained" / "export").exists():
        make_weights(folder / "weights")
        make_trained(folder / "trained")
    if exports and not (folder / "exports" / "torch").exists():
        make_exports(folder / "exports", folder / "trained" / "run", folder / "trained" / "clips" / "val")


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever is in it
    return json.loads(path.read_text(encoding="utf-8"))
