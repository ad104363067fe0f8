//! The page is one file, shows what the result holds in a real browser, and no text breaks out of it.

use crate::support::browser::Browser;
use nalgebra::{Complex, DVector};
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::geometry::{Geometry, Place, Wireframe};
use oma_worker::model::modes::Shape;
use oma_worker::model::record::RawFile;
use oma_worker::model::result::{AnalysisResult, Axis, ChannelSignals};
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::report;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use serde_json::{Value, json};
use std::sync::LazyLock;

fn results() -> Vec<AnalysisResult> {
    let texts = [include_str!("../wire/v1/fdd.json"), include_str!("../wire/v1/ssi.json")];
    texts.map(|text| serde_json::from_str(text).unwrap()).into()
}

/// A frame of three storeys on the ground, with a gap in its record: SSI, FDD and the record itself.
static FRAME: LazyLock<Vec<AnalysisResult>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let chain = ShearChain { dofs: 3, top_frequency_hz: 15.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: (0..3).collect(), sampling_rate_hz: 50.0, samples: 20_000, noise: 0.05, seed: 3 };
    let samples = chain.record(&measurement);
    let rows = (0..20_000).filter(|row| !(9000..9500).contains(row));
    let row =
        |row: usize| format!("{:.3},{},{},{}\n", row as f64 / 50.0, samples[0][row], samples[1][row], samples[2][row]);
    let text: String = std::iter::once("time,a,b,<c>\n".to_owned()).chain(rows.map(row)).collect();
    let path = folder.path().join("record.csv");
    std::fs::write(&path, text).unwrap();
    let file = RawFile::new("record.csv", path);
    let channel = |(k, name): (usize, &str)| Channel {
        node: format!("storey {}", k + 1),
        position: [0.0, 0.0, 3.0 * (k + 1) as f64],
        direction: [1.0, 0.0, 0.0],
        ..Channel::named(name)
    };
    let line = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    let wireframe = Wireframe {
        points: [("ground".to_owned(), [0.0; 3])].into(),
        lines: vec![line("ground", "storey 1"), line("storey 1", "storey 2"), line("storey 2", "storey 3")],
        surfaces: vec![["storey 1", "storey 2", "storey 3"].map(str::to_owned)],
    };
    [RunType::Ssi, RunType::Fdd, RunType::Preprocessing]
        .map(|run_type| {
            let request = Request {
                channels: ["a", "b", "<c>"].into_iter().enumerate().map(channel).collect(),
                wireframe: wireframe.clone(),
                ..Request::new(run_type, vec![file.clone()])
            };
            pipeline::run(&request, None, folder.path(), &Control::none()).unwrap().result
        })
        .into()
});

#[test]
fn the_page_holds_modes_provenance_and_warnings_and_loads_nothing() {
    let page = report::page("Bridge", &[], &results());
    for expected in ["1.880", "0.99", "Stabilization diagram", "Singular values", "20 s are missing", "ab12"] {
        assert!(page.contains(expected), "{expected} is missing");
    }
    for outside in ["<link", "<script src", "<img", "@import"] {
        assert!(!page.contains(outside), "the page loads something: {outside}");
    }
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let mut results = results();
    for result in &mut results {
        result.data.channels = vec!["</script><script>alert(1)</script>".into(), "b".into()];
        result.provenance.warnings = vec!["<img src=x>".into()];
    }
    let page = report::page("<b>title</b>", &[], &results);
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("<b>title"));
}

#[test]
fn no_modes_is_said_with_its_reason() {
    let mut result = results().remove(0);
    result.modes.clear();
    result.no_modes_reason = Some("no peak stands out of the noise".into());
    assert!(report::mode_table(&result).contains("no peak stands out of the noise"));
    assert!(report::page("t", &[], &[result]).contains("no peak stands out of the noise"));
}

