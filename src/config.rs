//! Every setting once: its variable, its flag, its default and what it accepts. The only reader of the environment.
//!
//! A `.env` file of the working folder counts as environment where the environment itself is silent. Empty means
//! unset. All settings are checked before anything is opened, and everything that is wrong is said at once.

mod servers;

pub use servers::ServerArgs;

use crate::compute::select::Choice;
use crate::stores::servers::ServerSettings;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    setting: &'static str,
    /// `None`: there is none, and it is needed.
    value: Option<String>,
    accepted: String,
}

/// All settings that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { setting, value, accepted } = self;
        match value {
            Some(value) => write!(f, "{setting} is {value:?}, must be {accepted}"),
            None => write!(f, "{setting} is not set, must be {accepted}"),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = if self.0.len() == 1 { "a setting" } else { "settings" };
        write!(f, "{settings} cannot be used:")?;
        self.each().try_for_each(|fault| write!(f, "\n  {fault}"))?;
        self.remedies().try_for_each(|remedy| write!(f, "\n{remedy}"))
    }
}

impl Faults {
    /// One line for each setting.
    pub(crate) fn each(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(Fault::to_string)
    }

    /// What to do about them.
    pub(crate) fn remedies(&self) -> impl Iterator<Item = &'static str> {
        let is_unset = self.0.iter().any(|fault| fault.value.is_none());
        let without = "With `--embedded DIR` all stores are in a folder and no servers are needed";
        let set = "Set these in the environment, in a .env file or by the flags of `oma-worker run --help`";
        is_unset.then_some(without).into_iter().chain([set])
    }

    fn add(&mut self, setting: &'static str, value: &str, accepted: impl Into<String>) {
        self.0.push(Fault { setting, value: Some(value.into()), accepted: accepted.into() });
    }

    fn unset(&mut self, setting: &'static str, accepted: impl Into<String>) {
        self.0.push(Fault { setting, value: None, accepted: accepted.into() });
    }

    /// `value` where nothing is at fault.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn or<T>(self, value: T) -> Result<T, Faults> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// Reads `.env` in the working folder into the environment; what is set already stays.
///
/// # Errors
/// [`Faults`] when the file is there and cannot be read.
pub fn load_env_file() -> Result<(), Faults> {
    let path = Path::new(".env");
    if !path.exists() {
        return Ok(());
    }
    let mut faults = Faults::default();
    match dotenvy::from_path(path) {
        Ok(()) => {}
        Err(dotenvy::Error::LineParse(line, position)) => {
            faults.add(".env", &line, format!("a file of NAME=value lines; this one breaks at character {position}"));
        }
        Err(error) => faults.add(".env", &error.to_string(), "a readable file of NAME=value lines"),
    }
    faults.or(())
}

/// Whether colours are wanted on a stream.
pub fn colours(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Variables that look like settings of this program and are none of this version, with the nearest one that is.
pub fn unknown_variables() -> Vec<String> {
    // Variables of the test suite.
    let is_other = |name: &str| ["OMA_REAL_DATA", "OMA_BLESS"].contains(&name) || name.starts_with("OMA_TEST_");
    let mut command = <WorkerArgs as clap::Args>::augment_args(clap::Command::new("settings"));
    command = <ServerArgs as clap::Args>::augment_args(command);
    command = <LogArgs as clap::Args>::augment_args(command);
    let known: Vec<String> =
        command.get_arguments().filter_map(|a| a.get_env()).map(|v| v.to_string_lossy().into_owned()).collect();
    let mut lines: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("OMA_") && !known.contains(name) && !is_other(name))
        .map(|name| {
            let nearest = known
                .iter()
                .max_by(|a, b| strsim::jaro_winkler(a, &name).total_cmp(&strsim::jaro_winkler(b, &name)))
                .map(|nearest| format!(", the nearest one is {nearest}"));
            format!("{name} is set, but is no setting of this version{}", nearest.unwrap_or_default())
        })
        .collect();
    lines.sort();
    lines
}

