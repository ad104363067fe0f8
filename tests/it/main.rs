//! All integration tests in one binary: everything is linked once.

mod support;

#[path = "support/raw_files.rs"]
mod raw_files;

mod architecture; // the arrows between the rooms, and the length of a file

mod cli; // messages and exit codes of the command line

mod demo; // the whole worker on a structure of exactly known modes

mod ingest; // raw files of every dialect, and what is wrong with them

mod preprocess; // filters and decimation against other packages' figures, the prepared record

mod reference; // CPU sums and SSI against textbook forms and against other packages' figures

mod report; // the page

mod wire; // documents of earlier versions
