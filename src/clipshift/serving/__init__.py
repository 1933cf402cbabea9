"""A server: answers of `predict` over HTTP, with limits before work and decoders kept apart."""
