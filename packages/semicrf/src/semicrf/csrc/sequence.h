// One sequence in the form the recurrences want: float64, class by class, centred.
// Included once per instruction set, inside a namespace.

inline int64_t padded(int64_t n) { return (n + N - 1) / N * N + N; }

struct Sequence {
    int64_t L = 0, stride = 0;
    int C = 0;
    double offset = 0;       // what centring took out of every segmentation's score
    Buffer<double> sum;      // [c][t], t in 0..L: cumulative centred emissions
    Buffer<double> begin;    // [c][s], s in 0..L-1, or empty
    Buffer<double> finish;   // [c][e - 1], or empty
    Buffer<double> start, end;

    void allocate(int64_t T, int classes, bool with_begin, bool with_finish) {
        C = classes;
        stride = padded(T + 1);
        sum = Buffer<double>(C * stride);
        if (with_begin) begin = Buffer<double>(C * stride);
        if (with_finish) finish = Buffer<double>(C * stride);
        start = Buffer<double>(C);
        end = Buffer<double>(C);
    }

    double alpha(const double* inside, int c, int64_t t) const {  // t in 1..L
        return inside[c * stride + t] + sum[c * stride + t] +
               (finish ? finish[c * stride + t - 1] : 0.0);
    }
};

template <class T>
void read_borders(const Problem& p, int64_t b, Sequence& q) {
    const int C = q.C;
    auto transpose = [&](const void* from, Buffer<double>& to) {
        const T* x = static_cast<const T*>(from) + b * p.T * C;
        for (int64_t t = 0; t < q.L; ++t)
            for (int c = 0; c < C; ++c) to[c * q.stride + t] = x[t * C + c];
    };
    if (p.begin) transpose(p.begin, q.begin);
    if (p.finish) transpose(p.finish, q.finish);
}

template <class T>
void read(const Problem& p, int64_t b, Sequence& q) {
    const int C = q.C;
    q.L = p.lengths[b];
    const T* emissions = static_cast<const T*>(p.emissions) + b * p.T * C;
    for (int c = 0; c < C; ++c) {
        q.sum[c * q.stride] = 0;
        q.start[c] = p.start ? static_cast<const T*>(p.start)[c] : 0.0;
        q.end[c] = p.end ? static_cast<const T*>(p.end)[c] : 0.0;
    }
    // Every position has exactly one label: taking its largest emission out of all of them
    // changes each segmentation's score by the same amount.
    q.offset = 0;
    for (int64_t t = 0; t < q.L; ++t) {
        const T* e = emissions + t * C;
        double top = e[0];
        for (int c = 1; c < C; ++c) top = std::max(top, static_cast<double>(e[c]));
        q.offset += top;
        for (int c = 0; c < C; ++c)
            q.sum[c * q.stride + t + 1] = q.sum[c * q.stride + t] + (e[c] - top);
    }
    read_borders<T>(p, b, q);
}

// The same sequence read from its end; transitions are transposed where they are used.
inline void mirror(const Sequence& q, Sequence& r) {
    const int64_t L = r.L = q.L;
    r.offset = q.offset;
    for (int c = 0; c < q.C; ++c) {
        const int64_t row = c * q.stride;
        for (int64_t t = 0; t <= L; ++t) r.sum[row + t] = q.sum[row + L] - q.sum[row + L - t];
        if (q.finish)
            for (int64_t t = 0; t < L; ++t) r.begin[row + t] = q.finish[row + L - 1 - t];
        if (q.begin)
            for (int64_t t = 0; t < L; ++t) r.finish[row + t] = q.begin[row + L - 1 - t];
        r.start[c] = q.end[c];
        r.end[c] = q.start[c];
    }
}
