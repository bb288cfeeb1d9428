"""One lane group of the unified buffer: its segments, and the multiplexers in front and behind."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hpu.hw.config import Config
from hpu.hw.emit import instance
from hpu.hw.ports import ub_address
from hpu.hw.ram import Ram

__all__ = ["READERS", "WRITERS", "BufferBank"]

#: Clients, highest priority first.
READERS = ("matrix", "vector", "store", "weights")
WRITERS = ("vector", "load")


class BufferBank(wiring.Component):
    """``ub_segments`` memories of ``ub_depth/ub_segments`` words by ``group`` bytes.

    Requests have been arbitrated: in one cycle at most one read and one write per segment. The
    data of a read stand in its client's ``data`` three cycles after ``en``: the request is
    registered, the memory is read, the output is registered.
    """

    def __init__(self, *, config: Config):
        self._segments = config.ub_segments
        self._depth = config.ub_depth // config.ub_segments
        self._width = 8 * config.group
        address = ub_address(config)
        ports = {}
        for name in READERS:
            ports[f"{name}_r_en"] = In(1)
            ports[f"{name}_r_addr"] = In(address)
            ports[f"{name}_r_data"] = Out(self._width)
        for name in WRITERS:
            ports[f"{name}_w_en"] = In(1)
            ports[f"{name}_w_addr"] = In(address)
            ports[f"{name}_w_data"] = In(self._width)
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        reads = {name: self._read_request(m, name) for name in READERS}
        writes = {name: self._write_request(m, name) for name in WRITERS}
        outputs = [self._segment(m, index, reads, writes) for index in range(self._segments)]
        for name in READERS:
            self._collect(m, name, reads[name], outputs)
        return m

    def _read_request(self, m, name):
        """The request one cycle later: enable, address within the segment, segment."""
        addr = getattr(self, f"{name}_r_addr")
        en = Signal(name=f"{name}_r_en_1")
        held = Signal(addr.shape(), name=f"{name}_r_addr_1", reset_less=True)
        m.d.sync += en.eq(getattr(self, f"{name}_r_en"))
        with m.If(getattr(self, f"{name}_r_en")):
            m.d.sync += held.eq(addr)
        return en, held[: ceil_log2(self._depth)], held[ceil_log2(self._depth) :]

    def _write_request(self, m, name):
        addr, data = getattr(self, f"{name}_w_addr"), getattr(self, f"{name}_w_data")
        en = Signal(name=f"{name}_w_en_1")
        held = Signal(addr.shape(), name=f"{name}_w_addr_1", reset_less=True)
        word = Signal(self._width, name=f"{name}_w_data_1", reset_less=True)
        m.d.sync += en.eq(getattr(self, f"{name}_w_en"))
        with m.If(getattr(self, f"{name}_w_en")):
            m.d.sync += [held.eq(addr), word.eq(data)]
        return en, held[: ceil_log2(self._depth)], held[ceil_log2(self._depth) :], word

    def _segment(self, m, index, reads, writes):
        ram = Ram(width=self._width, depth=self._depth)
        m.submodules[f"segment_{index}"] = instance(ram, "ub_ram", within=True)
        here = {name: en & (segment == index) for name, (en, _, segment) in reads.items()}
        m.d.comb += [
            ram.r_en.eq(Cat(here.values()).any()),
            ram.r_addr.eq(_first(here, {name: read[1] for name, read in reads.items()})),
        ]
        here = {name: en & (segment == index) for name, (en, _, segment, _) in writes.items()}
        m.d.comb += [
            ram.w_en.eq(Cat(here.values()).any()),
            ram.w_addr.eq(_first(here, {name: write[1] for name, write in writes.items()})),
            ram.w_data.eq(_first(here, {name: write[3] for name, write in writes.items()})),
        ]
        return ram.r_data

    def _collect(self, m, name, request, outputs):
        """The word read from the segment that the client asked, registered."""
        en, _, segment = request
        valid = Signal(name=f"{name}_r_en_2")
        chosen = Signal(segment.shape(), name=f"{name}_segment_2", reset_less=True)
        word = Signal(self._width, name=f"{name}_word", reset_less=True)
        m.d.sync += [valid.eq(en), chosen.eq(segment)]
        with m.If(valid), m.Switch(chosen):
            for index, output in enumerate(outputs):
                with m.Case(index):
                    m.d.sync += word.eq(output)
        m.d.comb += getattr(self, f"{name}_r_data").eq(word)


def _first(here, values):
    """The value of the first client that is here; of the last when none is."""
    names = list(values)
    result = values[names[-1]]
    for name in reversed(names[:-1]):
        result = Mux(here[name], values[name], result)
    return result