/// Reads the page as a person would: every table, every plot's numbers, a hover, a toggle, an exported picture, the
/// animation, the keyboard, paper.
const READ: &str = r#"
  const of = (element) => element.data.map((trace) => ({name: trace.name, x: Array.from(trace.x || []), y: Array.from(trace.y || []), known: trace.customdata || null}));
  const plot = (title) => [...document.querySelectorAll('.plot')].find((p) => p.getAttribute('aria-label') === title);
  const tables = [...document.querySelectorAll('table')].map((t) => [...t.rows].map((r) => [...r.cells].map((c) => c.textContent)));
  const poles = plot('Stabilization diagram'), space = plot('Shape in space'), signal = plot('Time history and spectrum');
  const stable = poles.data.findIndex((trace) => trace.name.startsWith('stable'));
  Plotly.Fx.hover(poles, [{curveNumber: stable, pointNumber: 0}]);
  const hover = poles.querySelector('.hoverlayer').textContent;
  await Plotly.restyle(poles, {visible: 'legendonly'}, [stable]);
  const toggled = poles.querySelectorAll('.scatterlayer .trace').length;
  await Plotly.restyle(poles, {visible: true}, [stable]);
  const shown = poles.querySelectorAll('.scatterlayer .trace').length;
  const picture = (await Plotly.toImage(poles, {format: 'png', width: 400, height: 300})).length;
  const play = [...document.querySelectorAll('button')].find((b) => b.textContent === 'Pause');
  const pixels = () => space.querySelector('canvas').toDataURL();
  space.scrollIntoView();
  const before = [...space.data[3].x], painted = pixels();
  await until(() => space.data[3].x.some((x, k) => x !== before[k]));
  await until(() => pixels() !== painted);
  play.click();
  // A movement that had begun ends before the next frame but one.
  for (let k = 0; k < 3; k++) await new Promise(requestAnimationFrame);
  const held = [...space.data[3].x];
  for (let k = 0; k < 3; k++) await new Promise(requestAnimationFrame);
  const stillHeld = [...space.data[3].x];
  const choose = document.querySelector('select[id^=shapes]');
  choose.value = '1'; choose.dispatchEvent(new Event('change'));
  const second = [...space.data[3].x];
  const pressed = [...document.querySelectorAll('.thumbnails')][0].querySelector('[aria-pressed=true]').dataset.mode;
  const press = (element, key) => { element.focus(); element.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true})); };
  const range = () => [...poles.layout.xaxis.range];
  const whole = range(); press(poles, '+'); const near = range(); press(poles, '0'); const back = range();
  const channel = document.querySelector('select[id^=signals]');
  const first = of(signal); channel.value = '2'; channel.dispatchEvent(new Event('change'));
  const third = of(signal), gaps = signal.layout.shapes.length;
  const screen = poles._fullLayout.paper_bgcolor;
  dispatchEvent(new Event('beforeprint'));
  const printed = {closed: [...document.querySelectorAll('details:not([open])')].map((d) => d.className), paper: poles._fullLayout.paper_bgcolor, width: poles._fullLayout.width};
  dispatchEvent(new Event('afterprint'));
  const labels = [...document.querySelectorAll('.plot')].map((p) => [p.getAttribute('aria-label'), p.getAttribute('aria-describedby').split(' ').every((id) => document.getElementById(id)), p.tabIndex]);
  return {tables, spectrum: of(plot('Singular values of the spectral matrix')), poles: of(poles), hover, toggled, shown, picture, held, stillHeld, second, pressed, whole, near, back, first, third, gaps, screen, printed, labels,
    mac: plot('MAC matrix').data[0].z, drawn: document.documentElement.dataset.drawn};
"#;

