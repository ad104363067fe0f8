//! The names of collections, buckets, keys and dead letters, in one place: a platform with other names is served by
//! changing [`Names`].

use super::documents::Id;

/// Names of collections and buckets. The defaults are those of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The queue (`MONGODB_QUEUE_COLLECTION`).
    pub queue: String,
    /// The structures (`MONGODB_STRUCTURE_COLLECTION`).
    pub structures: String,
    /// The analyses, before `_<structure_id>` (`MONGODB_RUN_COLLECTION`).
    pub analyses: String,
    /// The results, before `_<structure_id>` (`MONGODB_RES_COLLECTION`).
    pub results: String,
    /// The index of raw files, before `_<mysql_id>` (`MONGODB_MEASURE_COLLECTION`).
    pub measures: String,
    /// The channels, before `_<mysql_id>`; a table of MySQL, a collection only in an embedded workspace.
    pub channels: String,
    /// The bucket of raw files (`FILE_BUCKET`).
    pub file_bucket: String,
    /// The bucket of cached records (`CACHE_BUCKET`).
    pub cache_bucket: String,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            queue: "modals_queue".into(),
            structures: "structures".into(),
            analyses: "modals_analysis".into(),
            results: "modals_analysis_results".into(),
            measures: "measures".into(),
            channels: "channels".into(),
            file_bucket: "files".into(),
            cache_bucket: "cache".into(),
        }
    }
}

/// The key of a preprocessed record in the bucket of the cache; `hash` is that of all that it depends on.
pub fn record_key(structure_id: &Id, hash: &str) -> String {
    format!("oma/v1/{structure_id}/{hash}.parquet")
}

/// The key of a result's large array in the bucket of the cache, by the SHA-256 of its content. Not among the records,
/// so that a rule of the bucket may let those expire.
pub fn array_key(structure_id: &Id, sha256: &str) -> String {
    format!("oma/results/v1/{structure_id}/{sha256}.parquet")
}

/// The key of a result's page in the bucket of the cache, by the SHA-256 of its content.
pub fn report_key(structure_id: &Id, sha256: &str) -> String {
    format!("oma/reports/v1/{structure_id}/{sha256}.html")
}

impl Names {
    /// The dead letters of the queue.
    pub fn dead(&self) -> String {
        format!("{}_dead", self.queue)
    }

    /// The analyses of a structure.
    pub fn analyses_of(&self, structure_id: &Id) -> String {
        format!("{}_{structure_id}", self.analyses)
    }

    /// The results of a structure.
    pub fn results_of(&self, structure_id: &Id) -> String {
        format!("{}_{structure_id}", self.results)
    }

    /// The index of raw files of a structure.
    pub fn measures_of(&self, mysql_id: i64) -> String {
        format!("{}_{mysql_id}", self.measures)
    }

    /// The channels of a structure.
    pub fn channels_of(&self, mysql_id: i64) -> String {
        format!("{}_{mysql_id}", self.channels)
    }
}
