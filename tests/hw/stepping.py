"""Clocking for block tests: inputs set, outputs settled and read, then the edge; no races."""

from cocotb.triggers import Timer


class Stepper:
    """Steps ``dut`` one clock cycle at a time.

    A cycle: set inputs with :meth:`set`, read outputs with :meth:`get` after :meth:`settle`, then
    :meth:`edge`. Values are unsigned integers.
    """

    def __init__(self, dut):
        self.dut = dut
        self.cycle = 0

    def set(self, **values):
        for name, value in values.items():
            getattr(self.dut, name).value = int(value)

    def get(self, name):
        return int(getattr(self.dut, name).value)

    async def settle(self):
        await Timer(1, "ns")

    async def edge(self):
        self.dut.clk.value = 1
        await Timer(1, "ns")
        self.dut.clk.value = 0
        self.cycle += 1

    async def reset(self, **inputs):
        self.set(clk=0, rst=1, **inputs)
        for _ in range(3):
            await self.settle()
            await self.edge()
        self.set(rst=0)
