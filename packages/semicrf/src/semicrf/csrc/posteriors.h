// From the two recurrences of a sequence to its posteriors.
// Included once per instruction set, inside a namespace.

struct Outputs {  // of one sequence; T strides as in the tensors
    double* total;
    void *positions, *begins, *ends;  // (T, C)
    void* durations;                  // (K, C)
    double* transitions;              // (C, C)
    double *before, *after;           // (T, C) or null
};

// F: type of the bulk products; T: type of the outputs.
template <class F, class T>
class Posteriors {
  public:
    Posteriors(const Sums<F>& left, const Sums<F>& right, const Sequence& q, int64_t T_)
        : left_(left), right_(right), q_(q), s_(left.s), C_(s_.C) {
        const int64_t C = C_;
        most_ = padded(T_ + 1) / N;
        after_ = Buffer<double>(C * q.stride);
        x_ = Buffer<double>(C * q.stride);
        y_ = Buffer<double>(C * q.stride);
        xf_ = Buffer<F>(C * q.stride);
        yf_ = Buffer<F>(C * q.stride);
        x_top_ = Buffer<double>(C * most_);
        y_top_ = Buffer<double>(C * most_);
        partial_ = Buffer<double>((padded(T_) / CHUNK + 2) * (C + 2) * s_.Cp);
    }

    // All members of the team call this, after both recurrences have run.
    void run(const Outputs& out, Team& team, int rank) {
        if (rank == 0) {
            blocks_ = (q_.L + N - 1) / N;
            log_z_ = left_.log_total();
            *out.total = log_z_ + q_.offset;
        }
        team.wait();
        if (log_z_ == NEG_INF) return;  // all members see it: the caller raises
        for (int64_t c = team.take(); c < C_; c = team.take()) scale(static_cast<int>(c));
        team.wait();
        const int64_t tiles = (s_.K + N - 1) / N, chunks = (q_.L - 1 + CHUNK - 1) / CHUNK;
        for (int64_t i = team.take(); i < C_ * tiles + C_ + chunks; i = team.take()) {
            if (i < C_)
                boundaries(static_cast<int>(i), out);
            else if (i < C_ + chunks)
                transitions(i - C_);
            else
                durations((i - C_ - chunks) % C_, (i - C_ - chunks) / C_, out);
        }
        team.wait();
        if (rank == 0) {
            for (int from = 0; from < C_; ++from)
                for (int to = 0; to < C_; ++to) {
                    double sum = 0;
                    for (int64_t k = 0; k < chunks; ++k)
                        sum += partial_[(k * (C_ + 2) + from) * s_.Cp + to];
                    out.transitions[from * C_ + to] = sum;
                }
        }
        team.wait();
    }

  private:
    static constexpr int64_t CHUNK = 4096;  // positions per partial sum, whatever the threads

    // Sources of both recurrences, block by block over their largest. The right one's are
    // brought to the left one's time: after[e - 1] belongs to segments ending at e.
    void scale(int c) {
        const int64_t row = c * q_.stride, L = q_.L, end = blocks_ * N + N;
        const double whole = q_.sum[row + L];
        for (int64_t t = 0; t < L; ++t) after_[row + t] = right_.before[row + L - 1 - t] + whole;
        for (int64_t t = L; t < end && t < q_.stride; ++t) after_[row + t] = NEG_INF;
        for (int64_t j = 0; j < blocks_; ++j) {
            block(&left_.before[row + j * N], &x_[row + j * N], &xf_[row + j * N],
                  x_top_[c * most_ + j]);
            block(&after_[row + j * N], &y_[row + j * N], &yf_[row + j * N],
                  y_top_[c * most_ + j]);
        }
        y_top_[c * most_ + blocks_] = NEG_INF;
        std::fill(&y_[row + blocks_ * N], &y_[row + blocks_ * N] + N, 0.0);
        std::fill(&yf_[row + blocks_ * N], &yf_[row + blocks_ * N] + N, F(0));
    }
    static void block(const double* logs, double* out, F* out_f, double& top) {
        vd best = splat(NEG_INF);
        for (int i = 0; i < N; i += 4) best = larger(best, load<vd>(logs + i));
        top = max_of(best);
        const double base = top == NEG_INF ? 0.0 : top;
        for (int i = 0; i < N; i += 4) store(out + i, exp(load<vd>(logs + i) - base));
        for (int i = 0; i < N; ++i) out_f[i] = static_cast<F>(out[i]);
    }

