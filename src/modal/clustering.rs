//! Hierarchical clustering of poles.

use super::poles::Pole;
use nalgebra::Complex;
use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;

/// Distance of two poles: |λ_a − λ_b| / max(|λ_a|, |λ_b|) + 1 − [`Pole::likeness`].
pub fn distance(a: &Pole, b: &Pole) -> f64 {
    let scale = a.lambda.norm().max(b.lambda.norm());
    (a.lambda - b.lambda).norm() / scale + 1.0 - a.likeness(b)
}

/// Poles as points: what the distances of many pairs take, prepared once.
struct Points {
    arch: Arch,
    lambda: Vec<Complex<f64>>,
    /// Numbers of a plane, a multiple of the widest vectors.
    plane: usize,
    /// Of each pole φ in re and im and the normal shape, each of norm 1; zeros where there is none.
    planes: Vec<f64>,
}

impl Points {
    fn of(poles: &[&Pole]) -> Points {
        const WIDEST: usize = 8;
        let channels = poles.iter().map(|pole| pole.shape.len()).max().unwrap_or(0);
        let plane = channels.next_multiple_of(WIDEST).max(WIDEST);
        let mut planes = vec![0.0; 3 * plane * poles.len()];
        planes.par_chunks_exact_mut(3 * plane).zip(poles).for_each(|(planes, pole)| {
            let inverse = |norm: f64| if norm > 0.0 { 1.0 / norm } else { 0.0 };
            let (re, rest) = planes.split_at_mut(plane);
            let (im, normal) = rest.split_at_mut(plane);
            let scale = inverse(pole.shape.norm());
            for ((re, im), z) in re.iter_mut().zip(im).zip(&pole.shape) {
                (*re, *im) = (z.re * scale, z.im * scale);
            }
            if let Some(shape) = pole.normal.as_ref().map(|normal| &normal.shape) {
                let scale = inverse(shape.norm());
                normal.iter_mut().zip(shape).for_each(|(to, z)| *to = z.re * scale);
            }
        });
        Points { arch: Arch::new(), lambda: poles.iter().map(|pole| pole.lambda).collect(), plane, planes }
    }

    /// [`distance`] of two of them.
    fn distance(&self, a: usize, b: usize) -> f64 {
        let (of_a, of_b) = (self.lambda[a], self.lambda[b]);
        let planes = |k: usize| &self.planes[3 * self.plane * k..][..3 * self.plane];
        let likeness = self.arch.dispatch(Likeness { plane: self.plane, a: planes(a), b: planes(b) });
        (of_a - of_b).norm() / of_a.norm().max(of_b.norm()) + 1.0 - likeness
    }
}

/// The larger one of the MACs of φ and of the normal shapes.
struct Likeness<'a> {
    plane: usize,
    a: &'a [f64],
    b: &'a [f64],
}

impl WithSimd for Likeness<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (a, b): (&[S::f64s], &[S::f64s]) = (bytemuck::cast_slice(self.a), bytemuck::cast_slice(self.b));
        let vectors = self.plane / S::F64_LANES;
        let ((a_re, a), (b_re, b)) = (a.split_at(vectors), b.split_at(vectors));
        let ((a_im, a_normal), (b_im, b_normal)) = (a.split_at(vectors), b.split_at(vectors));
        let zero = simd.splat_f64s(0.0);
        let mut sums = [zero; 5];
        for ((a_re, a_im), (b_re, b_im)) in a_re.iter().zip(a_im).zip(b_re.iter().zip(b_im)) {
            sums[0] = simd.mul_add_e_f64s(*a_re, *b_re, sums[0]);
            sums[1] = simd.mul_add_e_f64s(*a_im, *b_im, sums[1]);
            sums[2] = simd.mul_add_e_f64s(*a_re, *b_im, sums[2]);
            sums[3] = simd.mul_add_e_f64s(*a_im, *b_re, sums[3]);
        }
        for (a, b) in a_normal.iter().zip(b_normal) {
            sums[4] = simd.mul_add_e_f64s(*a, *b, sums[4]);
        }
        let re = simd.reduce_sum_f64s(simd.add_f64s(sums[0], sums[1]));
        let im = simd.reduce_sum_f64s(simd.sub_f64s(sums[2], sums[3]));
        (re * re + im * im).max(simd.reduce_sum_f64s(sums[4]).powi(2))
    }
}

