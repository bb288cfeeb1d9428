// Inner loops of the functional machine: MATMUL and VECTOR on prepared operands.
//
// Compiled for the processor at hand. Everything is exact: products and sums in wrapping 32-bit
// integers, requantisation in float32 with no contraction.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int kColumns = 16;  // columns of a block of a packed tile
constexpr int kQuad = 4;      // rows of one entry of a block
constexpr int kLanes = 256;
constexpr int kChunk = 16;  // lanes that are computed at once

using Bytes = int8_t __attribute__((vector_size(kChunk)));
using Words = int32_t __attribute__((vector_size(4 * kChunk)));
using Floats = float __attribute__((vector_size(4 * kChunk)));

template <typename Vector>
Vector load(const void* from) {
    Vector found;
    std::memcpy(&found, from, sizeof found);
    return found;
}

// `kChunk` lanes from `from` on as int32.
inline Words wide_lanes(const int8_t* from) {
#ifdef __AVX512F__  // what the compiler makes of the other line is slower
    return reinterpret_cast<Words>(_mm512_cvtepi8_epi32(load<__m128i>(from)));
#else
    return __builtin_convertvector(load<Bytes>(from), Words);
#endif
}

// Words that are in int8.
inline void store_bytes(Words words, int8_t* to) {
#ifdef __AVX512F__
    const __m128i bytes = _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(words));
#else
    const Bytes bytes = __builtin_convertvector(words, Bytes);
#endif
    std::memcpy(to, &bytes, sizeof bytes);
}

}  // namespace

extern "C" {

// Where an operand stands: bytes between neighbours of n, y and x. A tap exists at y0 <= y < y1
// and x0 <= x < x1 only; its bytes go to `first` ... `first` + `width` - 1 of an array row.
struct Tap {
    const int8_t* data;
    int64_t step_n, step_y, step_x;
    int32_t y0, y1, x0, x1, first, width;
    const int8_t* weights;
};

struct Loop {
    int32_t n, y, x;
};

struct Matmul {
    Loop loop;
    int32_t taps, accumulate, pad, used;
    const Tap* tap;
    int32_t* acc;
    int64_t acc_step;
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
    int64_t step_n, step_y, step_x;
};

// A weight tile by blocks of columns; a block has only the groups of four rows that are not zero.
struct Tile {
    int32_t rows, cols;
    std::vector<int32_t> begin;  // of each block's entries, and the end
    std::vector<int32_t> quad;   // first row / 4 of each entry
    std::vector<int8_t> weight;  // [entry][column][row of four]
    std::vector<int32_t> bias;   // [block][column]: what bytes + 128 add too much, negative
};

Tile* hpu_tile(const int8_t* data, int32_t rows, int32_t cols, int64_t step) {
    Tile* tile = new Tile;
    tile->rows = rows;
    tile->cols = cols;
    for (int c0 = 0; c0 < cols; c0 += kColumns) {
        const int width = std::min(kColumns, cols - c0);
        int32_t sums[kColumns] = {};
        tile->begin.push_back(static_cast<int32_t>(tile->quad.size()));
        for (int r0 = 0; r0 < rows; r0 += kQuad) {
            const int height = std::min(kQuad, rows - r0);
            int8_t entry[kColumns * kQuad] = {};
            int any = 0;
            for (int r = 0; r < height; ++r) {
                const int8_t* row = data + (r0 + r) * step + c0;
                for (int c = 0; c < width; ++c) {
                    entry[c * kQuad + r] = row[c];
                    sums[c] += row[c];
                    any |= row[c];
                }
            }
            if (any) {
                tile->quad.push_back(r0 / kQuad);
                tile->weight.insert(tile->weight.end(), entry, entry + sizeof entry);
            }
        }
        for (int c = 0; c < kColumns; ++c) tile->bias.push_back(-128 * sums[c]);
    }
    tile->begin.push_back(static_cast<int32_t>(tile->quad.size()));
    return tile;
}

void hpu_free_tile(Tile* tile) { delete tile; }

}  // extern "C"

