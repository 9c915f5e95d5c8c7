// A libnvrtc.so for tests: it compiles CUDA source with the C++ compiler, behind shim.h, into a module for the test
// driver (driver.cpp). "PTX" and "CUBIN" are that module, the bytes of a shared library.
//
// What is compiled once is kept, named by the hash of all that it depends on, in `CUDA_TEST_CACHE` or else beside this
// library. `CUDA_TEST_FLAGS` adds flags for the compiler.
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/file.h>
#include <unistd.h>
#include <vector>

// Given on the command line: the compiler, and the folder of shim.h.
#if !defined(COMPILER) || !defined(SHIM)
#error "COMPILER and SHIM are not defined"
#endif

using std::string;

enum Result { SUCCESS = 0, INVALID_INPUT = 3, INVALID_PROGRAM = 4, INVALID_OPTION = 5, COMPILATION = 6 };

struct Program {
    string source, log, module;
    // For a real architecture NVRTC gives a CUBIN, for a virtual one only PTX.
    bool real_architecture;
};

// --- From CUDA to C++: what macros cannot do. The source has been through the preprocessor. ---

struct Translation {
    const string &in;
    string out, kernels;
    size_t at = 0;

    static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

    string word() {
        size_t begin = at;
        while (at < in.size() && is_word(in[at])) at++;
        return in.substr(begin, at - begin);
    }
    void space() {
        while (at < in.size() && isspace((unsigned char)in[at])) at++;
    }
    // What stands in the parentheses that open here.
    string parentheses() {
        size_t begin = at + 1;
        for (int depth = 0; at < in.size();) {
            depth += (in[at] == '(') - (in[at] == ')');
            at++;
            if (depth == 0) break;
        }
        return in.substr(begin, at - 1 - begin);
    }

    // `extern "C" __global__ void __launch_bounds__(N) name(`: listed behind the source. As C++ functions kernels may
    // be called what functions of C are.
    void kernel() {
        while (!out.empty() && isspace((unsigned char)out.back())) out.pop_back();
        const string linkage = "extern \"C\"";
        if (out.size() >= linkage.size() && out.compare(out.size() - linkage.size(), string::npos, linkage) == 0)
            out.erase(out.size() - linkage.size());
        out += " ";
        string bounds = "shim::MAX_THREADS";
        size_t begin = at;
        for (;;) {
            space();
            string name = word();
            space();
            if (name.empty()) break;
            if (at < in.size() && in[at] != '(') continue;
            if (name == "__launch_bounds__") {
                // Of two arguments, the first.
                bounds = parentheses();
                int depth = 0;
                auto comma = std::find_if(bounds.begin(), bounds.end(), [&](char c) {
                    depth += (c == '(') - (c == ')');
                    return c == ',' && depth == 0;
                });
                bounds.erase(comma, bounds.end());
            } else {
                kernels += "SHIM_KERNEL(" + name + ", (" + bounds + "))\n";
                break;
            }
        }
        at = begin;
    }

    // A declaration up to its semicolon. Shared memory of the kernel's own is static, filled before its first use;
    // that of the launch has one place, whatever it is called.
    void shared(bool dynamic) {
        size_t end = std::min(in.find(';', at), in.size());
        string declaration = in.substr(at, end - at), names;
        if (dynamic) {
            out += declaration + " asm(\"shim_dynamic\");";
        } else {
            // The names stand outside of all brackets, before a `[`, a `,` or the end.
            for (int depth = 0; at < end;) {
                char c = in[at];
                if (depth == 0 && is_word(c)) {
                    string name = word();
                    space();
                    if (strchr("[,;", in[at])) names += " SHIM_FRESH(" + name + ");";
                } else {
                    depth += (c == '(' || c == '[') - (c == ')' || c == ']');
                    at++;
                }
            }
            out += "static" + declaration + ";" + names;
        }
        at = end + 1;
    }

