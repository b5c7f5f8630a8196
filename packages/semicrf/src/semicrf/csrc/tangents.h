// How a finished recurrence changes where all scores move along one direction: first derivatives of
// `before` and `inside`, in float64. They are means, under the probabilities of the recurrence, of
// what precedes: no new range to leave, so the certificate of the sums serves here as well. Each mean
// is over its own sum of weights, which rounding of large logarithms would leave apart from 1.
// Included once per instruction set, inside a namespace.

// The direction of one sequence in the forms that Scores and Weights have.
struct DirectionTables {
    Sequence q, mirrored;
    Buffer<double> w;               // [c][d - 1], or empty
    Buffer<double> table;           // Weights::table times w, or empty
    Buffer<double> near;            // Weights::near times w, or empty
    Buffer<double> transitions[2];  // [from][to] padded with 0; [1] is the transpose

    DirectionTables(const Direction& v, const Scores& s, int64_t longest) {
        q.allocate(longest, s.C, v.begin, v.finish);
        mirrored.allocate(longest, s.C, v.finish, v.begin);
        if (v.durations) {
            w = Buffer<double>(s.C * s.K);
            table = Buffer<double>(s.C * s.deltas * 2 * N);
            near = Buffer<double>(N * s.Cp);
        }
        for (auto& a : transitions) a = Buffer<double>(s.C * s.Cp);
    }

    void read_sequence(const Problem& p, const Direction& v, int64_t b, const Scores& s,
                       const Weights<double>& weights) {
        const int C = s.C, Cp = s.Cp;
        Problem scores = p;
        scores.emissions = v.emissions;
        scores.begin = v.begin;
        scores.finish = v.finish;
        scores.start = scores.end = nullptr;
        if (v.emissions) {
            read<double>(scores, b, q);
        } else {
            q.L = p.lengths[b];
            std::fill(q.sum.get(), q.sum.get() + C * q.stride, 0.0);
            for (int c = 0; c < C; ++c) q.start[c] = q.end[c] = 0.0;
            read_borders<double>(scores, b, q);
        }
        mirror(q, mirrored);
        for (int i = 0; i < C; ++i)
            for (int j = 0; j < Cp; ++j) {
                const double* a = v.transitions ? v.transitions + b * C * C : nullptr;
                transitions[0][i * Cp + j] = a && j < C ? a[i * C + j] : 0.0;
                transitions[1][i * Cp + j] = a && j < C ? a[j * C + i] : 0.0;
            }
        if (!v.durations) return;
        const double* durations = v.durations + b * p.K * C;
        for (int c = 0; c < C; ++c)
            for (int64_t d = 0; d < s.K; ++d) w[c * s.K + d] = durations[d * C + c];
        for (int c = 0; c < C; ++c)
            for (int64_t delta = 0; delta < s.tables(c); ++delta) {
                const int64_t at = (c * s.deltas + delta) * 2 * N;
                for (int k = 0; k < 2 * N; ++k)
                    table[at + k] =
                        weights.table[at + k] * move(s, c, delta * N - N + 1 + k);
            }
        for (int d = 0; d < N; ++d)
            for (int c = 0; c < Cp; ++c)
                near[d * Cp + c] = c < C ? weights.near[d * Cp + c] * move(s, c, d) : 0.0;
    }

    double move(const Scores& s, int c, int64_t d) const {
        return w && d >= 1 && d <= s.K ? w[c * s.K + d - 1] : 0.0;
    }
};

class Tangents {
  public:
    const Scores& s;
    const Sums<double>& sums;
    const Sequence &q, &v;  // the scores' sequence and the direction's
    const DirectionTables& direction;
    const int side, classes;
    const int64_t deltas;
    int64_t blocks = 0;
    Buffer<double> before, inside;  // as in Sums; 0 where those are -inf

    Tangents(const Sums<double>& sums, const DirectionTables& direction, int64_t T)
        : s(sums.s), sums(sums), q(sums.q),
          v(sums.side ? direction.mirrored : direction.q), direction(direction),
          side(sums.side), classes(s.C), deltas(s.deltas) {
        const int64_t C = s.C, most = padded(T + 1) / N;
        most_ = most;
        before = Buffer<double>(C * q.stride);
        inside = Buffer<double>(C * q.stride);
        x_ = Buffer<double>(C * most * N);
        level_ = Buffer<double>(C * most);
        far_ = Buffer<double>(2 * G * C * 2 * N);
        for (auto* b : {&y_, &weight_, &source_}) *b = Buffer<double>(N * s.Cp);
        for (auto* b : {&base_, &alpha_, &moved_, &value_}) *b = Buffer<double>(s.Cp);
    }

