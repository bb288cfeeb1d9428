"""The unified buffer: one bank per lane group, and the arbitration of segments."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from hpu.hw.buffer_bank import READERS, WRITERS, BufferBank
from hpu.hw.config import Config
from hpu.hw.emit import instance
from hpu.hw.ports import MatrixRead, UbRead, UbWrite

__all__ = ["UnifiedBuffer"]


class UnifiedBuffer(wiring.Component):
    """``ub_depth`` words of ``lanes`` bytes; a segment serves one read and one write per cycle.

    Reads take ``UB_READ_LATENCY`` cycles and go before one another as matrix, vector, store,
    weights; writes as vector, load: a client is ready when no client before it uses its segment in
    that cycle, in any lane group. So the matrix unit's reads and the vector unit's writes are
    always accepted. A write is seen by reads accepted in later cycles. Addresses must be below
    ``ub_depth``: the units check.
    """

    def __init__(self, *, config: Config):
        self._config = config
        self._low = ceil_log2(config.ub_depth // config.ub_segments)
        super().__init__(
            {
                "matrix": In(MatrixRead(config)),
                "vector_read": In(UbRead(config)),
                "store_read": In(UbRead(config)),
                "weights_read": In(UbRead(config)),
                "vector_write": In(UbWrite(config)),
                "load_write": In(UbWrite(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._arbitrate(m)
        banks = [BufferBank(config=self._config) for _ in range(self._config.groups)]
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = instance(bank, "ub_bank")
            self._connect(m, index, bank)
        m.d.comb += [
            self.matrix.data.eq(Cat(bank.matrix_r_data for bank in self._row_banks(banks))),
            self.vector_read.data.eq(Cat(bank.vector_r_data for bank in banks)),
            self.store_read.data.eq(Cat(bank.store_r_data for bank in banks)),
            self.weights_read.data.eq(Cat(bank.weights_r_data for bank in banks)),
        ]
        return m

    def _row_banks(self, banks):
        return banks[: self._config.row_groups]

    def _segment(self, addr):
        return addr[self._low :]

    def _meets_matrix(self, segment):
        """Whether some lane group of the matrix unit reads ``segment`` in this cycle."""
        matrix = self.matrix
        return Cat(
            matrix.en[index] & (self._segment(matrix.addr[index]) == segment)
            for index in range(self._config.row_groups)
        ).any()

    def _arbitrate(self, m):
        ahead = []
        for name in READERS[1:]:
            port = getattr(self, f"{name}_read")
            segment = self._segment(port.addr)
            taken = [other.valid & (self._segment(other.addr) == segment) for other in ahead]
            m.d.comb += port.ready.eq(~self._meets_matrix(segment) & ~Cat(taken).any())
            ahead.append(port)
        writing, loading = (
            self._segment(self.vector_write.addr),
            self._segment(self.load_write.addr),
        )
        m.d.comb += [
            self.vector_write.ready.eq(1),
            self.load_write.ready.eq(~(self.vector_write.valid & (writing == loading))),
        ]

    def _connect(self, m, index, bank):
        if index < self._config.row_groups:
            m.d.comb += [
                bank.matrix_r_en.eq(self.matrix.en[index]),
                bank.matrix_r_addr.eq(self.matrix.addr[index]),
            ]
        for name in READERS[1:]:
            port = getattr(self, f"{name}_read")
            m.d.comb += [
                getattr(bank, f"{name}_r_en").eq(port.valid & port.ready),
                getattr(bank, f"{name}_r_addr").eq(port.addr),
            ]
        for name in WRITERS:
            port = getattr(self, f"{name}_write")
            data = port.data.word_select(index, 8 * self._config.group)
            m.d.comb += [
                getattr(bank, f"{name}_w_en").eq(port.valid & port.ready & port.mask[index]),
                getattr(bank, f"{name}_w_addr").eq(port.addr),
                getattr(bank, f"{name}_w_data").eq(data),
            ]
