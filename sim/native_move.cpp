// Rows from one memory to another: LOAD and STORE.

#include "native.h"

extern "C" void hpu_move(const Move* given) {
    const Move op = *given;
    for (int n = 0; n < op.loop.n; ++n)
        for (int y = 0; y < op.loop.y; ++y) {
            const int8_t* from = op.from + n * op.from_step.n + y * op.from_step.y;
            int8_t* to = op.to + n * op.to_step.n + y * op.to_step.y;
            for (int x = 0; x < op.loop.x; ++x)
                spread(from + x * op.from_step.x, op.width, op.copies, to + x * op.to_step.x);
        }
}
