//! What the program says while it works: `tracing` to standard error, and to one file a day (UTC) where a folder is
//! set. When a file is begun, the oldest go.

use crate::config::{LogFormat, LogSettings, colours};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{InitError, Rotation};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

/// How many daily files stay: two weeks, after which nobody asks about a run any more.
const FILES: usize = 14;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The folder cannot be written to.
    #[error("LOGS_PATH: no log file can be opened in {path}: {source}, name a folder that can be written to")]
    Folder {
        /// The folder.
        path: String,
        /// What the system said.
        source: InitError,
    },
    /// Somebody was first.
    #[error("the log was started twice")]
    Twice(#[from] TryInitError),
}

/// Keeps the log files open; what is still unwritten is written when it goes.
pub struct LogGuard(#[expect(dead_code, reason = "held for its drop, which flushes the file")] Option<WorkerGuard>);

/// Starts the log of the process.
///
/// # Errors
/// [`TelemetryError`] when the folder of the log files cannot be used, or on a second call.
pub fn start(settings: LogSettings) -> Result<LogGuard, TelemetryError> {
    let mut layers = vec![lines(settings.format, colours(&std::io::stderr()), std::io::stderr)];
    let mut guard = None;
    if let Some(folder) = &settings.logs_path {
        let file = tracing_appender::rolling::Builder::new()
            .rotation(Rotation::DAILY)
            .filename_prefix("oma-worker")
            .filename_suffix("log")
            .max_log_files(FILES)
            .build(folder)
            .map_err(|source| TelemetryError::Folder { path: folder.display().to_string(), source })?;
        let (writer, file_guard) = tracing_appender::non_blocking(file);
        layers.push(lines(settings.format, false, writer));
        guard = Some(file_guard);
    }
    tracing_subscriber::registry().with(layers.with_filter(settings.filter)).try_init()?;
    Ok(LogGuard(guard))
}

fn lines<W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_ansi(false).boxed(),
    }
}
