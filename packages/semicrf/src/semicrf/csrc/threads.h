// Threads for the length of one call: nothing survives it, so forked workers start clean.
#pragma once
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

// Products of tiny numbers are flushed to zero instead of becoming slow subnormals; the
// certificates count with that.
class FlushSubnormals {
  public:
#if defined(__SSE2__)
    FlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
    ~FlushSubnormals() { _mm_setcsr(saved_); }

  private:
    unsigned saved_;
#endif
};

// Some threads that work on one sequence together. The first of them is the leader.
class Team {
  public:
    explicit Team(int size) : size(size) {}
    const int size;

    // Waits for all members, spinning briefly before giving the core away.
    void wait() {
        if (size == 1) {
            item_.store(0, std::memory_order_relaxed);
            return;
        }
        const unsigned round = round_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
            arrived_.store(0, std::memory_order_relaxed);
            item_.store(0, std::memory_order_relaxed);
            round_.fetch_add(1, std::memory_order_release);
            return;
        }
        for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins)
            if (spins > 2000) std::this_thread::yield();
    }

    // Next index of a shared list of work, counted from 0 since the last wait().
    int64_t take() { return item_.fetch_add(1, std::memory_order_relaxed); }

  private:
    std::atomic<int> arrived_{0};
    std::atomic<unsigned> round_{0};
    std::atomic<int64_t> item_{0};
};

// Calls function(rank) on `count` threads, this one among them. None begins before all are there,
// so that a system that refuses a thread is an error instead of a team waiting for a member.
template <class Function>
void on_threads(int count, Function&& function) {
    std::exception_ptr failure;
    std::mutex guard;
    std::atomic<int> gate{0};
    auto body = [&](int rank) {
        while (rank > 0 && gate.load(std::memory_order_acquire) == 0) std::this_thread::yield();
        if (gate.load(std::memory_order_acquire) < 0) return;
        FlushSubnormals flush;
        try {
            function(rank);
        } catch (...) {
            std::lock_guard<std::mutex> lock(guard);
            failure = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    others.reserve(count);
    try {
        for (int rank = 1; rank < count; ++rank) others.emplace_back(body, rank);
        gate.store(1, std::memory_order_release);
    } catch (...) {
        failure = std::current_exception();
        gate.store(-1, std::memory_order_release);
    }
    body(0);
    for (auto& thread : others) thread.join();
    if (failure) std::rethrow_exception(failure);
}
