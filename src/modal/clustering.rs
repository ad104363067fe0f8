//! Hierarchical clustering of poles.

use super::poles::Pole;
use rayon::prelude::*;

/// Poles further apart in frequency than this part of it are never in one cluster: their distance alone exceeds
/// the cut, so the problem is split there first.
const SPLIT: f64 = 0.05;

/// Distance of two poles: |λ_a − λ_b| / max(|λ_a|, |λ_b|) + 1 − [`Pole::likeness`].
pub fn distance(a: &Pole, b: &Pole) -> f64 {
    let scale = a.lambda.norm().max(b.lambda.norm());
    (a.lambda - b.lambda).norm() / scale + 1.0 - a.likeness(b)
}

/// Clusters by average linkage, cut at `cut` (at most 0.05); lists of indices into `poles`.
///
/// Deterministic: ties go to the pole that comes first, and the clusters come in the order of their first pole
/// when sorted by frequency.
pub fn average_linkage(poles: &[&Pole], cut: f64) -> Vec<Vec<usize>> {
    debug_assert!(cut <= SPLIT, "the split would cut through clusters");
    let mut sorted: Vec<usize> = (0..poles.len()).collect();
    sorted.sort_by(|&a, &b| poles[a].frequency_hz.total_cmp(&poles[b].frequency_hz));
    let parts = sorted.chunk_by(|&a, &b| {
        let (low, high) = (poles[a].frequency_hz, poles[b].frequency_hz);
        high - low <= SPLIT * high
    });
    parts.flat_map(|part| link(poles, part, cut)).collect()
}

fn link(poles: &[&Pole], part: &[usize], cut: f64) -> Vec<Vec<usize>> {
    let n = part.len();
    if n == 1 {
        return vec![part.to_vec()];
    }
    let to_later = |i: usize| (i + 1..n).map(move |j| distance(poles[part[i]], poles[part[j]]));
    let mut condensed: Vec<f64> = (0..n).into_par_iter().flat_map_iter(to_later).collect();
    let dendrogram = kodama::linkage(&mut condensed, n, kodama::Method::Average);
    // Cluster ids: 0..n the poles, n + k what step k made.
    let mut members: Vec<Option<Vec<usize>>> = part.iter().map(|&p| Some(vec![p])).collect();
    for step in dendrogram.steps() {
        let merged = if step.dissimilarity <= cut {
            let first = members[step.cluster1].take();
            let second = members[step.cluster2].take();
            // A cluster above the cut was emptied: average linkage never falls, so nothing merges with it below.
            first.zip(second).map(|(mut a, b)| {
                a.extend(b);
                a
            })
        } else {
            None
        };
        members.push(merged);
    }
    let mut clusters: Vec<Vec<usize>> = members.into_iter().flatten().collect();
    clusters.iter_mut().for_each(|cluster| cluster.sort_unstable());
    clusters.sort_by(|a, b| poles[a[0]].frequency_hz.total_cmp(&poles[b[0]].frequency_hz));
    clusters
}

/// The member with the least sum of distances to the others; the first of equals.
pub fn medoid(poles: &[&Pole], cluster: &[usize]) -> usize {
    let sum = |&a: &usize| -> f64 { cluster.iter().map(|&b| distance(poles[a], poles[b])).sum() };
    let rated = cluster.iter().map(|a| (sum(a), *a));
    rated.fold((f64::INFINITY, cluster[0]), |best, one| if one.0 < best.0 { one } else { best }).1
}
