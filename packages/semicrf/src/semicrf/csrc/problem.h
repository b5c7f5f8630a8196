// What crosses the C interface, and the plain helpers that do not depend on an instruction set.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>

constexpr double NEG_INF = -std::numeric_limits<double>::infinity();

// Pointers to contiguous arrays of float (is_double = 0) or double; optional ones may be null.
// Mirrored field by field in cpu.py.
struct Problem {
    const void* emissions;    // (B, T, C)
    const void* transitions;  // (C, C) as [from, to]
    const void* durations;    // (K, C)
    const int64_t* lengths;   // (B,)
    const void* start;        // (C,)
    const void* end;          // (C,)
    const void* begin;        // (B, T, C)
    const void* finish;       // (B, T, C)
    int64_t B, T, C, K;
    int32_t is_double;
    int32_t threads;
};

// A direction in which all scores of a Problem move, float64. Transitions and durations are each
// sequence's own; a pointer is null where all of its scores stay. Mirrored in cpu.py too.
struct Direction {
    const double *emissions, *begin, *finish;  // (B, T, C)
    const double* transitions;                 // (B, C, C)
    const double* durations;                   // (B, K, C)
};

// Posteriors, or how they change along a direction: of a batch, B in front of each shape, or of one
// sequence. T is the type of the tensors, or double.
template <class T>
struct Outputs {
    double* total;                 // ()
    T *positions, *begins, *ends;  // (T, C)
    double* transitions;           // (C, C)
    T* durations;                  // (K, C)
    double *before, *after;        // (T, C) or null

    Outputs of(const Problem& p, int64_t b) const {
        const int64_t area = p.T * p.C;
        return {total + b,
                positions + b * area,
                begins + b * area,
                ends + b * area,
                transitions + b * p.C * p.C,
                durations + b * p.K * p.C,
                before ? before + b * area : nullptr,
                after ? after + b * area : nullptr};
    }
};

// Uninitialised, 64-byte aligned memory.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(int64_t size) {
        if (size <= 0) return;
        const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + 63) / 64 * 64;
        data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
        if (!data_) throw std::bad_alloc();
    }
    Buffer(Buffer&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    ~Buffer() { std::free(data_); }
    T* get() const { return data_; }
    T& operator[](int64_t i) const { return data_[i]; }
    explicit operator bool() const { return data_ != nullptr; }

  private:
    T* data_ = nullptr;
};
