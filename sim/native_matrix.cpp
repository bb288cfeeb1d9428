// Weight tiles, and MATMUL on them.

#include "native.h"

namespace {

constexpr int kColumns = 16;  // columns of a block of a packed tile
constexpr int kQuad = 4;      // rows of one entry of a block
constexpr int kRows = 256;    // of the largest array

}  // namespace

// A weight tile by blocks of columns; a block has only the groups of four rows that are not zero.
struct Tile {
    int32_t rows, cols;
    std::vector<int32_t> begin;  // of each block's entries, and the end
    std::vector<int32_t> quad;   // first row / 4 of each entry
    std::vector<int8_t> weight;  // [entry][column][row of four]
    std::vector<int32_t> bias;   // [block][column]: what bytes + 128 add too much, negative
};

extern "C" Tile* hpu_tile(const int8_t* data, int32_t rows, int32_t cols, int64_t step) {
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

extern "C" void hpu_free_tile(Tile* tile) { delete tile; }

namespace {

// `count` rows of `width` bytes, plus 128.
template <typename Piece>
void flip_pieces(const int8_t* from, int64_t step, int count, int width, uint8_t* to, int pitch) {
    for (int x = 0; x < count; ++x, from += step, to += pitch)
        for (int b = 0; b < width; b += sizeof(Piece))
            store<Piece>(load<Piece>(from + b) ^ static_cast<int8_t>(-128), to + b);
}

void flip(const int8_t* from, int64_t step, int count, int width, uint8_t* to, int pitch) {
    if (width % 64 == 0)
        flip_pieces<Bytes64>(from, step, count, width, to, pitch);
    else if (width % 32 == 0)
        flip_pieces<Bytes32>(from, step, count, width, to, pitch);
    else if (width % 16 == 0)
        flip_pieces<Bytes>(from, step, count, width, to, pitch);
    else
        flip_pieces<int8_t>(from, step, count, width, to, pitch);
}

// The array's rows for every element, as bytes + 128: [element][pitch].
struct Rows {
    const Matmul& op;
    int rows, pitch;
    uint8_t* out;

    uint8_t* at(int n, int y, int x, int row) const {
        return out + ((int64_t{n} * op.loop.y + y) * op.loop.x + x) * pitch + row;
    }

    void gather() const {
        int present = 0;
        for (int t = 0; t < op.taps; ++t) present += op.tap[t].width;
        if (present < op.used || op.used < rows) blank();
        for (int t = 0; t < op.taps; ++t) {
            const Tap& tap = op.tap[t];
            const int width = std::min(tap.width, pitch - tap.first);
            for (int n = 0; n < op.loop.n && width > 0; ++n)
                for (int y = 0; y < op.loop.y; ++y) gather(tap, n, y, width);
        }
    }

    // Taps that exist nowhere are padding; lane groups beyond them are off.
    void blank() const {
        uint8_t row[kRows];
        std::memset(row, 0x80, pitch);
        std::memset(row, static_cast<uint8_t>(op.pad) ^ 0x80, std::min(op.used, pitch));
        const int64_t count = int64_t{op.loop.n} * op.loop.y * op.loop.x;
        for (int64_t i = 0; i < count; ++i) std::memcpy(out + i * pitch, row, pitch);
    }

    // A tap for a row of elements, and padding where it does not exist.
    void gather(const Tap& tap, int n, int y, int width) const {
        const bool some = tap.y0 <= y && y < tap.y1;
        const int x0 = some ? tap.x0 : 0, x1 = some ? tap.x1 : 0;
        fill(x0, width, at(n, y, 0, tap.first));
        if (some)
            flip(word(tap, n, y, x0), tap.step.x, x1 - x0, width, at(n, y, x0, tap.first), pitch);
        fill(op.loop.x - x1, width, at(n, y, x1, tap.first));
    }

    void fill(int count, int width, uint8_t* to) const {
        const int value = static_cast<uint8_t>(op.pad) ^ 0x80;
        for (int x = 0; x < count; ++x) std::memset(to + int64_t{x} * pitch, value, width);
    }
};

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
            const __m512i four = _mm512_set1_epi32(load<int32_t>(column + r * pitch));
            sums[r] = _mm512_dpbusd_epi32(sums[r], four, weights);
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

// As many elements from `i` on as are left, `height` at a time; gives the first that is not done.
template <int height>
int64_t multiply_rows(const Tile& tile, const Rows& rows, int64_t i, int64_t count) {
    const Matmul& op = rows.op;
    const int blocks = (tile.cols + kColumns - 1) / kColumns;
    for (; i + height <= count; i += height)
        for (int block = 0; block < blocks; ++block)
            multiply<height>(tile, block, rows.out + i * rows.pitch, rows.pitch, op,
                             op.acc + i * op.acc_step + block * kColumns);
    return i;
}

// Notes how wide the accumulators are now, and clears what was wider.
void settle(const Matmul& op, int64_t count, int64_t width) {
    for (int64_t i = 0; i < count; ++i) {
        int64_t& now = op.acc_width[i];
        if (now > width && !op.accumulate) {
            std::memset(op.acc + i * op.acc_step + width, 0, (now - width) * sizeof *op.acc);
            now = width;
        }
        now = std::max(now, width);
    }
}

}  // namespace

extern "C" void hpu_matmul(const Matmul* op, const Tile* tile) {
    static thread_local std::vector<uint8_t> bytes;
    const int pitch = (tile->rows + kChunk - 1) / kChunk * kChunk;
    const int64_t count = int64_t{op->loop.n} * op->loop.y * op->loop.x;
    if (bytes.size() < static_cast<size_t>(count * pitch)) bytes.resize(count * pitch);
    const Rows rows{*op, tile->rows, pitch, bytes.data()};
    rows.gather();
    int64_t done = multiply_rows<12>(*tile, rows, 0, count);
    done = multiply_rows<8>(*tile, rows, done, count);
    done = multiply_rows<4>(*tile, rows, done, count);
    multiply_rows<1>(*tile, rows, done, count);
    settle(*op, count, tile->cols);
}