    explicit Translation(const string &source) : in(source) {
        for (string last; at < in.size();) {
            char c = in[at];
            if (is_word(c)) {
                string now = word();
                if (now == "__shared__") {
                    shared(last == "extern");
                } else {
                    if (now == "__global__") kernel();
                    out += now;
                }
                last = now;
            } else if (c == '"' || c == '\'') {
                size_t begin = at++;
                while (at < in.size() && in[at] != c) at += in[at] == '\\' ? 2 : 1;
                at = std::min(at + 1, in.size());
                out += in.substr(begin, at - begin);
                last.clear();
            } else {
                if (!isspace((unsigned char)c)) last.clear();
                out += c;
                at++;
            }
        }
    }
};

// --- The compiler. ---

static string read(const string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

static string quoted(const string &text) {
    string out = "'";
    for (char c : text) out += c == '\'' ? "'\\''" : string(1, c);
    return out + "'";
}

// Runs a command of the shell with this input. Its standard error is the log.
static bool run(const string &command, const string &input, const string &scratch, string &log) {
    FILE *pipe = popen((command + " 2>" + quoted(scratch)).c_str(), "w");
    if (!pipe) return false;
    fwrite(input.data(), 1, input.size(), pipe);
    int status = pclose(pipe);
    log += read(scratch);
    unlink(scratch.c_str());
    return status == 0;
}

static string output_of(const string &command) {
    string out;
    char part[4096];
    FILE *pipe = popen(command.c_str(), "r");
    if (!pipe) return out;
    while (size_t n = fread(part, 1, sizeof part, pipe)) out.append(part, n);
    pclose(pipe);
    return out;
}

// FNV-1a over all parts, twice with different beginnings: 128 bits.
static string hash(const std::vector<string> &parts) {
    uint64_t sums[2] = {0xcbf29ce484222325, 0x84222325cbf29ce4};
    for (const string &part : parts)
        for (uint64_t &sum : sums) {
            for (unsigned char c : part) sum = (sum ^ c) * 0x100000001b3;
            sum = (sum ^ 0x100) * 0x100000001b3;
        }
    char text[33];
    snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)sums[0], (unsigned long long)sums[1]);
    return text;
}

static string cache_folder() {
    if (const char *folder = getenv("CUDA_TEST_CACHE")) return folder;
    Dl_info info;
    dladdr((void *)cache_folder, &info);
    string path = info.dli_fname;
    return path.substr(0, path.rfind('/'));
}

// `-march=native` means another thing on another machine, and the folder may be shared.
static string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (string line; std::getline(file, line);)
        if (!line.compare(0, 5, "flags") || !line.compare(0, 8, "Features")) return line;
    return "";
}

// Options of NVRTC without a meaning here.
static bool known(const string &option) {
    for (const char *with : {"--gpu-architecture=", "-arch=", "--ftz=", "--prec-", "--std=", "--maxrregcount=",
                             "-lineinfo", "--generate-line-info", "-default-device",
                             "--device-as-default-execution-space"})
        if (option.compare(0, strlen(with), with) == 0) return true;
    return false;
}