namespace {

// Bytes + 128.
void flip(const int8_t* from, int count, uint8_t* to) {
    int b = 0;
    for (; b + kChunk <= count; b += kChunk) {
        const Bytes flipped = load<Bytes>(from + b) ^ static_cast<int8_t>(-128);
        std::memcpy(to + b, &flipped, sizeof flipped);
    }
    for (; b < count; ++b) to[b] = static_cast<uint8_t>(from[b]) ^ 0x80;
}

// The array's rows for every element, as bytes + 128: [element][pitch].
void gather(const Matmul& op, int rows, int pitch, uint8_t* out) {
    const Loop& loop = op.loop;
    const int64_t count = int64_t{loop.n} * loop.y * loop.x;
    uint8_t blank[kLanes + kQuad];
    std::memset(blank, 0x80, sizeof blank);
    std::memset(blank, static_cast<uint8_t>(op.pad) ^ 0x80, std::min(op.used, rows));
    // When every tap is inside the image everywhere, nothing is left blank.
    int filled = 0;
    for (int t = 0; t < op.taps; ++t) {
        const Tap& tap = op.tap[t];
        const bool whole = tap.y1 - tap.y0 == loop.y && tap.x1 - tap.x0 == loop.x;
        filled += whole ? tap.width : 0;
    }
    if (filled < op.used || op.used < pitch)
        for (int64_t i = 0; i < count; ++i) std::memcpy(out + i * pitch, blank, pitch);
    for (int t = 0; t < op.taps; ++t) {
        const Tap& tap = op.tap[t];
        const int width = std::min(tap.width, rows - tap.first);
        if (width <= 0) continue;
        for (int n = 0; n < loop.n; ++n)
            for (int y = tap.y0; y < tap.y1; ++y) {
                const int8_t* from = tap.data + n * tap.step_n + (y - tap.y0) * tap.step_y;
                uint8_t* to = out + ((int64_t{n} * loop.y + y) * loop.x + tap.x0) * pitch + tap.first;
                for (int x = tap.x0; x < tap.x1; ++x, from += tap.step_x, to += pitch)
                    flip(from, width, to);
            }
    }
}

// One block of columns of `height` rows from `bytes` on.
template <int height>
void multiply(const Tile& tile, int block, const uint8_t* bytes, int pitch, const Matmul& op,
              int32_t* acc) {
    const int first = tile.begin[block], end = tile.begin[block + 1];
    const int width = std::min(kColumns, tile.cols - block * kColumns);
    const int32_t* bias = tile.bias.data() + block * kColumns;
#ifdef __AVX512VNNI__
    __m512i sums[height];
    for (int r = 0; r < height; ++r) sums[r] = _mm512_loadu_si512(bias);
    for (int k = first; k < end; ++k) {
        const __m512i weights = _mm512_loadu_si512(tile.weight.data() + int64_t{k} * 64);
        const uint8_t* column = bytes + tile.quad[k] * kQuad;
        for (int r = 0; r < height; ++r) {
            int32_t four;
            std::memcpy(&four, column + r * pitch, sizeof four);
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_set1_epi32(four), weights);
        }
    }
    const __mmask16 mask = static_cast<__mmask16>((1u << width) - 1);
    for (int r = 0; r < height; ++r) {
        int32_t* to = acc + r * op.acc_step;
        if (op.accumulate) sums[r] = _mm512_add_epi32(sums[r], _mm512_maskz_loadu_epi32(mask, to));
        _mm512_mask_storeu_epi32(to, mask, sums[r]);
    }
#else
    for (int r = 0; r < height; ++r) {
        int32_t sums[kColumns];
        std::copy(bias, bias + kColumns, sums);
        for (int k = first; k < end; ++k) {
            const int8_t* weights = tile.weight.data() + int64_t{k} * kColumns * kQuad;
            const uint8_t* four = bytes + r * pitch + tile.quad[k] * kQuad;
            for (int c = 0; c < kColumns; ++c)
                for (int q = 0; q < kQuad; ++q) sums[c] += four[q] * weights[c * kQuad + q];
        }
        int32_t* to = acc + r * op.acc_step;
        for (int c = 0; c < width; ++c) to[c] = op.accumulate ? to[c] + sums[c] : sums[c];
    }
#endif
}

}  // namespace