    void reset() {
        blocks = q.L / N + 1;
        std::fill(far_.get(), far_.get() + 2 * G * classes * 2 * N, 0.0);
    }
    void run(Team& team, int rank) { run_blocks(*this, team, rank); }

    // Derivative of alpha, t in 1..L.
    double alpha(int c, int64_t t) const {
        return inside[c * q.stride + t] + v.sum[c * q.stride + t] +
               (v.finish ? v.finish[c * q.stride + t - 1] : 0.0);
    }

    // Derivative of log Z: the mean over the last labels, counted from the likeliest.
    double total() const {
        double best = NEG_INF, level = 0, sum = 0, weight = 0;
        for (int c = 0; c < s.C; ++c) {
            const double a = q.alpha(sums.inside.get(), c, q.L) + q.end[c];
            if (a > best) {
                best = a;
                level = alpha(c, q.L);
            }
        }
        for (int c = 0; c < s.C; ++c) {
            const double a = q.alpha(sums.inside.get(), c, q.L) + q.end[c];
            if (a == NEG_INF) continue;
            weight += std::exp(a - best);
            sum += std::exp(a - best) * (alpha(c, q.L) - level);
        }
        return level + sum / weight;
    }

    void far(int c, int64_t j, int64_t low, int64_t high) {
        double* acc = &far_[((j % (2 * G)) * classes + c) * 2 * N];
        std::fill(acc, acc + 2 * N, 0.0);
        if (!sums.in_log_space[j]) pull(c, j, low, high, acc);
    }

    void near(int64_t j, int64_t low) {
        low = std::max(low, j - deltas + 1);
        if (sums.in_log_space[j])
            log_block(j);
        else
            linear_block(j, low);
        for (int c = 0; c < s.C; ++c) publish(c, j);
    }

  private:
    // What far() and near() count the sources' derivatives from: one of two superblocks ago.
    double reference(int c, int64_t j) const {
        const int64_t known = (j / G - 1) * G - 1;
        return known < 0 ? 0.0 : level_[c * most_ + known];
    }
    // Largest log sum of a block, and how far down its smallest is.
    double top(int c, int64_t j, double* smallest = nullptr) const {
        const double* a = &sums.inside[c * q.stride + j * N];
        const int64_t n = std::min<int64_t>(N, q.L + 1 - j * N);
        double high = NEG_INF, low = -NEG_INF;
        for (int64_t i = 0; i < n; ++i) {
            high = std::max(high, a[i]);
            if (a[i] > NEG_INF) low = std::min(low, a[i]);
        }
        if (smallest) *smallest = low;
        return high;
    }

    // Over the sources of blocks low..high-1: adds the sums of their weights exp(before + w - top)
    // to acc[N + k], and of weight times (derivative of before + w, less the reference) to acc[k].
    void pull(int c, int64_t j, int64_t low, int64_t high, double* acc) const {
        low = std::max(low, j - s.tables(c) + 1);
        double smallest;
        const double unit = top(c, j, &smallest), from = reference(c, j);
        if (unit == NEG_INF) return;
        for (int64_t i = high - 1; i >= low; --i) {
            const double e = sums.largest(c, i) + s.top[c * deltas + j - i];
            if (!(e > smallest + FAINT_TERM)) continue;
            const double* x = sums.source(c, i);
            const double* moved = &x_[(c * most_ + i) * N];
            const double shift = level_[c * most_ + i] - from;
            alignas(32) double a[N], z[N] = {}, weight[N] = {};
            for (int k = 0; k < N; k += 4)
                store(a + k, load<vd>(moved + k) + load<vd>(x + k) * shift);
            const int64_t at = (c * deltas + j - i) * 2 * N;
            toeplitz<SumOfProducts>(a, &sums.weights.table[at], z);
            if (direction.w) toeplitz<SumOfProducts>(x, &direction.table[at], z);
            toeplitz<SumOfProducts>(x, &sums.weights.table[at], weight);
            const double f = std::exp(e - unit);
            for (int k = 0; k < N; ++k) {
                acc[k] += f * z[k];
                acc[N + k] += f * weight[k];
            }
        }
    }
    // Blocks of terms this far (in log) below the smallest sum they would go into add nothing.
    static constexpr double FAINT_TERM = -70.0;

