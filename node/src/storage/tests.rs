//! Real RocksDB directories, damaged in every way we know how to name.

use super::*;
use proptest::prelude::*;
use quorate_ledger::MemoryStore;
use quorate_types::hash::Hash;
use quorate_types::ids::{Height, View};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

const CHAIN: ChainId = ChainId(Hash([7; 32]));

/// A node's directory with a database, guard file beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn db(&self) -> PathBuf {
        self.data().join("db")
    }

    fn open(&self) -> Result<Storage, OpenError> {
        self.open_as(&CHAIN)
    }

    fn open_as(&self, chain: &ChainId) -> Result<Storage, OpenError> {
        Storage::open(&self.data(), &self.dir.path().join(GUARD_FILE), chain, &config::Storage::default())
    }

    /// The error of an open that must fail, with its text.
    fn refused(&self) -> (OpenError, String) {
        let error = self.open().map(|_| ()).unwrap_err();
        let text = error.to_string();
        (error, text)
    }

    /// Files of the database whose names end so, the newest last.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.db()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
        files.sort();
        files
    }
}

fn put(key: u32, length: usize) -> Write {
    let value: Vec<u8> = (0..length).map(|i| u8::try_from((i * 31 + key as usize) % 251).unwrap()).collect();
    Write::put(Column::Transactions, key.to_be_bytes(), value)
}

/// A database with `count` entries in the log, none in a table file; then dropped as by `kill -9`.
fn logged(place: &Place, count: u32) {
    let storage = place.open().unwrap();
    for key in 0..count {
        storage.store.apply(&[put(key, 500)], true).unwrap();
    }
}

/// A database with all entries in table files.
fn flushed(place: &Place, count: u32) {
    logged(place, count);
    place.open().unwrap().store.close().unwrap();
}

fn count(storage: &Storage) -> usize {
    storage.store.range(Column::Transactions, &[], &[0xff; 8], usize::MAX).unwrap().len()
}

#[test]
fn founded_then_found_again() {
    let place = Place::new();
    assert_eq!(place.open().unwrap().standing, Standing::Fresh);
    logged(&place, 10);
    assert_eq!(count(&place.open().unwrap()), 10);
    assert_eq!(fs::metadata(place.data()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_empty_directory_is_founded_and_a_foreign_one_is_not() {
    let place = Place::new();
    fs::create_dir_all(place.data().join("lost+found")).unwrap();
    assert_eq!(place.open().unwrap().standing, Standing::Fresh);

    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("holiday.jpg"), "").unwrap();
    assert!(matches!(place.refused().0, OpenError::Foreign { .. }));
    assert!(place.data().join("holiday.jpg").exists());

    let place = Place::new();
    fs::write(place.data(), "").unwrap();
    assert!(matches!(place.refused().0, OpenError::NotADirectory { .. }));
}

#[test]
fn a_creation_cut_short_is_begun_again() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    format::write(&place.data(), &CHAIN, false).unwrap();
    fs::create_dir(place.db()).unwrap();
    fs::write(place.db().join("CURRENT"), "MANIFEST-000").unwrap();
    assert_eq!(place.open().unwrap().standing, Standing::Fresh);
}

/// The first start may fail at any step, and the next one begins where nothing was lost.
#[test]
fn a_creation_without_its_guard_file_is_begun_again() {
    let place = Place::new();
    let guard = place.dir.path().join("elsewhere").join(GUARD_FILE);
    let open = || Storage::open(&place.data(), &guard, &CHAIN, &config::Storage::default());
    let error = open().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("elsewhere"), "{error}");
    fs::create_dir(guard.parent().unwrap()).unwrap();
    assert_eq!(open().unwrap().standing, Standing::Fresh);
}

#[test]
fn a_directory_is_founded_by_one_process_at_a_time() {
    let place = Place::new();
    let founding = lock(&place.data()).unwrap();
    format::write(&place.data(), &CHAIN, false).unwrap();
    fs::create_dir(place.db()).unwrap();
    assert!(matches!(place.refused().0, OpenError::InUse { .. }));
    assert!(place.db().exists(), "what the other one makes is left alone");
    drop(founding);
    assert_eq!(place.open().unwrap().standing, Standing::Fresh);

    // However they meet, one of them has it, and the other is told.
    for _ in 0..10 {
        let place = Place::new();
        let opened: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..2).map(|_| scope.spawn(|| place.open())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let failed: Vec<&OpenError> = opened.iter().filter_map(|opened| opened.as_ref().err()).collect();
        assert!(matches!(failed[..], [OpenError::InUse { .. }]), "{failed:?}");
    }
}

