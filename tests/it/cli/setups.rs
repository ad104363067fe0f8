//! `analyze --setups`.

use super::*;
use oma_worker::simulate::{Damping, Measurement, ShearChain};

/// Four minutes of a chain of three as text: the top, which is the reference, and one roving sensor.
fn record_of_setup(roving: usize, seed: u64, excitation: f32) -> String {
    let chain = ShearChain { dofs: 3, top_frequency_hz: 10.0, damping: Damping::Uniform(0.01) };
    let dofs = vec![2, roving];
    let record = chain.record(&Measurement { dofs, sampling_rate_hz: 50.0, samples: 12_000, noise: 0.03, seed });
    let rows = (0..12_000).map(|t| format!("{},{}\n", record[0][t] * excitation, record[1][t] * excitation));
    std::iter::once(format!("s2,s{roving}\n")).chain(rows).collect()
}

#[test]
fn setups_are_identified_together() {
    let (first, second) = (record_of_setup(0, 1, 1.0), record_of_setup(1, 2, 50.0));
    let half = second.lines().take(6001).fold(String::new(), |all, line| all + line + "\n");
    let rest = second.lines().skip(6001).fold("s2,s1\n".to_owned(), |all, line| all + line + "\n");
    let shell = Shell::new().file("1.csv", first).file("2.csv", second).file("2a.csv", half).file("2b.csv", rest);
    let line = "analyze --method ssi-cov --fs 50 --setups";
    let ended = shell.run(&format!("{line} preger 1.csv 2.csv --output m.json --report m.html --export out"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("ssi-cov: 2 setups by PreGER, 3 channels"), "{}", ended.stdout);
    let text = fs::read_to_string(shell.path().join("m.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["data"]["channels"], serde_json::json!(["s2", "s0", "s1"]));
    assert_eq!(document["modes"].as_array().map(Vec::len), Some(3), "{}", ended.stdout);
    assert_eq!(document["parameters"]["ssi"]["reference_channels"], serde_json::json!(["s2"]));
    let merging = &document["merging"];
    assert_eq!((&merging["strategy"], &merging["setups"][1]["files"][0]), (&"preger".into(), &"2.csv".into()));
    let shares: f64 = (0..2).map(|k| merging["setups"][k]["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-12);
    let page = fs::read_to_string(shell.path().join("m.html")).unwrap();
    assert!(page.contains("The setups") && page.contains("PreGER") && page.contains("2.csv"));
    assert!(shell.path().join("out/shapes.uff").is_file());

    let ended = shell.run(&format!("{line} poger 1.csv 2a.csv,2b.csv"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("2 setups by PoGER, 3 channels, 480.0 s"), "{}", ended.stdout);
}

#[test]
fn setups_that_cannot_be_identified_together_are_said_with_what_to_do() {
    let with = |name: &str, roving: usize| record_of_setup(roving, 1, 1.0).replace("s2,", &format!("{name},"));
    let dead = record_of_setup(1, 3, 1.0).replacen("s2,s1", "s1,s9", 1);
    let dead: String = dead
        .lines()
        .enumerate()
        .map(|(k, l)| if k == 0 { "s1,s2\n".into() } else { format!("{},0\n", l.split(',').next().unwrap()) })
        .collect();
    let shell = Shell::new()
        .file("1.csv", with("s2", 0))
        .file("2.csv", with("s2", 1))
        .file("3.csv", with("other", 1))
        .file("dead.csv", dead);
    let cov = "analyze --method ssi-cov --fs 50 --setups preger";
    shell.fails(&format!("{cov} 1.csv"), 1, &["2 setups or more", "not 1"]);
    shell.fails(&format!("{cov} 1.csv 3.csv"), 1, &["no channel is common", "1: s2, s0", "2: other, s1"]);
    shell.fails(&format!("{cov} 1.csv dead.csv"), 1, &["no channel is common", "setup 2", "\"s2\" has no variance"]);
    shell.fails(&format!("{cov} 1.csv gone.csv"), 1, &["setup 2", "gone.csv"]);
    shell.fails(&format!("{cov} 1.csv 2.csv --set block_rows=9000"), 1, &["12000", "block_rows 9000", "18000"]);
    shell.fails(&format!("{cov} 1.csv 2.csv --reference-channels s0"), 1, &["\"s0\"", "every setup", "s2"]);
    shell.fails(&format!("{cov} 1.csv 2.csv --channels s2"), 2, &["--channels", "--setups"]);
    let dat = "analyze --fs 50 --setups poger 1.csv 2.csv --method";
    shell.fails(&format!("{dat} ssi-dat"), 1, &["PoGER needs method ssi-cov", "method is ssi-dat", "`merge`"]);
    shell.fails(&format!("{dat} efdd"), 1, &["method is efdd"]);
}
