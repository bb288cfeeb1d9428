// Drives lanes of the requantiser with blocks of accumulators; a block shares its lanes' parameters.
#include <cstdint>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

namespace {

void tick(Vtop& top) {
    top.clk = 0;
    top.eval();
    top.clk = 1;
    top.eval();
}

}  // namespace

// acc and out: [blocks][length][lanes]; mantissa and shift: [blocks][lanes]; zero: [blocks].
extern "C" void requantise(int64_t blocks, int64_t length, int64_t lanes, int64_t stages,
                           const uint32_t* acc, const uint32_t* mantissa, const uint8_t* shift,
                           const int8_t* zero, int8_t* out) {
    const auto context = std::make_unique<VerilatedContext>();
    const auto top = std::make_unique<Vtop>(context.get());
    top->rst = 0;
    for (int64_t block = 0; block < blocks; ++block) {
        top->zero = static_cast<uint8_t>(zero[block]);
        for (int64_t lane = 0; lane < lanes; ++lane)
            top->record[lane] = mantissa[block * lanes + lane] |
                                (static_cast<uint32_t>(shift[block * lanes + lane]) << 24);
        const uint32_t* a = acc + block * length * lanes;
        int8_t* o = out + block * length * lanes;
        for (int64_t cycle = 0; cycle < length + stages; ++cycle) {
            top->valid = cycle < length;
            if (cycle < length)
                for (int64_t lane = 0; lane < lanes; ++lane) top->a[lane] = a[cycle * lanes + lane];
            tick(*top);
            const int64_t done = cycle - (stages - 1);
            if (done < 0 || done >= length) continue;
            for (int64_t lane = 0; lane < lanes; ++lane)
                o[done * lanes + lane] =
                    static_cast<int8_t>(top->o[lane / 4] >> (8 * (lane % 4)));
        }
    }
    top->final();
}
