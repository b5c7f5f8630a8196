// The max recurrence over one sequence: float64, exact, blocks skipped only where a bound proves
// that they hold no maximum.
// Included once per instruction set, inside a namespace.

// Duration scores as Toeplitz tables, as in Weights but in log space.
struct LogTables {
    const Scores& s;
    Buffer<double> table;  // [c][delta][k], d = delta N - N + 1 + k
    Buffer<double> near;   // [d][c], d in 1..N-1

    explicit LogTables(const Scores& s) : s(s) {
        table = Buffer<double>(s.C * s.deltas * 2 * N);
        near = Buffer<double>(N * s.Cp);
        for (int c = 0; c < s.C; ++c)
            for (int64_t delta = 0; delta < s.deltas; ++delta)
                for (int k = 0; k < 2 * N; ++k)
                    table[((c * s.deltas + delta) * 2 * N) + k] =
                        k == 2 * N - 1 ? NEG_INF : s.at(c, delta * N - N + 1 + k);
        for (int d = 0; d < N; ++d)
            for (int c = 0; c < s.Cp; ++c) near[d * s.Cp + c] = c < s.C ? s.at(c, d) : NEG_INF;
    }
};

class Maxima {
  public:
    const Scores& s;
    const LogTables& tables;
    const Sequence& q;
    const int classes;
    const int64_t deltas;
    int64_t blocks = 0;
    Buffer<double> before, inside;  // as in Sums, with max for sum

    Maxima(const Scores& s, const LogTables& tables, const Sequence& q, int64_t T)
        : s(s), tables(tables), q(q), classes(s.C), deltas(s.deltas) {
        const int64_t C = s.C;
        before = Buffer<double>(C * q.stride);
        inside = Buffer<double>(C * q.stride);
        x_ = Buffer<double>(C * q.stride);
        most_ = padded(T + 1) / N;
        top_ = Buffer<double>(C * most_);
        far_ = Buffer<double>(2 * G * C * N);
        y_ = Buffer<double>(N * s.Cp);
        alpha_ = Buffer<double>(s.Cp);
        source_ = Buffer<double>(s.Cp);
    }

    void reset() {
        blocks = q.L / N + 1;
        std::fill(far_.get(), far_.get() + 2 * G * classes * N, NEG_INF);
    }
    void run(Team& team, int rank) { run_blocks(*this, team, rank); }

    void far(int c, int64_t j, int64_t low, int64_t high) {
        double* acc = &far_[((j % (2 * G)) * classes + c) * N];
        std::fill(acc, acc + N, NEG_INF);
        pull(c, j, low, high, acc);
    }

    void near(int64_t j, int64_t low) {
        const int C = s.C, Cp = s.Cp;
        low = std::max(low, j - deltas + 1);
        const int64_t t0 = j * N;
        const int n = static_cast<int>(std::min<int64_t>(N, q.L + 1 - t0));
        std::fill(y_.get(), y_.get() + N * Cp, NEG_INF);
        for (int c = 0; j > 0 && c < C; ++c) {
            double* acc = &far_[((j % (2 * G)) * classes + c) * N];
            pull(c, j, low, j, acc);
            for (int k = 0; k < N; ++k) y_[k * Cp + c] = acc[k];
        }
        advance(t0, n);
        for (int c = 0; c < C; ++c) {
            double* a = &before[c * q.stride + t0];
            for (int64_t i = std::max<int64_t>(0, std::min<int64_t>(N, q.L - t0)); i < N; ++i)
                a[i] = NEG_INF;
            double* x = &x_[c * q.stride + t0];
            double top = NEG_INF;
            for (int i = 0; i < N; ++i) {
                x[N - 1 - i] = a[i];
                top = std::max(top, a[i]);
            }
            top_[c * most_ + j] = top;
        }
    }

  private:
    void pull(int c, int64_t j, int64_t low, int64_t high, double* acc) const {
        low = std::max(low, j - s.tables(c) + 1);
        for (int64_t i = high - 1; i >= low; --i) {
            const double bound = top_[c * most_ + i] + s.top[c * deltas + j - i];
            if (bound == NEG_INF) continue;
            vd least = load<vd>(acc);
            for (int k = 4; k < N; k += 4) least = smaller(least, load<vd>(acc + k));
            if (bound <= min_of(least)) continue;
            toeplitz<MaxOfSums>(&x_[c * q.stride + i * N],
                                &tables.table[(c * deltas + j - i) * 2 * N], acc);
        }
    }

    void advance(int64_t t0, int n) {
        const int C = s.C, Cp = s.Cp;
        const double* a = s.transitions[0].get();
        const int reach = static_cast<int>(std::min<int64_t>(s.K, N - 1));
        double* alpha = alpha_.get();
        double* source = source_.get();
        for (int c = C; c < Cp; ++c) source[c] = NEG_INF;
        for (int i = 0; i < n; ++i) {
            const int64_t t = t0 + i;
            double* y = &y_[i * Cp];
            for (int c = 0; c < C; ++c) {
                inside[c * q.stride + t] = t == 0 ? NEG_INF : y[c];
                alpha[c] = t == 0 ? NEG_INF : q.alpha(inside.get(), c, t);
            }
            if (t == q.L) return;
            for (int c = 0; c < Cp; c += 4) {
                vd best = splat(NEG_INF);
                for (int from = 0; from < C; ++from)
                    best = larger(best, alpha[from] + load<vd>(a + from * Cp + c));
                store(source + c, best);
            }
            for (int c = 0; c < C; ++c) {
                if (t == 0) source[c] = q.start[c];
                source[c] += (q.begin ? q.begin[c * q.stride + t] : 0.0) - q.sum[c * q.stride + t];
                before[c * q.stride + t] = source[c];
            }
            const int last = std::min(n - 1, i + reach);
            for (int k = i + 1; k <= last; ++k)
                for (int c = 0; c < Cp; c += 4)
                    store(&y_[k * Cp + c],
                          larger(load<vd>(&y_[k * Cp + c]),
                                 load<vd>(source + c) +
                                     load<vd>(&tables.near[(k - i) * Cp + c])));
        }
    }

    int64_t most_ = 0;
    Buffer<double> x_, top_;  // sources back to front, as toeplitz() reads them; their largest
    Buffer<double> far_, y_, alpha_, source_;
};
