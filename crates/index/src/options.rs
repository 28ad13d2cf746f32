//! How RocksDB is set up: a small footprint, because it holds rows and not messages.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, LogLevel, Options};

/// What may be chosen; the defaults suit a broker with some ten thousand queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexOptions {
    /// Bytes of data blocks kept in memory.
    pub block_cache_bytes: usize,
    /// Bytes of one write buffer; up to three are in use.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: u16,
    /// Files kept open.
    pub open_files: u16,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 32 * 1024 * 1024,
            write_buffer_bytes: 16 * 1024 * 1024,
            background_jobs: 2,
            open_files: 256,
        }
    }
}

/// Bytes of one block of rows.
const BLOCK_BYTES: usize = 16 * 1024;
/// RocksDB's own number of levels.
const LEVELS: usize = 7;

impl IndexOptions {
    pub(crate) fn to_rocksdb(self) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(self.block_cache_bytes));
        blocks.set_bloom_filter(10.0, false);
        // Indexes and filters grow with the data; in the cache they have a bound.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_format_version(5);
        // Compaction reads block by block, and each read is a system call.
        blocks.set_block_size(BLOCK_BYTES);

        // Durable is what was flushed on request; closing adds nothing, so that closing and crashing are the same. There is
        // no setter for this one.
        let mut options = Options::default()
            .get_options_from_string("avoid_flush_during_shutdown=true")
            .expect("a constant that this version of RocksDB knows");
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        // What lies in the first levels is soon written again: compressing it each time would cost a tenth of a send.
        let mut levels = [DBCompressionType::Lz4; LEVELS];
        levels[..2].fill(DBCompressionType::None);
        options.set_compression_per_level(&levels);
        options.set_write_buffer_size(self.write_buffer_bytes);
        options.set_max_write_buffer_number(3);
        options.set_max_background_jobs(i32::from(self.background_jobs));
        options.set_max_open_files(i32::from(self.open_files));
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1024 * 1024);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options
    }
}
