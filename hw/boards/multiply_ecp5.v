// A signed 8 by 8 bit product in LUTs of the ECP5, for products beyond its DSP blocks.
//
// Baugh and Wooley's array: the terms of one sign bit are inverted, and 2^8 and 2^15 are added. A
// CCU2C adds two terms, each the AND of two bits, so one carry chain takes two rows of terms.

// Operands wider than 8 bits must be sign extensions: it is for the products of the PE tile alone.
(* techmap_celltype = "$mul" *)
module soft_multiply (A, B, Y);
    parameter A_SIGNED = 1, B_SIGNED = 1, A_WIDTH = 8, B_WIDTH = 8, Y_WIDTH = 16;
    input [A_WIDTH-1:0] A;
    input [B_WIDTH-1:0] B;
    output [Y_WIDTH-1:0] Y;

    wire _TECHMAP_FAIL_ = !(A_SIGNED && B_SIGNED && A_WIDTH >= 8 && B_WIDTH >= 8 && Y_WIDTH >= 16);

    wire [9:0] first, second, third, fourth;
    soft_multiply_rows #(.FIRST(1)) rows_0 (.a(A[1:0]), .b(B[7:0]), .sum(first));
    soft_multiply_rows rows_2 (.a(A[3:2]), .b(B[7:0]), .sum(second));
    soft_multiply_rows rows_4 (.a(A[5:4]), .b(B[7:0]), .sum(third));
    soft_multiply_rows #(.LAST(1)) rows_6 (.a(A[7:6]), .b(B[7:0]), .sum(fourth));

    // Each pair of rows counts four times the one before; sums are taken modulo 2^16.
    wire [9:0] low = first[9:2] + second;
    wire [9:0] high = third[9:2] + fourth;
    wire [11:0] top = low[9:2] + {high, third[1:0]};
    wire [15:0] product = {~top[11], top[10:0], low[1:0], first[1:0]};
    assign Y = {{(Y_WIDTH - 15){product[15]}}, product[14:0]};
endmodule

// a[0]·b + 2·a[1]·b with the terms of one sign bit inverted; FIRST adds 2^8, LAST has A's sign.
module soft_multiply_rows (a, b, sum);
    parameter FIRST = 0, LAST = 0;
    input [1:0] a;
    input [7:0] b;
    output [9:0] sum;

    wire inverse = ~(a[1] & b[6]);
    wire [10:0] carry;
    assign carry[0] = 1'b0;
    genvar n;
    generate
        for (n = 0; n < 10; n = n + 2) begin : cells
            wire [3:0] even, odd;
            soft_multiply_terms #(.N(n), .FIRST(FIRST), .LAST(LAST)) at
                (.a(a), .b(b), .inverse(inverse), .abcd(even));
            soft_multiply_terms #(.N(n + 1), .FIRST(FIRST), .LAST(LAST)) after
                (.a(a), .b(b), .inverse(inverse), .abcd(odd));
            // (A & B) ^ (C & D), with A & B inverted where that term is; the lowest four bits of
            // a table say what is carried when both terms are equal.
            CCU2C #(
                .INIT0(n == 8 || (LAST && n >= 1 && n <= 7) ? (LAST && n == 8 ? 16'h7888 : 16'h8777) : 16'h7888),
                .INIT1(n + 1 == 7 || (LAST && n + 1 <= 7) ? 16'h8777 : 16'h7888),
                .INJECT1_0("NO"), .INJECT1_1("NO")
            ) add (
                .CIN(carry[n]), .COUT(carry[n + 2]),
                .A0(even[0]), .B0(even[1]), .C0(even[2]), .D0(even[3]), .S0(sum[n]),
                .A1(odd[0]), .B1(odd[1]), .C1(odd[2]), .D1(odd[3]), .S1(sum[n + 1])
            );
        end
    endgenerate
endmodule

// The bits of the two terms of bit N; an inverted one is A and B.
module soft_multiply_terms (a, b, inverse, abcd);
    parameter N = 0, FIRST = 0, LAST = 0;
    input [1:0] a;
    input [7:0] b;
    input inverse;
    output [3:0] abcd;

    wire [1:0] one = N <= 7 ? {b[N & 7], a[0]} : 2'b00;
    wire [1:0] two = N >= 1 && N <= 8 ? {b[(N - 1) & 7], a[1]} : 2'b00;
    generate
        if (N == 8)
            assign abcd = {FIRST ? 2'b11 : 2'b00, two};
        else if (N == 7)
            assign abcd = {LAST ? {1'b1, inverse} : two, one};
        else if (LAST && N >= 1 && N < 7)
            assign abcd = {one, two};
        else
            assign abcd = {two, one};
    endgenerate
endmodule
