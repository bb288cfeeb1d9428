// The ECP5's block RAM and multiplier as yosys uses them: no output or pipeline registers.
// What the vendor's documents say: FPGA-TN-02204 (memory) and FPGA-TN-02205 (sysDSP).

module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA,
    input CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB,
    input CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC";
    parameter ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED";
    parameter [319:0] INITVAL_00 = 320'h0;
    parameter [319:0] INITVAL_01 = 320'h0;
    parameter [319:0] INITVAL_02 = 320'h0;
    parameter [319:0] INITVAL_03 = 320'h0;
    parameter [319:0] INITVAL_04 = 320'h0;
    parameter [319:0] INITVAL_05 = 320'h0;
    parameter [319:0] INITVAL_06 = 320'h0;
    parameter [319:0] INITVAL_07 = 320'h0;
    parameter [319:0] INITVAL_08 = 320'h0;
    parameter [319:0] INITVAL_09 = 320'h0;
    parameter [319:0] INITVAL_0A = 320'h0;
    parameter [319:0] INITVAL_0B = 320'h0;
    parameter [319:0] INITVAL_0C = 320'h0;
    parameter [319:0] INITVAL_0D = 320'h0;
    parameter [319:0] INITVAL_0E = 320'h0;
    parameter [319:0] INITVAL_0F = 320'h0;
    parameter [319:0] INITVAL_10 = 320'h0;
    parameter [319:0] INITVAL_11 = 320'h0;
    parameter [319:0] INITVAL_12 = 320'h0;
    parameter [319:0] INITVAL_13 = 320'h0;
    parameter [319:0] INITVAL_14 = 320'h0;
    parameter [319:0] INITVAL_15 = 320'h0;
    parameter [319:0] INITVAL_16 = 320'h0;
    parameter [319:0] INITVAL_17 = 320'h0;
    parameter [319:0] INITVAL_18 = 320'h0;
    parameter [319:0] INITVAL_19 = 320'h0;
    parameter [319:0] INITVAL_1A = 320'h0;
    parameter [319:0] INITVAL_1B = 320'h0;
    parameter [319:0] INITVAL_1C = 320'h0;
    parameter [319:0] INITVAL_1D = 320'h0;
    parameter [319:0] INITVAL_1E = 320'h0;
    parameter [319:0] INITVAL_1F = 320'h0;
    parameter [319:0] INITVAL_20 = 320'h0;
    parameter [319:0] INITVAL_21 = 320'h0;
    parameter [319:0] INITVAL_22 = 320'h0;
    parameter [319:0] INITVAL_23 = 320'h0;
    parameter [319:0] INITVAL_24 = 320'h0;
    parameter [319:0] INITVAL_25 = 320'h0;
    parameter [319:0] INITVAL_26 = 320'h0;
    parameter [319:0] INITVAL_27 = 320'h0;
    parameter [319:0] INITVAL_28 = 320'h0;
    parameter [319:0] INITVAL_29 = 320'h0;
    parameter [319:0] INITVAL_2A = 320'h0;
    parameter [319:0] INITVAL_2B = 320'h0;
    parameter [319:0] INITVAL_2C = 320'h0;
    parameter [319:0] INITVAL_2D = 320'h0;
    parameter [319:0] INITVAL_2E = 320'h0;
    parameter [319:0] INITVAL_2F = 320'h0;
    parameter [319:0] INITVAL_30 = 320'h0;
    parameter [319:0] INITVAL_31 = 320'h0;
    parameter [319:0] INITVAL_32 = 320'h0;
    parameter [319:0] INITVAL_33 = 320'h0;
    parameter [319:0] INITVAL_34 = 320'h0;
    parameter [319:0] INITVAL_35 = 320'h0;
    parameter [319:0] INITVAL_36 = 320'h0;
    parameter [319:0] INITVAL_37 = 320'h0;
    parameter [319:0] INITVAL_38 = 320'h0;
    parameter [319:0] INITVAL_39 = 320'h0;
    parameter [319:0] INITVAL_3A = 320'h0;
    parameter [319:0] INITVAL_3B = 320'h0;
    parameter [319:0] INITVAL_3C = 320'h0;
    parameter [319:0] INITVAL_3D = 320'h0;
    parameter [319:0] INITVAL_3E = 320'h0;
    parameter [319:0] INITVAL_3F = 320'h0;

    localparam [64*320-1:0] CONTENTS = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
    reg [8:0] bytes [0:2047];
    integer word;
    initial begin
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
            $fatal(1, "DP16KD must have no output register and no inverted clock");
        // Eighteen bits in every twenty.
        for (word = 0; word < 1024; word = word + 1) begin
            bytes[2*word] = CONTENTS[20*word +: 9];
            bytes[2*word + 1] = CONTENTS[20*word + 9 +: 9];
        end
    end

    function [35:0] read(input [13:0] address, input integer width);
        case (width)
            36: read = {bytes[{address[13:5], 2'd3}], bytes[{address[13:5], 2'd2}],
                        bytes[{address[13:5], 2'd1}], bytes[{address[13:5], 2'd0}]};
            18: read = {18'h0, bytes[{address[13:4], 1'b1}], bytes[{address[13:4], 1'b0}]};
            9: read = {27'h0, bytes[address[13:3]]};
            4: read = {32'h0, bytes[address[13:3]][4*address[2] +: 4]};
            2: read = {34'h0, bytes[address[13:3]][2*address[2:1] +: 2]};
            default: read = {35'h0, bytes[address[13:3]][address[2:0]]};
        endcase
    endfunction

    function [17:0] merged(input [17:0] old, input [17:0] data, input [1:0] enable, input integer width);
        merged = width == 18 ? {enable[1] ? data[17:9] : old[17:9], enable[0] ? data[8:0] : old[8:0]} : data;
    endfunction

    wire [35:0] wide = {data_b, data_a};

    // Port A. Bit 1 of a byte enable is that of the upper half of a word of 18.
    wire [17:0] data_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    reg [35:0] out_a = 36'h0;
    wire write_a = CEA & WEA & ({CSA2, CSA1, CSA0} == 0);
    wire [35:0] old_a = read(address_a, DATA_WIDTH_A);
    always @(posedge CLKA) begin
        if (write_a) begin
            case (DATA_WIDTH_A)
                36: for (k_a = 0; k_a < 4; k_a = k_a + 1)
                    if (address_a[k_a]) bytes[{address_a[13:5], k_a[1:0]}] <= wide[9*k_a +: 9];
                18: for (k_a = 0; k_a < 2; k_a = k_a + 1)
                    if (address_a[k_a]) bytes[{address_a[13:4], k_a[0]}] <= data_a[9*k_a +: 9];
                9: bytes[address_a[13:3]] <= data_a[8:0];
                4: bytes[address_a[13:3]][4*address_a[2] +: 4] <= data_a[3:0];
                2: bytes[address_a[13:3]][2*address_a[2:1] +: 2] <= data_a[1:0];
                1: bytes[address_a[13:3]][address_a[2:0]] <= data_a[0];
            endcase
        end
        if (RSTA) out_a <= 36'h0;
        else if (CEA & ({CSA2, CSA1, CSA0} == 0)) begin
            if (!write_a || WRITEMODE_A == "READBEFOREWRITE") out_a <= old_a;
            else if (WRITEMODE_A == "WRITETHROUGH") out_a <= {18'h0, merged(old_a[17:0], data_a, address_a[1:0], DATA_WIDTH_A)};
        end
    end
    integer k_a;

    // Port B. Bit 1 of a byte enable is that of the upper half of a word of 18.
    wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    reg [35:0] out_b = 36'h0;
    wire write_b = CEB & WEB & ({CSB2, CSB1, CSB0} == 0);
    wire [35:0] old_b = read(address_b, DATA_WIDTH_B);
    always @(posedge CLKB) begin
        if (write_b) begin
            case (DATA_WIDTH_B)
                36: for (k_b = 0; k_b < 4; k_b = k_b + 1)
                    if (address_b[k_b]) bytes[{address_b[13:5], k_b[1:0]}] <= wide[9*k_b +: 9];
                18: for (k_b = 0; k_b < 2; k_b = k_b + 1)
                    if (address_b[k_b]) bytes[{address_b[13:4], k_b[0]}] <= data_b[9*k_b +: 9];
                9: bytes[address_b[13:3]] <= data_b[8:0];
                4: bytes[address_b[13:3]][4*address_b[2] +: 4] <= data_b[3:0];
                2: bytes[address_b[13:3]][2*address_b[2:1] +: 2] <= data_b[1:0];
                1: bytes[address_b[13:3]][address_b[2:0]] <= data_b[0];
            endcase
        end
        if (RSTB) out_b <= 36'h0;
        else if (CEB & ({CSB2, CSB1, CSB0} == 0)) begin
            if (!write_b || WRITEMODE_B == "READBEFOREWRITE") out_b <= old_b;
            else if (WRITEMODE_B == "WRITETHROUGH") out_b <= {18'h0, merged(old_b[17:0], data_b, address_b[1:0], DATA_WIDTH_B)};
        end
    end
    integer k_b;

    // A word of 36 leaves by both; one port wide and the other narrow, the narrow one leaves by B.
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];
endmodule

module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [18:0] left = {SIGNEDA & a[17], a};
    wire signed [18:0] right = {SIGNEDB & b[17], b};
    wire signed [37:0] product = left * right;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = product[35:0];
endmodule
