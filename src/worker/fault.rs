//! What can go wrong with a run, in the four words that decide what becomes of it.

use super::execute::ExecuteError;
use crate::pipeline::PipelineError;
use crate::stores::StoreErrorKind;

/// Why a computation left no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The same again would fail again: ERROR, with a word for machines and a sentence for the user.
    Permanent {
        /// The word.
        code: String,
        /// The sentence.
        message: String,
    },
    /// It may succeed later: the run is released.
    Transient(String),
    /// This machine cannot do it for now (a full disk), another one may: the run is released at once and this worker
    /// rests.
    Unfit(String),
    /// It was told to stop.
    Aborted,
}

impl Fault {
    /// A permanent fault.
    pub fn permanent(code: &str, message: impl Into<String>) -> Fault {
        Fault::Permanent { code: code.into(), message: message.into() }
    }
}

/// The one place in which errors become faults.
pub(super) fn classify(error: ExecuteError) -> Fault {
    let message = error.to_string();
    match error {
        ExecuteError::MissingStructure { .. } => Fault::permanent("missing_structure", message),
        ExecuteError::NoChannels { .. } => Fault::permanent("no_channels", message),
        ExecuteError::NoFiles { .. } => Fault::permanent("no_files", message),
        ExecuteError::MissingFile { .. } => Fault::permanent("missing_file", message),
        ExecuteError::Setup { error, .. } => match classify(*error) {
            Fault::Permanent { code, .. } => Fault::permanent(&code, message),
            Fault::Transient(_) => Fault::Transient(message),
            Fault::Unfit(_) => Fault::Unfit(message),
            aborted => aborted,
        },
        ExecuteError::Analysis { .. } => Fault::permanent("bad_analysis", message),
        ExecuteError::Parameter(_) => Fault::permanent("bad_parameter", message),
        ExecuteError::Store(error) if error.kind == StoreErrorKind::Local => Fault::Unfit(message),
        ExecuteError::Store(error) if error.is_transient() => Fault::Transient(message),
        ExecuteError::Store(_) => Fault::permanent("bad_document", message),
        ExecuteError::Local { .. } | ExecuteError::Pipeline(PipelineError::Transient(_)) => Fault::Unfit(message),
        ExecuteError::Encode(_) => Fault::permanent("internal", message),
        ExecuteError::Pipeline(PipelineError::Cancelled(_)) => Fault::Aborted,
        ExecuteError::Pipeline(PipelineError::Permanent { code, .. }) => Fault::permanent(code, message),
        ExecuteError::Pipeline(PipelineError::Cache(_)) => Fault::Transient(message),
    }
}
