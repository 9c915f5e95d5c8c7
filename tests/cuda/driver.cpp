// A libcuda.so for tests: devices whose memory is the host's and whose kernels run on the CPU (block.h). Behind it the
// real cudarc runs, and the project's own code, on a machine without a GPU.
//
// Environment: `CUDA_TEST_DEVICES=n` (1), `CUDA_TEST_MEMORY=bytes` of each (4 GiB), `CUDA_TEST_ORDER` (block.h).
// What a GPU may leave undefined is made to show. Fresh memory is NaN. Behind every buffer lies a page that nothing may
// touch, and up to there some bytes that must stay as they are: an access beyond a buffer ends the program.
#include "launch.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <map>
#include <memory>
#include <mutex>
#include <signal.h>
#include <string>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
};

using shim::Dim, shim::Kernel, shim::MAX_SHARED;
using Address = uintptr_t;

static size_t setting(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, nullptr, 0) : otherwise;
}
static int devices() {
    static const int count = setting("CUDA_TEST_DEVICES", 1);
    return count;
}
static size_t memory() {
    static const size_t bytes = setting("CUDA_TEST_MEMORY", 4ull << 30);
    return bytes;
}

// A context is its device's number plus one; none is 0. Each thread has a current one.
static thread_local uintptr_t context;
static int device() { return context - 1; }
#define NEEDS_CONTEXT                                                                                                  \
    if (!context) return INVALID_CONTEXT

// --- Memory. ---

constexpr unsigned char UNTOUCHED = 0xa5;
constexpr size_t BEFORE = 64;

struct Buffer {
    char *pages;
    size_t mapped, size;
    int device;
};
static std::mutex memory_lock;
static std::map<Address, Buffer> buffers;
static std::map<int, size_t> used;

static size_t rounded_up(size_t size, size_t to) { return (size + to - 1) / to * to; }

static void die(const char *what, const Buffer &buffer) {
    fprintf(stderr, "CUDA test driver: %s of %zu bytes\n", what, buffer.size);
    abort();
}

// Whether what lies around a buffer is as it was.
static void check(Address address, const Buffer &buffer) {
    auto touched = [](const char *from, const char *to) {
        for (; from < to; from++)
            if ((unsigned char)*from != UNTOUCHED) return true;
        return false;
    };
    const char *begin = (const char *)address, *end = begin + buffer.size;
    size_t before = begin - buffer.pages < (long)BEFORE ? begin - buffer.pages : BEFORE;
    if (touched(begin - before, begin)) die("something was written before a buffer", buffer);
    if (touched(end, begin + rounded_up(buffer.size, 16))) die("something was written behind a buffer", buffer);
}

static void check_all() {
    std::lock_guard<std::mutex> guard(memory_lock);
    for (auto &[address, buffer] : buffers) check(address, buffer);
}

static Result allocate(Address *address, size_t size) {
    NEEDS_CONTEXT;
    if (size == 0) return INVALID_VALUE;
    std::lock_guard<std::mutex> guard(memory_lock);
    if (size > memory() - used[device()]) return OUT_OF_MEMORY;
    size_t page = sysconf(_SC_PAGESIZE), data = rounded_up(rounded_up(size, 16), page);
    void *pages = mmap(nullptr, data + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return OUT_OF_MEMORY;
    mprotect((char *)pages + data, page, PROT_NONE);
    *address = (Address)pages + data - rounded_up(size, 16);
    memset(pages, UNTOUCHED, data);
    memset((void *)*address, 0xff, size);
    buffers[*address] = {(char *)pages, data + page, size, device()};
    used[device()] += size;
    return SUCCESS;
}

static Result release(Address address) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> guard(memory_lock);
    auto found = buffers.find(address);
    if (found == buffers.end()) return INVALID_VALUE;
    check(address, found->second);
    used[found->second.device] -= found->second.size;
    munmap(found->second.pages, found->second.mapped);
    buffers.erase(found);
    return SUCCESS;
}

// The buffer that begins last at or before this address; the caller holds the lock or is about to die.
static const Buffer *nearest(Address address, Address *begin) {
    auto after = buffers.upper_bound(address);
    if (after == buffers.begin()) return nullptr;
    *begin = (--after)->first;
    return &after->second;
}

static bool valid(Address address, size_t size) {
    std::lock_guard<std::mutex> guard(memory_lock);
    Address begin;
    const Buffer *buffer = nearest(address, &begin);
    return size == 0 || (buffer && address + size <= begin + buffer->size);
}

template <class T> static Result fill(Address address, T value, size_t count) {
    NEEDS_CONTEXT;
    if (!valid(address, count * sizeof value)) return INVALID_VALUE;
    for (size_t i = 0; i < count; i++) ((T *)address)[i] = value;
    return SUCCESS;
}