#[test]
fn another_chain_is_named() {
    let place = Place::new();
    logged(&place, 1);
    let other = ChainId(Hash([8; 32]));
    let error = place.open_as(&other).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::WrongChain { found: CHAIN, expected, .. } if expected == other));
    assert!(place.open().is_ok());
}

#[test]
fn a_newer_format_is_named_whatever_else_it_says() {
    let place = Place::new();
    logged(&place, 1);
    fs::write(place.data().join("FORMAT"), "format = 9\nshards = [1]\n").unwrap();
    assert!(matches!(place.refused().0, OpenError::NewerFormat { found: 9, known: FORMAT, .. }));
    for damaged in ["", "format = ", "format = 1", "format = 0", "format = 1\nchain = \"no\"", "\u{0}\u{0}"] {
        fs::write(place.data().join("FORMAT"), damaged).unwrap();
        assert!(matches!(place.refused().0, OpenError::MalformedMarker { .. }), "{damaged:?}");
    }
    fs::remove_file(place.data().join("FORMAT")).unwrap();
    assert!(matches!(place.refused().0, OpenError::Foreign { .. }));
}

#[test]
fn in_use_is_named() {
    let place = Place::new();
    let storage = place.open().unwrap();
    let (error, text) = place.refused();
    assert!(matches!(error, OpenError::InUse { .. }), "{text}");
    drop(storage);
    assert!(place.open().is_ok());
}

#[test]
fn missing_files_are_named_and_never_replaced_by_an_empty_database() {
    let remove: [&dyn Fn(&Place); 4] = [
        &|place| fs::remove_file(place.db().join("CURRENT")).unwrap(),
        &|place| {
            fs::remove_file(
                place.files("").iter().find(|p| p.to_string_lossy().contains("MANIFEST")).unwrap(),
            )
            .unwrap()
        },
        &|place| fs::remove_file(place.files(".sst").last().unwrap()).unwrap(),
        &|place| fs::remove_dir_all(place.db()).unwrap(),
    ];
    for (case, remove) in remove.iter().enumerate() {
        let place = Place::new();
        flushed(&place, 50);
        remove(&place);
        let (error, text) = place.refused();
        assert!(matches!(error, OpenError::Missing { .. }), "case {case}: {text}");
        assert!(text.contains("move the data directory away"), "{text}");
        assert!(place.open().is_err(), "case {case}: refused again, not founded");
    }
}

#[test]
fn a_missing_log_is_named() {
    let place = Place::new();
    logged(&place, 50);
    // A second log, so that the first is closed and its size known.
    {
        let storage = place.open().unwrap();
        storage.store.apply(&[put(100, 10)], true).unwrap();
    }
    for log in place.files(".log") {
        fs::remove_file(log).unwrap();
    }
    match place.open() {
        Err(error) => {
            assert!(matches!(error, OpenError::Missing { .. } | OpenError::Corrupt { .. }), "{error}")
        }
        // The live log is known to no one but the guard file.
        Ok(storage) => assert!(count(&storage) >= 50),
    }
}

