//! Hierarchical clustering of poles.

use super::poles::Pole;
use rayon::prelude::*;

/// Distance of two poles: |λ_a − λ_b| / max(|λ_a|, |λ_b|) + 1 − [`Pole::likeness`].
pub fn distance(a: &Pole, b: &Pole) -> f64 {
    let scale = a.lambda.norm().max(b.lambda.norm());
    (a.lambda - b.lambda).norm() / scale + 1.0 - a.likeness(b)
}

/// Clusters by average linkage, cut at `cut`; lists of indices into `poles`, each ascending.
///
/// Deterministic: ties go to the pole that comes first, and the clusters come in the order of their first pole's
/// frequency. Memory grows with the square of the largest part that hangs together up to the cut, not of all poles.
pub fn average_linkage(poles: &[&Pole], cut: f64) -> Vec<Vec<usize>> {
    let mut clusters: Vec<_> = parts(poles, cut).into_iter().flat_map(|part| link(poles, &part, cut)).collect();
    clusters.sort_by(|a, b| poles[a[0]].frequency_hz.total_cmp(&poles[b[0]].frequency_hz).then(a[0].cmp(&b[0])));
    clusters
}

/// Parts that can be clustered each by itself, ascending in frequency: the components of the graph in which poles are
/// joined up to the distance `cut`. Two clusters merge where their mean distance is at most the cut, and then that of
/// some pair is.
fn parts(poles: &[&Pole], cut: f64) -> Vec<Vec<usize>> {
    /// Poles that look for neighbours side by side. They know each other only afterwards, so few of many.
    const TOGETHER: usize = 64;
    let mut sorted: Vec<usize> = (0..poles.len()).collect();
    sorted.sort_by(|&a, &b| poles[a].frequency_hz.total_cmp(&poles[b].frequency_hz));
    // The first of the part that each belongs to, by place in `sorted`; directly, for those before `from`.
    let mut first_of: Vec<usize> = (0..poles.len()).collect();
    for from in (0..poles.len()).step_by(TOGETHER) {
        let until = poles.len().min(from + TOGETHER);
        let neighbours = |i: usize| {
            let own = poles[sorted[i]];
            // The distance is at least that of the frequencies.
            let near = |&j: &usize| own.frequency_hz - poles[sorted[j]].frequency_hz <= cut * own.frequency_hz;
            let mut found: Vec<usize> = Vec::new();
            for j in (0..i).rev().take_while(near) {
                if !found.contains(&first_of[j]) && distance(own, poles[sorted[j]]) <= cut {
                    found.push(first_of[j]);
                }
            }
            found
        };
        let found: Vec<Vec<usize>> = (from..until).into_par_iter().map(neighbours).collect();
        for (i, neighbour) in (from..).zip(found).flat_map(|(i, found)| found.into_iter().map(move |j| (i, j))) {
            let root = |mut k: usize| {
                while first_of[k] != k {
                    k = first_of[k];
                }
                k
            };
            let (a, b) = (root(i), root(neighbour));
            first_of[a.max(b)] = a.min(b);
        }
        (0..until).for_each(|k| first_of[k] = first_of[first_of[k]]);
    }
    let mut parts = vec![Vec::new(); poles.len()];
    first_of.iter().zip(sorted).for_each(|(&first, pole)| parts[first].push(pole));
    parts.retain(|part| !part.is_empty());
    parts
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
    clusters
}

/// The member with the least sum of distances to the others; the first of equals.
pub fn medoid(poles: &[&Pole], cluster: &[usize]) -> usize {
    let mut sums = vec![0.0; cluster.len()];
    for (i, &a) in cluster.iter().enumerate() {
        for (j, &b) in cluster.iter().enumerate().skip(i + 1) {
            let distance = distance(poles[a], poles[b]);
            sums[i] += distance;
            sums[j] += distance;
        }
    }
    let rated = sums.into_iter().zip(cluster);
    let least = rated.fold((f64::INFINITY, cluster[0]), |best, (sum, &a)| if sum < best.0 { (sum, a) } else { best });
    least.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Complex, DVector};

    /// Poles of several modes whose clouds touch: chains of neighbours run through more than one cluster.
    fn clouds() -> Vec<Pole> {
        let scatter = |k: usize, width: f64| width * (1.0 + 37.0 * k as f64 + (11 * k * k) as f64).sin();
        let pole = |k: usize| {
            let mode = k % 7;
            let shape = DVector::from_fn(4, |i, _| {
                Complex::new(((mode / 2 + 1) * (i + 1)) as f64, 0.0).sin() + scatter(k + 1000 * i, 0.12)
            });
            let frequency = 3.0 * 1.02_f64.powi(mode as i32) * (1.0 + scatter(k, 0.012));
            let lambda = Complex::new(-0.01, 1.0) * (2.0 * std::f64::consts::PI * frequency);
            Pole::new(20 + k, 0, (lambda / 100.0).exp(), &shape, 100.0)
        };
        (0..300).map(pole).collect()
    }

    #[test]
    fn parts_change_no_cluster() {
        let poles = clouds();
        let poles: Vec<&Pole> = poles.iter().collect();
        for cut in [0.01, 0.03, 0.05] {
            let everything: Vec<usize> = (0..poles.len()).collect();
            let mut expected = link(&poles, &everything, cut);
            let mut found = average_linkage(&poles, cut);
            assert!(found.len() > 5 && parts(&poles, cut).len() > 1 && parts(&poles, cut).len() < found.len());
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
    }
}
