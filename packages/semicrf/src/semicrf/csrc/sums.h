// The sum recurrence over one sequence in scaled linear space, each result certified or redone in
// log space. The README has the mathematics and the proof of the certificate.
// Included once per instruction set, inside a namespace.

template <class F>
class Sums {
  public:
    const Scores& s;
    const Weights<F>& weights;
    const Sequence& q;
    const int side;  // 0: forward; 1: mirrored, with transposed transitions
    const int classes;
    const int64_t deltas;
    int64_t blocks = 0;
    int64_t redone = 0;  // blocks that needed log space
    Buffer<char> in_log_space;  // [block] whether it did

    Buffer<double> before;  // [c][t], t in 0..L-1, -inf up to the end of L's block
    Buffer<double> inside;  // [c][t], t in 1..L, -inf at 0

    Sums(const Scores& s, const Weights<F>& weights, const Sequence& q, int64_t T, int side)
        : s(s), weights(weights), q(q), side(side), classes(s.C), deltas(s.deltas) {
        const int64_t C = s.C, most = padded(T + 1) / N;
        before = Buffer<double>(C * q.stride);
        inside = Buffer<double>(C * q.stride);
        x_ = Buffer<F>(C * most * N);
        top_ = Buffer<double>(C * most);
        spread_ = Buffer<double>(C * most);
        most_ = most;
        in_log_space = Buffer<char>(most);
        far_ = Buffer<double>(2 * G * C * N);
        far_top_ = Buffer<double>(2 * G * C);
        far_lost_ = Buffer<double>(2 * G * C);
        for (auto* b : {&y_, &e1_, &e2_, &alpha_, &source_}) *b = Buffer<double>(N * s.Cp);
        base_ = Buffer<double>(s.Cp);
        lost_ = Buffer<double>(s.Cp);
        shift_ = Buffer<double>(s.Cp);
        row_ = Buffer<double>(s.Cp);
    }

    // To be called by the leader before run().
    void reset() {
        blocks = q.L / N + 1;
        redone = 0;
        for (int i = 0; i < 2 * G * classes; ++i) far_top_[i] = NEG_INF;
    }
    void run(Team& team, int rank) { run_blocks(*this, team, rank); }

    // A block as toeplitz() reads it, back to front, over exp of its largest log source.
    const F* source(int c, int64_t j) const { return &x_[(c * most_ + j) * N]; }
    double largest(int c, int64_t j) const { return top_[c * most_ + j]; }

    double log_total() const {
        double best = NEG_INF, sum = 0;
        for (int c = 0; c < s.C; ++c)
            best = std::max(best, q.alpha(inside.get(), c, q.L) + q.end[c]);
        if (best == NEG_INF) return best;
        for (int c = 0; c < s.C; ++c)
            sum += std::exp(q.alpha(inside.get(), c, q.L) + q.end[c] - best);
        return best + std::log(sum);
    }

    void far(int c, int64_t j, int64_t low, int64_t high) {
        const int64_t i = (j % (2 * G)) * classes + c;
        far_top_[i] = pull(c, j, low, high, &far_[i * N], far_lost_[i]);
    }

    // All of block j: `low` is the first source block that far() has not seen.
    void near(int64_t j, int64_t low) {
        low = std::max(low, j - deltas + 1);
        in_log_space[j] = !linear_block(j, low);
        if (in_log_space[j]) {
            log_block(j);
            ++redone;
        }
        for (int c = 0; c < s.C; ++c) publish(c, j);
    }

