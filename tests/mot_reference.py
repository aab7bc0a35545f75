"""Multi-object tracking metrics written as their definitions, and tracks to try them on."""

from __future__ import annotations

import itertools
import math

import numpy as np

from common import tracks as tk

ALPHAS = [k / 20 for k in range(1, 20)]
BOX = (10.0, 10.0, 20.0, 20.0)


def single(rows) -> tk.Tracks:
    """Tracks from ``(frame, id, *box)`` rows."""
    rows = np.asarray(rows, float).reshape(-1, 6)
    return tk.build(rows[:, 0], rows[:, 1], rows[:, 2:])


def random_pair(rng, frames=6, objects=3) -> tuple[tk.Tracks, tk.Tracks]:
    """Ground truth with gaps, and noisy tracks of it with misses, extra boxes and swapped ids."""
    truth, found = [], []
    place, size = rng.uniform(0, 25, (objects, 2)), rng.uniform(8, 20, (objects, 2))
    names = rng.permutation(objects) * 7
    for t in range(frames):
        place = place + rng.normal(0, 2, place.shape)
        if rng.random() < 0.3:
            names = rng.permutation(names)
        for n in range(objects):
            if rng.random() < 0.85:
                truth.append((t, n + 3, *place[n], *size[n]))
            if rng.random() < 0.8:
                noise = rng.normal(0, 2, 2), np.exp(rng.normal(0, 0.1, 2))
                found.append((t, names[n], *(place[n] + noise[0]), *(size[n] * noise[1])))
    return single(truth), single(found)


def box_iou(a, b) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def by_frame(tracks):
    found = {}
    for frame, name, box in zip(tracks.frame, tracks.id, tracks.box):
        found.setdefault(int(frame), []).append((int(name), box))
    return found


def matchings(n, m):
    """Every way to pair off ``min(n, m)`` of n rows and m columns."""
    if n <= m:
        return [list(zip(range(n), chosen)) for chosen in itertools.permutations(range(m), n)]
    return [[(r, c) for c, r in pairs] for pairs in matchings(m, n)]


def brute_hota(truth, tracks) -> dict[str, float]:
    """HOTA by its definition, all assignments tried (Luiten et al. 2021, sec. 4 and 5)."""
    g, p = by_frame(truth), by_frame(tracks)
    agree = {}
    for t in g.keys() & p.keys():
        table = [[box_iou(a, b) for _, b in p[t]] for _, a in g[t]]
        for i, (gi, _) in enumerate(g[t]):
            for j, (pj, _) in enumerate(p[t]):
                union = sum(table[i]) + sum(row[j] for row in table) - table[i][j]
                if union > 0:
                    agree[gi, pj] = agree.get((gi, pj), 0) + table[i][j] / union

    def length(tracks, name):
        return int((tracks.id == name).sum())

    matches = []
    for t in g.keys() & p.keys():

        def weight(i, j, t=t):
            (gi, a), (pj, b) = g[t][i], p[t][j]
            shared = agree.get((gi, pj), 0)
            both = length(truth, gi) + length(tracks, pj) - shared
            return shared / both * box_iou(a, b)

        options = matchings(len(g[t]), len(p[t]))
        best = max(options, key=lambda pairs: sum(weight(i, j) for i, j in pairs))
        matches += [(g[t][i][0], p[t][j][0], box_iou(g[t][i][1], p[t][j][1])) for i, j in best]
    rows = []
    for alpha in ALPHAS:
        hits = [match for match in matches if match[2] >= alpha]
        tp = len(hits)
        jaccard = 0.0
        for gi, pj, _ in hits:
            tpa = sum((a, b) == (gi, pj) for a, b, _ in hits)
            jaccard += tpa / (length(truth, gi) + length(tracks, pj) - tpa)
        det = tp / (len(truth.id) + len(tracks.id) - tp)
        ass = jaccard / tp if tp else 0.0
        loc = sum(s for *_, s in hits) / tp if tp else 1.0
        rows.append((math.sqrt(det * ass), det, ass, loc))
    return dict(zip(("HOTA", "DetA", "AssA", "LocA"), 100 * np.mean(rows, 0)))


def brute_identity(truth, tracks) -> tuple[float, int, int]:
    """IDTP, IDFN, IDFP by trying every matching of ids (Ristani et al. 2016)."""
    g, p = by_frame(truth), by_frame(tracks)
    ids = sorted(set(truth.id.tolist())), sorted(set(tracks.id.tolist()))
    together = np.zeros((len(ids[0]), len(ids[1])))
    for t in g.keys() & p.keys():
        for (gi, a), (pj, b) in itertools.product(g[t], p[t]):
            together[ids[0].index(gi), ids[1].index(pj)] += box_iou(a, b) >= 0.5
    best = max(sum(together[i, j] for i, j in pairs) for pairs in matchings(*together.shape))
    return best, len(truth.id) - best, len(tracks.id) - best
