// Duration and transition scores in the forms the recurrences read, one set per call.
// Included once per instruction set, inside a namespace.

// A product below MIN counts as lost: F is the type of the bulk products. For double that is far
// from the type's own limit, so that no later factor can take a product that counts below it.
template <class F>
struct Range {
    static constexpr double MIN = sizeof(F) == 4 ? 1.2e-38 : 1e-130;
    static constexpr double LOG_MIN = sizeof(F) == 4 ? -87.0 : -299.0;
    // A block whose largest possible term is this far below the largest of all is left out ...
    static constexpr double CUT = sizeof(F) == 4 ? -75.0 : -95.0;
    // ... and what was lost must be this many times below a result for that to count as exact.
    static constexpr double MARGIN = sizeof(F) == 4 ? 1e9 : 1e18;
};

// Within a block (float64): factors and values of a certified block lie in LOW..1/LOW.
constexpr double LOW = 1e-100, LOG_LOW = -230.0, LOSS = 1e-80;
// What precedes a block and is this faint beside the likeliest class is not carried along.
constexpr double FAINT = -150.0;

struct Scores {
    int C, Cp;         // classes; padded to whole vectors
    int64_t K, deltas; // longest duration that fits; Toeplitz tables, by distance between blocks
    Buffer<int64_t> reach;       // [c] longest duration that is not forbidden, 0 where all are
    Buffer<double> w, reversed;  // [c][d - 1], and [c][K - d]
    Buffer<double> top, spread;  // [c][delta]: largest score of a table, and down to its smallest
    Buffer<double> peak;         // [c] largest duration score, 0 where all are -inf
    Buffer<double> transitions[2];  // [from][to] padded with -inf; [1] is the transpose

    template <class T>
    Scores(const Problem& p, int64_t longest, T) : C(p.C), Cp((C + 3) / 4 * 4) {
        K = std::min(p.K, longest);
        deltas = (K + N - 1) / N + 1;  // table delta holds d in delta N - N + 1 .. delta N + N - 1
        w = Buffer<double>(C * K);
        reversed = Buffer<double>(C * K);
        peak = Buffer<double>(C);
        reach = Buffer<int64_t>(C);
        top = Buffer<double>(C * deltas);
        spread = Buffer<double>(C * deltas);
        const T* durations = static_cast<const T*>(p.durations);
        for (int c = 0; c < C; ++c) {
            double best = NEG_INF;
            reach[c] = 0;
            for (int64_t d = 0; d < K; ++d) {
                const double x = durations[d * C + c];
                w[c * K + d] = reversed[c * K + K - 1 - d] = x;
                best = std::max(best, x);
                if (x > NEG_INF) reach[c] = d + 1;
            }
            peak[c] = best == NEG_INF ? 0.0 : best;
            for (int64_t delta = 0; delta < deltas; ++delta) bounds(c, delta);
        }
        const T* a = static_cast<const T*>(p.transitions);
        for (int side = 0; side < 2; ++side) {
            transitions[side] = Buffer<double>(C * Cp);
            for (int i = 0; i < C; ++i)
                for (int j = 0; j < Cp; ++j)
                    transitions[side][i * Cp + j] =
                        j >= C ? NEG_INF : side ? a[j * C + i] : a[i * C + j];
        }
    }

    // Tables of class c that hold anything: sources further away than these cannot matter to it.
    int64_t tables(int c) const { return (reach[c] + N - 1) / N + 1; }
    double at(int c, int64_t d) const { return d >= 1 && d <= K ? w[c * K + d - 1] : NEG_INF; }

  private:
    void bounds(int c, int64_t delta) {
        double high = NEG_INF, low = -NEG_INF;
        const int64_t last = std::min(K, delta * N + N - 1);
        for (int64_t d = std::max<int64_t>(1, delta * N - N + 1); d <= last; ++d) {
            const double x = w[c * K + d - 1];
            high = std::max(high, x);
            if (x > NEG_INF) low = std::min(low, x);
        }
        top[c * deltas + delta] = high;
        spread[c * deltas + delta] = high == NEG_INF ? 0.0 : high - low;
    }
};

// Exponentiated: Toeplitz tables scaled by their largest entry, and what a block's inside needs.
template <class F>
struct Weights {
    const Scores& s;
    Buffer<F> table;       // [c][delta][k], d = delta N - N + 1 + k, each divided by exp(top)
    Buffer<double> near;   // [d][c], d in 1..N-1, divided by exp(peak)
    Buffer<double> transitions[2];  // [from][to] divided by exp(transition_peak)
    double transition_peak = 0, duration_peak = 0;
    bool near_lossy = false, transitions_lossy = false;

    explicit Weights(const Scores& scores) : s(scores) {
        const int C = s.C, Cp = s.Cp;
        table = Buffer<F>(C * s.deltas * 2 * N);
        double row[2 * N];
        for (int c = 0; c < C; ++c)
            for (int64_t delta = 0; delta < s.deltas; ++delta) {
                const double top = s.top[c * s.deltas + delta];
                F* out = &table[(c * s.deltas + delta) * 2 * N];
                if (delta >= s.tables(c)) {
                    std::fill(out, out + 2 * N, F(0));
                    continue;
                }
                for (int k = 0; k < 2 * N; ++k) {
                    const double x = k == 2 * N - 1 ? NEG_INF : s.at(c, delta * N - N + 1 + k);
                    row[k] = x == NEG_INF ? x : x - top;
                }
                for (int k = 0; k < 2 * N; k += 4) store(row + k, exp(load<vd>(row + k)));
                for (int k = 0; k < 2 * N; ++k) out[k] = static_cast<F>(row[k]);
            }
        near = Buffer<double>(N * Cp);
        duration_peak = NEG_INF;
        for (int c = 0; c < C; ++c) duration_peak = std::max(duration_peak, s.peak[c]);
        for (int d = 0; d < N; ++d)
            for (int c = 0; c < Cp; ++c)
                near[d * Cp + c] = scaled(c < C ? s.at(c, d) : NEG_INF, c < C ? s.peak[c] : 0.0,
                                          near_lossy);
        transition_peak = NEG_INF;
        for (int i = 0; i < C * Cp; ++i)
            transition_peak = std::max(transition_peak, s.transitions[0][i]);
        if (transition_peak == NEG_INF) transition_peak = 0.0;
        for (int side = 0; side < 2; ++side) {
            transitions[side] = Buffer<double>(C * Cp);
            for (int i = 0; i < C * Cp; ++i)
                transitions[side][i] =
                    scaled(s.transitions[side][i], transition_peak, transitions_lossy);
        }
    }

  private:
    static double scaled(double x, double peak, bool& lossy) {
        if (x > NEG_INF && x - peak < LOG_LOW) {
            lossy = true;
            return 0.0;
        }
        return x == NEG_INF ? 0.0 : std::exp(x - peak);
    }
};
