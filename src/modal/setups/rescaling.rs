//! One shape from the parts that setups have of it at common poles (PoGER).

use super::Layout;
use nalgebra::{Complex, DVector};

type C64 = Complex<f64>;

/// Brings the parts of a shape to the scale of the references.
///
/// What comes in is z: the shape at the references, then for one setup after the other the shape at all of its
/// channels. A setup's part is multiplied by the factor that brings its own references a nearest to those of all setups
/// b: α = aᴴb / (aᴴa).
#[derive(Debug, Clone, PartialEq)]
pub struct Rescaling {
    layout: Layout,
}

impl Rescaling {
    /// For setups of this layout.
    pub fn new(layout: &Layout) -> Rescaling {
        Rescaling { layout: layout.clone() }
    }

    /// The shape at the channels of all setups.
    pub fn join(&self, z: &DVector<C64>) -> DVector<C64> {
        let mut shape = self.of_references(z);
        for (rows, part, own) in self.parts(z) {
            let factor = factor(&own, z).0;
            rows.roving.iter().for_each(|roving| shape[roving.place] += part[roving.row] * factor * roving.share);
        }
        shape
    }

    /// Derivative of [`Rescaling::join`] where z changes by `d_z`.
    pub fn derivative(&self, z: &DVector<C64>, d_z: &DVector<C64>) -> DVector<C64> {
        let mut shape = self.of_references(d_z);
        for ((rows, part, own), (_, d_part, d_own)) in self.parts(z).zip(self.parts(d_z)) {
            let (factor, squares) = factor(&own, z);
            let references = z.rows(0, own.len());
            // aᴴa is real: dα = (daᴴ b + aᴴ db − α (daᴴ a + aᴴ da)) / aᴴa.
            let d_product = d_own.dotc(&references) + own.dotc(&d_z.rows(0, own.len()));
            let d_factor = (d_product - factor * (2.0 * own.dotc(&d_own).re)) / squares;
            for roving in &rows.roving {
                let moved = d_part[roving.row] * factor + part[roving.row] * d_factor;
                shape[roving.place] += moved * roving.share;
            }
        }
        shape
    }

    fn of_references(&self, z: &DVector<C64>) -> DVector<C64> {
        let mut shape = DVector::zeros(self.layout.channels.len());
        self.layout.references.iter().enumerate().for_each(|(c, &place)| shape[place] = z[c]);
        shape
    }

    /// Of each setup its rows, its part of z, and that at its references.
    fn parts<'a>(
        &'a self,
        z: &'a DVector<C64>,
    ) -> impl Iterator<Item = (&'a super::Rows, DVector<C64>, DVector<C64>)> + 'a {
        let mut start = self.layout.references.len();
        self.layout.setups.iter().map(move |rows| {
            let part = z.rows(start, rows.places.len()).into_owned();
            start += rows.places.len();
            let own = DVector::from_iterator(rows.references.len(), rows.references.iter().map(|&row| part[row]));
            (rows, part, own)
        })
    }
}

/// α and aᴴa. A part that is 0 at all references has no scale, and stays away.
fn factor(own: &DVector<C64>, z: &DVector<C64>) -> (C64, f64) {
    let squares = own.norm_squared();
    let product = own.dotc(&z.rows(0, own.len()));
    if squares > 0.0 { (product / squares, squares) } else { (C64::new(0.0, 0.0), 1.0) }
}
