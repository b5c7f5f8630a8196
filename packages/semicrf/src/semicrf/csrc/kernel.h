// The calls, for one instruction set.
// Included once per instruction set, inside a namespace.

#include "simd.h"
#include "sequence.h"
#include "tables.h"
#include "pipeline.h"
#include "sums.h"
#include "frame.h"
#include "posteriors.h"
#include "tangents.h"
#include "curvature.h"
#include "maxima.h"
#include "trace.h"

inline int64_t longest(const Problem& p) {
    return *std::max_element(p.lengths, p.lengths + p.B);
}

// Threads that the work is worth: starting one costs about 50 microseconds.
inline int worthwhile(const Problem& p) {
    const double work = double(p.B) * p.T * p.C * (std::min(p.K, p.T) / 16.0 + p.C + 30.0);
    return static_cast<int>(std::max(1.0, std::min<double>(p.threads, work / 2e5)));
}

// A team of threads per sequence while there are threads to spare, otherwise a thread per
// sequence. make(size) builds what a team of that size works in, once; work(room, b, team, rank)
// does sequence b.
template <class Make, class Work>
void over_batch(const Problem& p, Make make, Work work) {
    const int threads = worthwhile(p);
    const int teams = static_cast<int>(std::min<int64_t>(threads, p.B));
    std::vector<std::unique_ptr<Team>> team;
    std::vector<decltype(make(1))> rooms;
    std::vector<std::pair<int, int>> place;  // of each thread: team, rank in it
    for (int i = 0; i < teams; ++i) {
        team.emplace_back(new Team(threads / teams + (i < threads % teams)));
        rooms.push_back(make(team[i]->size));
        for (int rank = 0; rank < team[i]->size; ++rank) place.emplace_back(i, rank);
    }
    std::atomic<int64_t> next{0};
    std::vector<int64_t> current(teams);
    on_threads(threads, [&](int thread) {
        const int i = place[thread].first, rank = place[thread].second;
        for (;;) {
            if (rank == 0) current[i] = next.fetch_add(1);
            team[i]->wait();
            if (current[i] >= p.B) return;
            work(*rooms[i], current[i], *team[i], rank);
            team[i]->wait();
        }
    });
}

template <class F, class T>
struct SumsRoom {
    Sequence q, mirrored;
    std::unique_ptr<Sums<F>> left, right;  // right only where `both` are wanted
    // The two recurrences do not need each other: each has half of the team.
    Team left_team, right_team;

    SumsRoom(const Problem& p, const Scores& s, const Weights<F>& w, bool both, int threads)
        : left_team((threads + 1) / 2), right_team(std::max(1, threads / 2)) {
        const int64_t most = longest(p);
        q.allocate(most, p.C, p.begin, p.finish);
        left.reset(new Sums<F>(s, w, q, most, 0));
        if (!both) return;
        mirrored.allocate(most, p.C, p.finish, p.begin);
        right.reset(new Sums<F>(s, w, mirrored, most, 1));
    }

    // To be called by the leader, before any recurrence runs.
    void read_sequence(const Problem& p, int64_t b) {
        read<T>(p, b, q);
        left->reset();
        if (!right) return;
        mirror(q, mirrored);
        right->reset();
    }

    template <class Recurrence>
    void run_both(Recurrence& on_left, Recurrence& on_right, const Team& team, int rank) {
        const int half = left_team.size;
        if (rank < half) on_left.run(left_team, rank);
        if (team.size == 1)
            on_right.run(right_team, 0);
        else if (rank >= half)
            on_right.run(right_team, rank - half);
    }
};

// log Z; F is the type of the bulk products, T that of the tensors.
template <class F, class T>
void log_partition(const Problem& p, double* total, int64_t* redone) {
    const Scores s(p, longest(p), T());
    const Weights<F> weights(s);
    auto make = [&](int) { return std::make_unique<SumsRoom<F, T>>(p, s, weights, false, 1); };
    over_batch(p, make, [&](SumsRoom<F, T>& room, int64_t b, Team& team, int rank) {
        if (rank == 0) room.read_sequence(p, b);
        team.wait();
        room.left->run(team, rank);
        if (rank == 0) {
            total[b] = room.left->log_total() + room.q.offset;
            redone[b] = room.left->redone;
        }
    });
}

template <class F, class T>
struct PosteriorsRoom {
    SumsRoom<F, T> sums;
    Posteriors<F, T> posteriors;

    PosteriorsRoom(const Problem& p, const Scores& s, const Weights<F>& w, int threads)
        : sums(p, s, w, true, threads), posteriors(*sums.left, *sums.right, longest(p)) {}
};

template <class F, class T>
void posteriors(const Problem& p, const Outputs<T>& out, int64_t* redone) {
    const Scores s(p, longest(p), T());
    const Weights<F> weights(s);
    auto make = [&](int size) {
        return std::make_unique<PosteriorsRoom<F, T>>(p, s, weights, size);
    };
    over_batch(p, make, [&](PosteriorsRoom<F, T>& room, int64_t b, Team& team, int rank) {
        SumsRoom<F, T>& sums = room.sums;
        if (rank == 0) sums.read_sequence(p, b);
        team.wait();
        sums.run_both(*sums.left, *sums.right, team, rank);
        team.wait();
        room.posteriors.run(out.of(p, b), team, rank);
        if (rank == 0) redone[b] = sums.left->redone + sums.right->redone;
    });
}

