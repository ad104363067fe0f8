//! All integration tests in one binary: everything is linked once.

mod support;

mod architecture; // the arrows between the rooms, and the length of a file

mod cli; // messages and exit codes of the command line

mod demo; // the whole worker on a structure of exactly known modes

mod reference; // CPU sums and SSI against textbook forms and against other packages' figures

mod report; // the page

mod wire; // documents of earlier versions
