// What the compiled loops of the functional machine share: lanes, places, operations.
//
// Compiled for the processor at hand. Everything is exact: products and sums in wrapping 32-bit
// integers, requantisation in float32 with no contraction.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

constexpr int kChunk = 16;  // lanes that are computed at once

using Bytes = int8_t __attribute__((vector_size(kChunk)));
using Bytes32 = int8_t __attribute__((vector_size(32)));
using Bytes64 = int8_t __attribute__((vector_size(64)));
using Words = int32_t __attribute__((vector_size(4 * kChunk)));
using Floats = float __attribute__((vector_size(4 * kChunk)));

template <typename Value>
Value load(const void* from) {
    Value found;
    std::memcpy(&found, from, sizeof found);
    return found;
}

template <typename Value>
void store(const Value& value, void* to) {
    std::memcpy(to, &value, sizeof value);
}

extern "C" {

struct Loop {
    int32_t n, y, x;
};

// Where an operand stands: bytes between neighbours of n, y and x.
struct Steps {
    int64_t n, y, x;
};

// A tap exists at y0 <= y < y1 and x0 <= x < x1 only; its bytes go to `first` ... `first` +
// `width` - 1 of an array row.
struct Tap {
    const int8_t* data;
    Steps step;
    int32_t y0, y1, x0, x1, first, width;
    const int8_t* weights;
};

// `acc_width`: columns of each accumulator row from there on are zero.
struct Matmul {
    Loop loop;
    int32_t taps, accumulate, pad, used;
    const Tap* tap;
    int32_t* acc;
    int64_t acc_step;
    int64_t* acc_width;
};

struct Vector {
    Loop loop;
    int32_t lanes, reduce, taps, a_zero, requantise, zero, operand;
    int32_t s_zero, b_zero, s_mult, b_mult, shift, out_zero, low, high, copies;
    int64_t acc_step, columns;
    const int32_t* acc;
    const Tap* tap;
    const uint8_t* record;
    const Tap* other;
    const int8_t* table;
    int8_t* target;
    Steps step;
};

// Rows of `width` bytes, `copies` times side by side.
struct Move {
    Loop loop;
    int32_t width, copies;
    const int8_t* from;
    Steps from_step;
    int8_t* to;
    Steps to_step;
};

}  // extern "C"

// Where element (n, y, x) of a tap stands, whether it exists or not.
inline const int8_t* word(const Tap& tap, int n, int y, int x) {
    return tap.data + n * tap.step.n + (y - tap.y0) * tap.step.y + (x - tap.x0) * tap.step.x;
}

template <typename Piece>
void copy_pieces(const int8_t* from, int count, int8_t* to) {
    for (int b = 0; b < count; b += sizeof(Piece)) store(load<Piece>(from + b), to + b);
}

inline void copy(const int8_t* from, int count, int8_t* to) {
    if (count % 64 == 0)
        copy_pieces<Bytes64>(from, count, to);
    else if (count % kChunk == 0)
        copy_pieces<Bytes>(from, count, to);
    else
        copy_pieces<int8_t>(from, count, to);
}

// `width` bytes, `copies` times side by side.
inline void spread(const int8_t* from, int width, int copies, int8_t* to) {
    int done = 0;
#ifdef __AVX512F__
    if (width == 16 || width == 32) {  // whole cache lines
        const __m512i line = width == 16 ? _mm512_broadcast_i32x4(load<__m128i>(from))
                                         : _mm512_broadcast_i64x4(load<__m256i>(from));
        for (; (done + 64 / width) <= copies; done += 64 / width) store(line, to + done * width);
    }
#endif
    for (; done < copies; ++done) copy(from, width, to + int64_t{done} * width);
}