  private:
    // acc[k] = sum over the sources of blocks low..high-1 of exp(before + w - result).
    double pull(int c, int64_t j, int64_t low, int64_t high, double* acc, double& lost) const {
        const double* top = &top_[c * most_];
        const double* spread = &spread_[c * most_];
        const double* w_top = &s.top[c * deltas];
        const double* w_spread = &s.spread[c * deltas];
        low = std::max(low, j - s.tables(c) + 1);
        double best = NEG_INF;
        for (int64_t i = low; i < high; ++i) best = std::max(best, top[i] + w_top[j - i]);
        std::fill(acc, acc + N, 0.0);
        lost = 0;
        if (best == NEG_INF) return best;
        double left_out = NEG_INF;
        for (int64_t i = high - 1; i >= low; --i) {
            const double e = top[i] + w_top[j - i] - best;
            if (e < Range<F>::CUT) {
                left_out = std::max(left_out, e);
                continue;
            }
            alignas(32) F z[N] = {};
            toeplitz<SumOfProducts>(&x_[(c * most_ + i) * N],
                                    &weights.table[(c * deltas + j - i) * 2 * N], z);
            const double f = std::exp(e);
            for (int k = 0; k < N; ++k) acc[k] += f * z[k];
            if (spread[i] + w_spread[j - i] > -Range<F>::LOG_MIN) lost += N * Range<F>::MIN * f;
        }
        if (left_out > NEG_INF) lost += double(N) * (high - low) * std::exp(left_out);
        return best;
    }

    // Fills before and inside of block j; false where that is not certified.
    bool linear_block(int64_t j, int64_t low) {
        const int C = s.C, Cp = s.Cp;
        const int64_t t0 = j * N;
        const int n = static_cast<int>(std::min<int64_t>(N, q.L + 1 - t0));
        double acc[N];
        // alpha is in units of exp(reference + duration_peak), y of class c in units of
        // exp(base[c] + peak[c]), a source in units of exp(base[c]).
        double reference = NEG_INF;
        std::fill(y_.get(), y_.get() + N * Cp, 0.0);
        for (int c = 0; c < Cp; ++c) lost_[c] = shift_[c] = 0.0;
        if (j == 0) {
            for (int c = 0; c < C; ++c) reference = std::max(reference, q.start[c]);
        } else {
            for (int c = 0; c < C; ++c) {
                double lost;
                shift_[c] = pull(c, j, low, j, acc, lost);
                lost_[c] = lost;
                for (int k = 0; k < N; ++k) y_[k * Cp + c] = acc[k];
                if (low > 0) merge(c, j);
                reference = std::max(reference, shift_[c] + q.sum[c * q.stride + t0]);
            }
        }
        if (reference == NEG_INF) reference = 0;
        reference -= weights.duration_peak;
        for (int c = 0; c < Cp; ++c) {
            base_[c] = c < C ? reference - q.sum[c * q.stride + t0] : 0.0;
            row_[c] = 0.0;
            if (c >= C || j == 0) continue;
            const double e = std::min(shift_[c] - base_[c] - s.peak[c], 700.0);
            row_[c] = e < FAINT ? 0.0 : std::exp(e);
            if (e < FAINT && e > NEG_INF)  // too faint to carry along: all of it counts as lost
                lost_[c] = N * deltas * std::exp(std::max(e, -600.0));
            else
                lost_[c] *= row_[c];
        }
        for (int i = 0; i < N; ++i)
            for (int c = 0; c < Cp; c += 4)
                store(&y_[i * Cp + c], load<vd>(&y_[i * Cp + c]) * load<vd>(&row_[c]));
        if (!factors(t0, n)) return false;
        if (Cp == 4)
            advance<1>(j == 0, n, reference);
        else
            advance<0>(j == 0, n, reference);
        return finish_block(t0, n);
    }

    // Adds what far() found for block j to y of class c.
    void merge(int c, int64_t j) {
        const int64_t i = (j % (2 * G)) * classes + c;
        if (far_top_[i] == NEG_INF) return;
        const double top = std::max(shift_[c], far_top_[i]);
        double f = std::exp(shift_[c] - top), g = std::exp(far_top_[i] - top);
        lost_[c] = f * lost_[c] + g * far_lost_[i];
        for (double* factor : {&f, &g})
            if (*factor < std::exp(Range<F>::CUT)) {
                lost_[c] += N * deltas * *factor;
                *factor = 0;
            }
        for (int k = 0; k < N; ++k)
            y_[k * s.Cp + c] = f * y_[k * s.Cp + c] + g * far_[i * N + k];
        shift_[c] = top;
    }