static Result compile(Program &program, const std::vector<string> &options) {
    // What the real NVRTC has made of the source, for an interpreter (tests/cuda_ptx.rs).
    if (const char *ptx = getenv("CUDA_TEST_PTX")) {
        program.module = read(ptx) + '\0';
        return SUCCESS;
    }
    // Without `--fmad=false` NVRTC fuses what it can, and so do we. The other flags have one value here.
    string contract = "fast", defines, extra = getenv("CUDA_TEST_FLAGS") ? getenv("CUDA_TEST_FLAGS") : "";
    for (const string &option : options) {
        auto starts = [&](const char *with) { return option.compare(0, strlen(with), with) == 0; };
        string value = option.substr(std::min(option.find('=') + 1, option.size()));
        if (starts("--fmad=")) {
            contract = value == "false" ? "off" : "fast";
        } else if (starts("-D")) {
            defines += " " + quoted(option);
        } else if (starts("--define-macro=")) {
            defines += " " + quoted("-D" + value);
        } else if (option == "--ftz=true" || option == "--prec-div=false" || option == "--prec-sqrt=false") {
            program.log = "only exact arithmetic is to be had here: " + option + "\n";
            return INVALID_OPTION;
        } else if (!known(option)) {
            program.log = "unknown option " + option + "\n";
            return INVALID_OPTION;
        }
    }
    string flags = " -std=c++17 -O2 -march=native -ffp-contract=" + contract + " -fno-math-errno -fno-strict-aliasing";
    flags += " -w -shared -fPIC -fvisibility=hidden " + extra;
    string shim = SHIM, folder = cache_folder(), version = output_of(quoted(COMPILER) + " --version");
    string sources;
    for (const char *file : {"shim.h", "block.h", "launch.h", "nvrtc.cpp"}) sources += read(shim + "/" + file);
    string path = folder + "/" + hash({program.source, flags, defines, sources, version, processor()}) + ".module";

    // One compiles, the others wait for it.
    int lock = open((folder + "/lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) {
        program.log = folder + ": cannot be written\n";
        return COMPILATION;
    }
    program.module = read(path);
    bool good = !program.module.empty();
    if (!good) {
        string scratch = folder + "/compiling." + std::to_string(getpid());
        string preprocessed = scratch + ".ii", log = scratch + ".log";
        string preprocess = " -E -x c++ -std=c++17" + defines + " - -o " + quoted(preprocessed);
        good = run(quoted(COMPILER) + preprocess, program.source, log, program.log);
        if (good) {
            string text = read(preprocessed);
            Translation cpp(text);
            string whole = "#include \"shim.h\"\nnamespace unit {\n" + cpp.out + "\n" + cpp.kernels + "}\n";
            string compile = flags + " -I" + quoted(shim) + " -x c++ - -o " + quoted(scratch);
            good = run(quoted(COMPILER) + compile, whole, log, program.log);
        }
        program.module = read(scratch);
        if (good) rename(scratch.c_str(), path.c_str());
        unlink(preprocessed.c_str());
        unlink(scratch.c_str());
    }
    close(lock);
    return good ? SUCCESS : COMPILATION;
}

// --- What cudarc calls. ---

extern "C" {
int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, SUCCESS; }

const char *nvrtcGetErrorString(Result result) {
    switch (result) {
    case SUCCESS: return "NVRTC_SUCCESS";
    case INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
    case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case COMPILATION: return "NVRTC_ERROR_COMPILATION";
    }
    return "NVRTC_ERROR";
}

int nvrtcCreateProgram(Program **program, const char *source, const char *name, int headers, const char *const *,
                       const char *const *) {
    if (headers) return INVALID_INPUT;
    // tests/mutants_cuda.py puts another source in this one's place.
    const char *instead = getenv("CUDA_TEST_SOURCE");
    string text = instead ? read(instead) : source;
    *program = new Program{"#line 1 \"" + string(name ? name : "default_program") + "\"\n" + text, "", "", false};
    return SUCCESS;
}
int nvrtcDestroyProgram(Program **program) { return delete *program, *program = nullptr, SUCCESS; }
int nvrtcCompileProgram(Program *program, int count, const char *const *options) {
    auto real = [](const char *option) { return strstr(option, "=sm_") != nullptr; };
    program->real_architecture = std::any_of(options, options + count, real);
    return compile(*program, std::vector<string>(options, options + count));
}

int nvrtcGetProgramLogSize(Program *program, size_t *size) { return *size = program->log.size() + 1, SUCCESS; }
int nvrtcGetProgramLog(Program *program, char *log) { return strcpy(log, program->log.c_str()), SUCCESS; }
int nvrtcGetPTXSize(Program *program, size_t *size) { return *size = program->module.size(), SUCCESS; }
int nvrtcGetPTX(Program *program, char *ptx) {
    return memcpy(ptx, program->module.data(), program->module.size()), SUCCESS;
}
int nvrtcGetCUBINSize(Program *program, size_t *size) {
    return *size = program->real_architecture ? program->module.size() : 0, SUCCESS;
}
int nvrtcGetCUBIN(Program *program, char *cubin) {
    return program->real_architecture ? nvrtcGetPTX(program, cubin) : INVALID_PROGRAM;
}
}