    // begins, ends, and positions as the running difference of the two.
    void boundaries(int c, const Outputs& out) {
        const int64_t row = c * q_.stride, L = q_.L;
        const double base = q_.sum[row + L] - log_z_;
        T* begins = static_cast<T*>(out.begins);
        T* ends = static_cast<T*>(out.ends);
        T* positions = static_cast<T*>(out.positions);
        double held = 0;
        for (int64_t t = 0; t < L; t += N) {
            const int n = static_cast<int>(std::min<int64_t>(N, L - t));
            double b[N], e[N];
            for (int i = 0; i < n; ++i) {
                b[i] = left_.before[row + t + i] + right_.inside[row + L - t - i] + base;
                e[i] = left_.inside[row + t + i + 1] + after_[row + t + i] - log_z_;
            }
            for (int i = n; i < N; ++i) b[i] = e[i] = NEG_INF;
            for (int i = 0; i < n; i += 4) {
                store(b + i, exp(load<vd>(b + i)));
                store(e + i, exp(load<vd>(e + i)));
            }
            for (int i = 0; i < n; ++i) {
                held += b[i];
                begins[(t + i) * C_ + c] = static_cast<T>(b[i]);
                ends[(t + i) * C_ + c] = static_cast<T>(e[i]);
                positions[(t + i) * C_ + c] = static_cast<T>(std::min(std::max(held, 0.0), 1.0));
                held -= e[i];
            }
        }
        if (out.before)
            for (int64_t t = 0; t < L; ++t) {
                out.before[t * C_ + c] = left_.before[row + t];
                out.after[t * C_ + c] = after_[row + t] + q_.offset;
            }
    }

    // Expected transitions at the boundaries of one chunk, 1 + chunk * CHUNK onwards.
    void transitions(int64_t chunk) {
        const int C = C_, Cp = s_.Cp;
        double* sum = &partial_[chunk * (C + 2) * Cp];
        std::fill(sum, sum + C * Cp, 0.0);
        const int64_t first = 1 + chunk * CHUNK, last = std::min(first + CHUNK, q_.L);
        const double* a = s_.transitions[0].get();
        const double* e = left_.weights.transitions[0].get();
        const double peak = left_.weights.transition_peak;
        double *from = sum + C * Cp, *to = from + Cp;
        for (int c = 0; c < Cp; ++c) from[c] = to[c] = NEG_INF;
        for (int64_t t = first; t < last; ++t) {
            double from_top = NEG_INF, to_top = NEG_INF;
            for (int c = 0; c < C; ++c) {
                const int64_t row = c * q_.stride;
                from[c] = q_.alpha(left_.inside.get(), c, t);
                to[c] = right_.inside[row + q_.L - t] + q_.sum[row + q_.L] - q_.sum[row + t] +
                        (q_.begin ? q_.begin[row + t] : 0.0) - log_z_;
                from_top = std::max(from_top, from[c]);
                to_top = std::max(to_top, to[c]);
            }
            if (from_top == NEG_INF || to_top == NEG_INF) continue;
            const double scale = from_top + to_top + peak;
            if (scale > 100 || left_.weights.transitions_lossy) {
                // The likeliest pair of labels is one that transitions all but forbid.
                for (int i = 0; i < C; ++i)
                    for (int j = 0; j < Cp; j += 4)
                        store(sum + i * Cp + j, load<vd>(sum + i * Cp + j) +
                                                    exp(load<vd>(to + j) + from[i] +
                                                        load<vd>(a + i * Cp + j)));
                continue;
            }
            if (scale < -80) continue;
            // Cp doubles at a time: from and to become linear in place, and log again next turn.
            for (int j = 0; j < Cp; j += 4) {
                store(from + j, exp(load<vd>(from + j) - from_top));
                store(to + j, exp(load<vd>(to + j) + (from_top + peak)));
            }
            for (int i = 0; i < C; ++i)
                for (int j = 0; j < Cp; j += 4)
                    store(sum + i * Cp + j,
                          load<vd>(sum + i * Cp + j) +
                              from[i] * load<vd>(to + j) * load<vd>(e + i * Cp + j));
            for (int c = C; c < Cp; ++c) from[c] = to[c] = NEG_INF;
        }
    }