/// Where compiled kernels of a GPU are kept: the service's cache folder (`CACHE_DIRECTORY`, set by systemd), or the user's.
pub fn kernel_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let users = || folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let kept = folder("CACHE_DIRECTORY").or_else(|| Some(users()?.join("oma-worker")));
    kept.filter(|folder| folder.is_absolute())
}

/// Where computations run.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct BackendArgs {
    /// Where to compute: auto, cpu or gpu
    #[arg(long, env = "OMA_BACKEND", default_value = default::BACKEND, value_name = "BACKEND", hide_env_values = true)]
    backend: String,
    /// Which GPU: a part of its name, or its PCI bus id [default: the first real one]
    #[arg(long, env = "OMA_GPU_ADAPTER", value_name = "NAME", hide_env_values = true)]
    gpu_adapter: Option<String>,
}

/// Where computations run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendSettings {
    /// Which kind.
    pub choice: Choice,
    /// Part of the adapter's name, or its PCI bus id.
    pub adapter: Option<String>,
}

impl BackendArgs {
    /// Checks the settings; whether the adapter is there is not looked at.
    ///
    /// # Errors
    /// [`Faults`] when there is no such backend.
    pub fn check(&self) -> Result<BackendSettings, Faults> {
        let mut faults = Faults::default();
        let settings = self.collect(&mut faults);
        faults.or(settings)
    }

    fn collect(&self, faults: &mut Faults) -> BackendSettings {
        let choice = match self.backend.as_str() {
            "" | "auto" => Choice::Auto,
            "cpu" => Choice::Cpu,
            "gpu" => Choice::Gpu,
            other => {
                faults.add("OMA_BACKEND (--backend)", other, "auto, cpu or gpu");
                Choice::Auto
            }
        };
        BackendSettings { choice, adapter: self.gpu_adapter.clone().filter(|v| !v.is_empty()) }
    }
}

/// What is logged, and where to.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or a filter such as info,oma_worker::worker=debug
    /// [default: info for `run`, warn for the others]
    #[arg(long, env = "OMA_LOG", value_name = "FILTER", global = true, hide_env_values = true)]
    log: Option<String>,
    /// Log what is done in detail: the same as --log info,oma_worker=debug
    #[arg(short, long, global = true)]
    verbose: bool,
    /// How to log: text, or json (one object a line)
    #[arg(long, env = "OMA_LOG_FORMAT", default_value = default::LOG_FORMAT, value_name = "FORMAT", global = true, hide_env_values = true)]
    log_format: String,
    /// Folder for one log file a day, beside standard error; the last 14 stay
    #[arg(long, env = "LOGS_PATH", value_name = "DIR", global = true, hide_env_values = true)]
    logs_path: Option<String>,
}

/// The shape of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Checked settings of the log.
#[derive(Debug)]
pub struct LogSettings {
    /// What is logged.
    pub filter: tracing_subscriber::EnvFilter,
    /// The shape of a line.
    pub format: LogFormat,
    /// Folder of the daily files.
    pub logs_path: Option<PathBuf>,
}

impl LogArgs {
    /// Checks the settings; `default_filter` holds where none is given.
    ///
    /// # Errors
    /// All [`Faults`].
    pub fn check(&self, default_filter: &str) -> Result<LogSettings, Faults> {
        let mut faults = Faults::default();
        let settings = self.collect(default_filter, &mut faults);
        faults.or(settings)
    }

    fn collect(&self, default_filter: &str, faults: &mut Faults) -> LogSettings {
        /// Without the debugging of libraries.
        const VERBOSE: &str = "info,oma_worker=debug";
        let given = if self.verbose { Some(VERBOSE) } else { self.log.as_deref().filter(|v| !v.is_empty()) };
        let filter = given.unwrap_or(default_filter).parse().unwrap_or_else(|error| {
            faults.add(
                "OMA_LOG (--log)",
                given.unwrap_or_default(),
                format!("a level or a list of target=level ({error})"),
            );
            tracing_subscriber::EnvFilter::default()
        });
        let format = match self.log_format.as_str() {
            "" | "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                faults.add("OMA_LOG_FORMAT (--log-format)", other, "text or json");
                LogFormat::Text
            }
        };
        LogSettings { filter, format, logs_path: path(self.logs_path.as_deref()) }
    }
}

