// The Verilated machine as a library: clock, reset, AXI4-Lite driver and AXI4 memory model, so that
// Python calls it once per run and not once per cycle.
//
// Memory model: in-order, several bursts outstanding; the first beat of a read comes LATENCY cycles after
// its address, the response of a write LATENCY cycles after its last beat. Reads and writes share a
// bandwidth budget: every cycle adds bytes_per_cycle to it and every beat takes a whole beat. Addresses
// beyond the memory are answered with DECERR, those of the injected range with SLVERR.

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "Vtop.h"
#include "ports.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace {

constexpr uint64_t BEAT = AXI_BYTES;
constexpr size_t OUTSTANDING = 32;
constexpr uint64_t PAGE = 4096;
constexpr uint8_t OKAY = 0, SLVERR = 2, DECERR = 3;
constexpr uint8_t INCR = 1;
constexpr uint64_t REGISTER_CYCLES = 10000;

// What Python reads as a record array; its dtype stands in sim/rtl.py.
struct Event {
    uint64_t cycle;
    uint32_t pc;
    uint8_t unit;
    uint8_t end;
    uint16_t unused;
};
static_assert(sizeof(Event) == 16);

struct Burst {
    uint64_t address;
    uint32_t beats;
    uint32_t size;
    uint8_t id;
    uint64_t due;
    uint32_t done = 0;
    uint8_t response = OKAY;

    uint64_t beat() const { return (address & ~uint64_t(size - 1)) + uint64_t(done) * size; }
};

template <typename Port> uint8_t* bytes_of(Port& port) { return reinterpret_cast<uint8_t*>(&port); }

class Machine {
public:
    Machine(uint64_t dram_bytes, double bytes_per_cycle, uint32_t latency)
        : top{&context, "top"}, size{dram_bytes}, rate{bytes_per_cycle}, latency{latency} {
        void* area = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
#if VM_TRACE_FST
        context.traceEverOn(true);  // only before the first evaluation
#endif
        memory = area == MAP_FAILED ? nullptr : static_cast<uint8_t*>(area);
        reset();
    }

    ~Machine() {
        stop_trace();
        top.final();
        if (memory) munmap(memory, size);
    }

    void reset() {
        top.clk = 0;
        top.rst = 1;
        clear_inputs();
        top.eval();
        for (int i = 0; i < 4; i++) edge();
        top.rst = 0;
        top.eval();
    }

    // Runs until the interrupt is high or `cycles` have passed; returns the cycles run.
    uint64_t run(uint64_t cycles) {
        const uint64_t start = cycle;
        while (!top.irq && cycle - start < cycles) step();
        return cycle - start;
    }

    bool write_register(uint32_t address, uint32_t value, uint8_t* response) {
        top.s_axil__awvalid = 1;
        top.s_axil__awaddr = address;
        top.s_axil__wvalid = 1;
        top.s_axil__wdata = value;
        top.s_axil__wstrb = 0xF;
        top.s_axil__bready = 1;
        top.eval();
        for (uint64_t i = 0; i < REGISTER_CYCLES; i++) {
            const bool aw = top.s_axil__awvalid && top.s_axil__awready;
            const bool w = top.s_axil__wvalid && top.s_axil__wready;
            const bool b = top.s_axil__bvalid;
            *response = top.s_axil__bresp;
            step_with([&] {
                if (aw) top.s_axil__awvalid = 0;
                if (w) top.s_axil__wvalid = 0;
                if (b) top.s_axil__bready = 0;
            });
            if (b) return true;
        }
        return false;
    }

    bool read_register(uint32_t address, uint32_t* value, uint8_t* response) {
        top.s_axil__arvalid = 1;
        top.s_axil__araddr = address;
        top.s_axil__rready = 1;
        top.eval();
        for (uint64_t i = 0; i < REGISTER_CYCLES; i++) {
            const bool ar = top.s_axil__arvalid && top.s_axil__arready;
            const bool r = top.s_axil__rvalid;
            *value = top.s_axil__rdata;
            *response = top.s_axil__rresp;
            step_with([&] {
                if (ar) top.s_axil__arvalid = 0;
                if (r) top.s_axil__rready = 0;
            });
            if (r) return true;
        }
        return false;
    }

    bool start_trace(const char* path) {
#if VM_TRACE_FST
        stop_trace();
        trace = new VerilatedFstC;
        top.trace(trace, 99);
        trace->open(path);
        return trace->isOpen();
#else
        return path == nullptr;
#endif
    }

