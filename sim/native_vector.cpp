// VECTOR: a row of elements at a time, some lanes of all of them together.

#include "native.h"

namespace {

constexpr int kLanes = 256;
constexpr int kRun = 64;  // elements that are computed together

enum Reduce { kSum = 1, kMax, kDot, kAccumulator };
enum Operand { kNoOperand, kAdd, kMultiply };

// `kChunk` lanes as `Words` and `Floats`, or one as `int32_t` and `float`.
inline Floats real(const Words& words) { return __builtin_convertvector(words, Floats); }
inline float real(int32_t word) { return static_cast<float>(word); }
inline Words whole(const Floats& floats) { return __builtin_convertvector(floats, Words); }
inline int32_t whole(float value) { return static_cast<int32_t>(value); }
// A comparison as a mask: -1 where it holds.
inline Words mask(const Words& holds) { return holds; }
inline int32_t mask(bool holds) { return -static_cast<int32_t>(holds); }

template <typename Value>
Value lanes(const int8_t* from) {
#ifdef __AVX512F__  // what the compiler makes of the last line is slower
    if constexpr (sizeof(Value) > 4)
        return reinterpret_cast<Value>(_mm512_cvtepi8_epi32(load<__m128i>(from)));
#else
    if constexpr (sizeof(Value) > 4) return __builtin_convertvector(load<Bytes>(from), Value);
#endif
    else
        return *from;
}

// Numbers that are in int8.
template <typename Value>
void store_lanes(const Value& value, int8_t* to) {
    if constexpr (sizeof(Value) > 4)
#ifdef __AVX512F__
        store(_mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(value)), to);
#else
        store(__builtin_convertvector(value, Bytes), to);
#endif
    else
        *to = static_cast<int8_t>(value);
}

inline int32_t limited(int32_t value, int32_t low, int32_t high) {
    return std::min(std::max(value, low), high);
}
inline float limited(float value, float low, float high) {
    return std::min(std::max(value, low), high);
}
#ifdef __AVX512F__
inline Words limited(const Words& value, int32_t low, int32_t high) {
    const __m512i least = _mm512_max_epi32(reinterpret_cast<__m512i>(value), _mm512_set1_epi32(low));
    return reinterpret_cast<Words>(_mm512_min_epi32(least, _mm512_set1_epi32(high)));
}
inline Floats limited(const Floats& value, float low, float high) {
    const __m512 least = _mm512_max_ps(value, _mm512_set1_ps(low));
    return _mm512_min_ps(least, _mm512_set1_ps(high));
}
#else
template <typename Value, typename Number>
Value limited(Value value, Number low, Number high) {
    value = value < low ? Value{} + low : value;
    return value > high ? Value{} + high : value;
}
#endif

struct Scale {
    alignas(64) int32_t bias[kLanes];
    alignas(64) float factor[kLanes];
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

// Lanes from a tap's weights to the next's.
inline int pitch(const Vector& op) { return (op.lanes + kChunk - 1) / kChunk * kChunk; }

// The weights of all taps, [tap][pitch], in `room`.
const int32_t* wide_weights(const Vector& op, std::vector<Words>& room) {
    room.resize(op.taps * pitch(op) / kChunk);
    int32_t* found = reinterpret_cast<int32_t*>(room.data());
    for (int t = 0; t < op.taps; ++t)
        std::copy_n(op.tap[t].weights, op.lanes, found + t * pitch(op));
    return found;
}

// A tap that exists: where its bytes are for x = 0, and its weights.
struct Present {
    const int8_t* bytes;
    const int32_t* weights;
    int32_t x0, x1;
};

// The operands of one element.
struct Element {
    const Present* taps;
    int count;
    int64_t offset;  // from x = 0
    int64_t step;
    const int8_t* other;
    const int32_t* acc;
};

// The operands of a row of elements, each where x = 0 would be.
struct Row {
    std::vector<Present> taps, some;
    int64_t step = 0;        // of every tap
    int32_t x0 = 0, x1 = 0;  // elements that have all of the row's taps
    const int8_t* other = nullptr;
    int64_t other_step = 0;
    const int32_t* acc = nullptr;

    void set(const Vector& op, const int32_t* weights, int n, int y) {
        taps.clear();
        x0 = 0, x1 = op.loop.x;
        for (int t = 0; t < op.taps; ++t) {
            const Tap& tap = op.tap[t];
            if (y < tap.y0 || y >= tap.y1) continue;
            taps.push_back({word(tap, n, y, 0), weights + t * pitch(op), tap.x0, tap.x1});
            step = tap.step.x;
            x0 = std::max(x0, tap.x0), x1 = std::min(x1, tap.x1);
        }
        if (op.operand) other = word(*op.other, n, y, 0), other_step = op.other->step.x;
        acc = op.acc + (int64_t{n} * op.loop.y + y) * op.loop.x * op.acc_step;
    }

