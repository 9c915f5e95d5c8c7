// Runs the blocks of a launch on the CPU, one after another.
//
// Every thread of a block is a fiber: it runs until a barrier or an exchange within its warp makes it pause, and then
// the next thread of its warp goes on. A warp runs until all its threads stand at the block's barrier or have ended,
// before the next warp starts. So threads are as far apart as the barriers allow, and a missing one shows; in which
// direction they are apart, `CUDA_TEST_ORDER=forward|backward` says at each launch.
#pragma once
#include "launch.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#if !defined(__x86_64__) && !defined(SHIM_UCONTEXT)
#define SHIM_UCONTEXT
#endif
#ifdef SHIM_UCONTEXT
#include <ucontext.h>
#endif

namespace shim {

// --- Switching from one stack to another. ---

using Context = void *;

#ifndef SHIM_UCONTEXT
// Pushes what a function must preserve, exchanges the stacks, and pops. (What ucontext.h has for all processors makes a
// system call.)
extern "C" void shim_switch(Context *from, Context to) __attribute__((visibility("hidden")));
asm(R"(
.text
.hidden shim_switch
.globl shim_switch
.type shim_switch, @function
shim_switch:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
)");

static Context new_context(char *low, size_t size, void (*entry)()) {
    void **top = (void **)((uintptr_t)(low + size) & ~(uintptr_t)15);
    *--top = nullptr; // where `entry`, which never returns, would return to
    *--top = (void *)entry;
    return top - 6;
}
#else
static void shim_switch(Context *from, Context to) {
    ucontext_t here;
    *from = &here;
    swapcontext(&here, (ucontext_t *)to);
}

static Context new_context(char *low, size_t size, void (*entry)()) {
    ucontext_t *context = (ucontext_t *)low;
    getcontext(context);
    context->uc_stack.ss_sp = low + sizeof *context;
    context->uc_stack.ss_size = size - sizeof *context;
    makecontext(context, entry, 0);
    return context;
}
#endif

// --- The state of the launch and of the block that runs now. One launch of a module runs at a time. ---

enum State { NEW, READY, AT_WARP, AT_BLOCK, DONE };

struct Thread {
    Dim index;
    State state;
    // While AT_WARP: the lanes it waits for. After that: those that came.
    unsigned lanes;
    // Which of the two `slots` its next exchange uses.
    unsigned turn;
    // Where it pauses.
    Context at;
};

static pthread_mutex_t one_launch = PTHREAD_MUTEX_INITIALIZER;
static const char *kernel_name;
static void (*kernel)(const void **);
static const void **kernel_arguments;
static bool failed;

static Dim block_index, block_size, grid_size;
// Counts blocks, so that each finds its shared memory fresh (`SHIM_FRESH`).
static uint64_t block_number;
// One before the first, so that `self` can point there.
static Thread before_and_threads[1 + MAX_THREADS];
static Thread *const threads = before_and_threads + 1;
// The thread that runs, the last one of its warp in the order of running, and the direction.
static Thread *self, *last;
static int step;
static Context scheduler;

static unsigned number(const Thread *thread) { return thread - threads; }

// --- Stacks. A worker is a stack that runs threads from their beginning, one after another as long as none pauses. ---

static Context idle[MAX_THREADS];
static unsigned idles, workers;
static void work();

static Context worker() {
    if (idles > 0) return idle[--idles];
    const size_t page = sysconf(_SC_PAGESIZE), usable = 64 << 10, stride = usable + page;
    static char *stacks;
    if (!stacks) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *all = mmap(nullptr, MAX_THREADS * stride, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (all == MAP_FAILED) perror("stacks"), abort();
        stacks = (char *)all;
    }
    char *stack = stacks + workers * stride;
    mprotect(stack, page, PROT_NONE);
    // Their tops are spread over the page, or all would fall into the same few sets of the cache.
    size_t spread = workers * 384 % 4096;
    workers++;
    return new_context(stack + page, usable - spread, work);
}

// Moves `self` to the next thread of the warp that can run.
static bool advance() {
    while (self != last) {
        self += step;
        if (self->state <= READY) return true;
    }
    return false;
}

static Context next() { return !advance() ? scheduler : self->state == NEW ? worker() : self->at; }

static void pause(State state) {
    Thread *me = self;
    me->state = state;
    Context to = next();
    shim_switch(&me->at, to);
}

static void work() {
    for (;;) {
        kernel(kernel_arguments);
        self->state = DONE;
        bool more = advance();
        if (more && self->state == NEW) continue;
        Context to = more ? self->at : scheduler;
        shim_switch(&idle[idles++], to);
    }
}

// --- Mistakes. ---

static const char *where() {
    static char text[128];
    Dim b = block_index, t = self < threads ? Dim{} : self->index;
    snprintf(text, sizeof text, "block (%u, %u, %u), thread (%u, %u, %u)", b.x, b.y, b.z, t.x, t.y, t.z);
    return text;
}

static void complain(const char *what) {
    fprintf(stderr, "kernel %s, %s: %s\n", kernel_name, where(), what);
    failed = true;
}

// Ends the launch, from within a thread.
[[noreturn]] static void fail(const char *what) {
    complain(what);
    Context nowhere;
    shim_switch(&nowhere, scheduler);
    abort();
}

// --- Waiting for others. ---

// Lets those lanes of a warp go on whose whole group has come. A lane that has ended, or that the block never had, is
// not waited for.
static bool release(unsigned first, unsigned lanes) {
    unsigned waiting = 0, gone = lanes < 32 ? ~0u << lanes : 0;
    for (unsigned i = 0; i < lanes; i++) {
        State state = threads[first + i].state;
        waiting |= (unsigned)(state == AT_WARP) << i;
        gone |= (unsigned)(state == DONE) << i;
    }
    bool any = false;
    while (waiting) {
        unsigned wanted = threads[first + __builtin_ctz(waiting)].lanes, came = 0;
        for (unsigned i = 0; i < lanes; i++)
            came |= (unsigned)((waiting >> i & 1) && threads[first + i].lanes == wanted) << i;
        waiting &= ~came;
        if ((wanted & ~gone) != came) continue;
        any = true;
        for (unsigned i = 0; i < lanes; i++)
            if (came >> i & 1) threads[first + i].state = READY, threads[first + i].lanes = came;
    }
    return any;
}

// Each lane of `mask` hands over some words and gets those of all, `[lane][word]`. They stand until its next exchange
// but one: by then every lane has read them, as a lane runs once between two releases.
constexpr unsigned WORDS = 6;
static uint32_t slots[2][MAX_THREADS][WORDS];

template <unsigned N> static uint32_t (*exchange(unsigned mask, const uint32_t (&mine)[N]))[WORDS] {
    static_assert(N <= WORDS, "too many words");
    unsigned me = number(self), lane = me % 32;
    if (!(mask >> lane & 1)) fail("the mask of a warp's exchange lacks the calling lane");
    auto *all = slots[self->turn++ % 2];
    memcpy(all[me], mine, sizeof mine);
    self->lanes = mask;
    pause(AT_WARP);
    return all + (me - lane);
}

static void wait_for_block() { pause(AT_BLOCK); }

// --- A block, a launch. ---

constexpr unsigned GUARD = 64;
extern "C" __attribute__((visibility("hidden"))) alignas(128) unsigned char shim_dynamic[MAX_SHARED + GUARD];
alignas(128) unsigned char shim_dynamic[MAX_SHARED + GUARD];

static void run_block(unsigned count, unsigned dynamic_shared) {
    block_number++;
    memset(shim_dynamic, 0xff, dynamic_shared + GUARD);
    for (unsigned i = 0; i < count; i++) {
        Dim index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
        threads[i] = {index, NEW, 0, 0, nullptr};
    }
    unsigned warps = (count + 31) / 32;
    for (unsigned waiting = 1; waiting;) {
        for (unsigned i = 0; i < warps; i++) {
            unsigned first = 32 * (step > 0 ? i : warps - 1 - i), lanes = count - first < 32 ? count - first : 32;
            do {
                self = threads + (step > 0 ? (int)first - 1 : (int)(first + lanes));
                last = threads + (step > 0 ? first + lanes - 1 : first);
                Context to = next();
                if (to != scheduler) shim_switch(&scheduler, to);
                if (failed) return;
            } while (release(first, lanes));
        }
        waiting = 0;
        for (unsigned i = 0; i < count; i++) {
            self = threads + i;
            if (self->state == AT_WARP) return complain("waits for lanes of its warp that do not come");
            waiting += self->state == AT_BLOCK;
        }
        if (waiting && waiting < count)
            return complain("the block's other threads wait at a __syncthreads that this one never reaches");
        for (unsigned i = 0; i < count; i++)
            if (threads[i].state == AT_BLOCK) threads[i].state = READY;
    }
    for (unsigned i = 0; i < GUARD; i++)
        if (shim_dynamic[dynamic_shared + i] != 0xff) return complain("wrote beyond its dynamic shared memory");
}

static bool launch(const char *name, void (*body)(const void **), Dim grid, Dim block, unsigned dynamic_shared,
                   const void **arguments) {
    pthread_mutex_lock(&one_launch);
    const char *order = getenv("CUDA_TEST_ORDER");
    step = order && !strcmp(order, "backward") ? -1 : 1;
    kernel_name = name, kernel = body, kernel_arguments = arguments;
    grid_size = grid, block_size = block, failed = false;
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t i = 0; i < blocks && !failed; i++) {
        uint64_t b = step > 0 ? i : blocks - 1 - i;
        block_index = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
        run_block(block.x * block.y * block.z, dynamic_shared);
    }
    // Threads that were left in the middle: their stacks are begun anew.
    if (failed) idles = workers = 0;
    bool good = !failed;
    pthread_mutex_unlock(&one_launch);
    return good;
}

} // namespace shim
