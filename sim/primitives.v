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

// An SDRAM in bursts of four with CAS latency 2. Its clock lags by half a cycle, so a word that it
// drives stands in the cycle two after that of the command.
module SDR_CHIP #(
    parameter ROW = 13, COL = 9, BANK = 2, BYTES = 2
) (
    input clk, clk_en, cs, ras, cas, we, oe,
    input [BANK-1:0] ba, input [ROW-1:0] a, input [BYTES-1:0] dqm,
    input [8*BYTES-1:0] dq_o, output reg [8*BYTES-1:0] dq_i
);
  reg [8*BYTES-1:0] words [0:(1<<(ROW+BANK+COL))-1];
  reg [ROW-1:0] rows [0:(1<<BANK)-1];
  reg [ROW+BANK+COL-1:0] read_at, write_at;
  reg [2:0] reads = 0, writes = 0;
  wire enabled = clk_en & cs;
  wire read = enabled & ~ras & cas & ~we, write = enabled & ~ras & cas & we;
  wire [ROW+BANK+COL-1:0] column = {rows[ba], ba, a[COL-1:0]};
  wire [ROW+BANK+COL-1:0] place = write ? column : write_at;
  integer k;
  always @(posedge clk) begin
    if (enabled & ras & ~cas & ~we) rows[ba] <= a;
    if (reads != 0) begin
      dq_i <= words[read_at];
      read_at <= read_at + 1;
      reads <= reads - 1;
    end
    if (read) begin
      read_at <= column;
      reads <= 4;
    end
    if (write || writes != 0) begin
      for (k = 0; k < BYTES; k = k + 1) if (!dqm[k]) words[place][8*k +: 8] <= dq_o[8*k +: 8];
      write_at <= place + 1;
      writes <= write ? 3 : writes - 1;
    end
  end
endmodule

// The pad's clock stands for the output's, as in EHXPLLL.
module rPLL #(
    parameter FCLKIN = "27", DEVICE = "GW2A-18C", IDIV_SEL = 0, FBDIV_SEL = 0, ODIV_SEL = 8,
    parameter CLKFB_SEL = "internal"
) (
    input CLKIN, CLKFB, RESET, RESET_P, input [5:0] FBDSEL, IDSEL, ODSEL,
    input [3:0] PSDA, DUTYDA, FDLY, output CLKOUT, LOCK
);
  reg [7:0] waited = 0;
  assign CLKOUT = CLKIN;
  assign LOCK = &waited;
  always @(posedge CLKIN) if (!LOCK) waited <= waited + 8'd1;
endmodule

// As EHXPLLL.
module rPLL #(
    parameter FCLKIN = "27", DEVICE = "GW2A-18C", CLKFB_SEL = "internal",
    parameter IDIV_SEL = 0, FBDIV_SEL = 0, ODIV_SEL = 8
) (
    input CLKIN, CLKFB, RESET, RESET_P,
    input [5:0] FBDSEL, IDSEL, ODSEL,
    input [3:0] PSDA, DUTYDA, FDLY,
    output CLKOUT, LOCK
);
  reg [7:0] waited = 0;
  assign CLKOUT = CLKIN;
  assign LOCK = &waited & ~RESET;
  always @(posedge CLKIN) if (!LOCK) waited <= waited + 8'd1;
endmodule
