// The C interface, and the choice of instructions at run time.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "problem.h"
#include "threads.h"

namespace generic {
#include "kernel.h"
}

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi2")
#endif
namespace avx2 {
#include "kernel.h"
}
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

namespace {

enum Status { OK = 0, OUT_OF_MEMORY = 1, FAILED = 2 };

template <class Call>
int guarded(Call call) {
    try {
        call();
        return OK;
    } catch (const std::bad_alloc&) {
        return OUT_OF_MEMORY;
    } catch (...) {
        return FAILED;
    }
}

bool has_avx2() {
#ifdef HAVE_AVX2
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
#else
    return false;
#endif
}

}  // namespace

#ifdef HAVE_AVX2
#define DISPATCH(...) (isa == 1 ? avx2::__VA_ARGS__ : generic::__VA_ARGS__)
#else
#define DISPATCH(...) (generic::__VA_ARGS__)
#endif

extern "C" {

// The best instruction set of this processor: 0 generic, 1 AVX2 with FMA.
int semicrf_isa() { return has_avx2() ? 1 : 0; }

// `redone` (B,) counts blocks that needed log space. Arrays are as in the Python functions of the
// same names.
int semicrf_partition(const Problem* p, int isa, double* total, int64_t* redone) {
    return guarded([&] {
        if (p->is_double)
            DISPATCH(log_partition<double, double>(*p, total, redone));
        else
            DISPATCH(log_partition<float, float>(*p, total, redone));
    });
}

int semicrf_marginals(const Problem* p, int isa, double* total, void* positions,
                      void* begins, void* ends, double* transitions, void* durations,
                      double* before, double* after, int64_t* redone) {
    return guarded([&] {
        auto f = [](void* x) { return static_cast<float*>(x); };
        auto d = [](void* x) { return static_cast<double*>(x); };
        if (p->is_double)
            DISPATCH(posteriors<double, double>(*p,
                                                {total, d(positions), d(begins), d(ends),
                                                 transitions, d(durations), before, after},
                                                redone));
        else
            DISPATCH(posteriors<float, float>(*p,
                                              {total, f(positions), f(begins), f(ends),
                                               transitions, f(durations), before, after},
                                              redone));
    });
}

// float64 only. Shapes as for semicrf_marginals; total is the derivative of log Z, or -inf.
int semicrf_curvature(const Problem* p, int isa, const Direction* v, double* total,
                      double* positions, double* begins, double* ends, double* transitions,
                      double* durations) {
    return guarded([&] {
        DISPATCH(curvature(*p, *v,
                           {total, positions, begins, ends, transitions, durations, nullptr,
                            nullptr}));
    });
}

// segments (B, T, 2) of (end, label) back to front, counts (B,).
int semicrf_viterbi(const Problem* p, int isa, double* total, int32_t* segments, int64_t* counts) {
    return guarded([&] {
        if (p->is_double)
            DISPATCH(best_segmentation<double>(*p, total, segments, counts));
        else
            DISPATCH(best_segmentation<float>(*p, total, segments, counts));
    });
}

// seeds (B, draws), segments (B, draws, T, 2) of (end, label) back to front, counts (B, draws).
int semicrf_sample(const Problem* p, int isa, const int64_t* seeds, int64_t draws, double* total,
                   int32_t* segments, int64_t* counts) {
    return guarded([&] {
        if (p->is_double)
            DISPATCH(draw_segmentations<double>(*p, seeds, draws, total, segments, counts));
        else
            DISPATCH(draw_segmentations<float>(*p, seeds, draws, total, segments, counts));
    });
}

// For benchmarks: T K C multiply-adds without a recurrence; sums has an entry per thread.
int semicrf_multiply_adds(int isa, int is_double, int64_t T, int64_t K, int64_t C, int threads,
                          double* sums) {
    return guarded([&] {
        if (is_double)
            DISPATCH(multiply_adds<double>(T, K, C, threads, sums));
        else
            DISPATCH(multiply_adds<float>(T, K, C, threads, sums));
    });
}
}