struct CurvatureRoom {
    SumsRoom<double, double> sums;
    DirectionTables direction;
    Tangents left, right;
    Curvature curvature;

    CurvatureRoom(const Problem& p, const Direction& v, const Scores& s, const Weights<double>& w,
                  int threads)
        : sums(p, s, w, true, threads),
          direction(v, s, longest(p)),
          left(*sums.left, direction, longest(p)),
          right(*sums.right, direction, longest(p)),
          curvature(left, right, longest(p)) {}
};

// The derivative of log Z and of all posteriors along a direction. float64 throughout.
inline void curvature(const Problem& p, const Direction& v, const Outputs<double>& out) {
    const Scores s(p, longest(p), double());
    const Weights<double> weights(s);
    auto make = [&](int size) {
        return std::make_unique<CurvatureRoom>(p, v, s, weights, size);
    };
    over_batch(p, make, [&](CurvatureRoom& room, int64_t b, Team& team, int rank) {
        SumsRoom<double, double>& sums = room.sums;
        if (rank == 0) {
            sums.read_sequence(p, b);
            room.direction.read_sequence(p, v, b, s, weights);
            room.left.reset();
            room.right.reset();
        }
        team.wait();
        sums.run_both(*sums.left, *sums.right, team, rank);
        team.wait();
        if (rank == 0) out.total[b] = sums.left->log_total();
        team.wait();
        if (out.total[b] == NEG_INF) return;  // the caller raises
        sums.run_both(room.left, room.right, team, rank);
        team.wait();
        room.curvature.run(out.of(p, b), team, rank);
    });
}

struct MaximaRoom {
    Sequence q;
    std::unique_ptr<Maxima> best;
};

template <class T>
void best_segmentation(const Problem& p, double* total, int32_t* segments, int64_t* counts) {
    const Scores s(p, longest(p), T());
    const LogTables tables(s);
    auto make = [&](int) {
        auto room = std::make_unique<MaximaRoom>();
        room->q.allocate(longest(p), p.C, p.begin, p.finish);
        room->best.reset(new Maxima(s, tables, room->q, longest(p)));
        return room;
    };
    over_batch(p, make, [&](MaximaRoom& room, int64_t b, Team& team, int rank) {
        if (rank == 0) {
            read<T>(p, b, room.q);
            room.best->reset();
        }
        team.wait();
        room.best->run(team, rank);
        if (rank != 0) return;
        const double* inside = room.best->inside.get();
        double best = NEG_INF;
        for (int c = 0; c < s.C; ++c)
            best = std::max(best, room.q.alpha(inside, c, room.q.L) + room.q.end[c]);
        total[b] = best + room.q.offset;
        counts[b] = best == NEG_INF ? 0
                                    : trace(s, room.q, room.best->before.get(), inside, Largest(),
                                            segments + b * p.T * 2);
    });
}

// `draws` segmentations of sequence b into segments[(b * draws + i) * T * 2 ...].
template <class T>
void draw_segmentations(const Problem& p, const int64_t* seeds, int64_t draws, double* total,
                        int32_t* segments, int64_t* counts) {
    const Scores s(p, longest(p), T());
    const Weights<double> weights(s);
    auto make = [&](int) {
        return std::make_unique<SumsRoom<double, T>>(p, s, weights, false, 1);
    };
    over_batch(p, make, [&](SumsRoom<double, T>& room, int64_t b, Team& team, int rank) {
        if (rank == 0) room.read_sequence(p, b);
        team.wait();
        room.left->run(team, rank);
        if (rank == 0) total[b] = room.left->log_total();
        team.wait();
        if (total[b] == NEG_INF) return;
        for (int64_t i = team.take(); i < draws; i = team.take()) {
            const int64_t k = b * draws + i;
            counts[k] = trace(s, room.q, room.left->before.get(), room.left->inside.get(),
                              Drawn{Uniform(static_cast<uint64_t>(seeds[k]))},
                              segments + k * p.T * 2);
        }
    });
}

// The multiply-adds of one forward recurrence (T K C of them, to whole blocks) with nothing else:
// the yardstick of the benchmarks.
template <class F>
void multiply_adds(int64_t T, int64_t K, int64_t C, int threads, double* sums) {
    const int64_t blocks = (T + N - 1) / N, deltas = (K + N - 1) / N;
    Buffer<F> x(C * blocks * N), table(C * deltas * 2 * N);
    std::fill(x.get(), x.get() + C * blocks * N, F(0.5));
    std::fill(table.get(), table.get() + C * deltas * 2 * N, F(0.001));
    std::atomic<int64_t> next{0};
    on_threads(threads, [&](int rank) {
        double sum = 0;
        for (int64_t i = next.fetch_add(1); i < C * blocks; i = next.fetch_add(1)) {
            alignas(32) F z[N] = {};
            for (int64_t delta = 0; delta < deltas; ++delta)
                toeplitz<SumOfProducts>(&x[i * N], &table[(i / blocks * deltas + delta) * 2 * N], z);
            sum += z[N - 1];
        }
        sums[rank] = sum;
    });
}