/// The settings of the worker, whatever its stores.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct WorkerArgs {
    /// Seconds between two looks at an empty queue
    #[arg(long, env = "SLEEP_TIME", default_value = default::SLEEP_TIME, value_name = "SECONDS", hide_env_values = true)]
    sleep_time: String,
    /// Folder for raw files and intermediate records [default: `data` in the workspace]
    #[arg(long, env = "DATA_PATH", value_name = "DIR", hide_env_values = true)]
    data_path: Option<String>,
    /// Seconds after which a worker that gives no sign of life loses its run to another
    #[arg(long, env = "OMA_LEASE_SECONDS", default_value = default::LEASE_SECONDS, value_name = "SECONDS", hide_env_values = true)]
    lease_seconds: String,
    /// How often a run is started at most before it ends in ERROR
    #[arg(long, env = "OMA_MAX_ATTEMPTS", default_value = default::MAX_ATTEMPTS, value_name = "N", hide_env_values = true)]
    max_attempts: String,
    /// Seconds that one run may take
    #[arg(long, env = "OMA_RUN_TIMEOUT_SECONDS", default_value = default::RUN_TIMEOUT_SECONDS, value_name = "SECONDS", hide_env_values = true)]
    run_timeout_seconds: String,
    /// Seconds that SIGTERM leaves a run to end by itself before it goes back into the queue
    #[arg(long, env = "OMA_DRAIN_SECONDS", default_value = default::DRAIN_SECONDS, value_name = "SECONDS", hide_env_values = true)]
    drain_seconds: String,
    /// MiB that the matrices of one run may take: one that needs more ends in ERROR [default: no limit]
    #[arg(long, env = "OMA_MEMORY_LIMIT_MIB", value_name = "MIB", hide_env_values = true)]
    memory_limit_mib: Option<String>,
    /// yes: an HTML page of each result is put into CACHE_BUCKET; or no
    #[arg(long, env = "OMA_REPORTS", default_value = default::REPORTS, value_name = "YES|NO", hide_env_values = true)]
    reports: String,
    /// Earlier results of the structure over which modes are tracked
    #[arg(long, env = "OMA_TRACKED_RESULTS", default_value = default::TRACKED_RESULTS, value_name = "N", hide_env_values = true)]
    tracked_results: String,
    /// Anything: raw files are found under the names of tenant, structure and sensor instead of their ids
    #[arg(long, env = "USE_S3_STRING_PATHS", value_name = "ANY", hide_env_values = true)]
    use_s3_string_paths: Option<String>,
    /// Address for /live, /ready, /metrics and /status, e.g. 0.0.0.0:8080; unset: none
    #[arg(long, env = "OMA_HTTP_ADDR", value_name = "ADDRESS", hide_env_values = true)]
    http_addr: Option<String>,
    #[command(flatten)]
    backend: BackendArgs,
}

/// The defaults of contract §2.
mod default {
    pub(super) const SLEEP_TIME: &str = "5";
    pub(super) const LEASE_SECONDS: &str = "60";
    pub(super) const MAX_ATTEMPTS: &str = "3";
    pub(super) const RUN_TIMEOUT_SECONDS: &str = "21600";
    pub(super) const DRAIN_SECONDS: &str = "25";
    pub(super) const REPORTS: &str = "no";
    pub(super) const TRACKED_RESULTS: &str = "0";
    pub(super) const BACKEND: &str = "auto";
    pub(super) const LOG_FORMAT: &str = "text";
}