    // Expected number of segments of label c with durations tile N + 1 .. tile N + N.
    void durations(int64_t c, int64_t tile, const Outputs& out) {
        const int64_t row = c * q_.stride, d0 = tile * N;
        const int count = static_cast<int>(std::min<int64_t>(N, s_.K - d0));
        const double* w = &s_.w[c * s_.K + d0];
        double top = NEG_INF;
        for (int k = 0; k < count; ++k) top = std::max(top, w[k]);
        if (top == NEG_INF) return;  // the output is 0 already
        double linear[N] = {}, direct[N] = {};
        for (int64_t i = 0; i + tile < blocks_; ++i) {
            const int64_t j = i + tile;
            const double high = std::max(y_top_[c * most_ + j], y_top_[c * most_ + j + 1]);
            const double e = x_top_[c * most_ + i] + high + top - log_z_;
            if (!(e > FAINT_PAIR)) continue;
            if (e < ENOUGH<F>)
                pair(&xf_[row + i * N], &yf_[row + j * N], c, j, high, std::exp(e), linear);
            else if (e < ENOUGH<double>)
                pair(&x_[row + i * N], &y_[row + j * N], c, j, high, std::exp(e), linear);
            else
                for (int m = 0; m < N; ++m) {
                    const double a = left_.before[row + i * N + m] - log_z_;
                    if (a == NEG_INF) continue;
                    const double* b = &after_[row + j * N + m];
                    for (int k = 0; k < N; k += 4) {
                        vd value = load<vd>(b + k) + a;
                        for (int lane = 0; lane < 4; ++lane)
                            value[lane] += k + lane < count ? w[k + lane] : NEG_INF;
                        store(direct + k, load<vd>(direct + k) + exp(value));
                    }
                }
        }
        T* to = static_cast<T*>(out.durations) + d0 * C_ + c;
        for (int k = 0; k < count; ++k) {
            const double factor = w[k] == NEG_INF ? 0.0 : std::exp(w[k] - top);
            to[k * C_] = static_cast<T>(linear[k] * factor + direct[k]);
        }
    }

    // A pair of blocks whose every segment is this unlikely (in log) adds nothing.
    static constexpr double FAINT_PAIR = -60.0;
    // Products below MIN are lost; times exp(e) that must stay below 1e-17 in all of a sum.
    template <class G>
    static constexpr double ENOUGH = sizeof(G) == 4 ? 35.0 : 600.0;

    template <class G>
    void pair(const G* x, const G* y, int64_t c, int64_t j, double high, double scale,
              double* sum) const {
        typedef typename Lanes<G>::vector V;
        alignas(32) G window[2 * N], z[N] = {};
        for (int half = 0; half < 2; ++half) {
            const double top = y_top_[c * most_ + j + half];
            const G f = static_cast<G>(top == NEG_INF ? 0.0 : std::exp(top - high));
            for (int i = 0; i < N; i += Lanes<G>::count)
                store(window + half * N + i, load<V>(y + half * N + i) * f);
        }
        toeplitz<SumOfProducts>(x, window, z);
        for (int k = 0; k < N; ++k) sum[k] += scale * z[k];
    }

    const Sums<F>&left_, &right_;
    const Sequence& q_;
    const Scores& s_;
    const int C_;
    int64_t most_ = 0, blocks_ = 0;
    double log_z_ = 0;
    Buffer<double> after_;           // [c][e - 1]
    Buffer<double> x_, y_;           // [c][t]: before and after, each block over its largest
    Buffer<F> xf_, yf_;              // the same in the bulk type
    Buffer<double> x_top_, y_top_;   // [c][block]
    Buffer<double> partial_;         // [chunk][from][to], and two rows to work in
};
