//! What the program says and how it ends, for good input and for every kind of bad input: one sentence that names
//! what is wrong, the exit code that belongs to it, never a panic.

mod setups;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder to work in and the program, with an empty environment.
struct Shell {
    folder: TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

/// What a command left.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn new() -> Shell {
        Shell { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Shell {
        self.variables.push((name, value));
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Shell {
        fs::write(self.path().join(name), content).unwrap();
        self
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oma-worker"));
        command.env_clear().envs(self.variables.iter().copied()).current_dir(self.path()).stdin(Stdio::null());
        command.args(line.split_whitespace());
        command
    }

    fn run(&self, line: &str) -> Ended {
        let Output { status, stdout, stderr } = self.command(line).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: status.code().expect("the program ends by itself"), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The command fails with this exit code and a message that has all of these parts.
    #[track_caller]
    fn fails(&self, line: &str, code: i32, parts: &[&str]) {
        let ended = self.run(line);
        let said = &ended.stderr;
        assert_eq!(ended.code, code, "`{line}` said: {said}");
        assert!(said.lines().any(|l| l.starts_with("oma-worker: ")), "`{line}` has no prefix: {said}");
        assert!(!said.contains("panicked"), "`{line}` panics: {said}");
        assert!(!said.contains('\u{1b}'), "`{line}` colours what no terminal shows: {said}");
        assert_eq!(ended.stdout, "", "`{line}` prints a result all the same");
        for part in parts {
            assert!(said.to_lowercase().contains(&part.to_lowercase()), "`{line}` does not say {part:?}: {said}");
        }
    }
}

/// Two channels of a deterministic noise with a header, `samples` rows.
fn record(samples: usize) -> String {
    // A linear congruential generator (Numerical Recipes): any broadband signal will do.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(u32::MAX) - 0.5
    };
    let rows = (0..samples).map(|_| format!("{:.6},{:.6}\n", next(), next()));
    std::iter::once("a,b\n".to_owned()).chain(rows).collect()
}

mod files {
    use super::*;

    #[test]
    fn an_empty_file_is_named() {
        Shell::new().file("r.csv", "").fails("analyze r.csv --method fdd --fs 100", 1, &["r.csv", "empty"]);
    }

    #[test]
    fn a_header_without_rows_is_no_record() {
        Shell::new().file("r.csv", "a,b\n").fails("analyze r.csv --method fdd --fs 100", 1, &["r.csv", "header"]);
    }

    #[test]
    fn text_in_the_middle_is_found_with_its_line() {
        let text = record(500).replacen("\n0.", "\n0.1,oops\n0.", 3);
        Shell::new().file("r.csv", text).fails("analyze r.csv --method fdd --fs 100", 1, &["r.csv", "oops", "line"]);
    }

    #[test]
    fn a_channel_without_a_number_is_named() {
        let rows = "nan,nan\n".repeat(4000);
        Shell::new().file("r.csv", format!("a,b\n{rows}")).fails(
            "analyze r.csv --method ssi-cov --fs 100",
            1,
            &["channel \"a\"", "every value"],
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let shell = Shell::new().file("record-1.csv", record(300));
        shell.fails("analyze gone.csv --method fdd --fs 100", 1, &["gone.csv", "no such file"]);
        assert!(!shell.run("analyze gone.csv --method fdd").stderr.contains("did you mean"));
        shell.fails("analyze ./recrod-1.csv --method fdd", 1, &["no such file", "did you mean ./record-1.csv?"]);
    }

    #[test]
    fn a_folder_is_no_record() {
        let shell = Shell::new();
        fs::create_dir(shell.path().join("r.csv")).unwrap();
        shell.fails("analyze r.csv --method fdd --fs 100", 1, &["r.csv", "directory"]);
    }

    #[test]
    fn bytes_that_are_no_npy_are_said_to_be_none() {
        Shell::new().file("r.npy", [0_u8, 159, 146, 150]).fails(
            "analyze r.npy --method fdd --fs 100",
            1,
            &["r.npy", "NPY"],
        );
    }

    #[test]
    fn a_record_without_time_needs_a_sampling_rate() {
        Shell::new().file("r.csv", record(4000)).fails("analyze r.csv --method fdd", 1, &["--fs"]);
    }
}

mod parameters {
    use super::*;

    #[test]
    fn a_record_shorter_than_a_segment_is_said_with_both_lengths() {
        Shell::new().file("r.csv", record(300)).fails(
            "analyze r.csv --method fdd --fs 100 --set segment_length=1024",
            1,
            &["300", "1024", "segment_length"],
        );
    }

    #[test]
    fn a_record_shorter_than_the_lags_is_said_with_both_lengths() {
        Shell::new().file("r.csv", record(300)).fails(
            "analyze r.csv --method ssi-cov --fs 100 --set block_rows=200",
            1,
            &["300", "block_rows", "200"],
        );
    }

    #[test]
    fn an_order_that_the_matrix_does_not_have_is_said_with_its_limit() {
        Shell::new().file("r.csv", record(4000)).fails(
            "analyze r.csv --method ssi-cov --fs 100 --set block_rows=5 --set order_max=60",
            1,
            &["order_max is 60", "at most 8", "block_rows"],
        );
    }

    #[test]
    fn a_band_beyond_nyquist_is_said_with_the_limit() {
        let shell = Shell::new().file("r.csv", record(4000));
        let parts = ["band_high_hz", "80", "50"];
        shell.fails("analyze r.csv --method fdd --fs 100 --set band_high_hz=80", 1, &parts);
        shell.fails("analyze r.csv --method ssi-cov --fs 100 --set band_high_hz=80", 1, &parts);
    }

    #[test]
    fn a_sampling_rate_is_above_zero() {
        let shell = Shell::new().file("r.csv", record(300));
        for fs in ["-100", "0", "NaN", "inf", "fast"] {
            shell.fails(&format!("analyze r.csv --method fdd --fs {fs}"), 2, &["--fs", fs, "above 0"]);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_by_the_nearest_known_one() {
        let shell = Shell::new().file("r.csv", record(300)).file("p.json", r#"{"ssi": {"blok_rows": 20}}"#);
        for extra in ["--set blok_rows=20", "--parameters p.json"] {
            let line = format!("analyze r.csv --method ssi-cov --fs 100 {extra}");
            shell.fails(&line, 2, &["blok_rows", "did you mean", "block_rows"]);
        }
        shell.fails("analyze r.csv --method fdd --fs 100 --set blok_rows=2", 2, &["did you mean \"block_rows\""]);
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        let shell = Shell::new().file("r.csv", record(300));
        shell.fails(
            "analyze r.csv --method ssi-cov --fs 100 --set order_max=many",
            2,
            &["order_max", "many", "whole number"],
        );
        shell.fails("analyze r.csv --method ssi-cov --fs 100 --set weighting=best", 2, &["weighting", "best", "upc"]);
        shell.fails("analyze r.csv --method ssi-cov --fs 100 --set order_max=-4", 2, &["order_max", "-4"]);
    }

    #[test]
    fn channels_that_the_record_does_not_have_are_named_with_those_that_it_has() {
        let shell = Shell::new().file("r.csv", record(4000));
        shell.fails("analyze r.csv --method fdd --fs 100 --channels ghost", 1, &["ghost"]);
        shell.fails("analyze r.csv --method ssi-cov --fs 100 --reference-channels ghost", 1, &["reference", "ghost"]);
    }

    #[test]
    fn a_parameter_file_must_hold_an_object() {
        let shell = Shell::new().file("r.csv", record(300)).file("p.json", "[1, 2]");
        shell.fails("analyze r.csv --method fdd --parameters p.json", 2, &["p.json", "object"]);
        shell.fails("analyze r.csv --method fdd --parameters gone.json", 2, &["gone.json", "no such file"]);
    }
}

mod results {
    use super::*;

    #[test]
    fn a_record_leaves_table_sketch_page_document_and_export() {
        let shell = Shell::new().file("r.csv", record(4000));
        let line = "analyze r.csv --method fdd --fs 100 --output r.json --report r.html --export out";
        let ended = shell.run(line);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stdout.contains("first singular value") && ended.stdout.contains("50.0 Hz"), "{}", ended.stdout);
        assert!(!ended.stdout.contains('\u{1b}'), "a file is coloured");
        assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100));
        let page = fs::read_to_string(shell.path().join("r.html")).unwrap();
        for part in ["Modes by fdd", "Record and channels", "Time history"] {
            assert!(page.contains(part), "{part} is missing on the page");
        }
        assert!(shell.path().join("out/spectra.npy").is_file());

        // The page of the document shows what the page of the analysis shows of the modes.
        let again = shell.run("report r.json --title Bridge --export again");
        assert_eq!((again.code, again.stdout.as_str()), (0, ""), "{}", again.stderr);
        let page = fs::read_to_string(shell.path().join("r.html")).unwrap();
        assert!(page.contains("<h1>Bridge</h1>") && page.contains("Modes by fdd") && !page.contains("Time history"));
        // JSON keeps every bit of a number.
        let spectra = |folder: &str| fs::read(shell.path().join(folder).join("spectra.npy")).unwrap();
        assert!(spectra("out") == spectra("again"), "the exported spectra differ");
    }

    /// A result of two references and one roving sensor.
    fn setup(roving: &str) -> String {
        let mut document: serde_json::Value = serde_json::from_str(include_str!("../wire/v1/ssi.json")).unwrap();
        document["data"]["channels"] = serde_json::json!(["s1/x", "s2/x", roving]);
        document["modes"][0]["shape"] = serde_json::json!({"re": [1.0, -0.5, 0.8], "im": [0.0, 0.01, 0.0]});
        document.to_string()
    }

    #[test]
    fn merging_leaves_table_page_document_and_export() {
        let shell = Shell::new().file("1.json", setup("s3/x")).file("2.json", setup("s4/x"));
        let ended = shell.run("merge 1.json 2.json --output m.json --report m.html --title Bridge --export out");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stdout.contains("2 setups, 4 channels") && ended.stdout.contains("1.880"), "{}", ended.stdout);
        assert!(ended.stderr.contains("warning: setup 2: channel s3/x: 20 s are missing"), "{}", ended.stderr);
        let page = fs::read_to_string(shell.path().join("m.html")).unwrap();
        assert!(page.contains("<h1>Bridge</h1>") && page.contains("Setup by setup"));
        assert!(shell.path().join("out/shapes.uff").is_file());

        // The document is a result like any other: for a page, and to be merged again.
        let again = shell.file("3.json", setup("s5/x"));
        assert_eq!(again.run("report m.json --output again.html").code, 0);
        let ended = again.run("merge m.json 3.json --output -");
        let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(document["data"]["channels"], serde_json::json!(["s1/x", "s2/x", "s3/x", "s4/x", "s5/x"]));
        assert_eq!(document["modes"][0]["shape"]["re"].as_array().map(Vec::len), Some(5));
    }

    #[test]
    fn merging_needs_two_results_of_one_method_that_share_channels() {
        let alone = setup("s3/x").replace("s1/x", "a").replace("s2/x", "b").replace("s3/x", "c");
        let fdd = include_str!("../wire/v1/fdd.json");
        let shell = Shell::new().file("1.json", setup("s3/x")).file("2.json", alone).file("3.json", fdd);
        shell.fails("merge 1.json", 2, &["RESULT.json", "2"]);
        shell.fails("merge 1.json gone.json", 1, &["gone.json", "no such file"]);
        shell.fails("merge 1.json 2.json", 1, &["setup 2 (a, b, c)", "shares no channel"]);
        shell.fails("merge 1.json 3.json", 1, &["ssi-cov", "fdd", "one method"]);
    }

    #[test]
    fn what_is_no_result_is_said_with_what_is_wrong() {
        let shell = Shell::new().file("a.json", "{").file("b.json", r#"{"type": "SSI"}"#);
        shell.fails("report gone.json", 1, &["gone.json", "no such file"]);
        shell.fails("report a.json", 2, &["a.json", "no JSON", "line 1"]);
        shell.fails("report b.json", 2, &["b.json", "no result", "analyze --output", "schema_version"]);
    }

    #[test]
    fn parts_that_lie_as_objects_are_left_out_and_said() {
        let mut document: serde_json::Value = serde_json::from_str(include_str!("../wire/v1/fdd.json")).unwrap();
        let object = serde_json::json!({"key": "oma/results/v1/a/b.parquet", "sha256": "b", "shape": [3, 8193]});
        document["spectrum"]["singular_values"] = object;
        let shell = Shell::new().file("r.json", document.to_string());
        let ended = shell.run("report r.json --output -");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stdout.contains("spectrum is left out: it lies in the object oma/results/v1/a/b.parquet"));
    }
}

mod usage {
    use super::*;

    #[test]
    fn wrong_names_are_answered_by_the_nearest() {
        let shell = Shell::new();
        shell.fails("analyse r.csv", 2, &["analyse", "analyze"]);
        shell.fails("analyze r.csv --method ssi-co", 2, &["ssi-co", "fdd, efdd, fsdd, plscf, ssi-cov, ssi-dat"]);
        shell.fails("analyze r.csv --method fdd --repot x", 2, &["--repot", "--report"]);
    }

    #[test]
    fn a_gpu_is_refused_with_the_reason() {
        let parts = ["OMA_BACKEND", "no GPU"];
        let shell = || Shell::new().with("VK_DRIVER_FILES", "/none").with("VK_ICD_FILENAMES", "/none");
        shell().fails("analyze r.csv --method fdd --backend gpu", 2, &parts);
        shell().with("OMA_BACKEND", "gpu").fails("demo", 2, &parts);
    }

    #[test]
    fn no_command_shows_the_help_and_is_a_mistake() {
        let ended = Shell::new().run("");
        assert_eq!(ended.code, 2);
        assert!(ended.stderr.contains("oma-worker demo"));
        assert_eq!(ended.stdout, "");
    }

    #[test]
    fn help_teaches_on_standard_output() {
        for command in [
            "",
            "run",
            "demo",
            "analyze",
            "merge",
            "report",
            "seed",
            "enqueue",
            "abort",
            "status",
            "check",
            "completions",
        ] {
            let ended = Shell::new().run(&format!("{command} --help"));
            assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{command}");
            assert!(ended.stdout.contains("Example"), "{command} --help shows no example");
            assert!(!ended.stdout.contains('\u{1b}'), "{command} --help is coloured");
        }
    }

    #[test]
    fn each_shell_gets_its_completions() {
        for (shell, part) in
            [("bash", "complete -F"), ("zsh", "#compdef oma-worker"), ("fish", "complete -c oma-worker")]
        {
            let ended = Shell::new().run(&format!("completions {shell}"));
            assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
            assert!(ended.stdout.contains(part) && ended.stdout.contains("ssi-cov"), "{shell}");
        }
        Shell::new().fails("completions bsh", 2, &["bsh", "bash"]);
    }

    #[test]
    fn a_reader_that_leaves_early_is_no_failure() {
        let shell = Shell::new();
        let mut child = shell.command("analyze --help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty());
    }
}

mod settings {
    use super::*;

    #[test]
    fn all_faults_of_the_environment_are_reported_together() {
        Shell::new()
            .with("SLEEP_TIME", "soon")
            .with("OMA_LEASE_SECONDS", "0")
            .with("OMA_MAX_ATTEMPTS", "many")
            .with("OMA_LOG_FORMAT", "xml")
            .fails(
                "run --embedded w",
                2,
                &["SLEEP_TIME", "soon", "OMA_LEASE_SECONDS", "OMA_MAX_ATTEMPTS", "text or json"],
            );
    }

    #[test]
    fn an_env_file_is_read_and_the_environment_wins() {
        let file = "SLEEP_TIME=soon\nOMA_MAX_ATTEMPTS=many\n";
        let shell = Shell::new().file(".env", file).with("OMA_MAX_ATTEMPTS", "none");
        shell.fails("run --embedded w", 2, &["SLEEP_TIME is \"soon\"", "OMA_MAX_ATTEMPTS is \"none\""]);
    }

    #[test]
    fn a_broken_env_file_is_named() {
        Shell::new().file(".env", "this is no setting\n").fails("run --embedded w", 2, &[".env", "NAME=value"]);
    }

    #[test]
    fn a_log_folder_that_cannot_be_written_is_named() {
        let shell = Shell::new().file("file", "").with("LOGS_PATH", "file/logs");
        shell.fails("analyze r.csv --method fdd", 2, &["LOGS_PATH", "file/logs"]);
    }

    #[test]
    fn without_servers_the_worker_asks_for_each_setting_and_names_the_way_without() {
        Shell::new().fails("run", 2, &["MONGODB_DOMAIN is not set", "DATA_PATH is not set", "--embedded DIR"]);
    }
}

mod workspace {
    use super::*;
    use oma_worker::stores::documents::Id;
    use oma_worker::stores::embedded::Embedded;
    use serde_json::json;

    const GHOST: &str = "65e08e66bfe58ba848bccee0";

    /// A workspace `w` with one structure and one analysis.
    fn workspace(shell: &Shell) -> (Embedded, Id) {
        let folder = shell.path().join("w");
        block_on(async {
            let workspace = Embedded::create(&folder).await.unwrap();
            let structure = workspace.insert_structure(&json!({"name": "s", "mysql_id": 43})).await.unwrap();
            let body = json!({"tenant_id": 9, "user_id": 7, "name": "a"});
            let analysis = workspace.insert_analysis(&structure, &body).await.unwrap();
            (workspace, analysis)
        })
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Runtime::new().unwrap().block_on(future)
    }

    /// Works off what is queued and returns the analysis as `status` shows it.
    fn work_off(shell: &Shell) -> serde_json::Value {
        let run = shell.run("run --embedded w --exit-when-idle 0.2 --sleep-time 0.05");
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        serde_json::from_str(&shell.run("status --embedded w --json").stdout).unwrap()
    }

    #[test]
    fn a_folder_without_a_workspace_is_no_workspace() {
        let shell = Shell::new();
        for line in ["run --embedded w", "status --embedded w"] {
            shell.fails(line, 2, &["w", "no workspace", "demo --dir"]);
        }
        shell.fails(&format!("abort --embedded w --analysis {GHOST}"), 2, &["no workspace"]);
        assert!(!shell.path().join("w").exists());
    }

    #[test]
    fn a_malformed_id_and_an_unknown_type_are_refused() {
        let shell = Shell::new();
        workspace(&shell);
        shell.fails("enqueue --embedded w --analysis 12 --type SSI", 2, &["12", "24 hexadecimal digits"]);
        let line = format!("enqueue --embedded w --analysis {GHOST} --type MODES");
        shell.fails(&line, 2, &["MODES", "PREPROCESSING, FDD, SSI"]);
    }

    #[test]
    fn a_missing_analysis_is_named_with_where_to_look() {
        let shell = Shell::new();
        workspace(&shell);
        for command in ["enqueue --type SSI", "abort"] {
            let line = format!("{command} --embedded w --analysis {GHOST}");
            shell.fails(&line, 1, &[GHOST, "status --embedded w"]);
        }
    }

    #[test]
    fn a_structure_without_active_channels_ends_in_error_and_the_worker_lives_on() {
        let shell = Shell::new();
        let (_, analysis) = workspace(&shell);
        for run_type in ["PREPROCESSING", "FDD", "SSI"] {
            let queued = shell.run(&format!("enqueue --embedded w --analysis {analysis} --type {run_type}"));
            assert_eq!(queued.code, 0, "{}", queued.stderr);
        }
        let status = work_off(&shell);
        let body = &status["analyses"][0]["analysis"];
        assert_eq!(body["status_by_type"], json!({"PREPROCESSING": "ERROR", "FDD": "ERROR", "SSI": "ERROR"}));
        assert!(body["error"]["message"].as_str().unwrap().contains("no active channel"), "{body}");
        assert_eq!(status["analyses"][0]["queue"], json!([]));
    }

    #[test]
    fn documents_that_make_no_sense_end_in_error_or_as_dead_letters() {
        let shell = Shell::new();
        let (workspace, analysis) = workspace(&shell);
        let structure = block_on(workspace.structure_of(&analysis)).unwrap().unwrap();
        let documents = [
            // An unknown type: the run ends in ERROR.
            json!({"status": "QUEUED", "structure_id": structure, "analysis_id": analysis, "type": "MODES"}),
            // A malformed id, a missing analysis, a missing structure: nobody to tell.
            json!({"status": "QUEUED", "structure_id": structure, "analysis_id": 12, "type": "SSI"}),
            json!({"status": "QUEUED", "structure_id": structure, "analysis_id": GHOST, "type": "SSI"}),
            json!({"status": "QUEUED", "structure_id": GHOST, "analysis_id": GHOST, "type": "SSI"}),
        ];
        for document in &documents {
            block_on(workspace.insert_queue_document(document)).unwrap();
        }
        let status = work_off(&shell);
        assert_eq!(status["dead"].as_array().unwrap().len(), 3, "{status}");
        let body = &status["analyses"][0]["analysis"];
        assert_eq!(body["status"], "ERROR", "{body}");
        assert!(body["error"]["message"].as_str().unwrap().contains("MODES"), "{body}");
        assert!(block_on(workspace.queue_documents()).unwrap().is_empty());
    }

    #[test]
    fn check_says_what_is_well_and_what_is_not() {
        let shell = Shell::new();
        workspace(&shell);
        let well = shell.run("check --embedded w");
        assert_eq!(well.code, 0, "{}", well.stdout);
        for part in ["1 analyses, 0 queued", " GFLOP/s in spectral sums"] {
            assert!(well.stdout.contains(part), "{part} is missing in {}", well.stdout);
        }
        let ill = shell.run("check --embedded gone --sleep-time never");
        assert_eq!(ill.code, 1);
        for part in ["SLEEP_TIME", "no workspace", "FAIL"] {
            assert!(ill.stdout.contains(part), "{part} is missing in {}", ill.stdout);
        }
        // Each setting has a line of its own.
        let bare = Shell::new().run("check");
        for setting in ["MONGODB_DOMAIN", "KAFKA_BROKER", "MYSQL_HOST", "AWS_REGION", "CACHE_BUCKET"] {
            let line = format!("FAIL  settings: {setting} is not set, must be");
            assert!(bare.stdout.lines().any(|found| found.starts_with(&line)), "{setting}: {}", bare.stdout);
        }
    }

    #[test]
    fn a_misspelt_variable_is_noticed() {
        let shell = Shell::new().with("OMA_LEASE_SECOND", "60");
        let ended = shell.run("check");
        assert_eq!(ended.code, 1);
        assert!(ended.stdout.contains("OMA_LEASE_SECONDS"), "{}", ended.stdout);
    }
}
