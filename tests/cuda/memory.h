// The devices' memory, which is the host's. Fresh memory is NaN. Behind every buffer lies a page that nothing may
// touch, and up to there some bytes that must stay as they are; as many lie before it.
#pragma once
#include "result.h"
#include <cstdio>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

using Address = uintptr_t;

constexpr unsigned char UNTOUCHED = 0xa5;
// Wide enough for any vector of numbers.
constexpr size_t ALIGNMENT = 16;

struct Buffer {
    char *pages;
    size_t mapped, size;
    int device;
};
static std::map<Address, Buffer> buffers;
static std::map<int, size_t> used;
// What `cuMemHostAlloc` gave: where it begins, and its size.
static std::map<Address, size_t> pinned;

static size_t memory() {
    static const size_t bytes = setting("CUDA_TEST_MEMORY", 4ull << 30);
    return bytes;
}

static size_t rounded_up(size_t size, size_t to) { return (size + to - 1) / to * to; }

static Result allocate(Address *address, size_t size) {
    if (size == 0) return ERROR_INVALID_VALUE;
    if (size > memory() - used[device()]) return ERROR_OUT_OF_MEMORY;
    size_t page = sysconf(_SC_PAGESIZE), taken = rounded_up(size, ALIGNMENT);
    size_t data = rounded_up(taken + ALIGNMENT, page);
    void *pages = mmap(nullptr, data + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return ERROR_OUT_OF_MEMORY;
    mprotect((char *)pages + data, page, PROT_NONE);
    *address = (Address)pages + data - taken;
    memset((char *)*address - ALIGNMENT, UNTOUCHED, ALIGNMENT + taken);
    memset((char *)*address, 0xff, size);
    buffers[*address] = {(char *)pages, data + page, size, device()};
    used[device()] += size;
    return SUCCESS;
}

// Ends the program if what lies around a buffer is not as it was.
static void check(Address address, const Buffer &buffer) {
    auto untouched = [&](Address from, Address to, const char *where) {
        for (; from < to; from++)
            if (*(unsigned char *)from != UNTOUCHED) {
                fprintf(stderr, "CUDA test driver: something was written %s a buffer of %zu bytes\n", where,
                        buffer.size);
                abort();
            }
    };
    untouched(address - ALIGNMENT, address, "before");
    untouched(address + buffer.size, address + rounded_up(buffer.size, ALIGNMENT), "behind");
}

static void check_all() {
    for (auto &[address, buffer] : buffers) check(address, buffer);
}

static Result release(Address address) {
    auto found = buffers.find(address);
    if (found == buffers.end()) return ERROR_INVALID_VALUE;
    Buffer buffer = found->second;
    check(address, buffer);
    used[buffer.device] -= buffer.size;
    munmap(buffer.pages, buffer.mapped);
    buffers.erase(found);
    return SUCCESS;
}

// The last buffer that begins at or before an address.
static const Buffer *nearest(Address address, Address *begin) {
    auto after = buffers.upper_bound(address);
    if (after == buffers.begin()) return nullptr;
    *begin = (--after)->first;
    return &after->second;
}

static bool on_device(Address address, size_t size) {
    Address begin;
    const Buffer *buffer = nearest(address, &begin);
    return size == 0 || (buffer && address + size <= begin + buffer->size);
}

static bool is_pinned(const void *address) {
    auto after = pinned.upper_bound((Address)address);
    if (after == pinned.begin()) return false;
    --after;
    return (Address)address < after->first + after->second;
}