#[test]
fn a_table_cut_short_is_refused() {
    let place = Place::new();
    flushed(&place, 200);
    let table = place.files(".sst").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let length = fs::metadata(&table).unwrap().len();
    fs::OpenOptions::new().write(true).open(&table).unwrap().set_len(length / 2).unwrap();
    let (error, text) = place.refused();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{text}");
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_flipped_bit_in_a_table_is_never_returned_as_data() {
    let place = Place::new();
    flushed(&place, 200);
    let table = place.files(".sst").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    flip(&table, fs::metadata(&table).unwrap().len() / 3);
    let storage = place.open().unwrap();
    let error = storage.store.range(Column::Transactions, &[], &[0xff; 8], usize::MAX).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert!(matches!(storage.store.check(|_, _| ()), Err(StoreError::Corrupt(_))));
}

#[test]
fn a_torn_tail_of_the_log_is_recovered() {
    let place = Place::new();
    logged(&place, 50);
    let log = place.files(".log").pop().unwrap();
    let length = fs::metadata(&log).unwrap().len();
    for cut in [1, 100, 300] {
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length - cut).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_all(&place.data(), &copy.path().join("data"));
        let storage = Storage::open(
            &copy.path().join("data"),
            &copy.path().join(GUARD_FILE),
            &CHAIN,
            &config::Storage::default(),
        )
        .unwrap();
        assert_eq!(count(&storage), 49, "only the torn record goes, cut by {cut}");
        assert!(matches!(storage.standing, Standing::Lost { .. }));
    }
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_refused() {
    let place = Place::new();
    logged(&place, 50);
    let log = place.files(".log").pop().unwrap();
    flip(&log, fs::metadata(&log).unwrap().len() / 2);
    let (error, text) = place.refused();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{text}");
}

fn guard_write(n: u64) -> (Write, Guard) {
    let guard = Guard { view: View(0), height: Height(n), committed: Height(n), votes: n };
    (Write::put(Column::Votes, GUARD_KEY, codec::encode(&guard)), guard)
}

/// A torn tail that held a vote is recovered, and noticed.
#[test]
fn a_lost_vote_is_noticed() {
    let place = Place::new();
    {
        let mut storage = place.open().unwrap();
        for n in 1..=20 {
            let (write, guard) = guard_write(n);
            storage.store.apply(&[write], true).unwrap();
            storage.guard.record(guard, true).unwrap();
        }
    }
    assert_eq!(place.open().unwrap().standing, Standing::Settled);
    let log = place.files(".log").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let length = fs::metadata(&log).unwrap().len();
    if length > 0 {
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length - 1).unwrap();
    }
    // Where the log was replayed into a table already, an old backup stands in for the torn tail.
    let mut storage = place.open().unwrap();
    let (write, _) = guard_write(19);
    storage.store.apply(&[write], true).unwrap();
    drop(storage);
    storage = place.open().unwrap();
    assert!(matches!(storage.standing, Standing::Behind { guard, .. } if guard.votes == 20));
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn an_old_backup_under_a_live_key_is_noticed() {
    let place = Place::new();
    let vote = |storage: &mut Storage, n| {
        let (write, guard) = guard_write(n);
        storage.store.apply(&[write], true).unwrap();
        storage.guard.record(guard, true).unwrap();
    };
    vote(&mut place.open().unwrap(), 1);
    let backup = place.dir.path().join("backup");
    copy_all(&place.data(), &backup);
    vote(&mut place.open().unwrap(), 2);
    fs::remove_dir_all(place.data()).unwrap();
    fs::rename(&backup, place.data()).unwrap();
    assert!(matches!(place.open().unwrap().standing, Standing::Behind { .. }));
    // The same for a database that was wiped.
    fs::remove_dir_all(place.data()).unwrap();
    assert!(matches!(place.open().unwrap().standing, Standing::Behind { .. }));
}

#[test]
fn permissions_are_named() {
    if nix::unistd::Uid::effective().is_root() {
        return; // Root may read everything.
    }
    let place = Place::new();
    flushed(&place, 1);
    fs::set_permissions(place.data(), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(place.refused().0, OpenError::Permission { .. }));
    fs::set_permissions(place.data(), fs::Permissions::from_mode(0o700)).unwrap();
}

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(at: &Path, bytes: usize) -> Option<SmallDisk> {
        use nix::mount::{MsFlags, mount};
        fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).ok()?;
        Some(SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// What the reserve is there to avoid: RocksDB itself meets the end of the disk.
#[test]
fn a_disk_that_was_full_loses_nothing_and_goes_on() {
    let place = Place::new();
    let Some(_disk) = SmallDisk::mount(&place.data(), 64 << 20) else {
        eprintln!("not tested: this user may not mount a tmpfs");
        return;
    };
    let storage = place.open().unwrap();
    let filler = place.data().join("filler");
    fs::write(&filler, vec![0; 44 << 20]).unwrap();
    assert!(free_bytes(&place.data()).unwrap() < 20 << 20);
    let mut written = 0;
    let error = loop {
        match storage.store.apply(&[put(written, 100_000)], true) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WriteError::NoSpace(_)), "{error}");
    assert!(written > 10);
    assert_eq!(count(&storage), written as usize, "reads go on");
    assert!(matches!(storage.store.apply(&[put(written, 100_000)], true), Err(WriteError::NoSpace(_))));
    fs::remove_file(&filler).unwrap();
    storage.store.reopen().unwrap();
    storage.store.apply(&[put(written, 1000)], true).unwrap();
    assert_eq!(count(&storage), written as usize + 1);
}

#[test]
fn tables_of_the_state_are_read_ahead() {
    let place = Place::new();
    let storage = place.open().unwrap();
    let store = &storage.store;
    assert_eq!(store.read_ahead(), [""; 0], "there are none");
    store.apply(&[Write { column: Column::Nodes, ..put(1, 1000) }, put(1, 1000)], true).unwrap();
    store.close().unwrap();
    assert_eq!(store.read_ahead(), [""; 0], "it is closed");
    store.reopen().unwrap();
    let tables = store.read().as_ref().unwrap().live_files().unwrap();
    let of_state = tables.iter().filter(|table| table.column_family_name == Column::Nodes.name());
    let names: Vec<&str> = of_state.map(|table| table.name.trim_start_matches('/')).collect();
    assert_eq!((store.read_ahead(), names.len()), (names.iter().map(|name| name.to_string()).collect(), 1));
}

#[test]
fn tables_that_nobody_reads_leave_the_systems_cache() {
    let place = Place::new();
    let storage = place.open().unwrap();
    let store = &storage.store;
    let look = || store.look_at_tables(store.read().as_ref().unwrap());
    assert_eq!(look(), [""; 0]);
    let body = |key: u32| Write { column: Column::Bodies, ..put(key, 100_000) };
    store.apply(&[body(1), put(1, 1000)], true).unwrap();
    store.close().unwrap();
    store.reopen().unwrap();
    // Of the two that are written to table files now, only one is read.
    assert_eq!(
        store.get(Column::Transactions, &1u32.to_be_bytes()).unwrap().map(|value| value.len()),
        Some(1000)
    );
    let mut tables = store.read().as_ref().unwrap().live_files().unwrap();
    assert_eq!(tables.len(), 2);
    tables.retain(|table| table.column_family_name == Column::Bodies.name());
    assert_eq!(look(), [tables[0].name.as_str()]);
    assert!(place.db().join(tables[0].name.trim_start_matches('/')).exists());
    assert_eq!(look(), [""; 0], "once");

    // By itself, as the database grows.
    let mut looked = 0;
    for key in 2..420 {
        store.apply(&[body(key)], false).unwrap();
        looked += usize::from(store.inner.cache.is_look_due());
    }
    assert_eq!(looked, 0, "a look is due and nobody looks");
}

#[test]
fn texts_of_rocksdb_are_told_apart() {
    let place = Place::new();
    let storage = place.open().unwrap();
    storage.store.close().unwrap();
    assert!(matches!(storage.store.get(Column::Meta, b"x"), Err(StoreError::Io(_))));
    assert!(matches!(storage.store.apply(&[put(1, 1)], true), Err(WriteError::Failed(_))));
    storage.store.reopen().unwrap();
    storage.store.apply(&[put(1, 1)], true).unwrap();
    assert_eq!(count(&storage), 1);
}

fn writes() -> impl Strategy<Value = Vec<Vec<Write>>> {
    let key = proptest::collection::vec(any::<u8>(), 0..3);
    let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..40));
    let write = (0..Column::ALL.len(), key, value).prop_map(|(column, key, value)| Write {
        column: Column::ALL[column],
        key: key.into(),
        value: value.map(Bytes::from),
    });
    proptest::collection::vec(proptest::collection::vec(write, 0..30), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// RocksDB and memory answer every question alike.
    #[test]
    fn answers_as_the_memory_store_does(
        batches in writes(),
        questions in proptest::collection::vec((0..10usize, proptest::collection::vec(any::<u8>(), 0..3), proptest::collection::vec(any::<u8>(), 0..3), 0..20usize), 40),
    ) {
        let place = Place::new();
        let mut memory = MemoryStore::new();
        let mut storage = place.open().unwrap();
        for (number, batch) in batches.iter().enumerate() {
            storage.store.apply(batch, false).unwrap();
            memory.apply(batch);
            if number == batches.len() / 2 {
                storage.store.close().unwrap();
                drop(storage);
                storage = place.open().unwrap();
            }
        }
        let store = &storage.store;
        for (column, from, to, limit) in questions {
            let column = Column::ALL[column];
            prop_assert_eq!(store.get(column, &from), memory.get(column, &from));
            prop_assert_eq!(store.range(column, &from, &to, limit), memory.range(column, &from, &to, limit));
        }
    }
}
