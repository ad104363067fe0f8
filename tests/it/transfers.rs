//! Large objects to S3 and back, and answers that break.

use crate::support::s3_proxy::{self, Treatment};
use crate::support::servers::TestServers;
use oma_worker::stores::Objects;
use oma_worker::stores::s3::{S3, S3Settings};

/// Bytes that differ from place to place.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|k| (k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect()
}

#[tokio::test]
async fn an_object_of_several_parts_comes_back_as_it_was() {
    let servers = TestServers::fresh();
    let (objects, bucket) = (S3::connect(&servers.settings.s3), servers.settings.names.cache_bucket.clone());
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for size in [8 << 20, (8 << 20) + 1, (20 << 20) + 5] {
        let key = format!("{}/{size}", servers.tag);
        std::fs::write(&source, content(size)).unwrap();
        let put = objects.put(&bucket, &key, &source).await.unwrap();
        assert_eq!(put.size, size as u64);
        assert_eq!(objects.head(&bucket, &key).await.unwrap(), Some(put.clone()));
        assert_eq!(objects.get(&bucket, &key, &target).await.unwrap(), Some(put));
        assert!(std::fs::read(&target).unwrap() == content(size), "{size} bytes came back otherwise");
    }
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke() {
    let servers = TestServers::fresh();
    let bucket = servers.settings.names.cache_bucket.clone();
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let (key, size) = (format!("{}/cut", servers.tag), 1_000_000);
    std::fs::write(&source, content(size)).unwrap();
    let put = S3::connect(&servers.settings.s3).put(&bucket, &key, &source).await.unwrap();
    let endpoint = s3_proxy::start(&servers.settings.s3, || Treatment::Cut(150_000)).await;
    let objects = S3::connect(&S3Settings { endpoint: Some(endpoint), ..servers.settings.s3.clone() });
    assert_eq!(objects.get(&bucket, &key, &target).await.unwrap(), Some(put));
    assert!(std::fs::read(&target).unwrap() == content(size));
}

#[tokio::test]
async fn an_answer_that_never_comes_whole_leaves_no_file() {
    let servers = TestServers::fresh();
    let bucket = servers.settings.names.cache_bucket.clone();
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let key = format!("{}/never", servers.tag);
    std::fs::write(&source, content(100_000)).unwrap();
    S3::connect(&servers.settings.s3).put(&bucket, &key, &source).await.unwrap();
    // Not even enough for a head.
    let endpoint = s3_proxy::start(&servers.settings.s3, || Treatment::Cut(100)).await;
    let objects = S3::connect(&S3Settings { endpoint: Some(endpoint), ..servers.settings.s3.clone() });
    assert!(objects.get(&bucket, &key, &target).await.unwrap_err().is_transient());
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["source"]);
}