/// Checked settings of the worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Between two looks at an empty queue.
    pub sleep_time: Duration,
    /// Folder for raw files and intermediate records.
    pub data_path: Option<PathBuf>,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// Starts of one run at most.
    pub max_attempts: u32,
    /// Longest computation.
    pub run_timeout: Duration,
    /// What SIGTERM leaves a run.
    pub drain: Duration,
    /// MiB that the matrices of one run may take; `None`: no limit.
    pub memory_limit_mib: Option<u64>,
    /// Whether a page of each result is kept beside it.
    pub reports: bool,
    /// Earlier results of the structure over which modes are tracked.
    pub tracked_results: usize,
    /// Whether the keys of raw files are made of names instead of ids.
    pub string_paths: bool,
    /// Where HTTP is served; `None`: nowhere.
    pub http_addr: Option<SocketAddr>,
    /// Where computations run.
    pub backend: BackendSettings,
}

const DAY: f64 = 86_400.0;

impl Default for Settings {
    /// What holds where nothing is set.
    fn default() -> Settings {
        WorkerArgs::default().collect(&mut Faults::default())
    }
}

impl WorkerArgs {
    /// Checks all settings of the worker and of its log together.
    ///
    /// # Errors
    /// All [`Faults`].
    pub fn check(&self, log: &LogArgs) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        log.collect("info", &mut faults);
        let settings = self.collect(&mut faults);
        faults.or(settings)
    }

    /// The same with the settings of the servers.
    ///
    /// # Errors
    /// All [`Faults`].
    pub fn check_with(&self, servers: &ServerArgs, log: &LogArgs) -> Result<(Settings, ServerSettings), Faults> {
        let mut faults = Faults::default();
        log.collect("info", &mut faults);
        let settings = self.collect(&mut faults);
        if settings.data_path.is_none() {
            faults.unset("DATA_PATH", "a folder for raw files and intermediate records");
        }
        let servers = servers.collect(settings.string_paths, &mut faults);
        faults.or((settings, servers))
    }

    fn collect(&self, faults: &mut Faults) -> Settings {
        Settings {
            backend: self.backend.collect(faults),
            sleep_time: seconds("SLEEP_TIME", &self.sleep_time, default::SLEEP_TIME, 0.05..=DAY, faults),
            data_path: path(self.data_path.as_deref()),
            // A heartbeat comes every quarter of it: below a second the store could not keep up.
            lease: seconds("OMA_LEASE_SECONDS", &self.lease_seconds, default::LEASE_SECONDS, 1.0..=DAY, faults),
            max_attempts: count("OMA_MAX_ATTEMPTS", &self.max_attempts, default::MAX_ATTEMPTS, 1..=1000, faults),
            run_timeout: seconds(
                "OMA_RUN_TIMEOUT_SECONDS",
                &self.run_timeout_seconds,
                default::RUN_TIMEOUT_SECONDS,
                1.0..=30.0 * DAY,
                faults,
            ),
            drain: seconds("OMA_DRAIN_SECONDS", &self.drain_seconds, default::DRAIN_SECONDS, 0.0..=DAY, faults),
            memory_limit_mib: memory_limit(self.memory_limit_mib.as_deref(), faults),
            reports: yes_or_no("OMA_REPORTS", &self.reports, default::REPORTS, faults),
            // Each one is read before the run ends.
            tracked_results: count(
                "OMA_TRACKED_RESULTS",
                &self.tracked_results,
                default::TRACKED_RESULTS,
                0..=1000,
                faults,
            ) as usize,
            string_paths: self.use_s3_string_paths.as_deref().is_some_and(|v| !v.is_empty()),
            http_addr: address(self.http_addr.as_deref(), faults),
        }
    }
}

fn path(given: Option<&str>) -> Option<PathBuf> {
    given.filter(|v| !v.is_empty()).map(PathBuf::from)
}

