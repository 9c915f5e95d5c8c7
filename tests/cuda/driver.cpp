// A libcuda.so for tests: devices whose memory is the host's (memory.h), whose streams run as late as they may
// (streams.h) and whose kernels run on the CPU (block.h). Behind it the real cudarc runs, and the project's own code,
// on a machine without a GPU.
//
// Environment: `CUDA_TEST_DEVICES=n` (1), `CUDA_TEST_MEMORY=bytes` of each (4 GiB), and what those files say.
#include "launch.h"
#include "memory.h"
#include "streams.h"
#include <atomic>
#include <dlfcn.h>
#include <elf.h>
#include <signal.h>
#include <string>

using shim::Dim, shim::Kernel, shim::MAX_SHARED;

#define ALONE std::lock_guard<std::recursive_mutex> guard(everything)

// --- Memory, in the order of a stream. ---

static Result allocate_now(Address *address, size_t size) {
    NEEDS_CONTEXT;
    ALONE;
    Result result = allocate(address, size);
    if (result != ERROR_OUT_OF_MEMORY) return result;
    // What is about to be freed is free.
    Result waited = wait_for_others(nullptr);
    return waited != SUCCESS ? waited : allocate(address, size);
}

static Result free_in(const Stream *stream, Address address) {
    NEEDS_CONTEXT;
    ALONE;
    if (!on_device(address, 1)) return ERROR_INVALID_VALUE;
    return put(stream, [=] { return release(address); });
}

template <class T> static Result fill(const Stream *stream, Address address, T value, size_t count) {
    NEEDS_CONTEXT;
    ALONE;
    if (!on_device(address, count * sizeof value)) return ERROR_INVALID_VALUE;
    return put(stream, [=] {
        for (size_t i = 0; i < count; i++) ((T *)address)[i] = value;
        return SUCCESS;
    });
}

static Result move(const Stream *stream, void *to, const void *from, size_t size) {
    return put(stream, [=] { return memmove(to, from, size), SUCCESS; });
}

// Pageable memory of the host is read before the call returns; pinned memory when the stream comes to it.
static Result copy_to_device(const Stream *stream, Address to, const void *from, size_t size) {
    NEEDS_CONTEXT;
    ALONE;
    if (!on_device(to, size)) return ERROR_INVALID_VALUE;
    if (is_pinned(from)) return move(stream, (void *)to, from, size);
    std::string staged((const char *)from, size);
    return put(stream, [=] { return memcpy((void *)to, staged.data(), size), SUCCESS; });
}

// And it is written before the call returns.
static Result copy_to_host(const Stream *stream, void *to, Address from, size_t size) {
    NEEDS_CONTEXT;
    ALONE;
    if (!on_device(from, size)) return ERROR_INVALID_VALUE;
    Result result = move(stream, to, (void *)from, size);
    return result != SUCCESS || is_pinned(to) ? result : wait_for(queue_of(stream));
}

static Result copy_on_device(const Stream *stream, Address to, Address from, size_t size) {
    NEEDS_CONTEXT;
    ALONE;
    if (!on_device(to, size) || !on_device(from, size)) return ERROR_INVALID_VALUE;
    return move(stream, (void *)to, (void *)from, size);
}

// --- Kernels. ---

struct Function {
    std::string name;
    const Kernel *kernel;
    int device;
    // More than 48 KiB of it must be asked for.
    size_t dynamic_shared;
};
struct Module {
    // A library, or else PTX.
    void *library;
    std::string ptx;
    int device;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

// Finds a kernel of a module that is PTX, and will run it. (tests/common/ptx)
static const Kernel *(*interpret)(const char *ptx, const char *name);

// How many bytes a shared library has: its last part is the table of its sections.
static size_t image_size(const Elf64_Ehdr *header) {
    return header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
}

static Result load(Module **module, const void *image) {
    NEEDS_CONTEXT;
    if (memcmp(image, ELFMAG, SELFMAG)) {
        if (!interpret) return ERROR_INVALID_IMAGE;
        *module = new Module{nullptr, (const char *)image, device(), {}};
        return SUCCESS;
    }
    size_t size = image_size((const Elf64_Ehdr *)image);
    // The descriptor stays open: the loader knows libraries by their path, and this one must not come again.
    int file = memfd_create("module", MFD_CLOEXEC);
    if (file < 0 || write(file, image, size) != (ssize_t)size) return ERROR_INVALID_IMAGE;
    std::string path = "/proc/self/fd/" + std::to_string(file);
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "CUDA test driver: %s\n", dlerror());
        return ERROR_INVALID_IMAGE;
    }
    *module = new Module{library, "", device(), {}};
    return SUCCESS;
}

