// What the test driver and a module compiled for it know of each other.
#pragma once
#include <cstddef>

namespace shim {

struct Dim {
    unsigned x, y, z;
};

// A kernel of a module: exported as `shim_kernel_NAME`. tests/common/ptx/driver.rs has the same.
struct Kernel {
    // Runs the whole grid. False if the kernel broke a rule that a GPU punishes; what it was is on standard error.
    bool (*launch)(const Kernel *self, Dim grid, Dim block, unsigned dynamic_shared, const void **arguments);
    // Which block and thread runs now, in words.
    const char *(*where)();
    // Of `__launch_bounds__`: how many threads a block may have.
    unsigned bounds;
    // As many as it has, and their sizes.
    size_t argument_count;
    const size_t *argument_sizes;
};

// What one block of an H100 may have.
constexpr unsigned MAX_THREADS = 1024;
constexpr unsigned MAX_SHARED = 227 * 1024;

} // namespace shim