    // e1 takes y to alpha, e2 a transition's sum to a source; false where they leave the range.
    bool factors(int64_t t0, int n) {
        const int C = s.C, Cp = s.Cp;
        double widest = 0;
        for (int c = 0; c < Cp; ++c) {
            if (c >= C) {
                for (int i = 0; i < n; ++i) e1_[i * Cp + c] = e2_[i * Cp + c] = NEG_INF;
                continue;
            }
            const double* sum = &q.sum[c * q.stride + t0];
            const double* begin = q.begin ? &q.begin[c * q.stride + t0] : nullptr;
            const double* finish = q.finish ? &q.finish[c * q.stride + t0] : nullptr;
            const double one = s.peak[c] - weights.duration_peak;
            const double two = weights.transition_peak + weights.duration_peak;
            for (int i = 0; i < n; ++i) {
                const double moved = sum[i] - sum[0];
                const double a = moved + one + (finish && t0 + i > 0 ? finish[i - 1] : 0.0);
                const double b = t0 + i < q.L ? two - moved + (begin ? begin[i] : 0.0) : NEG_INF;
                e1_[i * Cp + c] = a;
                e2_[i * Cp + c] = b;
                if (a > NEG_INF) widest = std::max(widest, std::fabs(a));
                if (b > NEG_INF) widest = std::max(widest, std::fabs(b));
            }
        }
        if (!(widest < -LOG_LOW)) return false;
        for (int i = 0; i < n * Cp; i += 4) {
            store(&e1_[i], exp(load<vd>(&e1_[i])));
            store(&e2_[i], exp(load<vd>(&e2_[i])));
        }
        return true;
    }

    // The sequential part: alpha, the sum over transitions, the new source, and what it adds to
    // the later positions of the block. VC: vectors of classes, 0 where only known at run time.
    template <int VC>
    void advance(bool first, int n, double reference) {
        const int C = s.C, Cp = VC ? 4 * VC : s.Cp;
        const double* transitions = weights.transitions[side].get();
        const double* near = weights.near.get();
        const int reach = static_cast<int>(std::min<int64_t>(s.K, N - 1));
        double* y = y_.get();
        for (int i = 0; i < n; ++i) {
            double* source = &source_[i * Cp];
            double* alpha = &alpha_[i * Cp];
            if (first && i == 0) {
                // Without the peaks, which e2 holds for a transition and a duration.
                const double unit =
                    reference + weights.duration_peak + weights.transition_peak;
                for (int c = 0; c < Cp; ++c) {
                    alpha[c] = 0.0;
                    source[c] = c < C ? std::exp(q.start[c] - unit) * e2_[c] : 0.0;
                }
            } else if (VC == 1) {
                const vd a = load<vd>(y + i * 4) * load<vd>(&e1_[i * 4]);
                store(alpha, a);
                vd u = splat(a[0]) * load<vd>(transitions);
                vd v = splat(0.0);
                if (C > 1) v = splat(a[1]) * load<vd>(transitions + 4);
                if (C > 2) u += splat(a[2]) * load<vd>(transitions + 8);
                if (C > 3) v += splat(a[3]) * load<vd>(transitions + 12);
                store(source, (u + v) * load<vd>(&e2_[i * 4]));
            } else {
                for (int c = 0; c < Cp; c += 4)
                    store(alpha + c, load<vd>(y + i * Cp + c) * load<vd>(&e1_[i * Cp + c]));
                for (int c = 0; c < Cp; c += 4) {
                    vd u = splat(0.0), v = splat(0.0);
                    int from = 0;
                    for (; from + 1 < C; from += 2) {
                        u += alpha[from] * load<vd>(transitions + from * Cp + c);
                        v += alpha[from + 1] * load<vd>(transitions + (from + 1) * Cp + c);
                    }
                    if (from < C) u += alpha[from] * load<vd>(transitions + from * Cp + c);
                    store(source + c, (u + v) * load<vd>(&e2_[i * Cp + c]));
                }
            }
            const int last = std::min(n - 1, i + reach);
            if (VC == 1) {
                const vd x = load<vd>(source);
                for (int k = i + 1; k <= last; ++k)
                    store(y + k * 4, load<vd>(y + k * 4) + x * load<vd>(near + (k - i) * 4));
            } else {
                for (int k = i + 1; k <= last; ++k)
                    for (int c = 0; c < Cp; c += 4)
                        store(y + k * Cp + c, load<vd>(y + k * Cp + c) +
                                                  load<vd>(source + c) *
                                                      load<vd>(near + (k - i) * Cp + c));
            }
        }
    }

