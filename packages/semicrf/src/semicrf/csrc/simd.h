// Vectors of 32 bytes by compiler extension, exp and log on them, and the inner loops.
// Included once per instruction set, inside a namespace: no include guard, no #include.

typedef double vd __attribute__((vector_size(32)));
typedef float vf __attribute__((vector_size(32)));
typedef int64_t vi __attribute__((vector_size(32)));
typedef uint64_t vu __attribute__((vector_size(32)));

template <class F>
struct Lanes;
template <>
struct Lanes<float> {
    typedef vf vector;
    static constexpr int count = 8;
};
template <>
struct Lanes<double> {
    typedef vd vector;
    static constexpr int count = 4;
};

template <class V, class F>
inline V load(const F* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class V, class F>
inline void store(F* p, V v) {
    std::memcpy(p, &v, sizeof v);
}
inline vd splat(double x) { return vd{x, x, x, x}; }
inline vd larger(vd a, vd b) { return a > b ? a : b; }
inline vd smaller(vd a, vd b) { return a < b ? a : b; }
inline double max_of(vd v) { return std::max(std::max(v[0], v[1]), std::max(v[2], v[3])); }
inline double min_of(vd v) { return std::min(std::min(v[0], v[1]), std::min(v[2], v[3])); }
inline bool all(vi v) { return (v[0] & v[1] & v[2] & v[3]) != 0; }

// Within 1 ulp for x in [-708, 709]; 0 below, -inf included.
inline vd exp(vd x) {
    const vd tiny = splat(-708.0);
    const vd clamped = smaller(larger(x, tiny), splat(709.0));
    const double shift = 6755399441055744.0;  // 1.5 * 2^52: rounds to an integer in the low bits
    const vd shifted = clamped * 1.4426950408889634 + shift;
    const vd k = shifted - shift;
    const vd r = (clamped - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    vd p = splat(1.0 / 6227020800.0);
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const vu power = ((vu)shifted + 1023) << 52;
    return x < tiny ? splat(0.0) : p * (vd)power;
}

// Within 1 ulp for normal x > 0; -inf for 0.
inline vd log(vd x) {
    const vu bits = (vu)x;
    const double two52 = 4503599627370496.0;
    vd e = (vd)((bits >> 52) | (vu)splat(two52)) - (two52 + 1023.0);
    vd m = (vd)((bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL);
    const vi high = m > 1.4142135623730951;
    m = high ? m * 0.5 : m;
    e = high ? e + 1.0 : e;
    const vd f = (m - 1.0) / (m + 1.0);
    const vd s = f * f;
    vd p = splat(2.0 / 21);
    p = p * s + 2.0 / 19;
    p = p * s + 2.0 / 17;
    p = p * s + 2.0 / 15;
    p = p * s + 2.0 / 13;
    p = p * s + 2.0 / 11;
    p = p * s + 2.0 / 9;
    p = p * s + 2.0 / 7;
    p = p * s + 2.0 / 5;
    p = p * s + 2.0 / 3;
    const vd tail = f * s * p + e * 1.90821492927058770002e-10;
    const vd value = e * 6.93147180369123816490e-01 + (f * 2.0 + tail);
    return x > 0.0 ? value : splat(NEG_INF);
}

// Positions per block: everything within a block is sequential, everything between two is a
// product with a Toeplitz matrix.
constexpr int N = 64;

struct SumOfProducts {
    template <class V, class F>
    static V step(V sum, F a, V b) {
        return sum + a * b;
    }
};
struct MaxOfSums {
    static vd step(vd best, double a, vd b) { return larger(best, a + b); }
};

// z[k] = op over s in 0..N-1 of (x[s], y[k + s]), k in 0..N-1, starting from z. y has 2N entries.
// Sources a whole vector apart see the same loads of y, so four of them share eleven loads.
template <class Op, class F>
inline void toeplitz(const F* x, const F* y, F* z) {
    typedef typename Lanes<F>::vector V;
    constexpr int lanes = Lanes<F>::count, tile = 8 * lanes;
    for (int out = 0; out < N; out += tile) {
        V acc[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) acc[i] = load<V>(z + out + i * lanes);
        for (int group = 0; group < N; group += 4 * lanes)
            for (int r = 0; r < lanes; ++r) {
                const F* xs = x + group + r;
                const F* ys = y + out + group + r;
                const F a[4] = {xs[0], xs[lanes], xs[2 * lanes], xs[3 * lanes]};
#pragma GCC unroll 11
                for (int i = 0; i < 11; ++i) {
                    const V v = load<V>(ys + i * lanes);
#pragma GCC unroll 4
                    for (int q = 0; q < 4; ++q)
                        if (i - q >= 0 && i - q < 8) acc[i - q] = Op::step(acc[i - q], a[q], v);
                }
            }
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) store(z + out + i * lanes, acc[i]);
    }
}