/// The number that a cell shows, and half of its last digit.
fn cell(text: &str) -> (f64, f64) {
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    (text.parse().unwrap(), 0.5 * 10_f64.powi(-(decimals as i32)))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn in_a_browser_every_number_is_the_results_plots_answer_and_shapes_move() {
    let results = &*FRAME;
    let mut browser = Browser::open(&report::page("Frame", &[], results), "light");
    // The animation is waited for: a page on which nothing moves hangs here until the runner ends it.
    let seen = browser.ask(READ);
    assert_eq!(browser.wrong(), Vec::<String>::new(), "errors on the page");

    let ssi = &results[0];
    assert_eq!(ssi.modes.len(), 3, "{ssi:?}");
    let table = &seen["tables"][0];
    for (k, mode) in ssi.modes.iter().enumerate() {
        let row = &table[k + 1];
        let text = |column: usize| row[column].as_str().unwrap();
        // A cell is the number of the result, rounded; the sum of both roundings is below its last digit.
        for (column, value) in [
            (1, mode.frequency_hz),
            (2, mode.frequency_std_hz.unwrap()),
            (3, 100.0 * mode.damping_ratio.unwrap()),
            (4, 100.0 * mode.damping_ratio_std.unwrap()),
            (5, mode.mpc),
        ] {
            let (shown, half) = cell(text(column));
            assert!((shown - value).abs() <= half * (1.0 + 1e-9), "mode {}: {shown} is not {value}", k + 1);
        }
        assert_eq!(text(7), mode.pole_count.unwrap().to_string());
    }

    let poles = ssi.stabilization.as_ref().unwrap();
    let traces: Vec<&Value> = seen["poles"].as_array().unwrap().iter().filter(|t| t["name"] != "spectrum").collect();
    let drawn: usize = traces.iter().map(|trace| trace["x"].as_array().unwrap().len()).sum();
    assert_eq!(drawn, poles.order.len(), "every pole is drawn");
    let stable = traces.iter().find(|trace| trace["name"].as_str().unwrap().starts_with("stable")).unwrap();
    let expected: Vec<usize> = (0..poles.verdict.len()).filter(|&k| poles.verdict[k] == "stable").collect();
    for (at, &k) in expected.iter().enumerate() {
        // Seven significant digits of a frequency, five of what else is told.
        let close =
            |shown: &Value, value: f64, part: f64| (shown.as_f64().unwrap() - value).abs() <= part * value.abs();
        assert!(close(&stable["x"][at], poles.frequency_hz[k].unwrap(), 5e-7));
        assert!(close(&stable["known"][at][1], 100.0 * poles.damping_ratio[k].unwrap(), 5e-5));
        match poles.mac[k] {
            Some(mac) => assert!(close(&stable["known"][at][3], mac, 5e-5)),
            None => assert_eq!(stable["known"][at][3], "–"),
        }
        assert_eq!(stable["y"][at], poles.order[k]);
    }
    let hover = seen["hover"].as_str().unwrap();
    for part in ["Hz", "ξ", "order", "MAC", "stable", "in the cluster of a mode"] {
        assert!(hover.contains(part), "the hover does not tell {part}: {hover}");
    }
    assert_eq!(
        seen["toggled"].as_u64().unwrap() + 1,
        seen["shown"].as_u64().unwrap(),
        "a legend entry hides its poles"
    );
    assert!(seen["picture"].as_u64().unwrap() > 5000, "the PNG is empty");

    let curve = &results[0].spectrum.as_ref().unwrap().singular_values[0];
    let shown = numbers(&seen["spectrum"][0]["y"]);
    assert_eq!(shown.len(), curve.len());
    // Hundredths of a dB.
    assert!(shown.iter().zip(curve).all(|(level, value)| (level - 10.0 * value.log10()).abs() <= 0.005 + 1e-9));

    assert_eq!(seen["held"], seen["stillHeld"], "a shape on pause moves");
    assert_ne!(seen["held"], seen["second"], "another mode looks the same");
    assert_eq!(seen["pressed"], "1", "the picture of the chosen mode is not marked");

    let width = |range: &Value| range[1].as_f64().unwrap() - range[0].as_f64().unwrap();
    assert!((width(&seen["near"]) / width(&seen["whole"]) - 0.8).abs() <= 1e-9, "{} {}", seen["whole"], seen["near"]);
    assert_eq!(seen["back"], seen["whole"]);

    let record = &results[2];
    let signals = record.channel_signals.as_ref().unwrap();
    for (which, row) in [("first", 0), ("third", 2)] {
        let shown = numbers(&seen[which][0]["y"]);
        let expected: Vec<f64> = signals.min[row].iter().map(|v| v.map_or(f64::NAN, f64::from)).collect();
        let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() <= 5e-3 * b.abs();
        assert!(shown.len() == expected.len() && shown.iter().zip(&expected).all(same), "{which} channel");
        assert_eq!(numbers(&seen[which][2]["y"]).len(), signals.psd[row].len());
        // The band is closed before the gap and begins anew after it.
        let mut outlines = numbers(&seen[which][3]["y"]);
        assert!(outlines.pop().is_some_and(f64::is_nan));
        let outlines: Vec<&[f64]> = outlines.split(|y| y.is_nan()).collect();
        let stretches: Vec<&[f64]> = shown.split(|y| y.is_nan()).filter(|stretch| !stretch.is_empty()).collect();
        assert_eq!(outlines.len(), stretches.len());
        for (outline, smallest) in outlines.iter().zip(&stretches) {
            let (there, back) = outline.split_at(smallest.len());
            assert!(back.iter().rev().eq(*smallest) && there.iter().zip(*smallest).all(|(max, min)| max > min));
        }
    }
    assert_eq!(seen["gaps"], 1);
    assert!(signals.min[0].iter().any(Option::is_none), "no stretch lies in the gap");

    assert_eq!(seen["printed"], json!({"closed": ["screen", "screen"], "paper": "#ffffff", "width": 680}));
    for label in seen["labels"].as_array().unwrap() {
        assert!(label[0].as_str().is_some_and(|name| !name.is_empty()) && label[1] == true && label[2] == 0, "{label}");
    }
    assert_eq!(seen["drawn"], seen["labels"].as_array().unwrap().len().to_string(), "a plot is not drawn");
    let mac = numbers(&seen["mac"][1]);
    assert!((mac[1] - 1.0).abs() <= 1e-6 && mac.iter().all(|m| (0.0..=1.0 + 1e-6).contains(m)), "{mac:?}");
}

/// A result of 100 channels, 30 modes and 5,000 poles, with every number of full length.
fn large() -> Vec<AnalysisResult> {
    const CHANNELS: usize = 100;
    let mut irrational = (1..).map(|k: u64| (k as f64 * 0.618_033_988_749_894_9).fract() + 0.01);
    let mut next = move || irrational.next().unwrap();
    let names: Vec<String> = (1..=CHANNELS).map(|k| format!("deck-{k:03}/z")).collect();
    let mut ssi = FRAME[0].clone();
    let mut record = FRAME[2].clone();
    ssi.data.channels = names.clone();
    record.data.channels = names.clone();
    let mode = ssi.modes[0].clone();
    ssi.modes = (0..30)
        .map(|_| {
            let shape = DVector::from_fn(CHANNELS, |_, _| Complex::new(next(), next() - 0.5));
            let mut mode = mode.clone();
            mode.frequency_hz = 20.0 * next();
            mode.shape = Shape(shape);
            mode
        })
        .collect();
    let place = |k: usize| Place {
        node: k.to_string(),
        position: [k as f64 * 1.37, (k % 7) as f64 * 0.73, 0.0],
        direction: [0.0, 0.0, 1.0],
    };
    let lines = (1..CHANNELS).map(|k| [(k - 1).to_string(), k.to_string()]).collect();
    let surfaces = (2..CHANNELS).map(|k| [k - 2, k - 1, k].map(|k| k.to_string())).collect();
    ssi.geometry = Some(Geometry {
        channels: (0..CHANNELS).map(place).collect(),
        wireframe: Wireframe { lines, surfaces, ..Wireframe::default() },
    });
    let poles = ssi.stabilization.as_mut().unwrap();
    let mut column = || (0..5000).map(|_| Some(next())).collect::<Vec<_>>();
    poles.frequency_hz = column();
    poles.damping_ratio = column();
    poles.frequency_std_hz = column();
    poles.damping_ratio_std = column();
    poles.mpc = column();
    poles.mpd = column();
    poles.mac = column();
    poles.order = (0..5000).map(|k| k / 50).collect();
    poles.level_sampling_rate_hz = vec![50.0; 5000];
    poles.verdict = (0..5000).map(|k| ["stable", "frequency_deviation", "no_cluster"][k % 3].into()).collect();
    let spectrum = ssi.spectrum.as_mut().unwrap();
    spectrum.frequency_hz = Axis { start: 0.0, step: 25.0 / 8192.0, count: 8193 };
    spectrum.singular_values = (0..3).map(|_| column().into_iter().cycle().take(8193).flatten().collect()).collect();
    let synthesis = &mut ssi.validation.as_mut().unwrap().synthesis;
    synthesis.frequency_hz = spectrum.frequency_hz;
    synthesis.channels = (0..20).map(|k| format!("channel {k}")).collect();
    let lines: Vec<f32> = spectrum.singular_values[0].iter().map(|&x| x as f32).collect();
    (synthesis.measured, synthesis.synthesised) = (vec![lines.clone(); 20], vec![lines; 20]);
    let quality = record.channel_quality.as_ref().unwrap()[0].clone();
    record.channel_quality = Some(vec![quality; CHANNELS]);
    let mut rows =
        |count: usize| (0..CHANNELS).map(|_| (0..count).map(|_| next() as f32).collect::<Vec<_>>()).collect::<Vec<_>>();
    let some = |rows: Vec<Vec<f32>>| rows.into_iter().map(|row| row.into_iter().map(Some).collect()).collect();
    record.channel_signals = Some(ChannelSignals {
        time_s: Axis { start: 0.0, step: 6.0, count: 200 },
        units: vec!["m/s2".into(); CHANNELS],
        min: some(rows(200)),
        max: some(rows(200)),
        frequency_hz: Axis { start: 0.0, step: 0.1, count: 257 },
        psd: rows(257),
    });
    vec![ssi, record]
}

#[test]
fn a_page_of_100_channels_and_5000_poles_is_below_6_megabytes_and_is_drawn() {
    let page = report::page("Large", &[], &large());
    assert!(page.len() < 6_000_000, "{} bytes", page.len());
    let count = r#"const poles = [...document.querySelectorAll('.plot')].find((p) => p.getAttribute('aria-label') === 'Stabilization diagram');
        return [document.documentElement.dataset.drawn, poles.querySelectorAll('.scatterlayer .point').length];"#;
    let mut browser = Browser::open(&page, "dark");
    assert_eq!(browser.ask(count), json!(["7", 5000]));
    assert_eq!(browser.wrong(), Vec::<String>::new());
}

#[test]
fn a_page_on_a_dark_screen_is_dark_and_on_paper_light() {
    let mut browser = Browser::open(&report::page("Frame", &[], &FRAME[..1]), "dark");
    let ask = r#"const paper = () => document.querySelector('.plot')._fullLayout.paper_bgcolor;
        const text = () => getComputedStyle(document.body).backgroundColor;
        const screen = [paper(), text()]; dispatchEvent(new Event('beforeprint')); return [screen, paper(), text()];"#;
    assert_eq!(browser.ask(ask), json!([["#14181d", "rgb(20, 24, 29)"], "#ffffff", "rgb(255, 255, 255)"]));
    assert_eq!(browser.wrong(), Vec::<String>::new());
}

#[test]
fn what_went_wrong_on_a_page_is_seen() {
    let load = "<img src=http://example.invalid/x.png>";
    let page =
        format!("<!DOCTYPE html><body><script>console.error('one'); setTimeout(() => {{ throw 2; }})</script>{load}");
    let mut browser = Browser::open(&page, "light");
    browser.ask("await new Promise((done) => setTimeout(done));");
    let wrong = browser.wrong().join("\n");
    for part in ["one", "Uncaught", "example.invalid"] {
        assert!(wrong.contains(part), "{part} is not noticed: {wrong}");
    }
}
