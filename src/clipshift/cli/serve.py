"""`clipshift serve`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from clipshift.cli.arguments import Amp, Count, Text, Threads

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
Positive = Annotated[float, Parameter(validator=Number(gt=0, lte=1_000_000))]
Flag = Annotated[bool, Parameter(negative=())]
Hosts = Annotated[list[str], Parameter(name="--url-host", negative=())]
Pixels = Annotated[int, Parameter(validator=Number(gte=1, lte=2**31))]


def serve(  # noqa: PLR0913
    *models: str,
    host: Text = "127.0.0.1",
    port: Port = 8000,
    max_megabytes: Count = 64,
    max_seconds: Positive = 600.0,
    max_pixels: Pixels = 4096 * 2304,
    max_frames: Count = 100_000,
    max_classes: Count = 1000,
    queue: Count = 32,
    uploads: Count = 128,
    held_megabytes: Count = 1024,
    request_seconds: Positive = 30.0,
    decode_seconds: Count = 10,
    timelines: Count = 2,
    timeline_seconds: Positive = 300.0,
    explanations: Count = 1,
    explain_seconds: Positive = 60.0,
    decode_megabytes: Count = 2048,
    decoders: Threads = 0,
    threads: Threads = 0,
    batch_size: Count = 1,
    batch_delay: Positive = 5.0,
    device: Text = "auto",
    amp: Amp = "fp32",
    drain_seconds: Count = 30,
    token_file: Text | None = None,
    without_token: Flag = False,
    certificate: Text | None = None,
    key: Text | None = None,
    url_hosts: Hosts | None = None,
) -> None:
    """Answer over HTTP what 'clipshift predict' answers, until a signal ends it.

    Args:
        models: Run folders, model folders, exported models, or published weights by name; NAME=MODEL gives a name of
            your own for the addresses, which otherwise have the last part of the path.
        host: Address to listen on.
        port: 0: a free one.
        max_megabytes: Of a request's body, in MiB, counted while it comes in.
        max_seconds: Longest clip, in seconds.
        max_pixels: Largest frame, width x height.
        max_frames: Longest clip, in frames.
        max_classes: Most classes that top may ask for.
        queue: Requests that may wait for a decoder.
        uploads: Requests whose bodies may come in at once.
        held_megabytes: Of all bodies together, in MiB: they are kept in memory and never on a disk.
        request_seconds: From the end of the body to the answer.
        decode_seconds: Processor time of one clip's decoding; by the clock it may take twice that and a second more.
        timelines: Time lines that are made at once, each with a decoder of its own; more are refused.
        timeline_seconds: From the end of the body to the end of a time line.
        explanations: Explanations that are made at once, each of many answers; more are refused.
        explain_seconds: From the end of the body to an explanation.
        decode_megabytes: Memory of one decoder, in MiB, besides what it has before its first clip; the frames that a
            model takes of a clip may be a quarter of it.
        decoders: Processes that decode; 0: one a core.
        threads: Clips that networks work on side by side; 0: one a core.
        batch_size: Clips that may share a forward pass.
        batch_delay: Milliseconds that the first of them waits for others.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        drain_seconds: Time to finish at the end.
        token_file: File of tokens, one a line, of which each request needs one (Authorization: Bearer TOKEN); by
            default those of the environment variable CLIPSHIFT_TOKEN, if it is there.
        without_token: Listen without a token on an address that other machines can reach.
        certificate: File of the certificate for TLS (PEM), with those between it and a known one.
        key: File of its private key; by default in the file of the certificate.
        url_hosts: Hosts that clips may be fetched from by address, HOST or HOST:PORT; by default none are.
    """
    import clipshift

    limits = clipshift.ServerLimits(
        max_megabytes=max_megabytes,
        max_seconds=max_seconds,
        max_pixels=max_pixels,
        max_frames=max_frames,
        max_classes=max_classes,
        queue=queue,
        uploads=uploads,
        held_megabytes=held_megabytes,
        request_seconds=request_seconds,
        decode_seconds=decode_seconds,
        timelines=timelines,
        timeline_seconds=timeline_seconds,
        explanations=explanations,
        explain_seconds=explain_seconds,
        decode_megabytes=decode_megabytes,
    )
    clipshift.serve(
        *models,
        host=host,
        port=port,
        limits=limits,
        decoders=decoders,
        threads=threads,
        batch_size=batch_size,
        batch_delay=batch_delay,
        device=device,
        amp=amp,
        drain_seconds=drain_seconds,
        token_file=token_file,
        without_token=without_token,
        certificate=certificate,
        key=key,
        url_hosts=url_hosts,
    )
