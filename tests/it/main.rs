//! All integration tests in one binary: everything is linked once.

mod support;

mod reference; // CPU sums and SSI against textbook forms and against other packages' figures