extern "C" void hpu_matmul(const Matmul* op, const Tile* tile) {
    static thread_local std::vector<uint8_t> bytes;
    const int pitch = (tile->rows + kQuad - 1) / kQuad * kQuad;
    const int64_t count = int64_t{op->loop.n} * op->loop.y * op->loop.x;
    if (bytes.size() < static_cast<size_t>(count * pitch)) bytes.resize(count * pitch);
    gather(*op, tile->rows, pitch, bytes.data());
    constexpr int kHeight = 12;
    const int blocks = (tile->cols + kColumns - 1) / kColumns;
    for (int64_t i = 0; i < count;) {
        const bool whole = i + kHeight <= count;
        const uint8_t* from = bytes.data() + i * pitch;
        for (int block = 0; block < blocks; ++block) {
            int32_t* to = op->acc + i * op->acc_step + block * kColumns;
            if (whole)
                multiply<kHeight>(*tile, block, from, pitch, *op, to);
            else
                multiply<1>(*tile, block, from, pitch, *op, to);
        }
        i += whole ? kHeight : 1;
    }
}

namespace {

enum Reduce { kNone, kSum, kMax, kDot, kAccumulator };
enum Operand { kNoOperand, kAdd, kMultiply };

struct Scale {
    int32_t bias[kLanes];
    float factor[kLanes];
};

// Records of the parameter memory, byte k of every column in row k.
void read_scale(const Vector& op, Scale& scale) {
    for (int c = 0; c < op.lanes; ++c) {
        uint32_t low = 0, high = 0;
        for (int k = 0; k < 4; ++k) {
            low |= uint32_t{op.record[k * op.columns + c]} << (8 * k);
            high |= uint32_t{op.record[(k + 4) * op.columns + c]} << (8 * k);
        }
        const uint32_t mantissa = high & 0xFFFFFF, shift = high >> 24 & 63;
        scale.bias[c] = static_cast<int32_t>(low);
        const double exact = mantissa < 1u << 23 ? 0 : std::ldexp(double(mantissa), -int(shift));
        scale.factor[c] = static_cast<float>(exact);
    }
}

const int8_t* word(const Tap& tap, int n, int y, int x) {
    return tap.data + n * tap.step_n + (y - tap.y0) * tap.step_y + (x - tap.x0) * tap.step_x;
}

// A tap of one element.
struct Present {
    const int8_t *bytes, *weights;
};

// One lane, or `kChunk` of them, reduced over the taps that exist.
template <typename Value, typename Read>
Value reduced(const Vector& op, const Present* taps, int count, Value empty, Read read) {
    Value total = empty;
    const int32_t zero = op.a_zero;
    if (op.reduce == kMax)  // no difference is less than an empty window's -255
        for (int k = 0; k < count; ++k) {
            const Value value = read(taps[k].bytes) - zero;
            total = value > total ? value : total;
        }
    else if (op.reduce == kDot)
        for (int k = 0; k < count; ++k)
            total += (read(taps[k].bytes) - zero) * read(taps[k].weights);
    else
        for (int k = 0; k < count; ++k) total += read(taps[k].bytes) - zero;
    return total;
}

// The taps of one row of elements: `bytes` is where x = 0 would be.
struct RowTap {
    const int8_t *bytes, *weights;
    int64_t step;
    int32_t x0, x1;
};

// `rows` has room for all taps; gives how many there are.
int row_taps(const Vector& op, int n, int y, RowTap* rows) {
    int count = 0;
    for (int t = 0; t < op.taps; ++t) {
        const Tap& tap = op.tap[t];
        if (tap.y0 <= y && y < tap.y1)
            rows[count++] = {word(tap, n, y, 0), tap.weights, tap.step_x, tap.x0, tap.x1};
    }
    return count;
}

// `taps` has room for all of the row's.
void reduce(const Vector& op, const RowTap* rows, int row_count, int x, Present* taps, int32_t* wide) {
    int count = 0;
    for (int t = 0; t < row_count; ++t) {
        taps[count] = {rows[t].bytes + x * rows[t].step, rows[t].weights};
        count += rows[t].x0 <= x && x < rows[t].x1;
    }
    const int32_t empty = op.reduce == kMax ? -255 : 0;
    int c = 0;
    for (; c + kChunk <= op.lanes; c += kChunk) {
        const auto read = [c](const int8_t* from) { return wide_lanes(from + c); };
        const Words total = reduced(op, taps, count, Words{} + empty, read);
        std::memcpy(wide + c, &total, sizeof total);
    }
    for (; c < op.lanes; ++c)
        wide[c] = reduced(op, taps, count, empty, [c](const int8_t* from) { return int32_t{from[c]}; });
}

void copy(const int8_t* from, int lanes, int8_t* to) {
    int c = 0;
    for (; c + kChunk <= lanes; c += kChunk) std::memcpy(to + c, from + c, kChunk);
    for (; c < lanes; ++c) to[c] = from[c];
}

int8_t saturated(int32_t value) { return static_cast<int8_t>(std::clamp(value, -128, 127)); }

// To the nearest integer, ties to even, saturated so that with `zero` it is in int8.
template <typename Value>
Value rounded(Value value, int32_t zero) {
    const float low = -128.0f - zero, high = 127.0f - zero;
    value = value < low ? Value{} + low : value;
    value = value > high ? Value{} + high : value;
    const float shift = 3 << 22;  // a float32 beside it has no bits behind the point
    return (value + shift) - shift + static_cast<float>(zero);
}

// Never inlined: the compiler must see that the operands do not overlap.
[[gnu::noinline]] void narrow(const Vector& op, const Scale& scale, const int32_t* __restrict wide,
                              int8_t* __restrict out) {
    const int lanes = op.lanes;
    if (!op.requantise) {
        for (int c = 0; c < lanes; ++c) out[c] = saturated(wide[c]);
        return;
    }
    int c = 0;
    for (; c + kChunk <= lanes; c += kChunk) {
        const Words biased = load<Words>(wide + c) + load<Words>(scale.bias + c);
        const Floats scaled = __builtin_convertvector(biased, Floats) * load<Floats>(scale.factor + c);
        store_bytes(__builtin_convertvector(rounded(scaled, op.zero), Words), out + c);
    }
    for (; c < lanes; ++c) {
        const float scaled = static_cast<float>(wide[c] + scale.bias[c]) * scale.factor[c];
        out[c] = static_cast<int8_t>(static_cast<int32_t>(rounded(scaled, op.zero)));
    }
}

[[gnu::noinline]] void combine(const Vector& op, const int8_t* __restrict other,
                               int8_t* __restrict out) {
    const int lanes = op.lanes;
    const double unit = std::ldexp(1.0, -op.shift);
    const bool adds = op.operand == kAdd;
    const int32_t s_zero = op.s_zero, b_zero = op.b_zero, s_mult = op.s_mult, b_mult = op.b_mult;
    const int32_t out_zero = op.out_zero;
    for (int c = 0; c < lanes; ++c) {
        const int32_t s = out[c] - s_zero, b = other[c] - b_zero;
        const int32_t total = adds ? s * s_mult + b * b_mult : s * b * s_mult;
        const double sum = std::nearbyint(total * unit) + out_zero;
        out[c] = static_cast<int8_t>(static_cast<int32_t>(std::min(std::max(sum, -128.0), 127.0)));
    }
}

[[gnu::noinline]] void clip(int lanes, int8_t low, int8_t high, int8_t* out) {
    for (int c = 0; c < lanes; ++c) out[c] = std::min(std::max(out[c], low), high);
}

}  // namespace

