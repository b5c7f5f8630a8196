// From the two recurrences of a sequence to its posteriors.
// Included once per instruction set, inside a namespace.

// F: type of the bulk products; T: type of the outputs.
template <class F, class T>
class Posteriors : Frame {
  public:
    Posteriors(const Sums<F>& left, const Sums<F>& right, int64_t longest)
        : Frame(left.q, left.s, longest, 2), left_(left), right_(right) {
        for (auto* b : {&xf_, &yf_}) *b = Buffer<F>(C_ * q_.stride);
    }

    // All members of the team call this, after both recurrences have run.
    void run(const Outputs<T>& out, Team& team, int rank) {
        if (rank == 0) {
            begin(left_.log_total());
            *out.total = log_z_ + q_.offset;
        }
        team.wait();
        if (log_z_ == NEG_INF) return;  // all members see it: the caller raises
        share_out(*this, out, team, rank);
    }

  private:
    friend class Frame;

    // Sources of both recurrences, block by block over their largest.
    void scale(int c) {
        const int64_t row = c * q_.stride;
        align(c, right_.before);
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
    void boundaries(int c, const Outputs<T>& out) {
        const int64_t row = c * q_.stride, L = q_.L;
        const double base = q_.sum[row + L] - log_z_;
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
                out.begins[(t + i) * C_ + c] = static_cast<T>(b[i]);
                out.ends[(t + i) * C_ + c] = static_cast<T>(e[i]);
                out.positions[(t + i) * C_ + c] =
                    static_cast<T>(std::min(std::max(held, 0.0), 1.0));
                held -= e[i];
            }
        }
        if (out.before)
            for (int64_t t = 0; t < L; ++t) {
                out.before[t * C_ + c] = left_.before[row + t];
                out.after[t * C_ + c] = after_[row + t] + q_.offset;
            }
    }

    // Expected transitions at the boundaries of one chunk.
    void transitions(int64_t chunk) {
        const int C = C_, Cp = s_.Cp;
        double* sum = partial(chunk);
        std::fill(sum, sum + C * Cp, 0.0);
        const double* a = s_.transitions[0].get();
        const double* e = left_.weights.transitions[0].get();
        const double peak = left_.weights.transition_peak;
        double *from = sum + C * Cp, *to = from + Cp;
        for (int c = 0; c < Cp; ++c) from[c] = to[c] = NEG_INF;
        for (int64_t t = first(chunk); t < last(chunk); ++t) {
            double from_top = NEG_INF, to_top = NEG_INF;
            for (int c = 0; c < C; ++c) {
                from[c] = q_.alpha(left_.inside.get(), c, t);
                to[c] = onwards(c, t, right_.inside);
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
    void durations(int64_t c, int64_t tile, const Outputs<T>& out) {
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
        T* to = out.durations + d0 * C_ + c;
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
    Buffer<F> xf_, yf_;  // x and y in the bulk type
};