static Result find(Function **function, Module *module, const char *name) {
    NEEDS_CONTEXT;
    ALONE;
    auto &known = module->functions[name];
    if (!known) {
        const Kernel *kernel;
        if (module->library)
            kernel = (const Kernel *)dlsym(module->library, (std::string("shim_kernel_") + name).c_str());
        else
            kernel = interpret(module->ptx.c_str(), name);
        if (!kernel) return ERROR_NOT_FOUND;
        known.reset(new Function{name, kernel, module->device, 48 << 10});
    }
    *function = known.get();
    return SUCCESS;
}

static thread_local const Function *running;

static Result launch(const Stream *stream, const Function *function, Dim grid, Dim block, unsigned shared,
                     void **arguments) {
    NEEDS_CONTEXT;
    ALONE;
    if (!function || function->device != device()) return ERROR_INVALID_HANDLE;
    const Kernel &kernel = *function->kernel;
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    bool grid_fits = grid.x && grid.y && grid.z && grid.x <= 0x7fffffff && grid.y <= 65535 && grid.z <= 65535;
    bool block_fits = threads && block.x <= 1024 && block.y <= 1024 && block.z <= 64 && threads <= kernel.bounds;
    if (!grid_fits || !block_fits || shared > function->dynamic_shared) return ERROR_INVALID_VALUE;
    struct Argument {
        alignas(16) unsigned char bytes[64];
    };
    std::vector<Argument> values(kernel.argument_count);
    for (size_t i = 0; i < values.size(); i++) memcpy(values[i].bytes, arguments[i], kernel.argument_sizes[i]);
    return put(stream, [=] {
        std::vector<const void *> pointers;
        for (const Argument &value : values) pointers.push_back(value.bytes);
        running = function;
        bool good = function->kernel->launch(function->kernel, grid, block, shared, pointers.data());
        running = nullptr;
        return good ? SUCCESS : ERROR_LAUNCH_FAILED;
    });
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
    // The stack for signals is too small for fprintf.
    static char text[400];
    int n = snprintf(text, sizeof text, "CUDA test driver: kernel %s, %s: an access to %p", running->name.c_str(),
                     running->kernel->where(), info->si_addr);
    if (buffer)
        n += snprintf(text + n, sizeof text - n, ", byte %zu of a buffer of %zu", address - begin, buffer->size);
    text[n++] = '\n';
    if (write(STDERR_FILENO, text, n) < 0) perror("standard error");
    abort();
}

// --- What cudarc calls, in the order of the driver's manual. ---

extern "C" {
void cuda_test_interpret(const Kernel *(*with)(const char *, const char *)) { interpret = with; }

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
Result cuGetErrorName(Result result, const char **text) { return *text = name_of(result), SUCCESS; }
Result cuGetErrorString(Result result, const char **text) { return *text = name_of(result), SUCCESS; }

Result cuDeviceGetCount(int *count) { return *count = devices(), initialized ? SUCCESS : ERROR_NOT_INITIALIZED; }
Result cuDeviceGet(int *device, int ordinal) {
    if (!initialized) return ERROR_NOT_INITIALIZED;
    return *device = ordinal, ordinal >= 0 && ordinal < devices() ? SUCCESS : ERROR_INVALID_DEVICE;
}
Result cuDeviceGetName(char *name, int size, int) { return snprintf(name, size, "test driver (CPU)"), SUCCESS; }
Result cuDeviceGetUuid_v2(char *uuid, int device) { return memset(uuid, device, 16), SUCCESS; }
Result cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = memory(), SUCCESS; }
Result cuDeviceGetAttribute(int *value, int attribute, int) {
    // An H100's, by their numbers in CUdevice_attribute. Others are 0.
    static const std::map<int, int> values = {
        {1, 1024},        // threads of a block
        {2, 1024},        // in x
        {3, 1024},        // in y
        {4, 64},          // in z
        {5, 0x7fffffff},  // blocks of a grid in x
        {6, 65535},       // in y
        {7, 65535},       // in z
        {8, 48 << 10},    // shared memory of a block
        {10, 32},         // threads of a warp
        {12, 65536},      // registers of a block
        {13, 1785000},    // clock in kHz
        {16, 132},        // multiprocessors
        {31, 1},          // several kernels at a time
        {38, 50 << 20},   // second level cache
        {39, 2048},       // threads of a multiprocessor
        {41, 1},          // one address space
        {75, 9},          // compute capability
        {76, 0},          // after the point
        {81, 228 << 10},  // shared memory of a multiprocessor
        {82, 65536},      // registers of a multiprocessor
        {97, MAX_SHARED}, // shared memory of a block that asks for it
        {106, 32},        // blocks of a multiprocessor
        {111, 1 << 10},   // shared memory of a block that the system takes
        {115, 1},         // memory pools, so cuMemAllocAsync
    };
    auto found = values.find(attribute);
    return *value = found == values.end() ? 0 : found->second, SUCCESS;
}

