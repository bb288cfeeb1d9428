"""A simulated board as a channel without a terminal, and faults on a channel."""

import random
from collections.abc import Callable

from hpu.runtime.channel import Channel
from hpu.sim.board import BoardSimulation

__all__ = ["FaultyChannel", "SimulatedChannel"]


#: Cycles without a byte that are a pause.
_PAUSE = 2_000


class SimulatedChannel:
    """The line of a simulated board, in the board's own time: ``clock_hz`` cycles a second."""

    name = "the simulated line"

    def __init__(self, board: BoardSimulation, *, clock_hz: float):
        self._board, self._clock_hz = board, clock_hz

    def now(self) -> float:
        return self._board.cycle / self._clock_hz

    def write(self, data: bytes) -> None:
        self._board.write(data)

    def read(self, timeout: float) -> bytes:
        """Up to the end of a frame or a pause, so that a recording has few lines."""
        data, left = b"", max(1, round(timeout * self._clock_hz))
        while left > 0 and not data.endswith(b"\0"):
            left -= self._board.run(min(left, _PAUSE) if data else left)
            if not (more := self._board.read()):
                break
            data += more
        return data

    def close(self) -> None:
        self._board.close()


class FaultyChannel:
    """A channel that damages, drops, repeats and invents bytes in both directions.

    Parameters
    ----------
    channel
        What is disturbed.
    rate
        Faults per byte.
    seed
        Of all chance.
    """

    def __init__(self, channel: Channel, *, rate: float, seed: int):
        self._channel, self.name, self._rate = channel, channel.name, rate
        self._rng = random.Random(seed)
        #: Faults so far, by kind.
        self.faults = {"damaged": 0, "dropped": 0, "repeated": 0, "invented": 0}
        self._kinds: dict[str, Callable[[bytes, int], tuple[bytes, int]]] = {
            "damaged": self._damage,
            "dropped": self._drop,
            "repeated": self._repeat,
            "invented": self._invent,
        }

    def _disturb(self, data: bytes) -> bytes:
        out, at = b"", 0
        while True:
            fault = at + int(self._rng.expovariate(self._rate))
            if fault >= len(data):
                return out + data[at:]
            kind = self._rng.choice(list(self._kinds))
            self.faults[kind] += 1
            put, after = self._kinds[kind](data, fault)
            out += data[at:fault] + put
            at = after

    def _damage(self, data: bytes, at: int) -> tuple[bytes, int]:
        """One byte becomes another."""
        return bytes([data[at] ^ self._rng.randint(1, 255)]), at + 1

    def _drop(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Some bytes, now and then a whole frame, do not arrive."""
        return b"", at + self._rng.choice([1, 2, self._rng.randint(3, 300)])

    def _repeat(self, data: bytes, at: int) -> tuple[bytes, int]:
        """What came before comes again: some bytes, or a frame and more."""
        return data[max(0, at - self._rng.choice([1, self._rng.randint(2, 600)])) : at + 1], at + 1

    def _invent(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Bytes that nobody sent."""
        return self._rng.randbytes(self._rng.randint(1, 8)), at

    def now(self) -> float:
        return self._channel.now()

    def write(self, data: bytes) -> None:
        self._channel.write(self._disturb(data))

    def read(self, timeout: float) -> bytes:
        return self._disturb(self._channel.read(timeout))

    def close(self) -> None:
        self._channel.close()