extern "C" void hpu_vector(const Vector* op) {
    Scale scale;
    int32_t wide[kLanes];
    int8_t out[kLanes];
    std::vector<Present> taps(op->taps + 1);
    std::vector<RowTap> rows(op->taps);
    if (op->requantise) read_scale(*op, scale);
    const int32_t* acc = op->acc;
    for (int n = 0; n < op->loop.n; ++n)
        for (int y = 0; y < op->loop.y; ++y) {
            const int count = row_taps(*op, n, y, rows.data());
            for (int x = 0; x < op->loop.x; ++x) {
                if (op->reduce == kAccumulator) {
                    narrow(*op, scale, acc, out);
                    acc += op->acc_step;
                } else {
                    reduce(*op, rows.data(), count, x, taps.data(), wide);
                    narrow(*op, scale, wide, out);
                }
                if (op->operand) combine(*op, word(*op->other, n, y, x), out);
                if (op->low != -128 || op->high != 127)
                    clip(op->lanes, static_cast<int8_t>(op->low), static_cast<int8_t>(op->high), out);
                if (op->table)
                    for (int c = 0; c < op->lanes; ++c)
                        out[c] = op->table[static_cast<uint8_t>(out[c]) * op->columns + c];
                int8_t* to = op->target + n * op->step_n + y * op->step_y + x * op->step_x;
                for (int k = 0; k < op->copies; ++k)
                    copy(out, op->lanes, to + int64_t{k} * op->lanes);
            }
        }
}