    void linear_block(int64_t j, int64_t low) {
        const int C = s.C, Cp = s.Cp;
        const int64_t t0 = j * N;
        const int n = static_cast<int>(std::min<int64_t>(N, q.L + 1 - t0));
        double acc[2 * N];
        for (auto* b : {&y_, &weight_, &source_}) std::fill(b->get(), b->get() + N * Cp, 0.0);
        for (int c = 0; c < C; ++c) {
            const int64_t row = c * q.stride + t0;
            const double unit = top(c, j);
            base_[c] = j > 0 ? reference(c, j) : 0.0;
            if (j > 0) {
                const double* far = &far_[((j % (2 * G)) * classes + c) * 2 * N];
                std::copy(far, far + 2 * N, acc);
                pull(c, j, low, j, acc);
                for (int k = 0; k < N; ++k) {
                    y_[k * Cp + c] = acc[k];
                    weight_[k * Cp + c] = acc[N + k];
                }
            }
            for (int i = 0; i < n; ++i)
                source_[i * Cp + c] = unit > NEG_INF && t0 + i < q.L
                                          ? sums.before[row + i] + s.peak[c] - unit
                                          : NEG_INF;
        }
        for (int c = C; c < Cp; ++c) base_[c] = 0.0;
        for (int i = 0; i < n * Cp; i += 4) store(&source_[i], exp(load<vd>(&source_[i])));
        const int reach = static_cast<int>(std::min<int64_t>(s.K, N - 1));
        const double* near = sums.weights.near.get();
        for (int i = 0; i < n; ++i) {
            const int64_t t = t0 + i;
            for (int c = 0; c < C; ++c) {
                const double weight = weight_[i * Cp + c];
                inside[c * q.stride + t] = weight > 0 ? base_[c] + y_[i * Cp + c] / weight : 0.0;
            }
            if (t == q.L) break;
            pass(t);
            for (int c = 0; c < C; ++c) value_[c] = before[c * q.stride + t] - base_[c];
            for (int c = C; c < Cp; ++c) value_[c] = 0.0;
            const int last = std::min(n - 1, i + reach);
            for (int c = 0; c < Cp; c += 4) {
                const vd x = load<vd>(&source_[i * Cp + c]), a = x * load<vd>(&value_[c]);
                for (int k = i + 1; k <= last; ++k) {
                    const vd w = load<vd>(near + (k - i) * Cp + c);
                    vd y = load<vd>(&y_[k * Cp + c]) + a * w;
                    if (direction.w) y += x * load<vd>(&direction.near[(k - i) * Cp + c]);
                    store(&y_[k * Cp + c], y);
                    store(&weight_[k * Cp + c], load<vd>(&weight_[k * Cp + c]) + x * w);
                }
            }
        }
    }