fn address(given: Option<&str>, faults: &mut Faults) -> Option<SocketAddr> {
    let text = given.filter(|v| !v.is_empty())?;
    let address = text.parse();
    if address.is_err() {
        faults.add("OMA_HTTP_ADDR", text, "an IP address and a port, e.g. 0.0.0.0:8080");
    }
    address.ok()
}

fn seconds(
    setting: &'static str,
    given: &str,
    default: &str,
    accepted: RangeInclusive<f64>,
    faults: &mut Faults,
) -> Duration {
    let text = if given.is_empty() { default } else { given };
    match text.parse::<f64>() {
        Ok(value) if accepted.contains(&value) => Duration::from_secs_f64(value),
        _ => {
            let limit = format!("a number of seconds from {} to {}", accepted.start(), accepted.end());
            faults.add(setting, text, limit);
            Duration::ZERO
        }
    }
}

fn count(setting: &'static str, given: &str, default: &str, accepted: RangeInclusive<u32>, faults: &mut Faults) -> u32 {
    let text = if given.is_empty() { default } else { given };
    match text.parse() {
        Ok(value) if accepted.contains(&value) => value,
        _ => {
            faults.add(setting, text, format!("a whole number from {} to {}", accepted.start(), accepted.end()));
            0
        }
    }
}

fn yes_or_no(setting: &'static str, given: &str, default: &str, faults: &mut Faults) -> bool {
    match if given.is_empty() { default } else { given } {
        "yes" => true,
        "no" => false,
        other => {
            faults.add(setting, other, "yes or no");
            false
        }
    }
}

fn memory_limit(given: Option<&str>, faults: &mut Faults) -> Option<u64> {
    let text = given.filter(|v| !v.is_empty())?;
    match text.parse() {
        Ok(mib @ 1..) => Some(mib),
        _ => {
            faults.add("OMA_MEMORY_LIMIT_MIB", text, "a whole number of MiB of at least 1");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct All {
        #[command(flatten)]
        worker: WorkerArgs,
        #[command(flatten)]
        log: LogArgs,
    }

    fn check(flags: &[&str]) -> Result<Settings, Faults> {
        let all = All::try_parse_from(std::iter::once(&"oma-worker").chain(flags)).unwrap();
        all.worker.check(&all.log)
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let expected = Settings {
            sleep_time: Duration::from_secs(5),
            data_path: None,
            lease: Duration::from_secs(60),
            max_attempts: 3,
            run_timeout: Duration::from_secs(6 * 3600),
            drain: Duration::from_secs(25),
            memory_limit_mib: None,
            reports: false,
            tracked_results: 0,
            string_paths: false,
            http_addr: None,
            backend: BackendSettings { choice: Choice::Auto, adapter: None },
        };
        assert_eq!(check(&[]).unwrap(), expected);
        assert_eq!(Settings::default(), expected);
    }

    #[test]
    fn empty_means_unset() {
        let flags = [
            "--sleep-time=",
            "--data-path=",
            "--use-s3-string-paths=",
            "--max-attempts=",
            "--memory-limit-mib=",
            "--reports=",
            "--tracked-results=",
            "--backend=",
            "--log=",
            "--log-format=",
        ];
        assert_eq!(check(&flags).unwrap(), check(&[]).unwrap());
    }

    #[test]
    fn all_faults_are_said_together_with_name_and_limit() {
        let flags = [
            "--sleep-time=soon",
            "--lease-seconds=NaN",
            "--max-attempts=0",
            "--backend=tpu",
            "--reports=maybe",
            "--tracked-results=1001",
            "--log-format=xml",
        ];
        let text = check(&flags).unwrap_err().to_string();
        for part in [
            "SLEEP_TIME is \"soon\"",
            "OMA_LEASE_SECONDS is \"NaN\"",
            "OMA_MAX_ATTEMPTS is \"0\"",
            "tpu",
            "OMA_REPORTS is \"maybe\"",
            "OMA_TRACKED_RESULTS is \"1001\"",
            "xml",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(text.contains("from 1 to 1000") && text.contains("text or json"), "{text}");
    }
}
