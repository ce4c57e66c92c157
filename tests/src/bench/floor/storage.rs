//! Bytes on disk: one value for each block, and one index put for each transaction.

use super::super::cpu;
use anyhow::{Context, Result};
use bytes::Bytes;
use rocksdb::{DB, FlushOptions, Options, WriteBatch, WriteOptions};
use std::path::Path;

/// Where blocks and index are.
const FAMILIES: [&str; 2] = ["bodies", "index"];

/// Transactions of a block.
const BLOCK: usize = 1000;

/// Bytes written each time: enough that memory is written to tables several times, which is most of the work.
const BYTES: usize = 192 << 20;

/// Bytes of a value of the index: a height, and a place in the block.
const ENTRY: usize = 12;

/// CPU milliseconds for 1000 transactions, the threads that RocksDB runs behind the scenes included, in a
/// directory of its own `within` this one.
pub(super) fn per_1000(transactions: &[Bytes], within: &Path) -> Result<f64> {
    let directory = tempfile::tempdir_in(within)?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Each by itself, so that what is written in order never has to be merged.
    let db = DB::open_cf(&options, directory.path(), FAMILIES)?;
    let family = |name| db.cf_handle(name).context("a column family that was made");
    let (bodies, index) = (family(FAMILIES[0])?, family(FAMILIES[1])?);
    let mut sync = WriteOptions::default();
    sync.set_sync(true);
    let blocks: Vec<(Vec<u8>, usize)> = transactions
        .chunks(BLOCK)
        .map(|block| (block.iter().flat_map(|bytes| bytes.iter().copied()).collect(), block.len()))
        .collect();
    let (mut number, mut height) = (0u64, 0u64);
    let mut write = || -> Result<u64> {
        let (mut written, before) = (0, number);
        for (block, count) in blocks.iter().cycle() {
            if written >= BYTES {
                break;
            }
            let mut batch = WriteBatch::default();
            batch.put_cf(bodies, height.to_be_bytes(), block);
            for _ in 0..*count {
                batch.put_cf(index, number.to_be_bytes(), [7; ENTRY]);
                number += 1;
            }
            db.write_opt(batch, &sync)?;
            written += block.len();
            height += 1;
        }
        db.flush_cfs_opt(&[bodies, index], &FlushOptions::default())?;
        Ok(number - before)
    };
    // The first time is not measured: memory that a process has never touched is dear on some machines, and is not
    // what a validator that runs for days would pay.
    write()?;
    let (done, spent) = cpu::of_process(write)?;
    super::each_1000(spent, usize::try_from(done?)?)
}
