// How the posteriors of a sequence change where all scores move along one direction: the second
// derivatives of log Z times that direction.
// Included once per instruction set, inside a namespace.

class Curvature : Frame {
  public:
    Curvature(const Tangents& left, const Tangents& right, int64_t longest)
        : Frame(left.q, left.s, longest, 4), left_(left), right_(right) {
        for (auto* b : {&moved_x_, &moved_y_}) *b = Buffer<double>(C_ * q_.stride);
        for (auto* b : {&x_level_, &y_level_}) *b = Buffer<double>(C_ * most_);
    }

    // All members of the team call this, after both tangents have run. Of `out`, total is the
    // derivative of log Z; before and after are not used.
    void run(const Outputs<double>& out, Team& team, int rank) {
        if (rank == 0) {
            begin(left_.sums.log_total());
            *out.total = moved_z_ = left_.total();
        }
        team.wait();
        share_out(*this, out, team, rank);
    }

  private:
    friend class Frame;

    // The derivative of all that is right of a segment of class c ending at e, over Z.
    double moved_after(int c, int64_t e) const {
        const int64_t i = c * q_.stride + q_.L;
        return right_.before[i - e] + left_.v.sum[i] - moved_z_;
    }

    // Sources of both sides block by block over their largest, and times their derivatives counted
    // from that of the largest.
    void scale(int c) {
        const int64_t row = c * q_.stride, L = q_.L;
        align(c, right_.sums.before);
        for (int64_t j = 0; j < blocks_; ++j) {
            const int64_t t0 = j * N, n = std::min<int64_t>(N, L - t0), at = row + t0;
            double a[N], b[N];
            for (int64_t i = 0; i < n; ++i) {
                a[i] = left_.before[at + i];
                b[i] = moved_after(c, t0 + i + 1);
            }
            block(&left_.sums.before[at], a, n, &x_[at], &moved_x_[at], x_top_[c * most_ + j],
                  x_level_[c * most_ + j]);
            block(&after_[at], b, n, &y_[at], &moved_y_[at], y_top_[c * most_ + j],
                  y_level_[c * most_ + j]);
        }
        y_top_[c * most_ + blocks_] = NEG_INF;
        y_level_[c * most_ + blocks_] = 0;
        for (auto* b : {&y_, &moved_y_})
            std::fill(b->get() + row + blocks_ * N, b->get() + row + blocks_ * N + N, 0.0);
    }
    static void block(const double* logs, const double* derivatives, int64_t n, double* out,
                      double* moved, double& top, double& level) {
        top = NEG_INF;
        level = 0;
        for (int64_t i = 0; i < n; ++i)
            if (logs[i] > top) {
                top = logs[i];
                level = derivatives[i];
            }
        const double base = top == NEG_INF ? 0.0 : top;
        for (int i = 0; i < N; i += 4) store(out + i, exp(load<vd>(logs + i) - base));
        for (int64_t i = 0; i < N; ++i) moved[i] = i < n ? out[i] * (derivatives[i] - level) : 0.0;
    }

    // begins, ends, and positions as the running difference of the two.
    void boundaries(int c, const Outputs<double>& out) {
        const int64_t row = c * q_.stride, L = q_.L;
        const double base = q_.sum[row + L] - log_z_, moved = left_.v.sum[row + L] - moved_z_;
        const Sums<double>&left = left_.sums, &right = right_.sums;
        double held = 0;
        for (int64_t t = 0; t < L; ++t) {
            const double b = left.before[row + t] + right.inside[row + L - t] + base;
            const double e = left.inside[row + t + 1] + after_[row + t] - log_z_;
            const double opened =
                b > FAINT ? std::exp(b) * (left_.before[row + t] + right_.inside[row + L - t] + moved)
                          : 0.0;
            const double closed =
                e > FAINT ? std::exp(e) * (left_.inside[row + t + 1] + moved_after(c, t + 1)) : 0.0;
            held += opened;
            out.begins[t * C_ + c] = opened;
            out.ends[t * C_ + c] = closed;
            out.positions[t * C_ + c] = held;
            held -= closed;
        }
    }

    // Of the expected transitions at the boundaries of one chunk.
    void transitions(int64_t chunk) {
        const int C = C_, Cp = s_.Cp;
        double* sum = partial(chunk);
        std::fill(sum, sum + rows_ * Cp, 0.0);
        double *from = sum + C * Cp, *to = from + Cp, *moved_from = to + Cp, *moved_to = moved_from + Cp;
        for (int c = 0; c < Cp; ++c) to[c] = NEG_INF;
        const double* a = s_.transitions[0].get();
        const double* v = left_.direction.transitions[0].get();
        for (int64_t t = first(chunk); t < last(chunk); ++t) {
            double to_top = NEG_INF;
            for (int c = 0; c < C; ++c) {
                const int64_t row = c * q_.stride;
                from[c] = q_.alpha(left_.sums.inside.get(), c, t);
                to[c] = onwards(c, t, right_.sums.inside);
                moved_from[c] = left_.alpha(c, t) - moved_z_;
                moved_to[c] = right_.inside[row + q_.L - t] + left_.v.sum[row + q_.L] -
                              left_.v.sum[row + t] + (left_.v.begin ? left_.v.begin[row + t] : 0.0);
                to_top = std::max(to_top, to[c]);
            }
            for (int i = 0; i < C; ++i) {
                if (!(from[i] + to_top > FAINT - left_.sums.weights.transition_peak)) continue;
                for (int j = 0; j < Cp; j += 4) {
                    const vd p = exp(load<vd>(to + j) + from[i] + load<vd>(a + i * Cp + j));
                    store(sum + i * Cp + j,
                          load<vd>(sum + i * Cp + j) +
                              p * (load<vd>(moved_to + j) + moved_from[i] +
                                   load<vd>(v + i * Cp + j)));
                }
            }
        }
    }