static Result copy(void *to, const void *from, size_t size, bool to_device, bool from_device) {
    NEEDS_CONTEXT;
    if (to_device && !valid((Address)to, size)) return INVALID_VALUE;
    if (from_device && !valid((Address)from, size)) return INVALID_VALUE;
    memmove(to, from, size);
    return SUCCESS;
}

// --- Kernels. ---

struct Module;
struct Function {
    std::string name;
    Kernel *kernel;
    int device;
    // More than 48 KiB of it must be asked for.
    size_t dynamic_shared;
};
struct Module {
    void *library;
    int device;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

static thread_local const Function *running;

// How many bytes a shared library has: its last part is the table of its sections.
static size_t image_size(const void *image) {
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG)) return 0;
    return header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
}

static Result load(Module **module, const void *image) {
    NEEDS_CONTEXT;
    size_t size = image_size(image);
    // The descriptor stays open: the loader knows libraries by their path, and this one must not come again.
    int file = size ? memfd_create("module", MFD_CLOEXEC) : -1;
    if (file < 0 || write(file, image, size) != (ssize_t)size) return INVALID_IMAGE;
    std::string path = "/proc/self/fd/" + std::to_string(file);
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "CUDA test driver: %s\n", dlerror());
        return INVALID_IMAGE;
    }
    *module = new Module{library, device(), {}};
    return SUCCESS;
}

static std::mutex functions_lock;

static Result find(Function **function, Module *module, const char *name) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> guard(functions_lock);
    auto &known = module->functions[name];
    if (!known) {
        Kernel *kernel = (Kernel *)dlsym(module->library, (std::string("shim_kernel_") + name).c_str());
        if (!kernel) return NOT_FOUND;
        known.reset(new Function{name, kernel, module->device, 48 << 10});
    }
    *function = known.get();
    return SUCCESS;
}

static Result launch(Function *function, Dim grid, Dim block, unsigned shared, void **arguments) {
    NEEDS_CONTEXT;
    if (!function || function->device != device()) return INVALID_HANDLE;
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    bool grid_fits = grid.x && grid.y && grid.z && grid.x <= 0x7fffffff && grid.y <= 65535 && grid.z <= 65535;
    bool block_fits = threads && block.x <= 1024 && block.y <= 1024 && block.z <= 64 && threads <= function->kernel->bounds;
    if (!grid_fits || !block_fits || shared > function->dynamic_shared) return INVALID_VALUE;
    running = function;
    bool good = function->kernel->launch(grid, block, shared, arguments);
    running = nullptr;
    return good ? SUCCESS : LAUNCH_FAILED;
}

// An access beyond a buffer, if it comes from a kernel. Other faults go to whom they went before.
static struct sigaction faults_before;
static void on_fault(int signal, siginfo_t *info, void *) {
    if (!running) {
        sigaction(signal, &faults_before, nullptr);
        return;
    }
    Address begin, address = (Address)info->si_addr;
    const Buffer *buffer = nearest(address, &begin);
    fprintf(stderr, "CUDA test driver: kernel %s, %s: an access to %p", running->name.c_str(), running->kernel->where(), info->si_addr);
    if (buffer) fprintf(stderr, ", byte %zu of a buffer of %zu", address - begin, buffer->size);
    fprintf(stderr, "\n");
    abort();
}

// --- What cudarc calls, in the order of the driver's manual. Streams do at once what they are told. ---

extern "C" {
static bool initialized;
Result cuInit(unsigned) {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &faults_before);
    });
    initialized = true;
    return SUCCESS;
}
Result cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }

static const char *name_of(Result result) {
    switch (result) {
    case SUCCESS: return "CUDA_SUCCESS";
    case INVALID_VALUE: return "CUDA_ERROR_INVALID_VALUE";
    case OUT_OF_MEMORY: return "CUDA_ERROR_OUT_OF_MEMORY";
    case NOT_INITIALIZED: return "CUDA_ERROR_NOT_INITIALIZED";
    case INVALID_DEVICE: return "CUDA_ERROR_INVALID_DEVICE";
    case INVALID_IMAGE: return "CUDA_ERROR_INVALID_IMAGE";
    case INVALID_CONTEXT: return "CUDA_ERROR_INVALID_CONTEXT";
    case INVALID_HANDLE: return "CUDA_ERROR_INVALID_HANDLE";
    case NOT_FOUND: return "CUDA_ERROR_NOT_FOUND";
    case LAUNCH_FAILED: return "CUDA_ERROR_LAUNCH_FAILED";
    case NOT_SUPPORTED: return "CUDA_ERROR_NOT_SUPPORTED";
    }
    return "CUDA_ERROR_UNKNOWN";
}
Result cuGetErrorName(Result result, const char **text) { return *text = name_of(result), SUCCESS; }
Result cuGetErrorString(Result result, const char **text) { return *text = name_of(result), SUCCESS; }

