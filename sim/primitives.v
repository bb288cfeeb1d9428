// The FPGA's primitives that stand in a board's top, as far as a simulation by cycles needs them.

// The pad's clock stands for the output's: a cycle of one is a cycle of the other. It locks late, as
// in the silicon, so that what waits for it is seen to wait.
module EHXPLLL #(
    parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 1, CLKOP_CPHASE = 0,
    parameter CLKOP_ENABLE = "ENABLED", FEEDBK_PATH = "CLKOP"
) (
    input CLKI, CLKFB, RST, STDBY, ENCLKOP,
    input PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC,
    output CLKOP, LOCK, INTLOCK
);
  reg [7:0] waited = 0;
  assign CLKOP = CLKI;
  assign LOCK = &waited & ~RST;
  assign INTLOCK = LOCK;
  always @(posedge CLKI) if (!LOCK) waited <= waited + 8'd1;
endmodule
