"""The work of a LitServe server, in a module of its own: its workers are new processes, which import it."""

from typing import Any

import litserve
from fastapi import Request
from serving_rivals import classifier


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Clips, read by one of the decoders of `serving_rivals`."""

    def __init__(self, model: str, decoder: str, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.model = model
        self.decoder = decoder

    def setup(self, device: str) -> None:  # noqa: ARG002
        """In a worker: load the model. One thread for each: no worker has more than its core."""
        self.classify = classifier(self.model, self.decoder, threads=1)

    def decode_request(self, request: Request) -> tuple[bytes, str]:
        """The upload."""
        return request["video"].file.read(), request["video"].filename

    def predict(self, inputs: tuple[bytes, str]) -> dict[str, Any]:
        """The answer."""
        return self.classify(*inputs)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        return output