    // Logarithms of a block, and the certificate: see "When a block is exact" in the README.
    bool finish_block(int64_t t0, int n) {
        const int C = s.C, Cp = s.Cp;
        const vd low = splat(LOW), high = splat(1 / LOW);
        auto in_range = [&](vd v) { return (v == 0.0) | ((v > low) & (v < high)); };
        vi fine = low == low;
        for (int c = 0; c < Cp; c += 4) {
            const vd lost = load<vd>(&lost_[c]) * Range<F>::MARGIN;
            vd largest = splat(0.0);
            for (int i = 0; i < n; ++i) {
                const vd y = load<vd>(&y_[i * Cp + c]), x = load<vd>(&source_[i * Cp + c]);
                fine &= in_range(y) & in_range(x) & in_range(load<vd>(&alpha_[i * Cp + c]));
                if (t0 + i > 0) {
                    fine &= (lost == 0.0) | (y > lost);
                    if (weights.near_lossy) fine &= (largest == 0.0) | (y > largest * LOSS);
                }
                largest = larger(largest, x);
            }
        }
        if (weights.transitions_lossy)
            for (int i = 0; i < n; ++i) {
                vd largest = splat(0.0);
                for (int c = 0; c < Cp; c += 4) largest = larger(largest, load<vd>(&alpha_[i * Cp + c]));
                const vd bound = splat(max_of(largest) * LOSS);
                for (int c = 0; c < Cp; c += 4) {
                    const vd e = load<vd>(&e2_[i * Cp + c]);
                    fine &= (bound * e == 0.0) | (load<vd>(&source_[i * Cp + c]) > bound * e);
                }
            }
        if (!all(fine)) return false;
        for (int i = 0; i < n * Cp; i += 4) {
            store(&y_[i], log(load<vd>(&y_[i])));
            store(&source_[i], log(load<vd>(&source_[i])));
        }
        for (int c = 0; c < C; ++c) {
            double* to_inside = &inside[c * q.stride + t0];
            double* to_before = &before[c * q.stride + t0];
            for (int i = 0; i < n; ++i) {
                to_inside[i] = base_[c] + s.peak[c] + y_[i * Cp + c];
                to_before[i] = base_[c] + source_[i * Cp + c];
            }
        }
        if (t0 == 0)
            for (int c = 0; c < C; ++c) inside[c * q.stride] = NEG_INF;
        return true;
    }

    // Block j in log space: no range to leave, an exponential per term.
    void log_block(int64_t j) {
        const int C = s.C, Cp = s.Cp;
        const int64_t t0 = j * N, last = std::min(t0 + N - 1, q.L);
        double* alpha = row_.get();
        for (int64_t t = t0; t <= last; ++t) {
            double highest = NEG_INF;
            for (int c = 0; c < C; ++c) {
                inside[c * q.stride + t] = t == 0 ? NEG_INF : log_sum(c, t, j);
                alpha[c] = t == 0 ? NEG_INF : q.alpha(inside.get(), c, t);
                highest = std::max(highest, alpha[c]);
            }
            if (t == q.L) break;
            for (int c = 0; c < C; ++c) {
                double reach = q.start[c];
                if (t > 0) {
                    double best = NEG_INF, sum = 0;
                    const double* a = s.transitions[side].get();
                    for (int from = 0; from < C; ++from)
                        best = std::max(best, alpha[from] + a[from * Cp + c]);
                    for (int from = 0; best > NEG_INF && from < C; ++from) {
                        const double e = alpha[from] + a[from * Cp + c] - best;
                        if (e > -45) sum += std::exp(e);
                    }
                    reach = best == NEG_INF ? best : best + std::log(sum);
                }
                before[c * q.stride + t] =
                    reach - q.sum[c * q.stride + t] + (q.begin ? q.begin[c * q.stride + t] : 0.0);
            }
        }
    }