    // Of the expected number of segments of label c with durations tile N + 1 .. tile N + N.
    void durations(int64_t c, int64_t tile, const Outputs<double>& out) {
        const int64_t d0 = tile * N;
        const int count = static_cast<int>(std::min<int64_t>(N, s_.K - d0));
        const double* w = &s_.w[c * s_.K + d0];
        double top = NEG_INF;
        for (int k = 0; k < count; ++k) top = std::max(top, w[k]);
        if (top == NEG_INF) return;  // the output is 0 already
        double expected[N] = {}, moved[N] = {}, direct[N] = {};
        for (int64_t i = 0; i + tile < blocks_; ++i) {
            const int64_t j = i + tile;
            const double* tops = &y_top_[c * most_ + j];
            const double high = std::max(tops[0], tops[1]);
            const double e = x_top_[c * most_ + i] + high + top - log_z_;
            if (!(e > FAINT)) continue;
            if (e < ENOUGH)
                pair(c, i, j, high, std::exp(e), expected, moved);
            else
                one_by_one(c, i, j, d0, count, direct);
        }
        double* to = out.durations + d0 * C_ + c;
        for (int k = 0; k < count; ++k) {
            const double factor = w[k] == NEG_INF ? 0.0 : std::exp(w[k] - top);
            const double shift = left_.direction.move(s_, static_cast<int>(c), d0 + k + 1);
            to[k * C_] = factor * (moved[k] + shift * expected[k]) + direct[k];
        }
    }

    void pair(int64_t c, int64_t i, int64_t j, double high, double scale, double* expected,
              double* moved) const {
        const int64_t at = c * most_ + j, x = c * q_.stride + i * N, y = c * q_.stride + j * N;
        const double level = y_top_[at] >= y_top_[at + 1] ? y_level_[at] : y_level_[at + 1];
        alignas(32) double right[2 * N], moved_right[2 * N], z[N] = {}, moved_z[N] = {};
        for (int half = 0; half < 2; ++half) {
            const double top = y_top_[at + half], shift = y_level_[at + half] - level;
            const double f = top == NEG_INF ? 0.0 : std::exp(top - high);
            for (int k = half * N; k < half * N + N; k += 4) {
                const vd value = load<vd>(&y_[y + k]) * f;
                store(right + k, value);
                store(moved_right + k, load<vd>(&moved_y_[y + k]) * f + value * shift);
            }
        }
        toeplitz<SumOfProducts>(&x_[x], right, z);
        toeplitz<SumOfProducts>(&x_[x], moved_right, moved_z);
        toeplitz<SumOfProducts>(&moved_x_[x], right, moved_z);
        const double shift = x_level_[c * most_ + i] + level;
        for (int k = 0; k < N; ++k) {
            expected[k] += scale * z[k];
            moved[k] += scale * (moved_z[k] + shift * z[k]);
        }
    }

    // A pair of blocks whose products may underflow: an exponential per segment.
    void one_by_one(int64_t c, int64_t i, int64_t j, int64_t d0, int count, double* direct) const {
        const int64_t row = c * q_.stride;
        for (int m = 0; m < N; ++m) {
            const int64_t s = i * N + m;
            if (s >= q_.L || left_.sums.before[row + s] == NEG_INF) continue;
            for (int k = 0; k < count && j * N + m + k < q_.L; ++k) {
                const int64_t e = j * N + m + k + 1;
                const double p = left_.sums.before[row + s] + s_.w[c * s_.K + d0 + k] +
                                 after_[row + e - 1] - log_z_;
                if (p > FAINT)
                    direct[k] += std::exp(p) *
                                 (left_.before[row + s] + moved_after(static_cast<int>(c), e) +
                                  left_.direction.move(s_, static_cast<int>(c), d0 + k + 1));
            }
        }
    }

    // What is this unlikely (in log) adds nothing; products of a pair of blocks more likely than
    // ENOUGH could lose something that counts.
    static constexpr double FAINT = -80.0, ENOUGH = 550.0;

    const Tangents &left_, &right_;
    double moved_z_ = 0;
    Buffer<double> moved_x_, moved_y_;  // x and y times their derivatives less the level
    Buffer<double> x_level_, y_level_;  // [c][block]: the derivative at the largest
};