    // The derivative of `before` at t from those of alpha: their mean over the labels on the left.
    void pass(int64_t t) {
        const int C = s.C, Cp = s.Cp;
        if (t == 0) {
            for (int c = 0; c < Cp; ++c) moved_[c] = 0.0;
        } else if (sums.weights.transitions_lossy || sums.in_log_space[t / N]) {
            for (int c = 0; c < C; ++c) {
                const double reach = before_reach(c, t);
                double sum = 0, weight = 0;
                for (int from = 0; reach > NEG_INF && from < C; ++from) {
                    const double e = q.alpha(sums.inside.get(), from, t) +
                                     s.transitions[side][from * Cp + c] - reach;
                    if (!(e > FAINT_TERM)) continue;
                    weight += std::exp(e);
                    sum += std::exp(e) *
                           (alpha(from, t) + direction.transitions[side][from * Cp + c]);
                }
                moved_[c] = weight > 0 ? sum / weight : 0.0;
            }
        } else {
            double high = NEG_INF, level = 0;
            for (int c = 0; c < C; ++c) {
                alpha_[c] = q.alpha(sums.inside.get(), c, t);
                if (alpha_[c] > high) {
                    high = alpha_[c];
                    level = alpha(c, t);
                }
            }
            for (int c = C; c < Cp; ++c) alpha_[c] = NEG_INF;
            if (high == NEG_INF) {
                for (int c = 0; c < Cp; ++c) moved_[c] = 0.0;
            } else {
                for (int c = 0; c < Cp; c += 4)
                    store(&alpha_[c], exp(load<vd>(&alpha_[c]) - high));
                for (int c = 0; c < Cp; c += 4) {
                    vd weight = splat(0.0), sum = splat(0.0);
                    for (int from = 0; from < C; ++from) {
                        if (alpha_[from] == 0) continue;
                        const vd p = alpha_[from] *
                                     load<vd>(&sums.weights.transitions[side][from * Cp + c]);
                        weight += p;
                        sum += p * (load<vd>(&direction.transitions[side][from * Cp + c]) +
                                    (alpha(from, t) - level));
                    }
                    store(&moved_[c], weight > 0.0 ? level + sum / weight : splat(0.0));
                }
            }
        }
        for (int c = 0; c < C; ++c) {
            const int64_t i = c * q.stride + t;
            before[i] = sums.before[i] == NEG_INF
                            ? 0.0
                            : moved_[c] - v.sum[i] + (v.begin ? v.begin[i] : 0.0);
        }
    }
    double before_reach(int c, int64_t t) const {
        const int64_t i = c * q.stride + t;
        if (sums.before[i] == NEG_INF) return NEG_INF;
        return sums.before[i] + q.sum[i] - (q.begin ? q.begin[i] : 0.0);
    }

    void log_block(int64_t j) {
        const int64_t t0 = j * N, last = std::min(t0 + N - 1, q.L);
        for (int64_t t = t0; t <= last; ++t) {
            for (int c = 0; c < s.C; ++c) inside[c * q.stride + t] = t == 0 ? 0.0 : mean(c, t, j);
            if (t < q.L) pass(t);
        }
    }

    // Of before + w at t - d, over d with probability exp(before + w - inside).
    double mean(int c, int64_t t, int64_t j) const {
        const double whole = sums.inside[c * q.stride + t];
        if (whole == NEG_INF) return 0.0;
        const double* a = &sums.before[c * q.stride];
        const double* moved = &before[c * q.stride];
        const double from = reference(c, j);
        double sum = 0, weight = 0;
        for (int64_t i = j; i >= std::max<int64_t>(0, t - s.reach[c]) / N; --i) {
            if (i < j && sums.largest(c, i) + s.top[c * deltas + j - i] < whole + FAINT_TERM)
                continue;
            const int64_t first = std::max<int64_t>({0, t - s.reach[c], i * N});
            for (int64_t k = first; k < std::min(t, (i + 1) * N); ++k) {
                const double e = a[k] + s.w[c * s.K + t - k - 1] - whole;
                if (!(e > FAINT_TERM)) continue;
                weight += std::exp(e);
                sum += std::exp(e) * (moved[k] - from + direction.move(s, c, t - k));
            }
        }
        return from + sum / weight;
    }

    void publish(int c, int64_t j) {
        const int64_t t0 = j * N, n = std::min<int64_t>(N, q.L - t0);
        const double* a = &before[c * q.stride + t0];
        const double* x = sums.source(c, j);
        double* to = &x_[(c * most_ + j) * N];
        // Counted from the derivative at the likeliest source of the block.
        double level = j > 0 ? level_[c * most_ + j - 1] : 0.0, most = 0;
        for (int64_t i = 0; i < n; ++i)
            if (x[N - 1 - i] > most) {
                most = x[N - 1 - i];
                level = a[i];
            }
        level_[c * most_ + j] = level;
        for (int64_t i = 0; i < N; ++i)
            to[N - 1 - i] = i < n ? x[N - 1 - i] * (a[i] - level) : 0.0;
    }

    int64_t most_ = 0;
    Buffer<double> x_;      // [c][block][N - 1 - i]: source times its derivative less the level
    Buffer<double> level_;  // [c][block]
    Buffer<double> far_;    // [block % 2G][c]: what pull() adds to
    Buffer<double> y_, weight_, source_;           // [position in block][c]
    Buffer<double> base_, alpha_, moved_, value_;  // [c]
};