    void stop_trace() {
#if VM_TRACE_FST
        if (!trace) return;
        trace->close();
        delete trace;
        trace = nullptr;
#endif
    }

    uint8_t* memory = nullptr;
    std::vector<Event> events;
    bool record = false;
    uint64_t cycle = 0;
    uint64_t bad_from = 0, bad_to = 0;
    std::string violation;

private:
    void clear_inputs() {
        top.s_axil__awvalid = top.s_axil__wvalid = top.s_axil__bready = 0;
        top.s_axil__arvalid = top.s_axil__rready = 0;
        top.m_axi__arready = top.m_axi__awready = top.m_axi__wready = 0;
        top.m_axi__rvalid = top.m_axi__bvalid = 0;
    }

    void step() {
        step_with([] {});
    }

    // One clock cycle: what both sides see before the edge decides; `change` sets inputs after it.
    template <typename Change> void step_with(Change change) {
        take_addresses();
        take_beats();
        if (record) take_events();
        edge_up();
        change();
        offer();
        edge_down();
    }

    void edge() {
        edge_up();
        edge_down();
    }

    void edge_up() {
        top.clk = 1;
        top.eval();
        dump(2 * cycle);
        cycle++;
    }

    void edge_down() {
        top.clk = 0;
        top.eval();
        dump(2 * cycle - 1);
    }

    void dump(uint64_t time) {
#if VM_TRACE_FST
        if (trace) trace->dump(time);
#else
        (void)time;
#endif
    }

    void take_addresses() {
        if (top.m_axi__arvalid && top.m_axi__arready)
            reads.push_back(burst(top.m_axi__araddr, top.m_axi__arlen, top.m_axi__arsize,
                                  top.m_axi__arburst, top.m_axi__arid));
        if (top.m_axi__awvalid && top.m_axi__awready)
            writes.push_back(burst(top.m_axi__awaddr, top.m_axi__awlen, top.m_axi__awsize,
                                   top.m_axi__awburst, top.m_axi__awid));
    }

    Burst burst(uint64_t address, uint32_t len, uint32_t log_size, uint8_t kind,
                uint8_t id) {
        Burst result{address, len + 1, 1u << log_size, id, cycle + latency};
        if (result.size > BEAT) fail("a beat wider than the bus");
        if (kind != INCR) fail("a burst that does not increment");
        const uint64_t first = address & ~uint64_t(result.size - 1);
        if (first / PAGE != (first + uint64_t(result.beats) * result.size - 1) / PAGE)
            fail("a burst that crosses 4 KiB");
        return result;
    }

    void take_beats() {
        if (top.m_axi__rvalid && top.m_axi__rready) {
            budget -= BEAT;
            Burst& burst = reads.front();
            if (++burst.done == burst.beats) reads.pop_front();
        }
        if (top.m_axi__bvalid && top.m_axi__bready) responses.pop_front();
        if (top.m_axi__wvalid && top.m_axi__wready) take_write();
    }

    void take_write() {
        budget -= BEAT;
        Burst& burst = writes.front();
        const uint8_t response = check(burst.beat());
        if (response == OKAY) store(burst.beat() & ~(BEAT - 1));
        if (response > burst.response) burst.response = response;
        const bool last = ++burst.done == burst.beats;
        if (last != bool(top.m_axi__wlast)) fail("WLAST at the wrong beat");
        if (!last) return;
        burst.due = cycle + latency;
        responses.push_back(burst);
        writes.pop_front();
    }

    void store(uint64_t base) {
        const uint8_t* data = bytes_of(top.m_axi__wdata);
        const uint8_t* strobes = bytes_of(top.m_axi__wstrb);
        for (uint64_t i = 0; i < BEAT; i++)
            if (strobes[i / 8] >> (i % 8) & 1) memory[base + i] = data[i];
    }

    uint8_t check(uint64_t address) const {
        const uint64_t base = address & ~(BEAT - 1);
        if (base >= size || size - base < BEAT) return DECERR;
        return base < bad_to && base + BEAT > bad_from ? SLVERR : OKAY;
    }