Result cuDevicePrimaryCtxRetain(uintptr_t *out, int device) { return *out = device + 1, SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
Result cuCtxSetCurrent(uintptr_t to) { return context = to, SUCCESS; }
Result cuCtxGetCurrent(uintptr_t *out) { return *out = context, SUCCESS; }
Result cuCtxSynchronize() {
    NEEDS_CONTEXT;
    ALONE;
    Result result = wait_for_others(nullptr);
    return check_all(), result;
}
Result cuCtxSetFlags(unsigned) { return SUCCESS; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, SUCCESS; }

Result cuModuleLoadData(Module **module, const void *image) { return load(module, image); }
Result cuModuleUnload(Module *module) {
    NEEDS_CONTEXT;
    ALONE;
    Result result = wait_for_others(nullptr);
    if (module->library) dlclose(module->library);
    return delete module, result;
}
Result cuModuleGetFunction(Function **function, Module *module, const char *name) {
    return find(function, module, name);
}

Result cuMemGetInfo_v2(size_t *available, size_t *total) {
    NEEDS_CONTEXT;
    ALONE;
    return *available = memory() - used[device()], *total = memory(), SUCCESS;
}
Result cuMemAlloc_v2(Address *address, size_t size) { return allocate_now(address, size); }
Result cuMemAllocAsync(Address *address, size_t size, Stream *) { return allocate_now(address, size); }
Result cuMemFree_v2(Address address) {
    NEEDS_CONTEXT;
    ALONE;
    Result result = wait_for_others(nullptr);
    return result != SUCCESS ? result : release(address);
}
Result cuMemFreeAsync(Address address, Stream *stream) { return free_in(stream, address); }
Result cuMemHostAlloc(void **address, size_t size, unsigned) {
    ALONE;
    *address = malloc(size);
    return pinned[(Address)*address] = size, *address ? SUCCESS : ERROR_OUT_OF_MEMORY;
}
Result cuMemFreeHost(void *address) {
    NEEDS_CONTEXT;
    ALONE;
    Result result = wait_for_others(nullptr);
    return pinned.erase((Address)address), free(address), result;
}
Result cuMemsetD8_v2(Address to, unsigned char value, size_t count) { return fill(nullptr, to, value, count); }
Result cuMemsetD8Async(Address to, unsigned char value, size_t count, Stream *stream) {
    return fill(stream, to, value, count);
}
Result cuMemsetD32_v2(Address to, unsigned value, size_t count) { return fill(nullptr, to, value, count); }
Result cuMemsetD32Async(Address to, unsigned value, size_t count, Stream *stream) {
    return fill(stream, to, value, count);
}
Result cuMemcpyHtoD_v2(Address to, const void *from, size_t size) { return copy_to_device(nullptr, to, from, size); }
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, Stream *stream) {
    return copy_to_device(stream, to, from, size);
}
Result cuMemcpyDtoH_v2(void *to, Address from, size_t size) { return copy_to_host(nullptr, to, from, size); }
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, Stream *stream) {
    return copy_to_host(stream, to, from, size);
}
Result cuMemcpyDtoD_v2(Address to, Address from, size_t size) { return copy_on_device(nullptr, to, from, size); }
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, Stream *stream) {
    return copy_on_device(stream, to, from, size);
}
Result cuMemcpyPeerAsync(Address to, uintptr_t, Address from, uintptr_t, size_t size, Stream *stream) {
    return copy_on_device(stream, to, from, size);
}

