// Streams: what is put into one is done when something waits for it, and not before. So a result that is read, or a
// buffer that is used by another stream, without waiting for what fills it is seen to be wrong. How streams without an
// order between them are ordered, `CUDA_TEST_ORDER` says: `forward`, each as late as can be; `backward`, all others
// before the one that is waited for. `CUDA_TEST_STREAMS=eager` does everything at once.
#pragma once
#include "result.h"
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <time.h>
#include <vector>

// Held by every call that looks at memory or at streams, and while kernels run.
static std::recursive_mutex everything;

using Task = std::function<Result()>;

struct Queue {
    int device;
    std::deque<Task> tasks;
    // How many were put in, and how many of them are done with.
    uint64_t given = 0, done = 0;

    // Does them up to this number. Those behind one that fails are dropped.
    Result run_until(uint64_t number) {
        while (done < number) {
            Task task = std::move(tasks.front());
            tasks.pop_front();
            done++;
            Result result = task();
            if (result != SUCCESS) {
                tasks.clear();
                done = given;
                return result;
            }
        }
        return SUCCESS;
    }
};
using Shared = std::shared_ptr<Queue>;

struct Stream {
    Shared queue;
};

static std::vector<std::weak_ptr<Queue>> all_queues;

static Shared new_queue() {
    Shared queue(new Queue{device(), {}});
    all_queues.push_back(queue);
    return queue;
}

// Null is the device's default stream, with which streams that are not "non-blocking" keep step.
static Shared queue_of(const Stream *stream) {
    static std::map<int, Shared> defaults;
    if (stream) return stream->queue;
    Shared &queue = defaults[device()];
    if (!queue) queue = new_queue();
    return queue;
}

static Result wait_for_others(const Queue *one) {
    Result first = SUCCESS;
    for (size_t i = 0; i < all_queues.size(); i++) {
        Shared other = all_queues[i].lock();
        if (!other || other.get() == one || other->device != device()) continue;
        Result result = other->run_until(other->given);
        if (first == SUCCESS) first = result;
    }
    return first;
}

static Result wait_for(const Shared &queue) {
    Result others = setting_is("CUDA_TEST_ORDER", "backward") ? wait_for_others(queue.get()) : SUCCESS;
    Result own = queue->run_until(queue->given);
    return others != SUCCESS ? others : own;
}

static Result put(const Stream *stream, Task task) {
    Shared queue = queue_of(stream);
    if (queue->device != device()) return ERROR_INVALID_HANDLE;
    queue->tasks.push_back(std::move(task));
    queue->given++;
    return setting_is("CUDA_TEST_STREAMS", "eager") ? wait_for(queue) : SUCCESS;
}

// A place in a stream.
struct Mark {
    Shared queue;
    uint64_t number = 0;
    timespec time = {};

    Result reach() { return queue ? queue->run_until(number) : SUCCESS; }
    bool reached() const { return !queue || queue->done >= number; }
};
struct Event {
    std::shared_ptr<Mark> mark{new Mark};
};

static Result record(Event *event, const Stream *stream) {
    std::shared_ptr<Mark> mark(new Mark{queue_of(stream), queue_of(stream)->given + 1});
    event->mark = mark;
    return put(stream, [mark] {
        clock_gettime(CLOCK_MONOTONIC, &mark->time);
        return SUCCESS;
    });
}

static Result wait_in(const Stream *stream, const Event *event) {
    std::shared_ptr<Mark> mark = event->mark;
    return put(stream, [mark] { return mark->reach(); });
}