Result cuDeviceGetCount(int *count) { return *count = devices(), initialized ? SUCCESS : NOT_INITIALIZED; }
Result cuDeviceGet(int *device, int ordinal) {
    if (!initialized) return NOT_INITIALIZED;
    return *device = ordinal, ordinal >= 0 && ordinal < devices() ? SUCCESS : INVALID_DEVICE;
}
Result cuDeviceGetName(char *name, int size, int) { return snprintf(name, size, "test driver (CPU)"), SUCCESS; }
Result cuDeviceGetUuid_v2(char *uuid, int device) { return memset(uuid, device, 16), SUCCESS; }
Result cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = memory(), SUCCESS; }
Result cuDeviceGetAttribute(int *value, int attribute, int) {
    // An H100's, by their numbers in CUdevice_attribute. Others are 0.
    static const std::map<int, int> values = {
        {1, 1024},       // threads of a block
        {2, 1024},       // and in x, y, z
        {3, 1024},       //
        {4, 64},         //
        {5, 0x7fffffff}, // blocks of a grid in x, y, z
        {6, 65535},      //
        {7, 65535},      //
        {8, 48 << 10},   // shared memory of a block
        {10, 32},        // threads of a warp
        {12, 65536},     // registers of a block
        {13, 1785000},   // kHz
        {16, 132},       // multiprocessors
        {31, 1},         // several kernels at a time
        {38, 50 << 20},  // second level cache
        {39, 2048},      // threads of a multiprocessor
        {41, 1},         // one address space
        {75, 9},         // compute capability
        {76, 0},         //
        {81, 228 << 10}, // shared memory of a multiprocessor
        {82, 65536},     // registers of a multiprocessor
        {97, MAX_SHARED}, // shared memory of a block that asks for it
        {106, 32},       // blocks of a multiprocessor
        {111, 1 << 10},  // shared memory that the system takes of a block
        {115, 1},        // memory pools, so cuMemAllocAsync
    };
    auto found = values.find(attribute);
    return *value = found == values.end() ? 0 : found->second, SUCCESS;
}

Result cuDevicePrimaryCtxRetain(uintptr_t *out, int device) { return *out = device + 1, SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
Result cuCtxSetCurrent(uintptr_t to) { return context = to, SUCCESS; }
Result cuCtxGetCurrent(uintptr_t *out) { return *out = context, SUCCESS; }
Result cuCtxGetDevice(int *out) {
    NEEDS_CONTEXT;
    return *out = device(), SUCCESS;
}
Result cuCtxSynchronize() {
    NEEDS_CONTEXT;
    return check_all(), SUCCESS;
}
Result cuCtxSetFlags(unsigned) { return SUCCESS; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, SUCCESS; }

Result cuModuleLoadData(Module **module, const void *image) { return load(module, image); }
Result cuModuleUnload(Module *module) { return dlclose(module->library), delete module, SUCCESS; }
Result cuModuleGetFunction(Function **function, Module *module, const char *name) { return find(function, module, name); }

Result cuMemGetInfo_v2(size_t *available, size_t *total) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> guard(memory_lock);
    return *available = memory() - used[device()], *total = memory(), SUCCESS;
}
Result cuMemAlloc_v2(Address *address, size_t size) { return allocate(address, size); }
Result cuMemAllocAsync(Address *address, size_t size, void *) { return allocate(address, size); }
Result cuMemFree_v2(Address address) { return release(address); }
Result cuMemFreeAsync(Address address, void *) { return release(address); }
Result cuMemHostAlloc(void **address, size_t size, unsigned) { return *address = malloc(size), *address ? SUCCESS : OUT_OF_MEMORY; }
Result cuMemFreeHost(void *address) { return free(address), SUCCESS; }
Result cuMemsetD8_v2(Address to, unsigned char value, size_t count) { return fill(to, value, count); }
Result cuMemsetD8Async(Address to, unsigned char value, size_t count, void *) { return fill(to, value, count); }
Result cuMemsetD32_v2(Address to, unsigned value, size_t count) { return fill(to, value, count); }
Result cuMemsetD32Async(Address to, unsigned value, size_t count, void *) { return fill(to, value, count); }
Result cuMemcpyHtoD_v2(Address to, const void *from, size_t size) { return copy((void *)to, from, size, true, false); }
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, void *) { return copy((void *)to, from, size, true, false); }
Result cuMemcpyDtoH_v2(void *to, Address from, size_t size) { return copy(to, (void *)from, size, false, true); }
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, void *) { return copy(to, (void *)from, size, false, true); }
Result cuMemcpyDtoD_v2(Address to, Address from, size_t size) { return copy((void *)to, (void *)from, size, true, true); }
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, void *) { return copy((void *)to, (void *)from, size, true, true); }
Result cuMemcpyPeerAsync(Address to, void *, Address from, void *, size_t size, void *) { return copy((void *)to, (void *)from, size, true, true); }

