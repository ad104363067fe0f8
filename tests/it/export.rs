//! Results for other programs say what the result says: read back by readers that are not our writers.

use nalgebra::Complex;
use oma_worker::export;
use oma_worker::model::geometry::{Geometry, Place, Wireframe};
use oma_worker::model::result::AnalysisResult;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::io::Write;

fn result(name: &str) -> AnalysisResult {
    let text = match name {
        "fdd" => include_str!("../wire/v1/fdd.json"),
        _ => include_str!("../wire/v1/ssi.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn file(result: &AnalysisResult, name: &str) -> Vec<u8> {
    let files = export::files(result).unwrap();
    files.into_iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn text(result: &AnalysisResult, name: &str) -> String {
    String::from_utf8(file(result, name)).unwrap()
}

/// Names and rows of a Parquet file.
fn rows(content: &[u8]) -> Vec<Vec<(String, Field)>> {
    let mut temporary = tempfile::tempfile().unwrap();
    temporary.write_all(content).unwrap();
    let reader = SerializedFileReader::new(temporary).unwrap();
    let row = |row: parquet::record::Row| row.get_column_iter().map(|(n, f)| (n.clone(), f.clone())).collect();
    reader.get_row_iter(None).unwrap().map(|found| row(found.unwrap())).collect()
}

#[test]
fn a_result_leaves_the_files_of_what_it_has_and_no_others() {
    let names = |result: &AnalysisResult| -> Vec<&str> {
        export::files(result).unwrap().into_iter().map(|(name, _)| name).collect()
    };
    let shapes = ["modes.csv", "shapes.npy", "shapes.parquet", "shapes.uff"];
    let spectra = ["spectra.npy", "spectra.parquet", "spectra.uff"];
    assert_eq!(names(&result("fdd")), [shapes.as_slice(), &spectra].concat());
    assert_eq!(names(&result("ssi")), [shapes.as_slice(), &["poles.parquet"]].concat());
    let mut empty = result("ssi");
    (empty.modes, empty.stabilization) = (Vec::new(), None);
    assert_eq!(names(&empty), [""; 0]);
}

#[test]
fn npy_and_parquet_hold_every_number_bit_for_bit() {
    let (fdd, ssi) = (result("fdd"), result("ssi"));
    let content = file(&ssi, "shapes.npy");
    let shapes = npyz::NpyFile::new(&content[..]).unwrap();
    assert_eq!(shapes.shape(), [1, 2]);
    let components: Vec<Complex<f64>> = shapes.into_vec().unwrap();
    assert_eq!(components, ssi.modes[0].shape.0.as_slice());

    let spectrum = fdd.spectrum.as_ref().unwrap();
    let content = file(&fdd, "spectra.npy");
    let spectra = npyz::NpyFile::new(&content[..]).unwrap();
    let (lines, columns) = (spectrum.frequency_hz.count, 1 + spectrum.singular_values.len());
    assert_eq!(spectra.shape(), [lines as u64, columns as u64]);
    let values: Vec<f64> = spectra.into_vec().unwrap();
    let table = rows(&file(&fdd, "spectra.parquet"));
    assert_eq!(table.len(), lines);
    for line in 0..lines {
        assert_eq!(values[line * columns], spectrum.frequency_hz.at(line));
        for (k, singular_values) in spectrum.singular_values.iter().enumerate() {
            assert_eq!(values[line * columns + k + 1], singular_values[line]);
            let expected = (format!("singular_value_{}", k + 1), Field::Double(singular_values[line]));
            assert!(table[line].contains(&expected), "{:?}", table[line]);
        }
    }

    let poles = ssi.stabilization.as_ref().unwrap();
    let table = rows(&file(&ssi, "poles.parquet"));
    assert_eq!(table.len(), poles.order.len());
    for (k, row) in table.iter().enumerate() {
        let number = |value: Option<f64>| value.map_or(Field::Null, Field::Double);
        for expected in [
            ("order", Field::Double(poles.order[k] as f64)),
            ("frequency_hz", number(poles.frequency_hz[k])),
            ("mpd", number(poles.mpd[k])),
            ("verdict", Field::Str(poles.verdict[k].clone())),
        ] {
            assert!(row.contains(&(expected.0.to_owned(), expected.1.clone())), "{expected:?} is not in {row:?}");
        }
    }
}

#[test]
fn the_table_of_modes_has_every_number_and_names_that_break_nothing() {
    let mut ssi = result("ssi");
    ssi.data.channels[0] = "deck, \"north\"".into();
    let csv = text(&ssi, "modes.csv");
    let mut lines = csv.lines();
    let (head, row) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(head.ends_with(",\"re deck, \"\"north\"\"\",\"im deck, \"\"north\"\"\",\"re s2/x\",\"im s2/x\""), "{head}");
    assert!(row.ends_with(",1,0,-0.5,0.01"), "{row}");
    let column = head.split(',').position(|name| name == "frequency_hz").unwrap();
    assert_eq!(row.split(',').nth(column), Some("1.88"));
    let unknown = head.split(',').position(|name| name == "damping_ratio_std").unwrap();
    assert_eq!(row.split(',').nth(unknown), Some(""));
}

#[test]
fn a_universal_file_has_nodes_lines_and_shapes_in_the_columns_of_its_datasets() {
    let mut ssi = result("ssi");
    let place = |node: &str, x: f64, direction| Place { node: node.into(), position: [x, 0.0, 1.5], direction };
    ssi.geometry = Some(Geometry {
        channels: vec![place("a", 0.0, [0.0, 0.0, 1.0]), place("b", 12.25, [0.0, 1.0, 0.0])],
        wireframe: Wireframe {
            points: [("c".to_owned(), [20.0, 0.0, 0.0])].into(),
            lines: vec![["a".into(), "b".into()], ["b".into(), "c".into()]],
            surfaces: Vec::new(),
        },
    });
    let uff = text(&ssi, "shapes.uff");
    assert!(uff.lines().all(|line| line.len() <= 80), "a line is longer than a card");
    let lines: Vec<&str> = uff.lines().collect();
    let nodes = "    -1\n    15\n         1         0         0         8  0.00000E+00  0.00000E+00  1.50000E+00\n";
    assert!(uff.starts_with(nodes), "{uff}");
    assert!(uff.contains("\n    82\n         1         6         8\nstructure\n         1         2         0         2         3         0\n"), "{uff}");
    let shape = lines.iter().position(|line| *line == "    55").unwrap();
    assert_eq!(lines[shape + 6], "         1         3         2         8         5         3");
    assert_eq!(lines[shape + 7], "         2         6         1         1");
    // λ = 2π 1.88 (−0.011 + i √(1 − 0.011²)).
    assert_eq!(&lines[shape + 8][..26], " -1.29936E-01  1.18117E+01");
    for (node, expected) in [(1, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]), (2, [0.0, 0.0, -0.5, 0.01, 0.0, 0.0]), (3, [0.0; 6])]
    {
        let at = shape + 7 + 2 * node;
        assert_eq!(lines[at].trim(), node.to_string());
        let values: Vec<f64> = lines[at + 1].split_whitespace().map(|value| value.parse().unwrap()).collect();
        // Six digits are written; what is 0 may be so to rounding.
        let near = |(value, expected): (&f64, f64)| (value - expected).abs() <= 5e-6;
        assert!(values.len() == 6 && values.iter().zip(expected).all(near), "{values:?}");
    }
    assert_eq!(lines.len() - 1, shape + 15, "{uff}");
}
