// The driver's error numbers, and the settings that the environment gives.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define RESULTS(each)                                                                                                  \
    each(SUCCESS, 0) each(ERROR_INVALID_VALUE, 1) each(ERROR_OUT_OF_MEMORY, 2) each(ERROR_NOT_INITIALIZED, 3)          \
        each(ERROR_INVALID_DEVICE, 101) each(ERROR_INVALID_IMAGE, 200) each(ERROR_INVALID_CONTEXT, 201)                \
            each(ERROR_INVALID_HANDLE, 400) each(ERROR_NOT_FOUND, 500) each(ERROR_NOT_READY, 600)                      \
                each(ERROR_LAUNCH_FAILED, 719) each(ERROR_NOT_SUPPORTED, 801)
#define MEMBER(name, number) name = number,
enum Result { RESULTS(MEMBER) };

static const char *name_of(Result result) {
#define CASE(name, number)                                                                                             \
    case name: return "CUDA_" #name;
    switch (result) { RESULTS(CASE) }
    return "CUDA_ERROR_UNKNOWN";
}

static size_t setting(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, nullptr, 0) : otherwise;
}
static bool setting_is(const char *name, const char *value) {
    const char *text = getenv(name);
    return text && !strcmp(text, value);
}

static int devices() {
    static const int count = setting("CUDA_TEST_DEVICES", 1);
    return count;
}

// A context is its device's number plus one; none is 0. Each thread has a current one.
static thread_local uintptr_t context;
static int device() { return context - 1; }
#define NEEDS_CONTEXT                                                                                                  \
    if (!context) return ERROR_INVALID_CONTEXT
