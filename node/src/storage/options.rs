//! How RocksDB is set up, and why.

use crate::config;
use quorate_ledger::Column;
use rand::TryRng;
use rand::rngs::SysRng;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    LogLevel, Options,
};

const MIB: usize = 1 << 20;

/// The least that [`share_of_buffers`] may be, in percent: smaller buffers make more and smaller tables.
const LEAST_SHARE: usize = 60;

/// The log holds what is not in table files yet. This bounds it, and with it the time to replay it at
/// start: a second or two. Replaying writes it to table files, so a start after a full disk needs as much
/// room.
pub const MAX_LOG_BYTES: u64 = 256 << 20;

/// Options of the whole database.
///
/// Table files go through the system's cache. Writing past it saved a seventh of all CPU time on a virtual
/// machine that gets its memory page by page, but a state of many millions of keys is read back from there:
/// the newest version of a page that has left the ledger's own cache is some seconds old.
pub(super) fn database(config: &config::Storage, create: bool) -> Options {
    let mut options = Options::default();
    // Only a directory that was marked as new may be created: RocksDB would otherwise answer a lost
    // CURRENT file with an empty database.
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_paranoid_checks(true);
    // A record cut short at the very end of the log is the trace of a crash in mid-write, and was never
    // acknowledged: it goes. Damage anywhere else is refused, where the default mode would silently drop
    // all that follows it.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Notices a whole log file that is missing or shorter than it was when synced.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(MAX_LOG_BYTES);
    options.set_db_write_buffer_size(config.write_buffer_bytes.as_usize());
    options.set_max_open_files(i32::try_from(config.max_open_files).unwrap_or(i32::MAX));
    options.set_max_background_jobs(2);
    // One thread writes.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    // Spreads writing a table over time, so that a sync does not wait for all of it.
    options.set_bytes_per_sync(1 << 20);
    // RocksDB's own log, in the same directory: little, and for its developers.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * MIB);
    options
}

/// Every column with its options; all share one cache.
pub(super) fn columns(config: &config::Storage) -> Vec<ColumnFamilyDescriptor> {
    // It has no lock, and no list to be kept in order with each look-up. 0: entries may have any length.
    let cache = Cache::new_hyper_clock_cache(config.cache_bytes.as_usize(), 0);
    let share = share_of_buffers();
    let descriptor =
        |column: Column| ColumnFamilyDescriptor::new(column.name(), family(column, &cache, share));
    let default = ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, Options::default());
    Column::ALL.into_iter().map(descriptor).chain([default]).collect()
}

/// How much of its buffers a node fills before it writes a table, in percent: drawn by each for itself.
///
/// All validators write the same, and with buffers of one size all would write their tables at the same moment. A
/// block then waits for that; with one of them at a time, the others make a quorum without it.
fn share_of_buffers() -> usize {
    let mut drawn = [u8::MAX];
    // Without randomness all of it is as good as any.
    let _ = SysRng.try_fill_bytes(&mut drawn);
    LEAST_SHARE + usize::from(drawn[0]) * (100 - LEAST_SHARE) / usize::from(u8::MAX)
}

fn family(column: Column, cache: &Cache, share: usize) -> Options {
    let buffer = |mib: usize| mib * MIB / 100 * share;
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Indexes and filters count against the cache, so that memory stays bounded as the chain grows.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    match column {
        // Read by exact key, at random, and only what is known to be there. Keys begin with the height that
        // wrote them, so that tables do not overlap, and the one table that a key is looked up in has it: a
        // filter would only be one more block to read. What is read is much shorter than a block.
        Column::Nodes | Column::Values => {
            table.set_index_type(BlockBasedIndexType::BinarySearch);
            table.set_block_size(4 << 10);
            options.set_write_buffer_size(buffer(16));
        }
        // Read by exact key, at random: a filter saves most reads of tables that do not have it.
        // What they hold is hashes, which do not compress.
        Column::Transactions | Column::History => {
            table.set_bloom_filter(10.0, false);
            table.set_index_type(BlockBasedIndexType::BinarySearch);
            table.set_block_size(8 << 10);
            options.set_write_buffer_size(buffer(16));
        }
        // Whole blocks, large, in order: read one after the other by audits and by those who catch up.
        Column::Bodies => {
            table.set_block_size(64 << 10);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_write_buffer_size(buffer(64));
            options.set_target_file_size_base(256 * MIB as u64);
        }
        Column::Blocks | Column::Certificates => {
            table.set_block_size(32 << 10);
            options.set_write_buffer_size(buffer(16));
        }
        // Small, and rewritten often.
        Column::Meta | Column::Votes | Column::Evidence => options.set_write_buffer_size(buffer(8)),
    }
    options.set_block_based_table_factory(&table);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn nodes_fill_their_buffers_to_different_sizes() {
        let shares: BTreeSet<usize> = std::iter::repeat_with(share_of_buffers).take(1000).collect();
        assert!(shares.iter().all(|share| (LEAST_SHARE..=100).contains(share)), "{shares:?}");
        assert!(shares.len() > 20, "{shares:?}");
    }
}
