// A board's Verilated top as a library: its oscillator, and what hangs on the pads of its serial link.
//
// A bit of the line lasts `bit` cycles of the clock, which need be no whole number. Bytes to the board wait
// in a queue and go onto its pad one after the other; bytes from it are kept until they are taken.

#include <cstdint>
#include <deque>

#include "Vtop.h"
#include "pads.h"
#include "verilated.h"

namespace {

constexpr int FRAME_BITS = 10;  // start bit, eight data bits, stop bit

// The far end of the line into the board.
class Sender {
public:
    explicit Sender(double bit) : bit{bit} {}

    std::deque<uint8_t> waiting;

    // The line's level in the next cycle.
    bool level() {
        if (left == 0) {
            if (waiting.empty()) return true;
            bits = 0x200u | uint32_t(waiting.front()) << 1;
            waiting.pop_front();
            left = FRAME_BITS;
            until += bit;
        }
        const bool now = bits & 1;
        if ((until -= 1) <= 0) next();
        return now;
    }

private:
    void next() {
        bits >>= 1;
        until = --left ? until + bit : 0;
    }

    const double bit;
    double until = 0;
    uint32_t bits = 0;
    int left = 0;
};

// The far end of the line out of the board.
class Receiver {
public:
    explicit Receiver(double bit) : bit{bit} {}

    std::deque<uint8_t> received;

    // Takes the line's level of one cycle; whether it ended a byte.
    bool take(bool level) {
        if (left == 0) {
            if (level) return false;
            left = FRAME_BITS;
            until = bit / 2;
        }
        if ((until -= 1) > 0) return false;
        until += bit;
        bits = bits >> 1 | uint32_t(level) << (FRAME_BITS - 1);
        if (--left) return false;
        if (level) received.push_back(bits >> 1 & 0xFF);
        return level;
    }

private:
    const double bit;
    double until = 0;
    uint32_t bits = 0;
    int left = 0;
};

class Board {
public:
    explicit Board(double bit) : top{&context, "top"}, sender{bit}, receiver{bit} {
        top.rx = 1;
        top.clk = 0;
#ifdef PAD_rst
        top.rst = 1;
        for (int i = 0; i < 4; i++) edge();
        top.rst = 0;
#endif
        top.eval();
    }

    ~Board() { top.final(); }

    // Runs until a byte comes out or `cycles` have passed; returns the cycles run.
    uint64_t run(uint64_t cycles) {
        const uint64_t start = cycle;
        while (cycle - start < cycles && !step()) {
        }
        return cycle - start;
    }

    void button(bool pressed) {
#ifdef PAD_button
        top.button = pressed;
#else
        (void)pressed;
#endif
    }

    uint32_t leds() const {
#ifdef PAD_leds
        return top.leds;
#else
        return 0;
#endif
    }

    VerilatedContext context;
    Vtop top;
    Sender sender;
    Receiver receiver;
    uint64_t cycle = 0;

private:
    bool step() {
        top.rx = sender.level();
        edge();
        return receiver.take(top.tx);
    }

    void edge() {
        top.clk = 1;
        top.eval();
        cycle++;
        top.clk = 0;
        top.eval();
    }
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT Board* board_new(double bit) { return new Board{bit}; }
EXPORT void board_delete(Board* board) { delete board; }
EXPORT uint64_t board_cycle(Board* board) { return board->cycle; }
EXPORT uint64_t board_run(Board* board, uint64_t cycles) { return board->run(cycles); }
EXPORT void board_button(Board* board, int pressed) { board->button(pressed); }
EXPORT uint32_t board_leds(Board* board) { return board->leds(); }
EXPORT uint64_t board_waiting(Board* board) { return board->sender.waiting.size(); }

EXPORT void board_write(Board* board, const uint8_t* data, uint64_t size) {
    auto& waiting = board->sender.waiting;
    waiting.insert(waiting.end(), data, data + size);
}

EXPORT uint64_t board_read(Board* board, uint8_t* data, uint64_t size) {
    auto& received = board->receiver.received;
    uint64_t count = 0;
    for (; count < size && !received.empty(); count++) {
        data[count] = received.front();
        received.pop_front();
    }
    return count;
}
