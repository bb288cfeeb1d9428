"""A supplier for the demo that returns one wrong byte: ``python -m … node start …``."""

import dataclasses

from hpu.chain_integration import cli_roles
from hpu.chain_integration.proofs.trace import Trace
from hpu.chain_integration.roles.engine import Engine, Tensors, Work
from hpu.cli import main

__all__ = ["Liar"]


class Liar(Engine):
    """A device whose last layer gives one byte that is off by one bit."""

    def run(self, document: bytes, tensors: Tensors, seed: bytes | None = None) -> Work:
        """As of :class:`Engine`, with the wrong byte in the trace and in the output."""
        work = super().run(document, tensors, seed)
        name = work.network.model.outputs[0]
        wrong = work.trace.values[name].copy()
        wrong.reshape(-1)[0] ^= 1
        trace = Trace(work.network.model, work.trace.values | {name: wrong})
        return dataclasses.replace(work, trace=trace)


if __name__ == "__main__":
    cli_roles.Engine = Liar  # type: ignore[misc]
    main()
