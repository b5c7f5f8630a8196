// The order of work of a recurrence: the same for any number of threads.
// Included once per instruction set, inside a namespace.
//
// Blocks of N positions are grouped into superblocks. A superblock's targets take the sources of
// superblocks at least two before theirs from far(), which depends on nothing recent and is shared
// out, and the rest from near(), which one thread runs block after block. While the leader is in
// near() of one superblock, the others are in far() of the next.

constexpr int G = 4;  // blocks per superblock

template <class Recurrence>
void run_blocks(Recurrence& r, Team& team, int rank) {
    const int64_t supers = (r.blocks + G - 1) / G;
    const int C = r.classes;
    const bool has_far = r.deltas > G + 1 && supers > 2;
    if (!has_far) {
        if (rank == 0)
            for (int64_t j = 0; j < r.blocks; ++j) r.near(j, 0);
        team.wait();
        return;
    }
    for (int64_t J = 0; J < supers; ++J) {
        if (rank == 0)
            for (int64_t j = J * G; j < std::min((J + 1) * G, r.blocks); ++j)
                r.near(j, std::max<int64_t>(0, (J - 1) * G));
        const int64_t targets = std::min((J + 2) * G, r.blocks) - (J + 1) * G;
        for (int64_t i = team.take(); i < targets * C; i = team.take()) {
            const int64_t j = (J + 1) * G + i / C;
            r.far(i % C, j, std::max<int64_t>(0, j - r.deltas + 1), J * G);
        }
        team.wait();
    }
}
