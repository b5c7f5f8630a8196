// What the posteriors of a sequence and their change along a direction have in common: how a team
// shares their parts out, and the right recurrence brought to the left one's time.
// Included once per instruction set, inside a namespace.

class Frame {
  protected:
    static constexpr int64_t CHUNK = 4096;  // positions per partial sum, whatever the threads

    // `spare`: rows of working space that the transitions of a chunk take.
    Frame(const Sequence& q, const Scores& s, int64_t longest, int spare)
        : q_(q), s_(s), C_(s.C), most_(padded(longest + 1) / N), rows_(s.C + spare) {
        for (auto* b : {&after_, &x_, &y_}) *b = Buffer<double>(s.C * q.stride);
        for (auto* b : {&x_top_, &y_top_}) *b = Buffer<double>(s.C * most_);
        partial_ = Buffer<double>((padded(longest) / CHUNK + 2) * rows_ * s.Cp);
    }

    // To be called by the leader, before share_out().
    void begin(double log_z) {
        blocks_ = (q_.L + N - 1) / N;
        log_z_ = log_z;
    }

    // All members of the team call this. `parts` has scale(c), then in any order boundaries(c, out),
    // transitions(chunk), durations(c, tile, out).
    template <class Parts, class T>
    void share_out(Parts& parts, const Outputs<T>& out, Team& team, int rank) {
        for (int64_t c = team.take(); c < C_; c = team.take()) parts.scale(static_cast<int>(c));
        team.wait();
        const int64_t tiles = (s_.K + N - 1) / N, chunks = (q_.L - 1 + CHUNK - 1) / CHUNK;
        for (int64_t i = team.take(); i < C_ * tiles + C_ + chunks; i = team.take()) {
            if (i < C_)
                parts.boundaries(static_cast<int>(i), out);
            else if (i < C_ + chunks)
                parts.transitions(i - C_);
            else
                parts.durations((i - C_ - chunks) % C_, (i - C_ - chunks) / C_, out);
        }
        team.wait();
        if (rank == 0)
            for (int from = 0; from < C_; ++from)
                for (int to = 0; to < C_; ++to) {
                    double sum = 0;
                    for (int64_t k = 0; k < chunks; ++k) sum += partial(k)[from * s_.Cp + to];
                    out.transitions[from * C_ + to] = sum;
                }
        team.wait();
    }

    // (C, Cp) sums over the boundaries of one chunk, and the spare rows.
    double* partial(int64_t chunk) const { return &partial_[chunk * rows_ * s_.Cp]; }
    int64_t first(int64_t chunk) const { return 1 + chunk * CHUNK; }
    int64_t last(int64_t chunk) const { return std::min(first(chunk) + CHUNK, q_.L); }

    // Fills `after` of class c: the right side's before[L - e] belongs to segments that end at e.
    void align(int c, const Buffer<double>& right_before) {
        const int64_t row = c * q_.stride, L = q_.L, end = std::min(blocks_ * N + N, q_.stride);
        const double whole = q_.sum[row + L];
        for (int64_t t = 0; t < L; ++t) after_[row + t] = right_before[row + L - 1 - t] + whole;
        for (int64_t t = L; t < end; ++t) after_[row + t] = NEG_INF;
    }

    // Log weight, over Z, of all that is right of a boundary at t where class c begins.
    double onwards(int c, int64_t t, const Buffer<double>& right_inside) const {
        const int64_t row = c * q_.stride;
        return right_inside[row + q_.L - t] + q_.sum[row + q_.L] - q_.sum[row + t] +
               (q_.begin ? q_.begin[row + t] : 0.0) - log_z_;
    }

    const Sequence& q_;
    const Scores& s_;
    const int C_;
    const int64_t most_;  // blocks there is room for
    const int64_t rows_;
    int64_t blocks_ = 0;
    double log_z_ = 0;
    Buffer<double> after_;          // [c][e - 1]
    Buffer<double> x_, y_;          // [c][t]: before and after, each block over its largest
    Buffer<double> x_top_, y_top_;  // [c][block]
    Buffer<double> partial_;        // [chunk][row][to]
};
