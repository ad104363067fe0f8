//! A worker over each set of stores.

use super::*;
use crate::raw_files::noise;
use oma_worker::stores::documents::bson_size;
use oma_worker::stores::names::Names;
use oma_worker::worker::{Execute, Heart, Shutdown, Worker, WorkerOptions};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::DoubleType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A line of the spectrum for every two of them.
const SAMPLES: usize = 760_000;

/// One axis in the layout of NumPy.
fn npy(samples: &[f64]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 1), }}", samples.len());
    let padded = format!("{header:<117}\n");
    let length = u16::try_from(padded.len()).unwrap().to_le_bytes();
    let values = samples.iter().flat_map(|v| (*v as f32).to_le_bytes());
    [b"\x93NUMPY\x01\x00", &length[..], padded.as_bytes()].concat().into_iter().chain(values).collect()
}

/// A column of a Parquet file.
fn column(reader: &impl FileReader, index: usize) -> Vec<f64> {
    let group = reader.get_row_group(0).unwrap();
    let mut column = get_typed_column_reader::<DoubleType>(group.get_column_reader(index).unwrap());
    let rows = usize::try_from(group.metadata().num_rows()).unwrap();
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    column.read_records(rows, Some(&mut levels), None, &mut values).unwrap();
    values
}

pub(super) async fn a_result_of_any_size_is_kept(bench: &impl Bench) {
    let stores = bench.stores();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("content");
    bench.put_structure(json!({"_id": id(0xa), "name": "bridge", "tenant_id": 9, "mysql_id": 43})).await;
    for sensor in ["1", "2", "3"] {
        let channel = Channel { sensor_id: sensor.into(), axis: "x".into(), ..Channel::named(&format!("c{sensor}")) };
        bench.put_channel(43, &channel).await;
        let key = format!("{sensor}.npy");
        std::fs::write(&path, npy(&noise(sensor.parse().unwrap(), SAMPLES))).unwrap();
        stores.objects.put("files", &key, &path).await.unwrap();
        let measure = json!({"sensor_id": sensor, "channels": ["x"], "sampling_rate_hz": 100.0, "key": key});
        bench.put_measure(43, measure).await;
    }
    bench.put_analysis(&key(), json!({"tenant_id": 9, "user_id": 7, "fdd": {"segment_length": SAMPLES}})).await;
    bench.put_queued(&id(1), with(waiting(), "type", json!("FDD"))).await;

    let names = Names { file_bucket: "files".into(), cache_bucket: "cache".into(), ..Names::default() };
    let execute = Execute::new(stores.clone(), names, folder.path(), u64::MAX, false);
    let options = WorkerOptions { once: true, ..WorkerOptions::default() };
    let heart = Heart::here(stores.queue.clone());
    let summary = Worker::new(stores.clone(), heart, options, Arc::new(execute)).run(Shutdown::new()).await;
    let analysis = stores.analyses.find(&key()).await.unwrap().unwrap().body;
    assert_eq!((summary.counts.done, &analysis["status"]), (1, &json!("DONE")), "{analysis}");

    let result = bench.result(&id(0xa), &Id::from_value(&analysis["results"]["FDD"]).unwrap()).await.unwrap();
    let array = &result["spectrum"]["singular_values"];
    let lines = SAMPLES / 2 + 1;
    assert_eq!(array["shape"], json!([3, lines]));
    assert_eq!(result["spectrum"]["frequency_hz"]["count"], json!(lines));
    let object = array["key"].as_str().unwrap();
    stores.objects.get("cache", object, &path).await.unwrap().unwrap();
    let digest: String = Sha256::digest(std::fs::read(&path).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(array["sha256"], digest);
    let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let [first, second, third] = [0, 1, 2].map(|index| column(&reader, index));
    assert_eq!([first.len(), second.len(), third.len()], [lines; 3]);
    assert!(first.iter().zip(&second).zip(&third).all(|((a, b), c)| a >= b && b >= c));
    // What could not have stood in the document.
    assert!(bson_size(&json!([first, second, third])) > LARGEST_RESULT);
}
