//! All integration tests in one binary: everything is linked once.

mod support;

mod automatic; // automatic modes on records with known truth
mod chains; // automatic modes over many chains
mod reference; // CPU sums and SSI against textbook forms and against other packages' figures