/// Clusters by average linkage, cut at `cut`; lists of indices into `poles`, each ascending.
///
/// Deterministic: ties go to the pole that comes first, and the clusters come in the order of their first pole's
/// frequency. Memory grows with the square of the largest part that hangs together up to the cut, not of all poles.
pub fn average_linkage(poles: &[&Pole], cut: f64) -> Vec<Vec<usize>> {
    let points = Points::of(poles);
    let parts = parts(poles, &points, cut);
    let mut clusters: Vec<_> = parts.into_iter().flat_map(|part| link(&points, &part, cut)).collect();
    clusters.sort_by(|a, b| poles[a[0]].frequency_hz.total_cmp(&poles[b[0]].frequency_hz).then(a[0].cmp(&b[0])));
    clusters
}

/// Parts that can be clustered each by itself, ascending in frequency: the components of the graph in which poles are
/// joined up to the distance `cut`. Two clusters merge where their mean distance is at most the cut, and then that of
/// some pair is.
fn parts(poles: &[&Pole], points: &Points, cut: f64) -> Vec<Vec<usize>> {
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
                if !found.contains(&first_of[j]) && points.distance(sorted[i], sorted[j]) <= cut {
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

fn link(points: &Points, part: &[usize], cut: f64) -> Vec<Vec<usize>> {
    let n = part.len();
    if n == 1 {
        return vec![part.to_vec()];
    }
    let to_later = |i: usize| (i + 1..n).map(move |j| points.distance(part[i], part[j]));
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
    let points = Points::of(&cluster.iter().map(|&member| poles[member]).collect::<Vec<_>>());
    let mut sums = vec![0.0; cluster.len()];
    for i in 0..cluster.len() {
        for j in i + 1..cluster.len() {
            let distance = points.distance(i, j);
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
    use super::super::shapes::{self, NormalShape};
    use super::*;
    use nalgebra::DVector;

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
    fn distances_are_those_of_the_formula() {
        let mut poles = clouds();
        for (k, pole) in poles.iter_mut().enumerate().filter(|(k, _)| k % 3 > 0) {
            let g = pole.shape.map(|z| z * Complex::new(1.0, 0.01 * k as f64) + Complex::new(0.02, 0.0));
            let (phi, g) = (shapes::real(&pole.shape).unwrap(), shapes::real(&g).unwrap());
            pole.normal = Some(NormalShape::new(&phi, &g, 0.0));
        }
        poles[7].shape.fill(Complex::default());
        let poles: Vec<&Pole> = poles.iter().collect();
        let points = Points::of(&poles);
        for a in 0..20 {
            for b in 0..20 {
                let (of_a, of_b) = (poles[a].lambda, poles[b].lambda);
                let expected = (of_a - of_b).norm() / of_a.norm().max(of_b.norm()) + 1.0 - poles[a].likeness(poles[b]);
                assert!((points.distance(a, b) - expected).abs() <= 1e-14, "{a} and {b}");
            }
        }
    }

    #[test]
    fn parts_change_no_cluster() {
        let poles = clouds();
        let poles: Vec<&Pole> = poles.iter().collect();
        for cut in [0.01, 0.03, 0.05] {
            let everything: Vec<usize> = (0..poles.len()).collect();
            let points = Points::of(&poles);
            let mut expected = link(&points, &everything, cut);
            let mut found = average_linkage(&poles, cut);
            let parts = parts(&poles, &points, cut).len();
            assert!(found.len() > 5 && parts > 1 && parts < found.len());
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
    }
}
