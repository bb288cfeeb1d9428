"""What a board file says: the part, the clock, the pads in use and the machine's configuration."""

import dataclasses
from collections.abc import Callable

from hpu.hw.config import CONFIGS, Config
from hpu.hw.sdram import Chip

__all__ = ["Board"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """One FPGA board.

    Memory is the board's SDRAM where ``sdram`` says so, otherwise block RAM of the FPGA; either
    has exactly the configuration's address space.
    """

    name: str
    title: str
    #: Makes the board's platform of amaranth-boards.
    platform: Callable[[], object]
    #: ``"ecp5"`` or ``"gowin"``.
    family: str
    config_name: str
    #: The oscillator, in Hz; the machine's clock is the configuration's.
    oscillator_hz: int
    #: Line rate of the serial link.
    baud: int
    #: Resources of the platform: name and number of the serial port; of a button that resets;
    #: of each status LED, with the part of it where it has several.
    serial: tuple[str, int]
    leds: tuple[tuple[str, int, str | None], ...]
    button: tuple[str, int] | None = None
    #: Products of each PE tile that are made of LUTs because the DSP blocks are used up.
    lut_products: int = 0
    sdram: Chip | None = None
    #: The board's name in openFPGALoader; without one it cannot be flashed from here.
    loader: str | None = None

    @property
    def config(self) -> Config:
        """The machine's configuration."""
        return CONFIGS[self.config_name]