Result cuStreamCreate(void **stream, unsigned) {
    NEEDS_CONTEXT;
    return *stream = new char, SUCCESS;
}
Result cuStreamCreateWithPriority(void **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
Result cuStreamDestroy_v2(void *stream) { return delete (char *)stream, SUCCESS; }
Result cuStreamSynchronize(void *) {
    NEEDS_CONTEXT;
    return check_all(), SUCCESS;
}
Result cuStreamQuery(void *) { return SUCCESS; }
Result cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
Result cuStreamIsCapturing(void *, int *status) { return *status = 0, SUCCESS; }
Result cuLaunchHostFunc(void *, void (*function)(void *), void *data) { return function(data), SUCCESS; }

// An event is the time of its recording.
Result cuEventCreate(timespec **event, unsigned) { return *event = new timespec{}, SUCCESS; }
Result cuEventDestroy_v2(timespec *event) { return delete event, SUCCESS; }
Result cuEventRecord(timespec *event, void *) { return clock_gettime(CLOCK_MONOTONIC, event), SUCCESS; }
Result cuEventSynchronize(timespec *) { return SUCCESS; }
Result cuEventQuery(timespec *) { return SUCCESS; }
Result cuEventElapsedTime_v2(float *milliseconds, const timespec *from, const timespec *to) {
    return *milliseconds = (to->tv_sec - from->tv_sec) * 1e3 + (to->tv_nsec - from->tv_nsec) * 1e-6, SUCCESS;
}

// By their numbers in CUfunction_attribute: 0 is threads of a block, 8 its dynamic shared memory.
Result cuFuncGetAttribute(int *value, int attribute, Function *function) {
    return *value = attribute == 0 ? function->kernel->bounds : attribute == 8 ? function->dynamic_shared : 0, SUCCESS;
}
Result cuFuncSetAttribute(Function *function, int attribute, int value) {
    if (attribute != 8) return SUCCESS;
    if (value < 0 || value > (int)MAX_SHARED) return INVALID_VALUE;
    return function->dynamic_shared = value, SUCCESS;
}
Result cuFuncSetCacheConfig(Function *, int) { return SUCCESS; }
Result cuLaunchKernel(Function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                      unsigned shared, void *, void **arguments, void **) {
    return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, arguments);
}
Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Function *, int threads, size_t) {
    return *blocks = threads < 64 ? 32 : 2048 / threads, SUCCESS;
}

// There for cudarc, which ends the program where one is missing that it asks for.
#define NOT_HERE(name)                                                                                                 \
    Result name() { return NOT_SUPPORTED; }
NOT_HERE(cuCtxCreate_v4)
NOT_HERE(cuCtxDestroy_v2)
NOT_HERE(cuCtxGetLimit)
NOT_HERE(cuCtxSetLimit)
NOT_HERE(cuCtxGetCacheConfig)
NOT_HERE(cuCtxSetCacheConfig)
NOT_HERE(cuDeviceGetDefaultMemPool)
NOT_HERE(cuDeviceGetMemPool)
NOT_HERE(cuDeviceSetMemPool)
NOT_HERE(cuMemAllocFromPoolAsync)
NOT_HERE(cuMemAllocManaged)
NOT_HERE(cuMemAdvise_v2)
NOT_HERE(cuMemPoolCreate)
NOT_HERE(cuMemPoolDestroy)
NOT_HERE(cuMemPoolGetAttribute)
NOT_HERE(cuMemPoolSetAttribute)
NOT_HERE(cuMemPoolTrimTo)
NOT_HERE(cuMemPrefetchAsync_v2)
NOT_HERE(cuModuleLoad)
NOT_HERE(cuModuleGetGlobal_v2)
NOT_HERE(cuLaunchCooperativeKernel)
NOT_HERE(cuOccupancyAvailableDynamicSMemPerBlock)
NOT_HERE(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
NOT_HERE(cuOccupancyMaxPotentialBlockSize)
NOT_HERE(cuOccupancyMaxPotentialBlockSizeWithFlags)
NOT_HERE(cuStreamAttachMemAsync)
NOT_HERE(cuStreamBeginCapture_v2)
NOT_HERE(cuStreamEndCapture)
NOT_HERE(cuGraphDestroy)
NOT_HERE(cuGraphExecDestroy)
NOT_HERE(cuGraphInstantiateWithFlags)
NOT_HERE(cuGraphLaunch)
NOT_HERE(cuGraphUpload)
}