    // Inputs of the next cycle. A response once offered stays until it is taken: nothing but a
    // handshake changes the front of its queue, and the budget counts only before the first offer.
    void offer() {
        budget += rate;
        if (budget > 2.0 * BEAT) budget = 2.0 * BEAT;
        offer_read();
        top.m_axi__arready = reads.size() < OUTSTANDING;
        top.m_axi__awready = writes.size() + responses.size() < OUTSTANDING;
        top.m_axi__wready = !writes.empty() && budget > 0;
        const bool due = !responses.empty() && cycle >= responses.front().due;
        top.m_axi__bvalid = due;
        if (!due) return;
        top.m_axi__bresp = responses.front().response;
        top.m_axi__bid = responses.front().id;
    }

    void offer_read() {
        const bool due = !reads.empty() && cycle >= reads.front().due;
        if (!due) offered = 0;
        if (!due || (budget <= 0 && offered != key())) {
            top.m_axi__rvalid = 0;
            return;
        }
        top.m_axi__rvalid = 1;
        if (offered == key()) return;
        offered = key();
        const Burst& burst = reads.front();
        const uint8_t response = check(burst.beat());
        top.m_axi__rresp = response;
        top.m_axi__rid = burst.id;
        top.m_axi__rlast = burst.done + 1 == burst.beats;
        if (response == OKAY)
            std::memcpy(bytes_of(top.m_axi__rdata), memory + (burst.beat() & ~(BEAT - 1)), BEAT);
        else
            std::memset(bytes_of(top.m_axi__rdata), 0, BEAT);
    }

    // Which beat is on offer; a new one gets a new number.
    uint64_t key() const { return (reads.front().due << 9 | reads.front().done) + 1; }

    void take_events() {
        take_unit(0, top.trace__load__start, top.trace__load__start_pc, top.trace__load__end,
                  top.trace__load__end_pc);
        take_unit(1, top.trace__weights__start, top.trace__weights__start_pc,
                  top.trace__weights__end, top.trace__weights__end_pc);
        take_unit(2, top.trace__matrix__start, top.trace__matrix__start_pc, top.trace__matrix__end,
                  top.trace__matrix__end_pc);
        take_unit(3, top.trace__vector__start, top.trace__vector__start_pc, top.trace__vector__end,
                  top.trace__vector__end_pc);
        take_unit(4, top.trace__store__start, top.trace__store__start_pc, top.trace__store__end,
                  top.trace__store__end_pc);
    }

    void take_unit(uint8_t unit, bool start, uint32_t start_pc, bool end, uint32_t end_pc) {
        if (end) events.push_back({cycle, end_pc, unit, 1, 0});
        if (start) events.push_back({cycle, start_pc, unit, 0, 0});
    }

    void fail(const char* what) {
        if (violation.empty()) violation = what;
    }

    VerilatedContext context;
    Vtop top;
    uint64_t size;
    double rate;
    uint32_t latency;
    double budget = 0;
    uint64_t offered = 0;
    std::deque<Burst> reads, writes, responses;
#if VM_TRACE_FST
    VerilatedFstC* trace = nullptr;
#endif
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

Machine* hpu_new(uint64_t dram_bytes, double bytes_per_cycle, uint32_t latency) {
    return new Machine{dram_bytes, bytes_per_cycle, latency};
}
void hpu_delete(Machine* machine) { delete machine; }
uint8_t* hpu_memory(Machine* machine) { return machine->memory; }
uint64_t hpu_cycle(Machine* machine) { return machine->cycle; }
uint64_t hpu_run(Machine* machine, uint64_t cycles) { return machine->run(cycles); }

// The AXI4-Lite response, or -1 when there was none.
int hpu_write_register(Machine* machine, uint32_t address, uint32_t value) {
    uint8_t response = 0;
    return machine->write_register(address, value, &response) ? response : -1;
}
int hpu_read_register(Machine* machine, uint32_t address, uint32_t* value) {
    uint8_t response = 0;
    return machine->read_register(address, value, &response) ? response : -1;
}

void hpu_inject(Machine* machine, uint64_t from, uint64_t to) {
    machine->bad_from = from;
    machine->bad_to = to;
}
void hpu_record(Machine* machine, int on) { machine->record = on != 0; }
uint64_t hpu_event_count(Machine* machine) { return machine->events.size(); }
const Event* hpu_events(Machine* machine) { return machine->events.data(); }
void hpu_clear_events(Machine* machine) { machine->events.clear(); }
const char* hpu_violation(Machine* machine) { return machine->violation.c_str(); }
int hpu_start_trace(Machine* machine, const char* path) { return machine->start_trace(path); }
void hpu_stop_trace(Machine* machine) { machine->stop_trace(); }

}
#pragma GCC visibility pop