    // logsumexp of before[t - d] + w[d]; blocks that cannot matter are passed over.
    double log_sum(int c, int64_t t, int64_t j) const {
        const double* a = &before[c * q.stride];
        const double* w = &s.reversed[c * s.K];
        const double* top = &top_[c * most_];
        const double* w_top = &s.top[c * deltas];
        const int64_t first = std::max<int64_t>(0, t - s.reach[c]), low = first / N;
        const int64_t shift = s.K - t;  // w index of source 0
        double best = max_sum(a, w + shift, std::max(first, j * N), t);
        for (int64_t i = j - 1; i >= low; --i)
            if (top[i] + w_top[j - i] > best)
                best = std::max(best, max_sum(a, w + shift, std::max(first, i * N), (i + 1) * N));
        if (best == NEG_INF) return best;
        double sum = exp_sum(a, w + shift, std::max(first, j * N), t, best);
        for (int64_t i = j - 1; i >= low; --i)
            if (top[i] + w_top[j - i] > best - 60)
                sum += exp_sum(a, w + shift, std::max(first, i * N), (i + 1) * N, best);
        return best + std::log(sum);
    }
    static double max_sum(const double* a, const double* w, int64_t low, int64_t high) {
        vd best = splat(NEG_INF);
        int64_t i = low;
        for (; i + 4 <= high; i += 4) best = larger(best, load<vd>(a + i) + load<vd>(w + i));
        double value = max_of(best);
        for (; i < high; ++i) value = std::max(value, a[i] + w[i]);
        return value;
    }
    static double exp_sum(const double* a, const double* w, int64_t low, int64_t high, double top) {
        vd sum = splat(0.0);
        int64_t i = low;
        for (; i + 4 <= high; i += 4) sum += exp(load<vd>(a + i) + load<vd>(w + i) - top);
        double value = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        for (; i < high; ++i) value += std::exp(a[i] + w[i] - top);
        return value;
    }

    // Makes block j a source: scaled by its largest, back to front as toeplitz() reads it.
    void publish(int c, int64_t j) {
        const int64_t t0 = j * N;
        double* a = &before[c * q.stride + t0];
        for (int64_t i = std::max<int64_t>(0, std::min<int64_t>(N, q.L - t0)); i < N; ++i)
            a[i] = NEG_INF;
        double high = NEG_INF, low = -NEG_INF;
        for (int i = 0; i < N; ++i) {
            high = std::max(high, a[i]);
            if (a[i] > NEG_INF) low = std::min(low, a[i]);
        }
        top_[c * most_ + j] = high;
        spread_[c * most_ + j] = high == NEG_INF ? 0.0 : high - low;
        F* x = &x_[(c * most_ + j) * N];
        alignas(32) double scaled[N];
        const double base = high == NEG_INF ? 0.0 : high;
        for (int i = 0; i < N; i += 4) store(scaled + i, exp(load<vd>(a + i) - base));
        for (int i = 0; i < N; ++i) x[N - 1 - i] = static_cast<F>(scaled[i]);
    }

    int64_t most_ = 0;               // blocks there is room for
    Buffer<F> x_;                    // [c][block][N - 1 - i]: sources over exp(top)
    Buffer<double> top_, spread_;    // [c][block]: largest log source, and down to the smallest
    Buffer<double> far_, far_top_, far_lost_;  // [block % 2G][c]
    Buffer<double> y_, e1_, e2_, alpha_, source_;  // [position in block][c]
    Buffer<double> base_, lost_, shift_, row_;     // [c]
};
