// One segmentation from a finished recurrence, from its end to its start.
// Included once per instruction set, inside a namespace.

// SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195), as reference.uniforms.
class Uniform {
  public:
    explicit Uniform(uint64_t seed) : state_(seed) {}
    double operator()() {
        uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
        return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
    }

  private:
    uint64_t state_;
};

// The first index of the largest of `count` log weights.
struct Largest {
    template <class Weight>
    int64_t operator()(int64_t count, double total, Weight weight) const {
        int64_t best = 0;
        double top = weight(0);
        // `total` is the maximum where it is known: a float64 sum repeats to the bit.
        for (int64_t i = 1; i < count && top != total; ++i)
            if (weight(i) > top) top = weight(best = i);
        return best;
    }
};

// An index drawn with probability exp(weight - total); total is NaN where it is not known.
struct Drawn {
    Uniform uniform;
    template <class Weight>
    int64_t operator()(int64_t count, double total, Weight weight) {
        if (std::isnan(total)) {
            double top = NEG_INF, sum = 0;
            for (int64_t i = 0; i < count; ++i) top = std::max(top, weight(i));
            for (int64_t i = 0; i < count; ++i) sum += std::exp(weight(i) - top);
            total = top + std::log(sum);
        }
        const double u = uniform();
        double cumulative = 0;
        int64_t last = 0;  // where rounding leaves the sum below u: the last that is possible
        for (int64_t i = 0; i < count; ++i) {
            const double x = weight(i);
            if (x == NEG_INF) continue;
            last = i;
            cumulative += std::exp(x - total);
            if (cumulative > u) break;
        }
        return last;
    }
};

// Writes (end, label) pairs back to front into `out`, returns how many.
template <class Choice>
int64_t trace(const Scores& s, const Sequence& q, const double* before, const double* inside,
              Choice choice, int32_t* out) {
    const double unknown = std::numeric_limits<double>::quiet_NaN();
    int64_t count = 0, e = q.L;
    int64_t c = choice(s.C, unknown, [&](int64_t i) {
        return q.alpha(inside, static_cast<int>(i), e) + q.end[i];
    });
    for (;;) {
        const double* a = before + c * q.stride + e - 1;
        const double* w = &s.w[c * s.K];
        const int64_t d = 1 + choice(std::min(e, s.reach[c]), inside[c * q.stride + e],
                                     [&](int64_t i) { return a[-i] + w[i]; });
        *out++ = static_cast<int32_t>(e);
        *out++ = static_cast<int32_t>(c);
        ++count;
        e -= d;
        if (e == 0) return count;
        const double* transitions = &s.transitions[1][c * s.Cp];
        c = choice(s.C, unknown, [&](int64_t i) {
            return q.alpha(inside, static_cast<int>(i), e) + transitions[i];
        });
    }
}
