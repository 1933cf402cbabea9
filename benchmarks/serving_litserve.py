"""The work of a LitServe server, in a module of its own: its workers are new processes, which import it."""

from typing import Any

import litserve
from fastapi import Request
from serving_rivals import by_clipshift


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Clips by clipshift's own prediction."""

    def __init__(self, model: str, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.model = model

    def setup(self, device: str) -> None:  # noqa: ARG002
        """In a worker: load the model."""
        self.classify = by_clipshift(self.model)

    def decode_request(self, request: Request) -> tuple[bytes, str]:
        """The upload."""
        return request["video"].file.read(), request["video"].filename

    def predict(self, inputs: tuple[bytes, str]) -> dict[str, Any]:
        """The answer."""
        return self.classify(*inputs)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        return output