    Element at(const Vector& op, int x) {
        const bool all = x0 <= x && x < x1;
        if (!all) some.clear();
        for (size_t k = 0; !all && k < taps.size(); ++k)
            if (taps[k].x0 <= x && x < taps[k].x1) some.push_back(taps[k]);
        const std::vector<Present>& own = all ? taps : some;
        const int count = static_cast<int>(own.size());
        return {own.data(), count, x * step, step, other + x * other_step, acc + x * op.acc_step};
    }
};

// An element's taps reduced, at the lanes from `lane` on.
template <int kind, typename Value>
Value reduced(const Element& element, int32_t zero, int lane) {
    Value total = Value{} + (kind == kMax ? -255 : 0);  // no difference is less than -255
    for (int k = 0; k < element.count; ++k) {
        const Present& tap = element.taps[k];
        if (lane == 0) __builtin_prefetch(tap.bytes + element.offset + 8 * element.step);
        const Value value = lanes<Value>(tap.bytes + element.offset + lane) - zero;
        if (kind == kMax)
            total = value > total ? value : total;
        else
            total += kind == kDot ? value * load<Value>(tap.weights + lane) : value;
    }
    return total;
}

// To the nearest integer, ties to even, plus `zero`, and then limited.
template <typename Real>
Real rounded(Real value, int32_t zero, int32_t low, int32_t high) {
    value = limited(value, static_cast<float>(low - zero), static_cast<float>(high - zero));
    const float shift = 3 << 22;  // a float32 beside it has no bits behind the point
    return (value + shift) - shift + static_cast<float>(zero);
}

// Sum or product of two operands, to the nearest integer, ties to even, clipped. No step leaves
// int32.
template <typename Value>
Value combined(const Vector& op, const Value& first, const Value& second) {
    const Value s = first - op.s_zero, b = second - op.b_zero;
    const Value total = op.operand == kAdd ? s * op.s_mult + b * op.b_mult : s * b * op.s_mult;
    const int32_t below = static_cast<int32_t>((1u << op.shift) - 1), half = below / 2 + 1;
    const Value floor = total >> op.shift, rest = total & below;
    const Value up = op.shift ? mask(rest > half) | (mask(rest == half) & -(floor & 1)) : Value{};
    return limited(limited(floor - up + op.out_zero, -128, 127), op.low, op.high);
}

// One element at the lanes from `lane` on.
template <int kind, typename Value>
void compute(const Vector& op, const Scale& scale, const Element& element, int lane,
             int8_t* __restrict out) {
    Value value;
    if (kind == kAccumulator)
        value = load<Value>(element.acc + lane);
    else
        value = reduced<kind, Value>(element, op.a_zero, lane);
    // The clip is in int8, and alone it is as good as after saturation.
    const int32_t low = op.operand ? -128 : op.low, high = op.operand ? 127 : op.high;
    if (op.requantise) {
        const Value biased = value + load<Value>(scale.bias + lane);
        const auto factor = load<decltype(real(value))>(scale.factor + lane);
        value = whole(rounded(real(biased) * factor, op.zero, low, high));
    } else {
        value = limited(value, low, high);
    }
    if (op.operand) value = combined(op, value, lanes<Value>(element.other + lane));
    store_lanes(value, out + lane);
}

// `count` elements of `row` from `first` on: [element][op.lanes].
template <int kind>
void compute_run(const Vector& given, const Scale& scale, Row& row, int first, int count,
                 int8_t* __restrict out) {
    const Vector op = given;  // which no store of bytes can change
    for (int x = first; x < first + count; ++x, out += op.lanes) {
        const Element element = row.at(op, x);
        int lane = 0;
        for (; lane + kChunk <= op.lanes; lane += kChunk)
            compute<kind, Words>(op, scale, element, lane, out);
        for (; lane < op.lanes; ++lane) compute<kind, int32_t>(op, scale, element, lane, out);
    }
}

void look_up(const Vector& op, int count, int8_t* out) {
    for (int k = 0; k < count; ++k, out += op.lanes)
        for (int c = 0; c < op.lanes; ++c)
            out[c] = op.table[static_cast<uint8_t>(out[c]) * op.columns + c];
}

}  // namespace

extern "C" void hpu_vector(const Vector* given) {
    const Vector& op = *given;
    static constexpr decltype(&compute_run<kSum>) kinds[] = {
        compute_run<kSum>, compute_run<kMax>, compute_run<kDot>, compute_run<kAccumulator>};
    static thread_local Row row;
    static thread_local std::vector<Words> room;  // aligned
    Scale scale;
    alignas(64) int8_t out[kRun * kLanes];
    if (op.requantise) read_scale(op, scale);
    const int32_t* weights = op.reduce == kDot ? wide_weights(op, room) : nullptr;
    for (int n = 0; n < op.loop.n; ++n)
        for (int y = 0; y < op.loop.y; ++y) {
            row.set(op, weights, n, y);
            int8_t* to = op.target + n * op.step.n + y * op.step.y;
            for (int x = 0; x < op.loop.x; x += kRun) {
                const int count = std::min(kRun, op.loop.x - x);
                kinds[op.reduce - 1](op, scale, row, x, count, out);
                if (op.table) look_up(op, count, out);
                for (int k = 0; k < count; ++k)
                    spread(out + k * op.lanes, op.lanes, op.copies, to + (x + k) * op.step.x);
            }
        }
}