Result cuStreamCreate(Stream **stream, unsigned flags) {
    NEEDS_CONTEXT;
    ALONE;
    return *stream = new Stream{flags & 1 ? new_queue() : queue_of(nullptr)}, SUCCESS;
}
Result cuStreamCreateWithPriority(Stream **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
Result cuStreamSynchronize(Stream *stream) {
    NEEDS_CONTEXT;
    ALONE;
    Result result = wait_for(queue_of(stream));
    return check_all(), result;
}
Result cuStreamDestroy_v2(Stream *stream) {
    Result result = cuStreamSynchronize(stream);
    return delete stream, result;
}
Result cuStreamQuery(Stream *stream) {
    NEEDS_CONTEXT;
    ALONE;
    Shared queue = queue_of(stream);
    bool ready = queue->done == queue->given;
    // Who asks again and again gets there.
    Result result = wait_for(queue);
    return result != SUCCESS ? result : ready ? SUCCESS : ERROR_NOT_READY;
}
Result cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    NEEDS_CONTEXT;
    ALONE;
    return wait_in(stream, event);
}
Result cuStreamIsCapturing(Stream *, int *status) { return *status = 0, SUCCESS; }
Result cuLaunchHostFunc(Stream *stream, void (*function)(void *), void *data) {
    NEEDS_CONTEXT;
    ALONE;
    return put(stream, [=] { return function(data), SUCCESS; });
}

Result cuEventCreate(Event **event, unsigned) { return *event = new Event, SUCCESS; }
Result cuEventDestroy_v2(Event *event) { return delete event, SUCCESS; }
Result cuEventRecord(Event *event, Stream *stream) {
    NEEDS_CONTEXT;
    ALONE;
    return record(event, stream);
}
Result cuEventSynchronize(Event *event) {
    ALONE;
    return event->mark->reach();
}
Result cuEventQuery(Event *event) {
    ALONE;
    bool ready = event->mark->reached();
    Result result = event->mark->reach();
    return result != SUCCESS ? result : ready ? SUCCESS : ERROR_NOT_READY;
}
Result cuEventElapsedTime_v2(float *milliseconds, const Event *from, const Event *to) {
    ALONE;
    if (!from->mark->reached() || !to->mark->reached()) return ERROR_NOT_READY;
    timespec a = from->mark->time, b = to->mark->time;
    return *milliseconds = (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) * 1e-6, SUCCESS;
}

// By their numbers in CUfunction_attribute: 0 is threads of a block, 8 its dynamic shared memory.
Result cuFuncGetAttribute(int *value, int attribute, Function *function) {
    return *value = attribute == 0 ? function->kernel->bounds : attribute == 8 ? function->dynamic_shared : 0, SUCCESS;
}
Result cuFuncSetAttribute(Function *function, int attribute, int value) {
    if (attribute != 8) return SUCCESS;
    if (value < 0 || value > (int)MAX_SHARED) return ERROR_INVALID_VALUE;
    return function->dynamic_shared = value, SUCCESS;
}
Result cuFuncSetCacheConfig(Function *, int) { return SUCCESS; }
Result cuLaunchKernel(Function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, Stream *stream, void **arguments, void **) {
    // A device that is lost after so many launches.
    static const char *allowed = getenv("CUDA_TEST_LAUNCHES");
    static std::atomic<long> launched{0};
    if (allowed && ++launched > atol(allowed)) return ERROR_LAUNCH_FAILED;
    return launch(stream, function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, arguments);
}
Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Function *, int threads, size_t) {
    return *blocks = threads < 64 ? 32 : 2048 / threads, SUCCESS;
}

// There for cudarc, which ends the program where one is missing that it asks for.
#define NOT_HERE(name)                                                                                                 \
    Result name() { return ERROR_NOT_SUPPORTED; }
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
